"""Views of the particle in the good class averages, and whether one of them dominates.

Classes are not views: a large view is sorted into many classes. Two averages show the same view if
they agree, in the best rotation and shift and either mirror image, as well as their noise allows.
The correlation of two averages is therefore divided by what the half averages of each class say
about its own noise (the correction of attenuation, Spearman 1904). Each ring in Fourier space
counts by its number of values and not by its power, or the outline of a particle, which all views
of a globular one share, would hide the rest.

The largest view is the class around which most of the good particles are, within ``SAME_VIEW``.
Particles in random orientations spread over many views. A sphere has a single one, though, and so
has each class of a particle that looks the same from all sides. The power of the largest view is
divided into what is the same all around its centre, and the rest: if hardly any is left, the view
is *round*, and one view is no evidence of a preferred orientation.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from livepick.core.contracts.class_averages import ViewBalance, ViewState

__all__ = ["Views", "find_views"]

RINGS: Final = (2, 12)
"""Rings that are compared, in cycles per box of 1.5 diameters: from three quarters of the diameter
to an eighth. The first ring holds little but the size of the particle."""

ANGLES: Final = 96
SHIFT_PX: Final = 1.5
"""Shift that is tried in six directions; classes are centred."""

SAME_VIEW: Final = 0.8
"""Corrected correlation from which two averages show the same view."""

DOMINANT_FRACTION: Final = 0.7
"""Fraction of the good particles from which one view dominates. Five simulated molecules in random
orientations had .20 to .51, three of them in one orientation .78 to 1."""

ROUND_FRACTION: Final = 0.6
"""Fraction of the power that is the same all around, from which a view is round. Simulated
apoferritin had .73 to .87, all views of the other molecules at most .50; a proteasome from its end,
whose seven subunits can be seen, .45."""

LEAST_PARTICLES: Final = 300
"""Fewest good particles that say anything about views."""

LEAST_RELIABILITY: Final = 0.5
"""Correlation of the half averages below which an average is too noisy to be compared."""


_RING = np.arange(RINGS[0], RINGS[1] + 1, dtype=np.float64)
_SIXTHS = np.arange(6) * np.pi / 3
_SHIFTS = ((0.0, 0.0), *((SHIFT_PX * np.sin(a), SHIFT_PX * np.cos(a)) for a in _SIXTHS))


@dataclass(frozen=True, slots=True)
class Views:
    """The views, and how the good particles are spread over them."""

    number: tuple[int | None, ...]
    """View of each class, from 0, the largest; None for a class that is not good or too noisy."""

    balance: ViewBalance


def find_views(
    halves: NDArray[np.float32],
    half_sizes: NDArray[np.int64],
    good: NDArray[np.bool_],
    *,
    diameter_px: float,
) -> Views:
    """Return the views that the good classes show.

    Parameters
    ----------
    halves
        (2, K, box, box): averages of two halves of each class's particles.
    half_sizes
        (2, K): number of particles in each half.
    good
        (K,): True for the classes that show particles.
    diameter_px
        Particle diameter, in pixels.
    """
    number: list[int | None] = [None] * len(good)
    size = half_sizes.sum(axis=0)
    polar = _polar(halves, diameter_px)
    weight = _weights(polar[:, good]) if good.any() else np.ones(len(_RING))
    reliability = _reliability(polar, weight)
    usable = np.flatnonzero(good & (reliability >= LEAST_RELIABILITY))
    total = int(size[usable].sum())
    if total < LEAST_PARTICLES:
        return Views(tuple(number), ViewBalance(state="unknown"))
    alike = _correlations(polar[:, usable], weight, halves.shape[-1]) >= SAME_VIEW
    left, share = np.ones(len(usable), dtype=bool), size[usable] / total
    fractions: list[float] = []
    largest = 0
    while left.any():
        near = alike & left[None] & left[:, None]
        middle = int((near @ share).argmax())
        members = near[middle]
        for k in usable[members]:
            number[int(k)] = len(fractions)
        if not fractions:
            largest = int(usable[middle])
        fractions.append(float(share[members].sum()))
        left &= ~members
    state: ViewState = "balanced"
    if fractions[0] >= DOMINANT_FRACTION:
        state = "round" if _roundness(polar[:, largest], weight) >= ROUND_FRACTION else "one_view"
    balance = ViewBalance(
        state=state, largest_fraction=round(fractions[0], 4), views=len(fractions)
    )
    return Views(tuple(number), balance)


def _polar(images: NDArray[np.float32], diameter_px: float) -> NDArray[np.complex128]:
    """Return the rings of images (..., box, box) in Fourier space, (..., ring, angle).

    Computed directly at these places, so that nothing is interpolated.
    """
    box_px = images.shape[-1]
    y, x = np.indices((box_px, box_px)) - box_px // 2
    beyond = np.clip((2 * np.hypot(y, x) / diameter_px - 1) * 3, 0, 1)
    soft = 0.5 + 0.5 * np.cos(np.pi * beyond)
    around = beyond >= 1
    level = images[..., around].mean(axis=-1)[..., None, None] if around.any() else 0.0
    inside = soft > 0
    ky, kx = _places(box_px)
    angle = np.outer(y[inside], ky.ravel()) + np.outer(x[inside], kx.ravel())
    values = ((images - level) * soft)[..., inside] @ np.exp(-2j * np.pi * angle)
    return np.asarray(values.reshape(*images.shape[:-2], *ky.shape), dtype=np.complex128)


def _places(box_px: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the frequencies along y and x of each ring and angle, in cycles per pixel."""
    theta = np.arange(ANGLES) * (2 * np.pi / ANGLES)
    return _RING[:, None] * np.sin(theta) / box_px, _RING[:, None] * np.cos(theta) / box_px


def _weights(polar: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Return the weight of each ring: its number of values, over its power, if the halves agree.

    ``polar`` is (2, K, ring, angle).
    """
    power = (np.abs(polar) ** 2).mean(axis=(0, 1, 3))
    shared = (polar[0] * polar[1].conj()).real.mean(axis=(0, 2))
    agreement = np.clip(shared / np.maximum(power, 1e-30), 0, 1)
    return np.asarray(_RING * agreement / np.maximum(power, 1e-30), dtype=np.float64)


def _shared(
    first: NDArray[np.complex128], second: NDArray[np.complex128], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weighted product of two sets of rings (..., ring, angle), summed over both."""
    product = (first * second.conj()).real.sum(axis=-1) @ weight
    return np.asarray(product, dtype=np.float64)


def _reliability(polar: NDArray[np.complex128], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the correlation of the half averages of each class, (K,)."""
    own = _shared(polar[0], polar[0], weight) * _shared(polar[1], polar[1], weight)
    return _shared(polar[0], polar[1], weight) / np.sqrt(np.maximum(own, 1e-30))


def _correlations(
    polar: NDArray[np.complex128], weight: NDArray[np.float64], box_px: int
) -> NDArray[np.float64]:
    """Return the corrected correlation of each pair of classes, (K, K), in the best pose.

    ``polar``: (2, K, ring, angle).
    """
    signal = np.sqrt(np.maximum(_shared(polar[0], polar[1], weight), 1e-12))
    rings = polar.mean(axis=0) * np.sqrt(weight)[:, None]
    # A mirror image has the rings in the opposite direction.
    both = [np.fft.fft(one, axis=-1) for one in (rings, np.roll(rings[..., ::-1], 1, axis=-1))]
    ky, kx = _places(box_px)
    best = np.full((rings.shape[0],) * 2, -1.0)
    for dy, dx in _SHIFTS:
        moved = rings * np.exp(-2j * np.pi * (dy * ky + dx * kx))
        against = np.fft.fft(moved, axis=-1).conj()
        for tried in both:
            product = np.matmul(tried.transpose(2, 0, 1), against.transpose(2, 1, 0))
            turned = np.fft.ifft(product, axis=0).real.max(axis=0)
            np.maximum(best, turned / (signal[:, None] * signal[None]), out=best)
    return np.maximum(best, best.T)


def _roundness(polar: NDArray[np.complex128], weight: NDArray[np.float64]) -> float:
    """Return the fraction of an average's power that is the same all around.

    From the product of its two halves, (2, ring, angle), to which their noise does not add.
    """
    spectra = np.fft.fft(polar, axis=-1) / ANGLES
    power = (spectra[0] * spectra[1].conj()).real * weight[:, None]
    return float(power[:, 0].sum() / max(float(power.sum()), 1e-12))
