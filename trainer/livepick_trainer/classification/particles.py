"""Extraction of picks into a stack of normalized particle boxes of one size.

Particles are cut from a finer image than the picker sees: class averages need enough detail for
their resolution to distinguish a particle from a blob. A box is 1.5 diameters wide and up to 64
pixels, so a pixel has an eighth of the area of the picker's, whatever the microscope. Only
micrographs coarser than that are cut to fewer pixels. If the defocus is known, phases are flipped
on the whole micrograph at this sampling, before particles are cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from livepick.config.sections import Contrast
from livepick.core.imaging.ctf import Ctf, flip_phases
from livepick.core.imaging.fourier import fourier_resample
from livepick.core.imaging.masks import find_borders
from livepick.core.imaging.normalize import flatten
from livepick.core.imaging.preprocess import BACKGROUND_DIAMETERS, LIMIT_SIGMAS

__all__ = [
    "BOX_DIAMETERS",
    "FineMicrograph",
    "ParticleStack",
    "choose_box_px",
    "normalize_particles",
    "resample_for_boxes",
]

Image = NDArray[np.float32]
Stack = NDArray[np.float32]
"""(N, box, box)."""
Points = NDArray[np.float32]
"""(N, 2), (y, x)."""
Indices = NDArray[np.int64]

BOX_DIAMETERS = 1.5
"""Width of a box: the particle, and enough of its surroundings to show where it ends."""

LEAST_BOX_PX, MOST_BOX_PX = 48, 64

MARGIN_PX = 8
"""Margin cut around a box before it is shifted by a fraction of a pixel, and removed afterwards."""

RING_FROM_DIAMETERS = 0.55
"""Beyond this distance from the centre, a box shows background and neighbours."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ParticleStack:
    """Particles of one or more micrographs, bright on a background of 0 ± 1."""

    images: Stack
    """(N, box, box); the pick is at pixel ``box // 2``, as for an FFT."""

    micrograph: Indices
    """(N,): number of the micrograph that each particle is from."""

    candidate: Indices
    """(N,): number of the pick in that micrograph."""

    background_sigma: NDArray[np.float32]
    """(N,): standard deviation of each particle's own background; the median is 1 in each
    micrograph."""

    dropped: Indices
    """(M, 2): micrograph and pick number of each pick whose box reaches over the edge."""

    pixel_size_angstrom: float
    """Achieved pixel size, averaged over both directions and all micrographs."""

    diameter_px: float

    def __len__(self) -> int:
        return len(self.images)

    @property
    def box_px(self) -> int:
        """Width of a box."""
        return int(self.images.shape[-1])

    @classmethod
    def joined(cls, stacks: Sequence["ParticleStack"]) -> Self:
        """Return the particles of several stacks of the same box, in order.

        Raises
        ------
        ValueError
            There are no stacks, or their boxes differ in width.
        """
        if len({stack.box_px for stack in stacks}) != 1:
            widths = sorted({stack.box_px for stack in stacks})
            raise ValueError(f"stacks to be joined must have boxes of one width, not {widths}")
        return cls(
            images=np.concatenate([stack.images for stack in stacks]),
            micrograph=np.concatenate([stack.micrograph for stack in stacks]),
            candidate=np.concatenate([stack.candidate for stack in stacks]),
            background_sigma=np.concatenate([stack.background_sigma for stack in stacks]),
            dropped=np.concatenate([stack.dropped for stack in stacks]),
            pixel_size_angstrom=float(np.mean([stack.pixel_size_angstrom for stack in stacks])),
            diameter_px=float(np.mean([stack.diameter_px for stack in stacks])),
        )


def choose_box_px(*, pixel_size_angstrom: float, diameter_angstrom: float) -> int:
    """Return the width of a box, which is the same for all micrographs of a session.

    It is 64 pixels. If that would be finer than the micrograph, it is fewer: an even number, at
    least 48.
    """
    original_px = BOX_DIAMETERS * diameter_angstrom / pixel_size_angstrom
    return int(np.clip(2 * (original_px // 2), LEAST_BOX_PX, MOST_BOX_PX))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FineMicrograph:
    """A micrograph resampled and flattened for cutting boxes."""

    image: Image
    """Image ``[y, x]`` with bright particles."""

    scale_yx: NDArray[np.float64]
    """(2,): size of its pixels in pixels of the original."""

    pixel_size_angstrom: float
    """Achieved pixel size, the mean of both directions."""

    diameter_px: float
    box_px: int

    def cut(self, yx_px: Points, *, micrograph: int = 0, negative: bool = False) -> ParticleStack:
        """Cut particles, centred to a fraction of a pixel, and normalize them.

        Parameters
        ----------
        yx_px
            (N, 2) in pixels of the original.
        micrograph
            Micrograph number to store in the stack.
        negative
            True to cut them from the image's negative.
        """
        at = np.asarray(yx_px, dtype=np.float64).reshape(-1, 2) / self.scale_yx
        first = np.rint(at).astype(int) - self.box_px // 2
        whole = ((first >= 0) & (first + self.box_px <= np.asarray(self.image.shape))).all(axis=1)
        cut = _cut(self.image, at[whole], self.box_px)
        if negative:
            np.negative(cut, out=cut)
        images, sigma = normalize_particles(cut, diameter_px=self.diameter_px)
        dropped = np.flatnonzero(~whole)
        return ParticleStack(
            images=images,
            micrograph=np.full(len(images), micrograph),
            candidate=np.flatnonzero(whole),
            background_sigma=sigma,
            dropped=np.column_stack([np.full(len(dropped), micrograph), dropped]),
            pixel_size_angstrom=self.pixel_size_angstrom,
            diameter_px=self.diameter_px,
        )


def resample_for_boxes(
    image: NDArray[Any],
    *,
    pixel_size_angstrom: float,
    diameter_angstrom: float,
    contrast: Contrast,
    box_px: int = MOST_BOX_PX,
    ctf: Ctf | None = None,
) -> FineMicrograph:
    """Resample and flatten a micrograph, so that boxes of ``box_px`` can be cut from it.

    Parameters
    ----------
    image
        Original micrograph, ``[y, x]``; not modified.
    pixel_size_angstrom
        Pixel size of ``image``.
    diameter_angstrom
        Particle diameter.
    contrast
        Particle contrast in ``image``; in the result, particles are bright.
    box_px
        Width of a box, from ``choose_box_px``.
    ctf
        CTF of the micrograph; None if unknown, and phases are not flipped.

    Raises
    ------
    ContentError
        NaN, infinite or constant pixels.
    PixelSizeError
        The pixels are too coarse for this particle.
    """
    factor = BOX_DIAMETERS * diameter_angstrom / box_px / pixel_size_angstrom
    fine = fourier_resample(image, factor=factor)
    scale = np.array([fine.scale_y, fine.scale_x])
    achieved_angstrom = float(scale.mean()) * pixel_size_angstrom
    diameter_px = diameter_angstrom / achieved_angstrom
    border = find_borders(image).mask(fine.image.shape, scale_y=fine.scale_y, scale_x=fine.scale_x)
    window_px = round(BACKGROUND_DIAMETERS * diameter_px)
    flat = flatten(fine.image, window_px=window_px, ignore=border).flat
    np.clip(flat, -LIMIT_SIGMAS, LIMIT_SIGMAS, out=flat)
    if ctf is not None:
        flat[border] = 0
        flat = flip_phases(
            flat,
            ctf,
            pixel_size_y_angstrom=fine.scale_y * pixel_size_angstrom,
            pixel_size_x_angstrom=fine.scale_x * pixel_size_angstrom,
        )
    if contrast == "dark":
        np.negative(flat, out=flat)
    return FineMicrograph(
        image=np.asarray(flat, dtype=np.float32),
        scale_yx=scale,
        pixel_size_angstrom=achieved_angstrom,
        diameter_px=diameter_px,
        box_px=box_px,
    )


def normalize_particles(images: Stack, *, diameter_px: float) -> tuple[Stack, NDArray[np.float32]]:
    """Return the particles with a background of 0 ± 1, and their relative standard deviations.

    The background is the area outside the particle. Its median and median absolute deviation are
    used, because neighbours cover part of it in crowded micrographs. Each particle has its own
    level, but all particles of a micrograph are divided by the same, usual standard deviation, so
    that a particle next to junk does not look fainter. (On EMPIAR-10017, classes then separate
    particles from other picks better: the area under the curve is .86 instead of .84.)
    """
    box_px = images.shape[-1]
    y, x = np.indices((box_px, box_px)) - box_px // 2
    outside = images[:, np.hypot(y, x) > RING_FROM_DIAMETERS * diameter_px]
    if not len(images):
        return images, np.zeros(0, dtype=np.float32)
    level = np.median(outside, axis=1).astype(np.float32)
    sigma = np.median(np.abs(outside - level[:, None]), axis=1).astype(np.float32)
    sigma = np.maximum(np.float32(1.4826) * sigma, np.float32(1e-6))
    usual = np.float32(np.median(sigma))
    return (images - level[:, None, None]) / usual, sigma / usual


def _cut(image: Image, yx_px: NDArray[np.float64], box_px: int) -> Stack:
    """Return the boxes around positions, all inside the image, with subpixel shifts as phases."""
    wide_px = box_px + 2 * MARGIN_PX
    padded = np.pad(image, MARGIN_PX, mode="reflect")
    centre = np.rint(yx_px).astype(int)
    first = centre - box_px // 2  # in the padded image, of the wide box
    wide = np.empty((len(yx_px), wide_px, wide_px), dtype=np.float32)
    for number, (y, x) in enumerate(first):
        wide[number] = padded[y : y + wide_px, x : x + wide_px]
    rest = yx_px - centre
    along_y = np.exp(2j * np.pi * np.outer(rest[:, 0], fft.fftfreq(wide_px)))
    along_x = np.exp(2j * np.pi * np.outer(rest[:, 1], fft.rfftfreq(wide_px)))
    spectrum = fft.rfft2(wide)
    spectrum *= (along_y[:, :, None] * along_x[:, None, :]).astype(np.complex64)
    shifted = fft.irfft2(spectrum, s=(wide_px, wide_px))
    inner = np.s_[MARGIN_PX : MARGIN_PX + box_px]
    return np.ascontiguousarray(shifted[:, inner, inner], dtype=np.float32)
