"""Sessions that are not picked, on the overview and in the alerts."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from livepick.config.instrument_config import Place
from livepick.errors import ConfigError, PortsTakenError, SessionStateError
from livepick.instrument.session_folders import FoundSession, Listing
from livepick.instrument.session_record import MANY_CRASHES, SessionRecord
from livepick.instrument.session_search import Sighting
from livepick.instrument.session_view import Snapshot, view_of
from livepick.ledger.session_end import SessionEnd

FOLDER = Path("/data/s1")
PLACE = Place("s1", FOLDER, FOLDER, Path("/state/s1"), Path("/out/s1"), 9801)


def seen(state="ready", *, is_known=True, **faults):
    """Return a sighting of a session with a folder in a state."""
    found = FoundSession(FOLDER, FOLDER, state, "Permission denied", newest_at=time.time())
    return Sighting(PLACE, found, is_known, **faults)


def view(sighting, **options):
    """Return the view of a session without a process."""
    record = SessionRecord(sighting, 0.0, crashes=options.pop("crashes", 0))
    return view_of(record, **options)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (ConfigError("a fault", "Fix it."), "config"),
        (PortsTakenError("no port", "Give more."), "ports"),
        (SessionStateError("no space", "Free some."), "state"),
    ],
)
def test_a_session_that_cannot_begin_has_a_cause(fault, cause):
    shown = view(seen(override_fault=fault, config_fault=fault))
    assert (shown.not_picked, shown.level, shown.sentence) == (cause, "bad", fault.what)
    assert not shown.is_refused


def test_only_a_fault_of_what_people_wrote_counts_as_refused():
    """A full disk or missing ports keep the last good config too, and have causes of their own."""
    assert view(seen(override_fault=ConfigError("a typing error", "Fix it."))).is_refused
    assert not view(seen(override_fault=SessionStateError("no space", "Free some."))).is_refused
    assert not view(seen(override_fault=PortsTakenError("no port", "Give more."))).is_refused


def test_a_folder_that_others_may_not_read_calls_nobody_unless_it_was_picked():
    assert view(seen("denied")).not_picked == "folder"
    assert view(seen("denied", is_known=False)).not_picked is None
    assert "right to read it" in view(seen("denied")).remedy
    assert "Rename the folder" in view(seen("unreadable_name")).remedy


def test_one_crash_is_mended_by_a_start_and_three_in_a_row_are_not():
    assert view(seen(), crashes=MANY_CRASHES - 1, is_paused=True).not_picked is None
    assert view(seen(), crashes=MANY_CRASHES, is_paused=True).not_picked == "crashes"
    over = seen(end=SessionEnd("s1", time.time() + 60, "idle"))
    assert view(over, crashes=MANY_CRASHES).not_picked is None


def test_a_session_waits_for_its_turn_while_it_collects_and_others_pick():
    waits = {"chosen": ["s2"], "quiet_seconds": 600}
    assert view(seen(), **waits).waits_for_turn
    assert "It waits for s2" in view(seen(), **waits).sentence
    assert not view(seen(), **(waits | {"quiet_seconds": 0})).waits_for_turn
    assert not view(seen(), **(waits | {"chosen": ["s1"]})).waits_for_turn
    assert view(seen(), **(waits | {"chosen": ["s1"]})).sentence == "It is picked next."
    assert view(seen(), chosen=None).sentence == "It is picked once the service runs."


def test_a_folder_of_all_sessions_that_is_away_or_does_not_answer_is_told():
    """One that has never been there is not; a search that takes a minute is."""
    instrument = SimpleNamespace(name="krios1")
    missing = Listing(Path("/data"), "No such file or directory", is_missing=True)

    def snapshot(listing, **options):
        return Snapshot.of(instrument, (), listing=listing, **options)

    assert not snapshot(missing).root_is_away
    assert snapshot(missing, was_there=True).root_is_away
    assert snapshot(Listing(Path("/data"), "Permission denied")).root_is_away
    assert not snapshot(Listing(Path("/data")), hangs_seconds=30).root_is_away
    hangs = snapshot(Listing(Path("/data")), hangs_seconds=90)
    assert (hangs.root_is_away, hangs.level) == (True, "bad")
    assert "has not answered for 2 min" in hangs.sentence
