"""Events that are worth a notice."""

import dataclasses
from pathlib import Path

import pytest

from factories import make_card, make_class_averages
from livepick.ledger.rows import Counts
from livepick.ledger.session_end import SessionEnd
from livepick.monitoring.class_status import ClassesStatus
from livepick.monitoring.headline import Headline
from livepick.monitoring.problem import Problem
from livepick.monitoring.status import Status
from livepick.notices.events import events_of

CALM = Headline("good", "Collecting and picking.", "", "", (), kind=None)
STATUS = Status(session="s", started=True, counts=Counts(picked=5))


def troubled(kind, level):
    return Headline(level, "It happened.", "Do this.", "", (), kind=kind)


def keys(status=STATUS, top=CALM):
    return [notice.key for notice in events_of(status, top)]


def test_a_calm_session_has_none():
    assert keys() == []


def test_the_milestones_of_a_session():
    status = dataclasses.replace(
        STATUS,
        classes=ClassesStatus(latest=make_class_averages()),
        model=make_card(kind="trained"),
        end=SessionEnd("s", 0.0, "person", "anna", Path("/out/report.html")),
    )
    notices = list(events_of(status, CALM))
    assert [each.key for each in notices] == ["first_classes", "model_ready", "session_over"]
    assert "/out/report.html" in notices[-1].body
    assert keys(dataclasses.replace(STATUS, model=make_card(kind="blob"))) == []


@pytest.mark.parametrize(
    ("kind", "level", "key"),
    [
        ("disk_full", "attention", "disk"),
        ("disk_full", "bad", "disk"),
        ("poor_quality", "attention", "quality"),
        ("drift", "attention", "quality"),
        ("folder_gone", "bad", "problem folder_gone"),
    ],
)
def test_problems_that_somebody_should_know(kind, level, key):
    (notice,) = events_of(STATUS, troubled(kind, level))
    assert (notice.key, notice.is_bad) == (key, level == "bad")
    assert notice.body == "It happened. Do this."


def test_a_problem_that_can_wait_is_on_the_page_only():
    assert keys(top=troubled("no_new_micrographs", "attention")) == []


def test_problems_behind_the_first_one_count_too():
    other = Problem("disk_full", "attention", "The disk is full.")
    top = dataclasses.replace(troubled("folder_gone", "bad"), others=(other,))
    assert keys(top=top) == ["problem folder_gone", "disk"]
