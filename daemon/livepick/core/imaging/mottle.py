"""Mottled ice: structure wider than a particle that the picks do not explain.

Crystalline ice, and ice of uneven thickness, darken the image in blotches wider than a particle.
Particles have power at such wavelengths too: beyond its diameter a molecule scatters like a point,
so a large or compact one has more power there than at its own size. Two properties distinguish
blotches from particles, and a micrograph is mottled only if it has both:

- The power of blotches keeps rising with the wavelength. The power of particles is level beyond
  their diameter, and lower where they are crowded.
- Blotches do not follow the picks. The power that the picks explain is measured by the coherence
  ``|<I D*>|² / (<|I|²> <|D|²>)`` between the spectra of the image and of a point at each pick
  (Bendat & Piersol 2010, *Random Data*, ch. 6), whatever the form of the particle and the
  transfer function.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from livepick.core.imaging.picks import Picks
from livepick.core.imaging.preprocess import DIAMETER_PX, Prepared

__all__ = ["mottle"]

WIDE_DIAMETERS = ((4.0, 2.9), (2.9, 2.5), (2.5, 2.0))
"""Wavelengths well beyond a particle, from coarse to fine; even longer ones are removed with the
background. Each band has its own coherence, because the form factor of a particle changes sign."""

NEAR_DIAMETERS = ((2.5, 1.8), (1.8, 1.35), (1.35, 1.1))
"""Wavelengths just wider than a particle."""

PARTICLE_DIAMETERS = (1.0, 1 / 3)
"""Wavelengths at which most particles have most of their power."""

COMPACT_DIAMETERS = (1.5, 1.0)
"""Wavelengths at which large and compact particles have most of their power."""

LEAST_FREQUENCIES = 10
"""Least number of frequencies for a ratio; a field of about six diameters has that many."""


def mottle(prepared: Prepared, picks: Picks) -> float | None:
    """Return the unexplained power wider than a particle, relative to the power of particles.

    Unexplained power is not coherent with the picks. The result is the lower of two ratios:

    - unexplained power just beyond the diameter, divided by the power at the size of a particle;
    - unexplained power well beyond the diameter, divided by the strongest power of particles: at
      their size, at their diameter, or just beyond it as far as the picks explain it.

    Parameters
    ----------
    prepared
        The micrograph, prepared for picking.
    picks
        Picks that count, in pixels of the original micrograph.

    Returns
    -------
    float or None
        None if the field is too small to tell, or all of it is masked.
    """
    spectra = _Spectra(prepared, picks)
    fine, compact = spectra.power(PARTICLE_DIAMETERS), spectra.power(COMPACT_DIAMETERS)
    wide, near = spectra.split(WIDE_DIAMETERS), spectra.split(NEAR_DIAMETERS)
    if not fine or compact is None or wide is None or near is None:
        return None
    particles = max(fine, compact, near.explained)
    return min(near.rest / fine, wide.rest / particles)


@dataclass(frozen=True, slots=True)
class _Split:
    """Mean power of an image in some bands, in two parts."""

    explained: float
    """Power that is coherent with the picks."""

    rest: float


class _Spectra:
    """Power spectra of an image and of its picks, and their cross spectrum."""

    def __init__(self, prepared: Prepared, picks: Picks) -> None:
        plain = prepared.plain
        rows, columns = (np.hanning(n + 2)[1:-1].astype(np.float32) for n in plain.shape)
        window = rows[:, None] * columns * ~prepared.mask
        image = _wave(plain, window)
        points = _wave(_points(plain.shape, prepared, picks), window)
        y, x = (_frequencies(plain.shape, axis)[0] for axis in (0, 1))
        self._frequency = np.hypot(y[:, None], x[None, :])
        self._image = image.real**2 + image.imag**2
        self._points = points.real**2 + points.imag**2
        self._both = image.real * points.real + image.imag * points.imag

    def power(self, band: tuple[float, float]) -> float | None:
        """Return the mean power of the image between two wavelengths, in diameters."""
        ring = self._ring(band)
        return float(self._image[ring].mean()) if ring.any() else None

    def split(self, bands: tuple[tuple[float, float], ...]) -> _Split | None:
        """Return the mean power in adjacent bands, split by coherence with the picks."""
        total, explained, count = 0.0, 0.0, 0
        for band in bands:
            ring = self._ring(band)
            density = float(self._points[ring].sum())
            explained += float(self._both[ring].sum()) ** 2 / density if density > 0 else 0.0
            total += float(self._image[ring].sum())
            count += int(ring.sum())
        if count < LEAST_FREQUENCIES:
            return None
        return _Split(explained / count, (total - explained) / count)

    def _ring(self, band: tuple[float, float]) -> NDArray[np.bool_]:
        coarse, fine = band
        return np.asarray((self._frequency >= 1 / coarse) & (self._frequency < 1 / fine))


def _points(shape: tuple[int, ...], prepared: Prepared, picks: Picks) -> NDArray[np.float32]:
    """Return an image with a 1 at each pick."""
    points = np.zeros(shape, dtype=np.float32)
    y = np.rint(picks.y_px / prepared.scale_y).astype(np.intp).clip(0, shape[0] - 1)
    x = np.rint(picks.x_px / prepared.scale_x).astype(np.intp).clip(0, shape[1] - 1)
    np.add.at(points, (y, x), 1)
    return points


def _frequencies(
    shape: tuple[int, ...], axis: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_], int]:
    """Return frequencies along one axis, in cycles per diameter, up to the finest that is used.

    Returns
    -------
    frequency
        The frequencies.
    used
        True for these among all frequencies of the transform, which are not negative along x.
    size
        Length of the transform.
    """
    size = fft.next_fast_len(shape[axis], real=True)
    frequencies = fft.fftfreq if axis == 0 else fft.rfftfreq
    frequency = frequencies(size, 1 / DIAMETER_PX).astype(np.float32)
    used = np.abs(frequency) <= 1 / PARTICLE_DIAMETERS[1]
    return frequency[used], used, size


def _wave(image: NDArray[np.float32], window: NDArray[np.float32]) -> NDArray[np.complex64]:
    """Return the spectrum of an image under a window, with its mean under the window removed.

    It has the frequencies of ``_frequencies``; columns of others are not transformed.
    """
    mean = float(np.vdot(image, window)) / max(float(window.sum()), 1e-9)
    (_, rows, height), (_, columns, width) = (_frequencies(image.shape, axis) for axis in (0, 1))
    part = (image - np.float32(mean)) * window
    waves = fft.rfft(part, width, axis=1, overwrite_x=True)[:, columns]
    return np.asarray(fft.fft(waves, height, axis=0, overwrite_x=True)[rows])
