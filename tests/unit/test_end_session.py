"""The steps to the end of a session: when each is taken, and what undoes it."""

import time
from pathlib import Path

import pytest

from livepick.config.sections import Session
from livepick.end_session import PATIENCE_SECONDS, SCAN_SECONDS, SessionEnding, session_is_over
from livepick.errors import LedgerWriteError
from livepick.ingest.watch_health import FileEvents, FolderHealth, WatchHealth
from livepick.ledger.history import SESSION_ENDED, SESSION_REOPENED, History
from livepick.ledger.session_end import (
    SessionEnd,
    read_session_end,
    remove_session_end,
    write_session_end,
)

DAY_SECONDS = 86400.0


class Scene:
    """A session whose circumstances a test changes."""

    def __init__(self, state):
        self.state = state
        self.settings = Session(name="s")
        self.waiting_count, self.picked_count = 0, 5
        self.last, self.landed_since = time.time() - DAY_SECONDS, False
        self.unsettled, self.available, self.listed = 0, True, True
        self.training, self.change_count, self.now = False, 0, 1000.0
        self.report, self.reports_begun, self.is_writing = (Path("/out/r.html"), ""), 0, False
        self.scans, self.said = 0, None

    # queries of the ledger

    def waiting(self):
        return self.waiting_count

    def picked(self):
        return self.picked_count

    def last_event_at(self):
        return self.last

    def has_landed_since(self, at):
        return self.landed_since

    # the writer of the report

    def turn(self, end):
        self.said = end
        self.reports_begun += not self.is_writing
        self.is_writing = True
        if self.report is not None:
            self.is_writing = False
        return self.report

    def stop(self):
        self.is_writing = False

    def watching(self):
        return WatchHealth(
            folders=(FolderHealth(Path("/in"), self.available, "", "poll"),),
            last_scan_at=time.time() + 10 if self.listed else 0.0,
            seconds_since_scan=0,
            last_scan_seconds=1,
            interval_seconds=10,
            watching=self.unsettled,
            excluded=0,
            oversized=0,
            events=FileEvents(),
            overflows=0,
            restarts=0,
            errors=0,
        )

    def scan(self):
        self.scans += 1

    def ending(self, *, end=None, exits=False):
        return SessionEnding(
            lambda: self.settings,
            self.state,
            end=end,
            ledger=self,
            watching=self.watching,
            scan=self.scan,
            is_training=lambda: self.training,
            changes=lambda: self.change_count,
            report=self,
            exits=exits,
            clock=lambda: self.now,
        )


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def set_to(scene, **values):
    scene.settings = scene.settings.model_copy(update=values)


def test_a_session_goes_on_unless_it_is_told_to_end(scene):
    ending = scene.ending()
    assert ending.turn() is None
    assert not ending.is_ending


@pytest.mark.parametrize(
    ("circumstance", "value"),
    [
        ("waiting_count", 1),
        ("picked_count", 0),
        pytest.param("last", time.time(), id="last-now"),
        ("last", None),
        ("unsettled", 1),
        ("available", False),
        ("available", None),
        ("listed", False),
        ("training", True),
    ],
)
def test_it_does_not_end_by_itself_while_something_may_come(scene, circumstance, value):
    set_to(scene, end_after_hours=6.0)
    setattr(scene, circumstance, value)
    ending = scene.ending()
    assert ending.turn() is None
    assert scene.reports_begun == 0


def test_it_ends_by_itself_after_its_hours(scene):
    set_to(scene, end_after_hours=6.0, ended_by="of an earlier end")
    assert scene.ending().turn() == "ended"
    end = read_session_end(scene.state, "s")
    assert (end.reason, end.by, end.report) == ("idle", None, Path("/out/r.html"))


def test_a_micrograph_that_lands_during_the_report_prevents_the_end(scene):
    set_to(scene, end_after_hours=6.0)
    scene.report = None
    ending = scene.ending()
    assert ending.turn() is None
    assert (ending.is_ending, scene.is_writing) == (True, True)
    scene.last = time.time()
    ending.turn()
    assert (ending.is_ending, scene.is_writing) == (False, False)
    assert read_session_end(scene.state, "s") is None


def test_a_person_ends_it_when_all_is_picked_and_trained(scene):
    set_to(scene, ended=True, ended_by="anna")
    scene.waiting_count, scene.training = 2, True
    ending = scene.ending()
    assert ending.turn() is None
    assert ending.training_waits() == "the session is ending"
    assert scene.scans == 1
    scene.training = False
    assert ending.turn() is None
    scene.waiting_count = 0
    assert ending.turn() == "ended"
    end = read_session_end(scene.state, "s")
    assert end.by == "anna"
    assert (scene.said.by, scene.said.reason) == ("anna", "person")
    assert scene.said.at == pytest.approx(end.at)


def test_a_training_may_take_longer_than_the_patience(scene):
    set_to(scene, ended=True)
    scene.training = True
    ending = scene.ending()
    for _ in range(5):
        assert ending.turn() is None
        scene.now += PATIENCE_SECONDS


def test_what_cannot_be_picked_does_not_hold_the_end_forever(scene):
    """As in a folder that is gone. Progress prolongs the wait, and what is left is counted."""
    set_to(scene, ended=True)
    scene.waiting_count, scene.listed = 3, False
    ending = scene.ending()
    assert ending.turn() is None
    scene.now += PATIENCE_SECONDS - 1
    scene.change_count += 1
    assert ending.turn() is None
    scene.now += PATIENCE_SECONDS - 1
    assert ending.turn() is None
    scene.now += 2
    assert ending.turn() == "ended"
    assert read_session_end(scene.state, "s").left == 3


def test_it_waits_for_a_listing_of_the_folders_but_not_forever(scene):
    set_to(scene, ended=True)
    scene.listed = False
    ending = scene.ending()
    assert ending.turn() is None
    scene.now += SCAN_SECONDS + 1
    assert ending.turn() == "ended"


def test_an_end_that_is_undone_in_time_does_not_happen(scene):
    set_to(scene, ended=True)
    scene.waiting_count = 1
    ending = scene.ending()
    ending.turn()
    set_to(scene, ended=False)
    assert ending.turn() is None
    assert not ending.is_ending


def test_a_report_that_fails_does_not_hold_the_end(scene):
    set_to(scene, ended=True)
    scene.report = (None, "the disk is full")
    assert scene.ending().turn() == "ended"
    end = read_session_end(scene.state, "s")
    assert (end.report, end.report_fault) == (None, "the disk is full")


def test_a_full_state_folder_does_not_repeat_the_report(scene):
    set_to(scene, ended=True)
    state, scene.state = scene.state, scene.state / "missing"
    ending = scene.ending()
    for _ in range(3):
        with pytest.raises(LedgerWriteError):
            ending.turn()
    scene.state.mkdir()
    assert ending.turn() == "ended"
    assert scene.reports_begun == 1
    assert state == scene.state.parent


def over(scene, reason="idle"):
    end = SessionEnd("s", time.time() - 100, reason)
    write_session_end(scene.state, end)
    return end


def test_after_the_end_a_micrograph_reopens_it_unless_a_person_ended_it(scene):
    ending = scene.ending(end=over(scene))
    assert ending.turn() is None
    scene.landed_since = True
    assert ending.turn() == "reopened"

    set_to(scene, ended=True)
    assert scene.ending(end=over(scene, "person")).turn() is None
    set_to(scene, ended=False)
    assert scene.ending(end=over(scene, "person")).turn() == "reopened"


def test_a_person_may_confirm_an_end_by_itself(scene):
    """From then on no micrograph reopens the session."""
    ending = scene.ending(end=over(scene))
    set_to(scene, ended=True, ended_by="anna")
    scene.landed_since = True
    assert ending.turn() is None
    end = read_session_end(scene.state, "s")
    assert (end.reason, end.by) == ("person", "anna")


def test_the_file_of_the_end_reopens_the_session_when_it_is_removed(scene):
    """But not if the config says that the session is over: then it is written again."""
    ending = scene.ending(end=over(scene))
    remove_session_end(scene.state)
    assert ending.turn() == "reopened"

    set_to(scene, ended=True)
    ending = scene.ending(end=over(scene, "person"))
    remove_session_end(scene.state)
    assert ending.turn() is None
    assert read_session_end(scene.state, "s") is not None


def test_a_service_that_exits_at_the_end_looks_at_the_folders_first(scene):
    """A micrograph that landed while it was down must not be missed."""
    ending = scene.ending(end=over(scene), exits=True)
    scene.listed = False
    assert ending.turn() is None
    scene.listed, scene.unsettled = True, 1
    assert ending.turn() is None
    scene.unsettled = 0
    assert ending.turn() is None
    scene.now += 10
    assert ending.turn() == "ended"

    set_to(scene, ended=True)
    assert scene.ending(end=over(scene, "person"), exits=True).turn() == "ended"


class TestAtTheStart:
    """What a start makes of the file, the config and the history."""

    @pytest.fixture
    def written(self, make_config):
        return make_config(session={"name": "s"})

    @pytest.fixture(autouse=True)
    def _begun(self, ledger, written):
        written.state.directory.mkdir(parents=True, exist_ok=True)
        ledger.session.begin("s")

    def kinds(self, ledger):
        return [event.kind for event in History(ledger.database).latest(9)][::-1]

    def test_a_session_is_over_if_the_file_says_so(self, ledger, written):
        """Also if the service was killed before the end was in the history."""
        assert session_is_over(written, ledger) is None
        end = SessionEnd("s", time.time(), "idle")
        write_session_end(written.state.directory, end)
        for _ in range(2):
            assert session_is_over(written, ledger).reason == "idle"
        assert self.kinds(ledger) == [SESSION_ENDED]

    def test_an_undo_while_the_service_was_down_is_noticed(self, ledger, written):
        write_session_end(written.state.directory, SessionEnd("s", time.time(), "person"))
        ended = written.model_copy(update={"session": Session(name="s", ended=True)})
        assert session_is_over(ended, ledger) is not None
        assert session_is_over(written, ledger) is None
        assert self.kinds(ledger) == [SESSION_ENDED, SESSION_REOPENED]
        assert session_is_over(written, ledger) is None
        assert self.kinds(ledger) == [SESSION_ENDED, SESSION_REOPENED]

    def test_a_file_that_was_removed_reopens_the_session(self, ledger, written):
        """The time without micrographs begins anew, or it would end at once."""
        end = SessionEnd("s", time.time(), "idle")
        write_session_end(written.state.directory, end)
        session_is_over(written, ledger)
        remove_session_end(written.state.directory)
        assert session_is_over(written, ledger) is None
        assert self.kinds(ledger) == [SESSION_ENDED, SESSION_REOPENED]

    def test_the_end_of_the_session_before_is_removed(self, ledger, written):
        write_session_end(written.state.directory, SessionEnd("t", time.time(), "idle"))
        assert session_is_over(written, ledger) is None
        assert read_session_end(written.state.directory, "t") is None
