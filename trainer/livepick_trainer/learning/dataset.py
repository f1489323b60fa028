"""Micrographs and seeds → batches of patches.

A patch is cut from a prepared micrograph, turned or mirrored, and slightly changed in
brightness, contrast and noise. Its target is a Gaussian at each seed (the highest where two
overlap, so that neighbours do not melt into one peak), its weight 0 in masked and ignored
places. All randomness comes from the generator that is passed in: the same generator gives
the same batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from livepick.core.imaging.pick_area import PickArea
from livepick_trainer.seeds.labels import Points, Seeds

__all__ = ["Batch", "LabelledMicrograph", "PatchRules", "cut_patch", "draw_batches", "gaussians"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchRules:
    """How patches are drawn and what is painted into their targets."""

    size_px: int = 96
    """Height and width, a multiple of 16; about five particle diameters."""

    patches_per_epoch: int = 256
    """So that an epoch takes a few seconds on two cores, whatever the number of micrographs."""

    held_out_patches: int = 96
    """From held-out micrographs, drawn once; their loss decides which epoch was the best."""

    seed_fraction: float = 0.75
    """Of the patches, so many are drawn around a seed; the rest anywhere."""

    blob_sigma_diameters: float = 0.18
    """Standard deviation of the target's Gaussians."""

    ignored_radius_diameters: float = 0.4
    """Around an ignored candidate, nothing is learned within this radius."""

    gain_log_sigma: float = 0.1
    """Spread of the random contrast, as the standard deviation of its logarithm."""

    offset_sigma: float = 0.1
    """Of the random brightness; the background's standard deviation is 1."""

    most_noise: float = 0.2
    """Upper bound of the added noise's standard deviation."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledMicrograph:
    """A prepared micrograph and what is known of it."""

    image: Image
    """``[y, x]``, particles bright; may be mapped from a file."""

    mask: Mask
    """True where nothing is learned."""

    seeds: Seeds

    area: PickArea | None = None
    """Where seeds may be, in prepared pixels; None: anywhere. Particles outside have no seeds, but
    they reach inside and are not background: beside the limits, only particles are learned."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Patches for one step; all (B, 1, H, W) float32."""

    image: Tensor
    target: Tensor
    """1 at the centres of particles, 0 in the background."""
    weight: Tensor
    """0 where nothing is learned, else 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A piece of a micrograph with its labels, all ``[y, x]`` float32."""

    image: Image
    target: Image
    weight: Image


def draw_batches(
    micrographs: Sequence[LabelledMicrograph],
    generator: np.random.Generator,
    *,
    diameter_px: float,
    patches: int,
    batch_size: int,
    rules: PatchRules,
    augment: bool = True,
) -> Iterator[Batch]:
    """Yield ``patches`` patches in batches; the last batch may be smaller.

    Each patch's micrograph is drawn with equal chances, not by its number of seeds, so that a
    crowded one does not outweigh the others.
    """
    for first in range(0, patches, batch_size):
        drawn = []
        for _ in range(min(batch_size, patches - first)):
            micrograph = micrographs[int(generator.integers(len(micrographs)))]
            corner = _draw_corner(micrograph, generator, rules)
            patch = cut_patch(micrograph, corner, diameter_px=diameter_px, rules=rules)
            drawn.append(_augmented(patch, generator, rules) if augment else patch)
        yield Batch(
            *(
                torch.from_numpy(np.stack(images)[:, None])
                for images in (
                    [p.image for p in drawn],
                    [p.target for p in drawn],
                    [p.weight for p in drawn],
                )
            )
        )


def cut_patch(
    micrograph: LabelledMicrograph,
    corner_px: tuple[int, int],
    *,
    diameter_px: float,
    rules: PatchRules,
) -> Patch:
    """Cut the patch whose first pixel is ``corner_px`` (y, x), and paint its labels.

    Beyond the end of a micrograph smaller than a patch, image and weight are 0.
    """
    size = rules.size_px
    here = np.s_[corner_px[0] : corner_px[0] + size, corner_px[1] : corner_px[1] + size]
    image, weight = (np.zeros((size, size), dtype=np.float32) for _ in range(2))
    piece = micrograph.image[here]
    covered = np.s_[: piece.shape[0], : piece.shape[1]]
    image[covered] = piece
    weight[covered] = ~micrograph.mask[here]
    positive, ignored = (
        _near(yx - np.asarray(corner_px, dtype=np.float32), size, reach_px=diameter_px)
        for yx in (micrograph.seeds.positive_yx_px, micrograph.seeds.ignored_yx_px)
    )
    target = gaussians(size, positive, sigma_px=rules.blob_sigma_diameters * diameter_px)
    reach_px = rules.ignored_radius_diameters * diameter_px
    doubtful = _discs(size, ignored, radius_px=reach_px)
    if micrograph.area is not None:
        doubtful |= micrograph.area.shrunk(reach_px).outside((size, size), corner_px=corner_px)
    # Where a doubtful candidate overlaps a particle, the particle's own centre still counts.
    weight[doubtful & (target < 0.5)] = 0
    return Patch(image, target, weight)


def gaussians(size_px: int, yx_px: Points, *, sigma_px: float) -> Image:
    """Return a square with a Gaussian of height 1 at each point, the highest of them winning."""
    if not len(yx_px):
        return np.zeros((size_px, size_px), dtype=np.float32)
    grid = np.arange(size_px, dtype=np.float32)
    y, x = (
        np.exp(-((grid - yx_px[:, axis, None]) ** 2) / np.float32(2 * sigma_px**2))
        for axis in (0, 1)
    )  # (N, size) each
    highest: Image = (y[:, :, None] * x[:, None, :]).max(axis=0)
    return highest


def _discs(size_px: int, yx_px: Points, *, radius_px: float) -> Mask:
    grid = np.arange(size_px, dtype=np.float32)
    y, x = ((grid - yx_px[:, axis, None]) ** 2 for axis in (0, 1))
    inside = y[:, :, None] + x[:, None, :] <= radius_px**2  # (N, size, size)
    return np.asarray(inside.any(axis=0))


def _near(yx_px: Points, size_px: int, *, reach_px: float) -> Points:
    """Return the points inside the square or within reach of it."""
    return yx_px[((yx_px > -reach_px) & (yx_px < size_px + reach_px)).all(axis=1)]


def _draw_corner(
    micrograph: LabelledMicrograph, generator: np.random.Generator, rules: PatchRules
) -> tuple[int, int]:
    """Return the (y, x) of a patch's first pixel, inside the micrograph."""
    most = np.maximum(np.asarray(micrograph.image.shape) - rules.size_px, 0)
    positive = micrograph.seeds.positive_yx_px
    around_seed = bool(generator.random() < rules.seed_fraction)
    if around_seed and len(positive):
        seed = positive[int(generator.integers(len(positive)))]
        jitter = generator.uniform(-0.4, 0.4, size=2) * rules.size_px
        corner = np.rint(seed - rules.size_px / 2 + jitter)
    else:
        corner = generator.integers(0, most, endpoint=True).astype(np.float64)
    y, x = np.clip(corner, 0, most).astype(int)
    return int(y), int(x)


def _augmented(patch: Patch, generator: np.random.Generator, rules: PatchRules) -> Patch:
    """Return the patch turned or mirrored in one of eight ways, and otherwise exposed."""
    turns, mirrored = int(generator.integers(4)), bool(generator.integers(2))

    def turned(image: Image) -> Image:
        image = np.rot90(image, turns)
        return np.ascontiguousarray(image[:, ::-1] if mirrored else image)

    gain = np.exp(generator.normal(0, rules.gain_log_sigma))
    offset = generator.normal(0, rules.offset_sigma)
    noise = generator.standard_normal(patch.image.shape, dtype=np.float32)
    noise *= np.float32(generator.uniform(0, rules.most_noise))
    image = turned(patch.image) * np.float32(gain) + np.float32(offset) + noise
    return Patch(image, turned(patch.target), turned(patch.weight))
