"""The record of what a new model changes."""

from pathlib import Path

import numpy as np
import pytest

from factories import make_result
from livepick.core.contracts.before_and_after import (
    BEFORE_AND_AFTER,
    BeforeAndAfter,
    PickedByBoth,
)
from livepick.core.formats.file_version import FileVersion
from livepick.core.imaging.picks import Picks


def picks(positions, score=0.9):
    xy = np.array(positions, dtype=np.float32).reshape(-1, 2)
    return Picks(xy[:, 0], xy[:, 1], np.full(len(xy), score, dtype=np.float32))


def picked(name, new, old, **changes):
    return PickedByBoth(
        Path(name),
        FileVersion(1, 2, 3),
        10.0,
        make_result(picks(new), **changes),
        make_result(picks(old, 0.7)),
    )


def test_picks_of_one_particle_are_those_within_the_radius():
    """Each model has its own positions, also of particles that both have."""
    kept = BeforeAndAfter.of(
        2, 1, [picked("a.mrc", [(0, 0), (100, 100)], [(6, 8), (130, 100), (200, 9)])]
    )
    (example,) = kept.examples

    assert (example.candidate_shared, example.current_shared) == ([(0, 0)], [(6, 8)])
    assert example.candidate_only == [(100, 100)]
    assert example.current_only == [(130, 100), (200, 9)]
    assert (kept.candidate.version, kept.current.version, kept.micrographs) == (2, 1, 1)
    assert (kept.candidate.picks_per_micrograph, kept.current.picks_per_micrograph) == (2, 3)
    assert kept.current.median_score == pytest.approx(0.7)


def test_examples_are_from_most_lost_to_most_gained():
    """There are at most three, of all micrographs that both models picked."""
    new = [[(20 * n, 0) for n in range(count)] for count in (5, 1, 3, 4, 2)]
    together = [picked(f"{len(xy)}.mrc", xy, [(0, 0), (20, 0), (40, 0)]) for xy in new]
    kept = BeforeAndAfter.of(2, 1, together)

    assert [example.path.name for example in kept.examples] == ["1.mrc", "3.mrc", "5.mrc"]
    assert kept.micrographs == 5


def test_only_picks_above_the_threshold_count():
    """A micrograph without any pick is a comparison, too."""
    kept = BeforeAndAfter.of(2, 1, [picked("a.mrc", [(0, 0)], [], threshold=0.95)])

    assert kept.examples[0].candidate_shared == kept.examples[0].candidate_only == []
    assert kept.candidate.median_score is None
    assert kept.candidate.picks_per_micrograph == 0


def test_it_is_read_as_it_was_written(tmp_path):
    """A file that is missing or damaged is no record."""
    kept = BeforeAndAfter.of(2, 1, [picked("a.mrc", [(0.26, 1)], [(50, 50)])])
    assert BeforeAndAfter.read(tmp_path) is None
    (tmp_path / BEFORE_AND_AFTER).write_bytes(kept.to_bytes())
    assert BeforeAndAfter.read(tmp_path) == kept
    (tmp_path / BEFORE_AND_AFTER).write_bytes(kept.to_bytes()[:-9])
    assert BeforeAndAfter.read(tmp_path) is None
