"""Selection of the held-out micrographs."""

from pathlib import Path

from livepick.core.contracts.run import RunMicrograph
from livepick.retraining.holdout_split import split


def test_typical_micrographs_are_held_out():
    """Neither the micrograph with the fewest picks nor the one with the most is held out."""
    counts = [0, 50, 300, 40, 45, 55, 60, 42, 48, 2]
    micrographs = [
        RunMicrograph(
            path=Path(f"/m/{number}.mrc"),
            pixel_size_angstrom=1.0,
            held_out=False,
            seeds=[(0.0, 0.0, 0.9)] * count,
        )
        for number, count in enumerate(counts)
    ]

    def held_out(fraction, before=()):
        found = split(
            micrographs, threshold=0.5, held_out_fraction=fraction, held_out_before=before
        )
        return [counts[int(m.path.stem)] for m in found if m.held_out]

    for fraction, expected in ((0.01, 1), (0.2, 2), (0.5, 5), (0.89, 9)):
        assert len(held_out(fraction)) == expected
        assert 0 not in held_out(fraction)
    assert held_out(0.2) == [50, 42]
    assert held_out(0.2, {Path("/m/0.mrc")}) == [0, 48]
    assert held_out(0.1, {Path("/m/0.mrc"), Path("/m/2.mrc")}) == [0, 300]
