"""Completeness, with a simulated clock and simulated files."""

from dataclasses import dataclass, field, replace

import pytest

from livepick.core.formats.micrograph import FileVersion
from livepick.errors import (
    HeaderError,
    IncompleteFileError,
    MicrographError,
    UnreadableFileError,
    VanishedFileError,
)
from livepick.ingest.settle import Outcome, Settler

SETTLE_SECONDS = 5.0
TIMEOUT_SECONDS = 600.0
EPOCH = 1.7e9
VERSION = FileVersion(100, 1, 7)


@dataclass
class Disk:
    """One file, a clock, and a settler that looks at it whenever that is due."""

    settle_seconds: float = SETTLE_SECONDS
    version: FileVersion = VERSION
    wrong: MicrographError | None = None
    blocked: str | None = None
    now: float = 1000.0
    looks: int = 0
    checks: int = 0
    outcomes: list[tuple[float, Outcome]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.started = self.now
        self.settler = Settler(
            settle_seconds=self.settle_seconds,
            incomplete_timeout_seconds=TIMEOUT_SECONDS,
            check=self.check,
        )

    def check(self, path: str) -> int:
        """Be whole or not."""
        self.checks += 1
        if self.wrong is not None:
            raise self.wrong
        return 90

    def look(self) -> None:
        """Look at the file now."""
        self.looks += 1
        outcome = self.settler.observe(
            "x", self.version, self.blocked, now=self.now, wall=EPOCH + self.now
        )
        if outcome is not None:
            self.outcomes.append((self.now - self.started, outcome))

    def run(self, seconds: float) -> None:
        """Let time pass, looking when a look is due."""
        end = self.now + seconds
        while self.settler.next_due() <= end:
            self.now = max(self.now, self.settler.next_due())
            assert self.settler.due(self.now) == ["x"]
            self.look()
        self.now = end

    def write(self) -> None:
        """Change the file."""
        self.version = replace(self.version, mtime_ns=self.version.mtime_ns + 1)


def test_a_file_that_stays_the_same_for_the_settling_time_is_complete() -> None:
    disk = Disk()
    disk.look()
    disk.run(60)
    assert disk.outcomes == [(SETTLE_SECONDS, Outcome(disk.version, EPOCH + 1000.0, None, 90))]
    assert disk.looks == 2
    assert "x" not in disk.settler


@pytest.mark.parametrize("change", ["size_bytes", "mtime_ns", "inode"])
def test_any_change_starts_the_settling_time_anew(change: str) -> None:
    disk = Disk()
    disk.look()
    for _ in range(10):
        disk.run(SETTLE_SECONDS - 0.1)
        disk.version = replace(disk.version, **{change: getattr(disk.version, change) + 1})
        disk.look()
    assert disk.outcomes == []
    changed_at = disk.now
    disk.run(60)
    assert [when for when, _ in disk.outcomes] == [changed_at + SETTLE_SECONDS - disk.started]
    assert disk.outcomes[0][1].landed_at == EPOCH + changed_at


def test_file_times_of_a_clock_that_runs_ahead_or_behind_say_nothing() -> None:
    for mtime_ns in (0, int(2e18)):
        disk = Disk(version=FileVersion(100, mtime_ns, 7))
        disk.look()
        disk.run(60)
        assert [when for when, _ in disk.outcomes] == [SETTLE_SECONDS]


def test_a_closed_file_is_believed_after_a_second_and_never_sooner() -> None:
    disk = Disk()
    disk.look()
    disk.settler.closed("x")
    disk.run(60)
    assert [when for when, _ in disk.outcomes] == [1.0]


def test_a_change_after_the_close_undoes_it() -> None:
    """RELION closes the header's file and another program opens it again."""
    disk = Disk()
    disk.look()
    disk.settler.closed("x")
    disk.run(0.9)
    disk.write()
    disk.run(60)
    assert [when for when, _ in disk.outcomes] == [1.0 + SETTLE_SECONDS]


def test_no_settling_time_still_asks_for_two_equal_looks() -> None:
    disk = Disk(settle_seconds=0)
    disk.look()
    disk.look()
    assert disk.outcomes == []
    disk.run(1)
    assert len(disk.outcomes) == 1


def test_a_file_that_is_not_whole_is_waited_for_and_then_complete() -> None:
    """MotionCor's header comes last; a memory map does not even change the mtime."""
    disk = Disk(wrong=IncompleteFileError("no header yet", "Wait."))
    disk.look()
    disk.run(100)
    disk.wrong = None
    disk.run(60)
    ((when, outcome),) = disk.outcomes
    assert outcome.error is None
    assert 100 < when <= 111  # a tenth of the time that it has waited


def test_a_file_that_never_becomes_whole_is_set_aside_once_and_looked_at_still() -> None:
    disk = Disk(wrong=IncompleteFileError("too short", "Wait."))
    disk.look()
    disk.run(3600)
    ((when, outcome),) = disk.outcomes
    assert when == TIMEOUT_SECONDS
    assert outcome.error is disk.wrong
    assert disk.settler.watching == 0
    assert disk.checks < 150
    disk.wrong = None
    disk.run(61)
    assert disk.outcomes[1][1].error is None


def test_a_file_that_still_changes_is_not_set_aside() -> None:
    disk = Disk(wrong=IncompleteFileError("too short", "Wait."))
    disk.look()
    for _ in range(300):
        disk.run(4)
        disk.write()
        disk.look()
    assert disk.outcomes == []
    assert disk.settler.watching == 1


def test_a_set_aside_file_that_changes_is_waited_for_anew() -> None:
    disk = Disk(wrong=IncompleteFileError("too short", "Wait."))
    disk.look()
    disk.run(700)
    disk.write()
    disk.wrong = None
    disk.look()
    assert disk.settler.watching == 1
    disk.run(60)
    assert [outcome.error is None for _, outcome in disk.outcomes] == [False, True]


def test_what_can_never_become_a_micrograph_is_set_aside_at_once_after_the_quiet() -> None:
    disk = Disk(wrong=HeaderError("mode 101", "Convert it."))
    disk.look()
    disk.run(60)
    assert disk.outcomes == [
        (SETTLE_SECONDS, Outcome(disk.version, EPOCH + 1000.0, disk.wrong)),
    ]
    assert "x" not in disk.settler


def test_an_unreadable_file_is_tried_until_the_time_out() -> None:
    disk = Disk(wrong=UnreadableFileError("no permission", "Look."))
    disk.look()
    disk.run(599)
    assert disk.outcomes == []
    disk.run(2)
    assert [outcome.error for _, outcome in disk.outcomes] == [disk.wrong]


def test_a_sidecar_is_waited_for_and_ends_the_wait_as_soon_as_it_is_seen() -> None:
    disk = Disk(blocked="x.star is missing")
    disk.look()
    disk.run(300)
    assert disk.checks == 0
    disk.blocked = None
    disk.look()
    assert [when for when, _ in disk.outcomes] == [300]


def test_a_sidecar_that_never_comes_sets_the_file_aside_in_words() -> None:
    disk = Disk(blocked="x.star is missing")
    disk.look()
    disk.run(700)
    ((_, outcome),) = disk.outcomes
    assert isinstance(outcome.error, IncompleteFileError)
    assert "x.star" in str(outcome.error)


def test_a_file_that_vanishes_is_forgotten() -> None:
    disk = Disk(wrong=VanishedFileError("gone", ""))
    disk.look()
    disk.run(60)
    assert disk.outcomes == []
    assert "x" not in disk.settler
