"""The look at the files that livepick wrote, which others may have deleted."""

from types import SimpleNamespace

import pytest

from livepick.picking import output_losses
from livepick.picking.output_losses import LOOK_SECONDS, OutputLosses


class Folder:
    """An output folder whose files take some looks, each of some processor time."""

    def __init__(self, looks, clock):
        self.path = "out"
        self._looks, self._left = looks, looks
        self._clock = clock
        self.looked_at = []

    has_more = property(lambda self: self._left < self._looks)

    def missing(self, seconds, cpu_seconds):
        self.looked_at.append(self._clock.now)
        self._clock.used += cpu_seconds
        self._left = self._left - 1 or self._looks
        return []

    def freed(self):
        return []

    def was_lost(self):
        return False


@pytest.mark.parametrize(("looks", "pause_seconds"), [(1, 4.0), (10, 40.0), (100, 60.0)])
def test_the_look_pauses_after_the_last_file_for_longer_after_many(
    monkeypatch, looks, pause_seconds
):
    """A session of 10,000 files costs no more than one of 100, and none waits for minutes."""
    clock = SimpleNamespace(now=1000.0, used=0.0)
    times = SimpleNamespace(monotonic=lambda: clock.now, thread_time=lambda: clock.used)
    monkeypatch.setattr(output_losses, "time", times)
    folder = Folder(looks, clock)
    losses = OutputLosses([folder])
    while len(folder.looked_at) <= looks:
        assert not losses.found(is_checking=False)
        clock.now += LOOK_SECONDS

    first = folder.looked_at[:looks]
    assert first == [1000.0 + number * LOOK_SECONDS for number in range(looks)]
    assert folder.looked_at[looks] - first[-1] == pytest.approx(pause_seconds, abs=LOOK_SECONDS)
