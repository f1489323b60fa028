"""Files about the session as a whole, written in a thread of their own."""

import threading
import time

import pytest

from livepick.errors import OutputError
from livepick.picking import background_write
from livepick.picking.background_write import BackgroundWrite


class Clock:
    """The module ``time``, with a monotonic clock that is set by hand."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


class File:
    """A file that is written when the test lets it."""

    def __init__(self):
        self.allowed = threading.Semaphore(0)
        self.written, self.error = 0, None
        self.write = BackgroundWrite("file", self._write, lambda: 10.0)

    def _write(self):
        assert self.allowed.acquire(timeout=30)
        if self.error is not None:
            raise self.error
        self.written += 1

    def turn_until_written(self):
        self.allowed.release()
        give_up = time.monotonic() + 90
        while not self.write.turn():
            assert time.monotonic() < give_up
            time.sleep(0.001)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(background_write, "time", clock)
    return clock


@pytest.fixture
def file(clock):
    file = File()
    yield file
    file.allowed.release(100)


def test_a_file_is_written_once_however_often_it_changes_meanwhile(file, clock):
    file.write.turn()
    for _ in range(5):
        file.write.changed()
        assert not file.write.turn()
    file.turn_until_written()
    assert file.written == 1
    clock.now += 10.0
    file.write.turn()
    file.turn_until_written()
    assert file.written == 2
    clock.now += 10.0
    assert not file.write.turn()


def test_a_file_that_takes_long_is_written_less_often(file, clock):
    """Writing may cost a twentieth of the time."""
    file.write.turn()
    clock.now += 6.0
    file.turn_until_written()
    file.write.changed()
    clock.now += 100.0
    file.allowed.release()
    assert not file.write.turn()
    assert file.written == 1
    clock.now += 14.0
    file.write.turn()
    file.write.finish()
    assert file.written == 2


def test_a_clean_stop_writes_all_changes_however_long_they_have_to_wait(file):
    file.allowed.release(2)
    file.write.finish()
    file.write.changed()
    file.write.finish()
    file.write.finish()
    assert file.written == 2


def test_a_write_that_fails_is_due_again(file, clock):
    file.error = OutputError("the disk is full", "Free space.")
    file.write.turn()
    with pytest.raises(OutputError, match="full"):
        file.turn_until_written()
    file.error = None
    clock.now += 10.0
    file.write.turn()
    file.turn_until_written()
    assert file.written == 1


def test_a_write_contains_the_changes_before_it_began_only(file, clock):
    file.write.turn()
    clock.now += 1.0
    file.write.changed()
    file.turn_until_written()
    assert file.write.written_as_of == 1000.0


def test_a_change_by_a_person_does_not_wait_for_the_interval(file, clock):
    """Also if it comes while the file is written; but writing costs no more of the time."""
    file.write.turn()
    clock.now += 0.1
    file.write.changed_by_person()
    file.turn_until_written()  # 0.1 s of writing: the next begins after 5 s
    clock.now += 4.0
    assert not file.write.turn()
    clock.now += 1.5
    file.write.turn()
    file.turn_until_written()
    file.write.changed()
    clock.now += 5.0
    assert not file.write.turn()
    file.write.changed_by_person()
    file.write.turn()
    file.turn_until_written()
    assert file.written == 3
