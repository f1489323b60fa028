"""Fixtures of acceptance tests: sessions and clusters that end with the test."""

import pytest
from chromium import chromium
from cluster import Cluster
from machine import why_none
from real_systemd import control_group
from session import Session

LONGEST = (
    "test_observability",
    "test_kills",
    "test_class_averages_service",
    "test_day",
    "test_chaos",
    "test_cluster_faults",
    "test_sessions",
    "test_service",
    "test_page_over_time",
)
"""Files that take minutes, the longest first: one that began last would run alone at the end."""


def pytest_collection_modifyitems(items):
    """Let the longest files begin first."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture
def group():
    """Return a cgroup2 group for the test, or skip where there can be none."""
    with control_group() as place:
        yield place


@pytest.fixture(scope="module")
def browser():
    """Return Chromium, which the tests of a file share."""
    with chromium() as opened:
        yield opened


@pytest.fixture
def make_session(tmp_path):
    """Return a function that makes a session; its service ends with the test.

    If a test needs several, each has its own ``place``.
    """
    made = []

    def make(place="", **sections):
        folder = tmp_path / place
        folder.mkdir(exist_ok=True)
        made.append(Session(folder, **sections))
        return made[-1]

    yield make
    for session in made:
        session.end()


@pytest.fixture(scope="session")
def needs_machine():
    """Skip the test where another machine cannot be made."""
    if why := why_none():
        pytest.skip(why)


@pytest.fixture
def make_cluster(tmp_path):
    """Return a function that makes a cluster, in which nothing runs yet; it ends with the test."""
    made = []

    def make(**options):
        made.append(Cluster(tmp_path, **options))
        return made[-1]

    yield make
    for cluster in made:
        cluster.end()
