"""The most important sentence: what it says when."""

import dataclasses
import re

import pytest

from livepick.records import Counts, Hourly
from livepick.status import Status
from livepick.web.headline import headline, pace_of, span
from livepick.web.health import Health

NOW = 100_000.0
WELL = Health(ok=True, seconds_since={"dispatch": 0.1, "watch": 2.0})
BUSY = Status(session="test", started=True, counts=Counts(queued=1, picking=2, picked=412))


@pytest.fixture
def say(micrograph_row):
    """Return a function that says how a session does whose micrographs came every 20 s."""

    def said(status=BUSY, *, health=WELL, ago=10.0, picks=31, failed=0, count=50):
        rows = [
            dataclasses.replace(
                micrograph_row(number),
                landed_at=NOW - ago - 20 * number,
                pick_count=None if number < failed else picks,
                state="failed" if number < failed else "picked",
            )
            for number in range(count)
        ]
        pace = pace_of(rows, Hourly(180, 179, 5580))
        return headline(status, health, pace, now=NOW, folders="/data/in")

    return said


def test_all_well(say):
    """One sentence, with the figures that matter, and nothing else."""
    top = say()

    assert top.level == "good"
    assert top.sentence == "Collecting and picking: 412 of 415 micrographs, 31 picks a micrograph."
    assert (top.remedy, top.doing, top.others) == ("", "", ())


def test_before_the_first_micrograph(say):
    """It says where it waits."""
    top = say(Status(session="test", started=True), count=0)

    assert (top.level, top.sentence) == ("good", "Waiting for the first micrograph in /data/in.")


def test_a_stopped_acquisition(say):
    """After ten usual gaps and a quarter of an hour; a slow microscope is given longer."""
    assert say(ago=800).level == "good"
    top = say(ago=2400)
    assert top.sentence == "No micrograph has landed for 40 min; before, one came every 20 s."
    assert "microscope" in top.remedy
    assert top.doing.startswith("Picking: 412 of 415")


@pytest.mark.parametrize(
    ("status", "options", "words"),
    [
        (BUSY, {"health": Health(False, {"dispatch": 1.0, "watch": 300.0})}, "from watch for 5"),
        (dataclasses.replace(BUSY, problems=("/data/in is not there.",)), {}, "/data/in is not"),
        (dataclasses.replace(BUSY, oldest_waiting_at=NOW - 1200), {}, "behind: 3 .* for 20 min"),
        (BUSY, {"failed": 9}, "9 of the last 50 micrographs failed"),
        (BUSY, {"picks": 0}, "The last 50 micrographs have no picks"),
    ],
)
def test_each_fault_comes_first_with_what_to_do(say, status, options, words):
    """And what goes on stands below it."""
    top = say(status, **options)

    assert top.level in ("attention", "bad")
    assert re.search(words, top.sentence)
    assert top.doing


def test_the_gravest_comes_first(say):
    """A missing folder explains that nothing lands; a missing GPU is the least of it."""
    status = dataclasses.replace(
        BUSY, problems=("There is no GPU, so the CPU picks.", "/data/in is not there.")
    )
    top = say(status, ago=2400)

    assert top.sentence == "/data/in is not there."
    assert top.doing.startswith("Picked so far: 412 of 415")
    assert [alert.sentence.split()[0] for alert in top.others] == ["No", "There"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (119, "119 s"), (600, "10 min"), (7300, "2 h"), (2e5, "2 days")],
)
def test_spans_are_short(seconds, words):
    assert span(seconds) == words
