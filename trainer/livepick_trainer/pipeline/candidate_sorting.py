"""Sorting of the candidates of all micrographs into 2D classes.

The classes are made from a sample; the other candidates, and the decoys, are then assigned to
them. ``class_cleaning`` decides which classes show particles.
"""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from livepick.config.sections import Contrast
from livepick.host.atomic_files import write_atomically
from livepick_trainer.classification.classify2d import Classification, classify
from livepick_trainer.classification.particles import (
    FineMicrograph,
    ParticleStack,
    choose_box_px,
    resample_for_boxes,
)
from livepick_trainer.seeds.labels import Candidates
from livepick_trainer.seeds.originals import original
from livepick_trainer.seeds.preprocess import PreparedMicrograph

__all__ = ["CLASSES_NPZ", "SORTED", "SortRules", "sort_candidates"]

CLASSES_NPZ, SORTED = "classes.npz", "sorted.json"

MOST_KEPT_BYTES = 256 * 2**20
"""Memory for resampled micrographs that are kept between the sample, the rest and the decoys. This
is about 30 micrographs; the others are read and resampled again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SortRules:
    """Rules that select the candidates to sort."""

    sorted_score_fraction: float = 0.6
    """Candidates from this fraction of the seeding threshold are sorted, so that junk is sorted,
    too."""

    most_sampled: int = 4000
    """Number of candidates that classes are made from, drawn from all micrographs and all scores.
    This takes half a minute on two cores. The others are then assigned to these classes, at a cost
    that is linear in their number."""

    least_particles: int = 150
    """Fewest candidates that are sorted: averages of a handful are noise."""


def sort_candidates(
    micrographs: Sequence[PreparedMicrograph],
    folder: Path,
    *,
    threshold: float,
    diameter_angstrom: float,
    contrast: Contrast,
    seed: int,
    device: torch.device,
    rules: SortRules,
    report: Callable[[str, int, int], None],
    decoys: Sequence[Candidates] | None = None,
) -> None:
    """Sort the candidates of all micrographs into classes, and write these to ``folder``.

    Parameters
    ----------
    micrographs
        Prepared micrographs; their originals are read again.
    folder
        Existing folder for the classes.
    threshold
        Score threshold of the seeding model.
    diameter_angstrom, contrast
        Diameter and contrast of the particle.
    seed, device
        Random seed and device of the classification; on the CPU, the same seed gives the same
        classes.
    rules
        Rules that select the candidates to sort.
    report
        Called with a sentence, the number of steps done, and the total.
    decoys
        Picks of the same picker in the negative of each micrograph; None if the negatives were not
        searched.

    Raises
    ------
    OriginalError
        A micrograph that could be prepared can no longer be read.
    """
    floor = rules.sorted_score_fraction * threshold
    chosen = _choose(micrographs, floor)
    count = sum(map(len, chosen))
    if count < rules.least_particles:
        note = f"{count} candidates are too few to sort into classes; all are used as seeds"
        write_atomically(folder / SORTED, json.dumps({"note": note}).encode())
        report(note, 1, 1)
        return
    report(f"cutting {count} candidates", 0, 1)
    sample = _sample(chosen, micrographs, rules.most_sampled)
    fine = _FineMicrographs(micrographs, diameter_angstrom=diameter_angstrom, contrast=contrast)
    cut = _Cutter(micrographs, fine)
    stack = ParticleStack.joined([cut(number, places) for number, places in enumerate(sample)])
    of_negatives = _Decoys(micrographs, decoys or [], floor, rules.most_sampled)
    found = classify(
        stack.images,
        diameter_px=stack.diameter_px,
        seed=seed,
        device=device,
        rest=(
            cut(number, np.setdiff1d(every, some)).images
            for number, (every, some) in enumerate(zip(chosen, sample, strict=True))
            if len(every) > len(some)
        ),
        decoys=of_negatives.cut(fine),
        report=report,
    )
    _write_classes(
        folder,
        found,
        places=np.array(cut.done, dtype=np.int64),  # the sample, then the rest
        pixel_size_angstrom=stack.pixel_size_angstrom,
        decoys_per_sampled=of_negatives.per_sampled,
    )
    summary = {
        "classes": found.classes,
        "decoys": decoys is not None,
        "pixel_size_angstrom": stack.pixel_size_angstrom,
        "diameter_px": stack.diameter_px,
        "micrographs": [str(micrograph.path) for micrograph in micrographs],
    }
    write_atomically(folder / SORTED, json.dumps(summary, indent=1).encode() + b"\n")


def _write_classes(
    folder: Path,
    found: Classification,
    *,
    places: NDArray[np.int64],
    pixel_size_angstrom: float,
    decoys_per_sampled: float,
) -> None:
    """Write the classes, and the class of each candidate in ``places``, (N, 2)."""
    shift_yx_px = np.concatenate([found.shift_yx_px, found.rest.shift_yx_px])
    decoys = np.bincount(found.decoys.label, minlength=len(found.averages)) * decoys_per_sampled
    arrays = io.BytesIO()
    np.savez(
        arrays,
        micrograph=places[:, 0],
        candidate=places[:, 1],
        label=np.concatenate([found.label, found.rest.label]),
        probability=np.concatenate([found.probability, found.rest.probability]),
        shift_yx_angstrom=shift_yx_px * np.float32(pixel_size_angstrom),
        averages=found.averages,
        halves=found.halves,
        half_sizes=found.half_sizes,
        decoys=decoys,
    )
    write_atomically(folder / CLASSES_NPZ, arrays.getvalue())


def _choose(micrographs: Sequence[PreparedMicrograph], floor: float) -> list[NDArray[np.intp]]:
    """Return the candidates of each micrograph to be sorted: from ``floor``, outside the mask."""
    above = [np.flatnonzero(m.candidates.score >= floor) for m in micrographs]
    masked = [
        m.mask[tuple(np.clip(np.rint(m.candidates.yx_px).astype(int), 0, _last(m)).T)]
        for m in micrographs
    ]
    return [a[~bad[a]] for a, bad in zip(above, masked, strict=True)]


def _sample(
    chosen: Sequence[NDArray[np.intp]], micrographs: Sequence[PreparedMicrograph], most: int
) -> list[NDArray[np.intp]]:
    """Return at most about ``most`` candidates, the same share of each micrograph.

    They are evenly spaced by score rank. If only the best were taken, junk with lower scores would
    have no class to be assigned to.
    """
    share = most / max(1, sum(map(len, chosen)))
    if share >= 1:
        return list(chosen)
    sampled = []
    for places, micrograph in zip(chosen, micrographs, strict=True):
        by_score = places[np.argsort(-micrograph.candidates.score[places], kind="stable")]
        rank = np.linspace(0, len(places) - 1, round(share * len(places))).round().astype(int)
        sampled.append(np.sort(by_score[rank]))
    return sampled


def _last(micrograph: PreparedMicrograph) -> NDArray[np.intp]:
    return np.asarray(micrograph.image.shape) - 1


class _FineMicrographs:
    """The micrographs resampled for cutting; as many as fit in ``MOST_KEPT_BYTES`` are kept."""

    def __init__(
        self,
        micrographs: Sequence[PreparedMicrograph],
        *,
        diameter_angstrom: float,
        contrast: Contrast,
    ) -> None:
        self._micrographs = micrographs
        self._diameter_angstrom, self._contrast = diameter_angstrom, contrast
        self._box_px = choose_box_px(
            pixel_size_angstrom=max(m.original_pixel_size_angstrom for m in micrographs),
            diameter_angstrom=diameter_angstrom,
        )
        self._kept: dict[int, FineMicrograph] = {}

    def __getitem__(self, number: int) -> FineMicrograph:
        """Return a micrograph, by its number."""
        if number in self._kept:
            return self._kept[number]
        micrograph = self._micrographs[number]
        with original(micrograph) as read:
            fine = resample_for_boxes(
                read.image,
                pixel_size_angstrom=micrograph.original_pixel_size_angstrom,
                diameter_angstrom=self._diameter_angstrom,
                contrast=self._contrast,
                box_px=self._box_px,
                ctf=micrograph.ctf,
            )
        kept = sum(other.image.nbytes for other in self._kept.values())
        if kept + fine.image.nbytes <= MOST_KEPT_BYTES:
            self._kept[number] = fine
        return fine


class _Cutter:
    """Cutter of candidates from the original micrographs; records their order."""

    def __init__(
        self,
        micrographs: Sequence[PreparedMicrograph],
        fine: _FineMicrographs,
        *,
        negative: bool = False,
    ) -> None:
        self._micrographs, self._fine, self._negative = micrographs, fine, negative
        self.done: list[tuple[int, int]] = []
        """Micrograph and candidate of each particle cut so far."""

    def __call__(self, number: int, places: NDArray[np.intp]) -> ParticleStack:
        """Return the boxes around candidates of a micrograph, if they are entirely inside it."""
        micrograph = self._micrographs[number]
        scale = np.array([micrograph.scale_y, micrograph.scale_x], dtype=np.float32)
        stack = self._fine[number].cut(
            micrograph.candidates.yx_px[places] * scale,
            micrograph=number,
            negative=self._negative,
        )
        self.done += [(number, int(place)) for place in places[stack.candidate]]
        return stack


class _Decoys:
    """A sample of what the same picker finds in the negatives of the micrographs."""

    def __init__(
        self,
        micrographs: Sequence[PreparedMicrograph],
        decoys: Sequence[Candidates],
        floor: float,
        most_sampled: int,
    ) -> None:
        self._negatives = [
            replace(m, candidates=found) for m, found in zip(micrographs, decoys, strict=False)
        ]
        chosen = _choose(self._negatives, floor)
        self._sample = _sample(chosen, self._negatives, most_sampled)
        self.per_sampled = sum(map(len, chosen)) / max(1, sum(map(len, self._sample)))
        """Number of decoys that each one in the sample stands for."""

    def cut(self, fine: _FineMicrographs) -> Iterator[NDArray[np.float32]]:
        """Yield the boxes (N, box, box) around the sampled decoys of each negative."""
        cut = _Cutter(self._negatives, fine, negative=True)
        for number, places in enumerate(self._sample):
            if len(places):
                yield cut(number, places).images
