"""Detection of complete files, with a simulated clock and simulated files."""

from dataclasses import dataclass, field, replace

import pytest

from livepick.core.formats.file_version import FileVersion
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
    """One file, a clock, and a settler that checks the file whenever a check is due."""

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
        """Return the length, or raise if the file is not whole."""
        self.checks += 1
        if self.wrong is not None:
            raise self.wrong
        return 90

    def observe(self) -> None:
        """Check the file now."""
        self.looks += 1
        outcome = self.settler.observe(
            "x", self.version, self.blocked, now=self.now, wall=EPOCH + self.now
        )
        if outcome is not None:
            self.outcomes.append((self.now - self.started, outcome))

    def run(self, seconds: float) -> None:
        """Let time pass, and check the file when a check is due."""
        end = self.now + seconds
        while self.settler.next_due() <= end:
            self.now = max(self.now, self.settler.next_due())
            assert self.settler.due(self.now) == ["x"]
            self.observe()
        self.now = end

    def write(self) -> None:
        """Change the file."""
        self.version = replace(self.version, mtime_ns=self.version.mtime_ns + 1)


def test_a_file_that_stays_the_same_for_the_settling_time_is_complete() -> None:
    disk = Disk()
    disk.observe()
    disk.run(60)
    assert disk.outcomes == [(SETTLE_SECONDS, Outcome(disk.version, EPOCH + 1000.0, None, 90))]
    assert disk.looks == 2
    assert "x" not in disk.settler


@pytest.mark.parametrize("change", ["size_bytes", "mtime_ns", "inode"])
def test_any_change_restarts_the_settling_time(change: str) -> None:
    disk = Disk()
    disk.observe()
    for _ in range(10):
        disk.run(SETTLE_SECONDS - 0.1)
        disk.version = replace(disk.version, **{change: getattr(disk.version, change) + 1})
        disk.observe()
    assert disk.outcomes == []
    changed_at = disk.now
    disk.run(60)
    assert [when for when, _ in disk.outcomes] == [changed_at + SETTLE_SECONDS - disk.started]
    assert disk.outcomes[0][1].landed_at == EPOCH + changed_at


def test_file_times_of_a_wrong_clock_make_no_difference() -> None:
    for mtime_ns in (0, int(2e18)):
        disk = Disk(version=FileVersion(100, mtime_ns, 7))
        disk.observe()
        disk.run(60)
        assert [when for when, _ in disk.outcomes] == [SETTLE_SECONDS]


def test_closed_file_is_complete_after_one_second_and_not_before() -> None:
    disk = Disk()
    disk.observe()
    disk.settler.closed("x")
    disk.run(60)
    assert [when for when, _ in disk.outcomes] == [1.0]


def test_change_after_the_close_reverts_it() -> None:
    """RELION closes the file after the header, and another program opens it again."""
    disk = Disk()
    disk.observe()
    disk.settler.closed("x")
    disk.run(0.9)
    disk.write()
    disk.run(60)
    assert [when for when, _ in disk.outcomes] == [1.0 + SETTLE_SECONDS]


def test_settling_time_of_zero_still_needs_two_equal_checks() -> None:
    disk = Disk(settle_seconds=0)
    disk.observe()
    disk.observe()
    assert disk.outcomes == []
    disk.run(1)
    assert len(disk.outcomes) == 1


def test_file_that_is_not_whole_is_complete_once_it_is() -> None:
    """MotionCor writes the header last; a memory map does not even change the mtime."""
    disk = Disk(wrong=IncompleteFileError("no header yet", "Wait."))
    disk.observe()
    disk.run(100)
    disk.wrong = None
    disk.run(60)
    ((when, outcome),) = disk.outcomes
    assert outcome.error is None
    assert 100 < when <= 111  # a tenth of the time that it has waited


def test_file_that_never_becomes_whole_is_set_aside_once_and_still_checked() -> None:
    disk = Disk(wrong=IncompleteFileError("too short", "Wait."))
    disk.observe()
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
    disk.observe()
    for _ in range(300):
        disk.run(4)
        disk.write()
        disk.observe()
    assert disk.outcomes == []
    assert disk.settler.watching == 1


def test_set_aside_file_that_changes_is_waited_for_again() -> None:
    disk = Disk(wrong=IncompleteFileError("too short", "Wait."))
    disk.observe()
    disk.run(700)
    disk.write()
    disk.wrong = None
    disk.observe()
    assert disk.settler.watching == 1
    disk.run(60)
    assert [outcome.error is None for _, outcome in disk.outcomes] == [False, True]


def test_file_that_cannot_become_a_micrograph_is_set_aside_once_quiet() -> None:
    disk = Disk(wrong=HeaderError("mode 101", "Convert it."))
    disk.observe()
    disk.run(60)
    assert disk.outcomes == [
        (SETTLE_SECONDS, Outcome(disk.version, EPOCH + 1000.0, disk.wrong)),
    ]
    assert "x" not in disk.settler


def test_unreadable_file_is_retried_until_the_timeout() -> None:
    disk = Disk(wrong=UnreadableFileError("no permission", "Look."))
    disk.observe()
    disk.run(599)
    assert disk.outcomes == []
    disk.run(2)
    assert [outcome.error for _, outcome in disk.outcomes] == [disk.wrong]


def test_wait_for_a_sidecar_ends_as_soon_as_it_exists() -> None:
    disk = Disk(blocked="x.star is missing")
    disk.observe()
    disk.run(300)
    assert disk.checks == 0
    disk.blocked = None
    disk.observe()
    assert [when for when, _ in disk.outcomes] == [300]


def test_file_is_set_aside_with_a_reason_if_its_sidecar_never_comes() -> None:
    disk = Disk(blocked="x.star is missing")
    disk.observe()
    disk.run(700)
    ((_, outcome),) = disk.outcomes
    assert isinstance(outcome.error, IncompleteFileError)
    assert "x.star" in str(outcome.error)


def test_a_file_that_vanishes_is_forgotten() -> None:
    disk = Disk(wrong=VanishedFileError("gone", ""))
    disk.observe()
    disk.run(60)
    assert disk.outcomes == []
    assert "x" not in disk.settler
