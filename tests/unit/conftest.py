"""Fixtures of several unit tests: clocks, configs, ledgers, and bundles without a network."""

import functools

import pytest

import factories
from factories import publish_bundle, write_config
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.writer import LedgerWriter


class Clock:
    """Unix seconds that a test sets."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    """Return a clock that stands still."""
    return Clock()


@pytest.fixture
def ledger(tmp_path, clock):
    """Return a new ledger, to write to."""
    with Database.writable(tmp_path / "state" / LEDGER) as database:
        yield LedgerWriter(database, clock=clock)


@pytest.fixture
def make_config(tmp_path):
    """Return a function that makes a config with folders below ``tmp_path``, and that of rows."""
    watch = {"directories": [str(tmp_path / "in"), "/m"]}
    return functools.partial(factories.make_config, tmp_path, watch=watch)


@pytest.fixture
def put_bundle():
    """Return a function that publishes a bundle for a config; its graph is only bytes."""

    def put(models, config, version, kind="trained", graph=b"graph"):
        return publish_bundle(models.directory, graph, config=config, version=version, kind=kind)

    return put


@pytest.fixture
def config_file(tmp_path):
    """Return the config file of a session that has not begun."""
    return write_config(tmp_path, session={"name": "krios2"})
