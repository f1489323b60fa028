"""Figures of a class average, from the average and from those of two halves of its particles.

``class_selection`` decides by them which classes show particles.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from livepick_trainer.classification.half_agreement import agreement_sigmas, ring_sums

__all__ = ["ClassFigures", "measure_classes", "ring_correlation"]

Image = NDArray[np.float32]
Stack = NDArray[np.float32]
Vector = NDArray[np.float64]

DISC_DIAMETERS = 1.0
"""Width of the disc that contains a centred particle."""

CORE_DIAMETERS = 0.7
"""Width of the core: the body of a particle of any shape, and the wall of a hollow one."""

WALL_DIAMETERS = (0.6, 1.05)
WALL_PARTS = 8

AROUND_DIAMETERS = (1.0, 1.45)
"""Inner and outer width of the ring around a particle, which reaches to the edge of the box."""

SMOOTHING = np.array([0.25, 0.5, 0.25])
"""Kernel over neighbouring rings: in a masked box, the finest have few independent values."""

FRC_THRESHOLD = 0.5
"""Ring correlation that sets the resolution. Half-sets hold a few dozen particles, and would pass
0.143 by chance."""

LEAST_STRENGTH = 0.01
"""Lower limit of the strength, in standard deviations of the background. It avoids a division by
almost zero."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassFigures:
    """Figures measured from a class average."""

    particles: int
    certainty: float
    """Mean probability that its particles belong to it, as a multiple of the chance level."""
    resolution_angstrom: float
    """Resolution at which the half-sets' ring correlation falls below 0.5, computed for the disc
    with its soft edge."""
    agreement_sigmas: float
    """Agreement of the half-sets in fine rings, in standard deviations of that of noise:
    ``half_agreement``."""
    signal_to_noise: float
    """Signal-to-noise ratio of one particle inside the disc, from the variance that the half-sets
    share and the variance of their difference."""
    strength: float
    """Standard deviation of the signal inside the disc, in units of that of the background."""
    core_contrast: float
    """Mean of the core minus that of the ring around the particle, divided by the strength."""
    wall_contrast: float
    """The same for the darkest eighth of the disc's outer part."""
    disc_contrast: float
    """The same for the whole disc."""
    length_diameters: float
    """Length of the bright body, from its second moments."""
    off_centre_diameters: float
    neighbours: float
    """Variance of the signal in the ring around it, divided by that in the disc."""
    decoys: float | None = None
    """Decoys per candidate in the class; None if the negatives were not searched."""


def measure_classes(
    averages: Stack,
    halves: Stack,
    half_sizes: NDArray[np.int64],
    certainty: Vector,
    *,
    pixel_size_angstrom: float,
    diameter_angstrom: float,
) -> tuple[ClassFigures, ...]:
    """Measure each class; parameters as for ``class_selection.select_classes``.

    ``certainty``, (K,), is the mean probability of each class's particles, as a multiple of the
    chance level.
    """
    geometry = _Geometry(averages.shape[-1], diameter_angstrom / pixel_size_angstrom)
    return tuple(
        _measure(
            average,
            (first, second),
            sizes,
            geometry,
            certainty=float(certain),
            pixel_size_angstrom=pixel_size_angstrom,
        )
        for average, first, second, sizes, certain in zip(
            averages, *halves, half_sizes.T, certainty, strict=True
        )
    )


def ring_correlation(first: Image, second: Image) -> Vector:
    """Return the Fourier ring correlation of two images, for rings 1 to box // 2 - 1.

    Sums over rings are smoothed by ``SMOOTHING``.
    """

    def smoothed(sums: Vector) -> Vector:
        return np.convolve(np.pad(sums, 1, mode="edge"), SMOOTHING, mode="valid")

    shared, one, two, _ = ring_sums(first, second)
    power = smoothed(one) * smoothed(two)
    return np.asarray(smoothed(shared) / np.sqrt(np.maximum(power, 1e-30)), dtype=np.float64)


class _Geometry:
    """Masks of a particle and its surroundings in a box."""

    def __init__(self, box_px: int, diameter_px: float) -> None:
        self.box_px, self.diameter_px = box_px, diameter_px
        self.y, self.x = np.indices((box_px, box_px)) - box_px // 2
        distance = 2 * np.hypot(self.y, self.x) / diameter_px
        self.core = distance <= CORE_DIAMETERS
        self.disc = distance <= DISC_DIAMETERS
        self.around = (distance > AROUND_DIAMETERS[0]) & (distance <= AROUND_DIAMETERS[1])
        wall = (distance > WALL_DIAMETERS[0]) & (distance <= WALL_DIAMETERS[1])
        part = np.rint(np.arctan2(self.y, self.x) * WALL_PARTS / (2 * np.pi)) % WALL_PARTS
        self.walls = [wall & (part == number) for number in range(WALL_PARTS)]
        # Falls from the disc's edge to zero over a third of its radius.
        beyond = np.clip((distance - DISC_DIAMETERS) * 3, 0, 1)
        self.soft = 0.5 + 0.5 * np.cos(np.pi * beyond)


def _measure(
    average: Image,
    halves: tuple[Image, Image],
    sizes: NDArray[np.int64],
    geometry: _Geometry,
    *,
    certainty: float,
    pixel_size_angstrom: float,
) -> ClassFigures:
    disc, around = geometry.disc, geometry.around
    level = float(average[around].mean())
    first, second = (half - half[around].mean() for half in halves)
    correlation = ring_correlation(first * geometry.soft, second * geometry.soft)
    lost = np.flatnonzero(correlation < FRC_THRESHOLD)
    # The first entry is ring 1, so the number of rings above the threshold is the last such ring.
    ring = max(0.5, float(lost[0] if len(lost) else len(correlation)))
    noise = float(((first - second)[disc] ** 2).mean()) / float((1 / np.maximum(sizes, 1)).sum())
    signal = _shared_variance(first, second, disc)
    strength = float(np.sqrt(max(signal, LEAST_STRENGTH**2)))
    length, off_centre = _body(average - level, geometry)
    return ClassFigures(
        particles=int(sizes.sum()),
        certainty=certainty,
        resolution_angstrom=geometry.box_px * pixel_size_angstrom / ring,
        agreement_sigmas=agreement_sigmas(first, second, geometry.soft),
        signal_to_noise=signal / max(noise, 1e-12),
        strength=strength,
        core_contrast=(float(average[geometry.core].mean()) - level) / strength,
        wall_contrast=(min(float(average[w].mean()) for w in geometry.walls) - level) / strength,
        disc_contrast=(float(average[disc].mean()) - level) / strength,
        length_diameters=length,
        off_centre_diameters=off_centre,
        neighbours=max(0.0, _shared_variance(first, second, around)) / max(signal, 1e-12),
    )


def _shared_variance(first: Image, second: Image, where: NDArray[np.bool_]) -> float:
    """Return the covariance of two images in a region, which is the variance they share."""
    one, two = first[where], second[where]
    return float(((one - one.mean()) * (two - two.mean())).mean())


def _body(above: Image, geometry: _Geometry) -> tuple[float, float]:
    """Return the length of the bright body near the centre, and its offset, both in diameters."""
    smooth = _smoothed(above)
    near = geometry.disc
    bright = near & (smooth > 0.5 * smooth[near].max())
    if not bright.any() or smooth[near].max() <= 0:
        return 0.0, 0.0
    y, x = geometry.y[bright], geometry.x[bright]
    centre = np.array([y.mean(), x.mean()])
    moments = np.cov(np.stack([y, x])) if len(y) > 2 else np.zeros((2, 2))
    longest = 4 * float(np.sqrt(np.linalg.eigvalsh(moments)[-1].clip(0)))
    return longest / geometry.diameter_px, float(np.hypot(*centre)) / geometry.diameter_px


def _smoothed(image: Image) -> Image:
    """Return the image, low-pass filtered to about a tenth of the box."""
    box_px = image.shape[-1]
    y, x = np.fft.fftfreq(box_px)[:, None], np.fft.rfftfreq(box_px)[None]
    kernel = np.exp(-((y**2 + x**2) * (box_px / 8) ** 2) / 2)
    return np.asarray(np.fft.irfft2(np.fft.rfft2(image) * kernel, s=image.shape), dtype=np.float32)
