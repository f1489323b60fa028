"""Batches of training patches, cut from micrographs and their seeds.

A patch is cut from a prepared micrograph, rotated or mirrored, and slightly changed in
brightness, contrast and noise. Its target has a Gaussian at each seed. Where two overlap, the
higher value is used, so that neighbours do not merge into one peak. The weight is 0 in masked
and ignored areas. All randomness comes from the generator that is passed in: the same generator
gives the same batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from livepick.core.imaging.pick_area import PickArea
from livepick_trainer.seeds.labels import Points, Seeds

__all__ = ["Batch", "PatchRules", "SeededMicrograph", "cut_patch", "draw_batches", "gaussians"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchRules:
    """Rules for drawing patches and for painting their targets."""

    size_px: int = 96
    """Height and width of a patch, a multiple of 16; about five particle diameters."""

    patches_per_epoch: int = 256
    """Patches per epoch. With this number an epoch takes a few seconds on two cores, regardless
    of the number of micrographs."""

    held_out_patches: int = 96
    """Patches from held-out micrographs, drawn once. Their loss decides which epoch is best."""

    seed_fraction: float = 0.75
    """Fraction of the patches that are drawn around a seed; the rest are drawn anywhere."""

    blob_sigma_diameters: float = 0.18
    """Standard deviation of the target's Gaussians."""

    ignored_radius_diameters: float = 0.4
    """Radius around an ignored candidate within which nothing is learned."""

    gain_log_sigma: float = 0.1
    """Standard deviation of the logarithm of the random contrast."""

    offset_sigma: float = 0.1
    """Standard deviation of the random brightness; that of the background is 1."""

    most_noise: float = 0.2
    """Upper limit for the standard deviation of the added noise."""


@dataclass(frozen=True, slots=True, eq=False)
class SeededMicrograph:
    """A prepared micrograph and its labels."""

    image: Image
    """Image ``[y, x]`` with bright particles; may be memory-mapped from a file."""

    mask: Mask
    """True where nothing is learned."""

    seeds: Seeds

    area: PickArea | None = None
    """Area that may contain seeds, in prepared pixels; None: anywhere. Particles outside have no
    seeds, but they can reach into the area and are not background. Therefore only particles are
    learned next to its limits."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Patches for one training step; all arrays are (B, 1, H, W) float32."""

    image: Tensor
    target: Tensor
    """Target: 1 at the centres of particles, 0 in the background."""
    weight: Tensor
    """Weight: 0 where nothing is learned, 1 elsewhere."""


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A section of a micrograph with its labels; all arrays are ``[y, x]`` float32."""

    image: Image
    target: Image
    weight: Image


def draw_batches(
    micrographs: Sequence[SeededMicrograph],
    generator: np.random.Generator,
    *,
    diameter_px: float,
    patches: int,
    batch_size: int,
    rules: PatchRules,
    augment: bool = True,
) -> Iterator[Batch]:
    """Yield ``patches`` patches in batches; the last batch may be smaller.

    The micrograph of each patch is drawn with equal probability, not in proportion to its number
    of seeds, so that a crowded micrograph does not outweigh the others.
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
    micrograph: SeededMicrograph,
    corner_px: tuple[int, int],
    *,
    diameter_px: float,
    rules: PatchRules,
) -> Patch:
    """Cut the patch whose first pixel is ``corner_px`` (y, x), and paint its labels.

    If the micrograph is smaller than a patch, image and weight are 0 beyond its edge.
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
    # If a doubtful candidate overlaps a particle, the centre of the particle still counts.
    weight[doubtful & (target < 0.5)] = 0
    return Patch(image, target, weight)


def gaussians(size_px: int, yx_px: Points, *, sigma_px: float) -> Image:
    """Return a square with a Gaussian of height 1 at each point; the highest value is used."""
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
    """Return the points inside the square or at most ``reach_px`` away from it."""
    return yx_px[((yx_px > -reach_px) & (yx_px < size_px + reach_px)).all(axis=1)]


def _draw_corner(
    micrograph: SeededMicrograph, generator: np.random.Generator, rules: PatchRules
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
    """Return the patch rotated or mirrored in one of eight ways, with its exposure changed."""
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
