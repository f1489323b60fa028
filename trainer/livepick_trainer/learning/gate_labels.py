"""Labels of the held-out micrographs, by which the promotion gate compares models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from livepick.core.contracts.held_out_labels import HeldOutLabels, LabelledMicrograph
from livepick_trainer.learning.evaluate import MATCH_RADIUS_DIAMETERS
from livepick_trainer.learning.operating_point import EVEN_ODDS, LEAST_SEEDS
from livepick_trainer.seeds.labels import BELIEVED, REJECTED, Candidates, Points, Seeds
from livepick_trainer.seeds.preprocess import PreparedMicrograph

__all__ = ["label_held_out"]

SURE_CHANCE = 0.7
"""Minimum probability of a class whose members are labels for the gate. Members of other classes
count neither way unless they are background."""


def label_held_out(
    held_out: Sequence[tuple[PreparedMicrograph, Seeds]],
    *,
    diameter_angstrom: float,
    by: Literal["classes", "person"],
    places: Mapping[Path, Candidates] | None = None,
) -> HeldOutLabels:
    """Return the labels of the held-out micrographs, which are used to compare models.

    Parameters
    ----------
    held_out
        Micrographs, and the seeds of the first round in them.
    diameter_angstrom
        Particle diameter, in ångström.
    by
        Source of the labels.
    places
        Results of the 2D classification for each micrograph, by its path, for candidates from any
        picker. If given, they replace the seeds.
    """

    def positions(micrograph: PreparedMicrograph, yx_px: Points) -> list[tuple[float, float]]:
        found = micrograph.to_original(yx_px, np.ones(len(yx_px), dtype=np.float32))
        return list(zip(found.x_px.tolist(), found.y_px.tolist(), strict=True))

    labels = [
        (micrograph, seeds.positive_yx_px, seeds.ignored_yx_px) for micrograph, seeds in held_out
    ]
    if places is not None:
        known = [places[micrograph.path] for micrograph, _ in held_out]
        sure = [_has_chance(here, SURE_CHANCE) for here in known]
        if sum(int(here.sum()) for here in sure) < LEAST_SEEDS:
            sure = [np.asarray(here.verdict == BELIEVED) for here in known]
        labels = [
            (micrograph, here.yx_px[particles], here.yx_px[_doubtful(here) & ~particles])
            for (micrograph, _), here, particles in zip(held_out, known, sure, strict=True)
        ]
    return HeldOutLabels(
        by=by,
        radius_angstrom=MATCH_RADIUS_DIAMETERS * diameter_angstrom,
        micrographs=[
            LabelledMicrograph(
                path=micrograph.path,
                pixel_size_angstrom=micrograph.original_pixel_size_angstrom,
                particles=positions(micrograph, particles),
                doubtful=positions(micrograph, doubtful),
                version=micrograph.version,
            )
            for micrograph, particles, doubtful in labels
        ],
    )


def _has_chance(known: Candidates, least: float) -> NDArray[np.bool_]:
    """Return True for each place whose class has at least this probability of being a particle."""
    assert known.chance is not None  # noqa: S101 -- places come from the classes
    return np.asarray(np.nan_to_num(known.chance, nan=-1.0) >= least)


def _doubtful(known: Candidates) -> NDArray[np.bool_]:
    """Return True for each place that may be a particle.

    This is a place in a class that was not rejected, or one with a good score that is in no class.
    """
    in_class = _has_chance(known, 0.0)
    return np.asarray((known.verdict != REJECTED) & (in_class | (known.score >= EVEN_ODDS)))
