"""The power spectrum of a micrograph, averaged over tiles, and the figures derived from it.

Periodograms of overlapping tiles under a Hann window are averaged (Welch 1967, *IEEE Trans. Audio
Electroacoust.* 15, 70), as CTFFIND and similar programs do for micrographs (Rohou & Grigorieff
2015, *J. Struct. Biol.* 192, 216). Nine tiles are a seventh of a 4096-pixel micrograph, and cost
little. Masked areas count as flat. The two axes are left out of all averages, because bad rows and
columns of detectors show up there.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from livepick.core.imaging.fast_median import median

__all__ = ["Spectrum", "power_spectrum"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Values = NDArray[np.float64]

MOST_TILES = 3
"""Largest number of tiles along each axis."""

SMALLEST_TILE_PX = 64

LEAST_CLEAN = 0.3
"""Least unmasked fraction of a tile; a tile with less is left out."""

CLIP_SIGMAS = 8.0
"""Pixels are clipped at this many standard deviations. Hot pixels beyond it would dominate the
spectrum."""

HIGHEST = 0.45
"""Highest frequency used, in cycles per pixel; Nyquist is at 0.5."""

FLOOR_RINGS = 9
"""Number of adjacent rings whose mean gives the noise floor."""

SECTORS = 12
"""Number of sectors in half a turn; the other half is the same."""

HANN_LOSS = 2.25
"""A Hann window correlates neighbouring frequencies: this many are worth one independent one."""

ICE_PEAK_ANGSTROM = (3.95, 3.4)
"""Hexagonal ice has rings at 3.90, 3.67 and 3.44 Å, cubic ice at 3.67 Å (Dowell & Rinfret 1960,
*Nature* 188, 1144)."""

ICE_BESIDE_ANGSTROM = ((4.8, 4.15), (3.3, 3.1))
"""Bands that the peak is compared with, on the coarser and on the finer side."""

LEAST_CERTAIN = 0.07
"""Largest standard error of the anisotropy; above it the anisotropy is unknown."""


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """Mean power by frequency and direction. The power of white noise is its variance."""

    power: Values
    """Mean power, ``[ring, sector]``; ring r is at r / ``side_px`` cycles per pixel, from 0 to
    Nyquist."""

    count: Values
    """Number of frequencies of one tile in each ``[ring, sector]``."""

    side_px: int
    """Side of a tile, in pixels."""

    tiles: int

    @property
    def rings(self) -> Values:
        """The rotational average."""
        counts = self.count.sum(axis=1)
        return np.asarray((self.power * self.count).sum(axis=1) / np.maximum(counts, 1))

    def mean(self, band: tuple[float, float]) -> float | None:
        """Return the mean power in a band (cycles per pixel); None if outside the spectrum."""
        first, last = math.ceil(band[0] * self.side_px), math.floor(band[1] * self.side_px)
        count = self.count[first : last + 1]
        if last >= len(self.power) or not count.any():
            return None
        return float((self.power[first : last + 1] * count).sum() / count.sum())

    def floor(self, band: tuple[float, float]) -> float | None:
        """Return the noise power: the lowest rings of a band, such as those between Thon rings.

        The band ends below Nyquist, because detectors and programs filter near it. The result is
        None if there are fewer than ``FLOOR_RINGS`` rings in the band.
        """
        first, last = self._rings_in(band)
        if last - first < FLOOR_RINGS:
            return None
        counts = self.count[first:last].sum(axis=1)
        near = np.ones(FLOOR_RINGS)
        sums = np.convolve(self.rings[first:last] * counts, near, mode="valid")
        return float((sums / np.convolve(counts, near, mode="valid")).min())

    def signal(self, band: tuple[float, float], floor: float) -> float | None:
        """Return the fraction of a band's power that is above a noise floor, ring by ring.

        It is 1 - N / P(r), averaged over the frequencies of the band: S / (S + N). White noise has
        0, and so does a hole without ice. The result is None if the band is outside the spectrum.
        """
        first, last = self._rings_in(band)
        if last <= first:
            return None
        weight = self.count[first:last].sum(axis=1)
        mean = np.maximum(self.rings[first:last], np.finfo(float).tiny)
        return float((weight * (1 - floor / mean)).sum() / weight.sum())

    def anisotropy(self, band: tuple[float, float], floor: float) -> float | None:
        """Return how much the power above a noise floor depends on the direction, in one band.

        Motion within an exposure blurs along one axis and dims Thon rings there (Zheng et al. 2017,
        *Nat. Methods* 14, 331); it does not change the detector noise. The power of each sector is
        therefore compared with the mean of its ring. The result is the part that varies as the
        cosine of twice the angle, as a fraction of the power above the noise floor::

            |Σ (P(r, θ) / P(r) - 1) exp 2iθ| / Σ (1 - N / P(r))

        0 means equal in all directions, 0.5 varies as the square of a cosine, and 1 is all along
        one axis (the mean resultant length of axial data, Mardia & Jupp 2000, *Directional
        Statistics*). Astigmatism moves Thon rings but does not change the mean over many of them.

        Returns
        -------
        float or None
            None if there is too little power above the noise to tell.
        """
        signal = self.signal(band, floor)
        if signal is None or signal <= 0:
            return None
        first, last = self._rings_in(band)
        weight = self.count[first:last]
        total = float(weight.sum())
        if math.sqrt(HANN_LOSS / (total * self.tiles)) / signal > LEAST_CERTAIN:
            return None
        angle = (np.arange(SECTORS) + 0.5) * math.pi / SECTORS
        relative = self.power[first:last] / self.rings[first:last, None] - 1
        turned = (weight * relative * np.exp(2j * angle)).sum()
        return float(abs(turned) / (total * signal))

    def ice_ring(self, pixel_size_angstrom: float) -> float | None:
        """Return the highest ring of crystalline ice relative to its surroundings; 1 if none.

        It is the highest ring between 3.95 and 3.4 Å, divided by a straight line through the
        logarithms of the rotational average on both sides. RELION reports the density in a similar
        band, not relative, as ``rlnCtfIceRingDensity`` (0.25 to 0.28 1/Å). The broad ring of
        vitreous ice at 3.7 Å is partly in the line; it raises the figure to 1.1.

        Returns
        -------
        float or None
            None if the pixels are too coarse: their Nyquist frequency must be beyond 3.1 Å.
        """
        rings = self.rings
        step = self.side_px * pixel_size_angstrom  # ring r is at step / r ångström
        if step / ICE_BESIDE_ANGSTROM[1][1] > 0.5 * self.side_px:
            return None
        peak = _places(step, ICE_PEAK_ANGSTROM)
        beside = np.concatenate([_places(step, band) for band in ICE_BESIDE_ANGSTROM])
        if len(peak) < 4 or rings[beside].min() <= 0:
            return None
        line = np.polyfit(beside, np.log(rings[beside]), 1)
        return float((rings[peak] / np.exp(np.polyval(line, peak))).max())

    def _rings_in(self, band: tuple[float, float]) -> tuple[int, int]:
        """Return the first ring of a band and the one after its last."""
        low, high = band
        last = math.floor(min(high, HIGHEST) * self.side_px)
        return math.ceil(low * self.side_px), last + 1


def power_spectrum(image: NDArray[Any], *, mask: Mask, side_px: int) -> Spectrum | None:
    """Return the mean spectrum of up to nine tiles, or None if there is not enough clean area.

    Parameters
    ----------
    image
        Image ``[y, x]`` of any real type.
    mask
        True where the image is ignored. It covers the same field, in pixels of any size.
    side_px
        Side of a tile; it is reduced if the image is smaller.
    """
    side = min(side_px, *(n // 2 * 2 for n in image.shape))
    if side < SMALLEST_TILE_PX:
        return None
    hann = _hann(side)
    total = np.zeros((side, side + 2), dtype=np.float32)  # real and imaginary parts
    tiles = 0
    for y in _starts(image.shape[0], side):
        for x in _starts(image.shape[1], side):
            clean = _clean(mask, image.shape, (y, x), side)
            if clean.mean() < LEAST_CLEAN:
                continue
            tile = _flat(image[y : y + side, x : x + side].astype(np.float32), clean)
            window = hann if clean.size == 1 else hann * clean
            tile *= window
            wave = fft.rfft2(tile, overwrite_x=True)
            parts = wave.view(np.float32)
            np.square(parts, out=parts)
            parts *= np.float32(1 / float(np.vdot(window, window)))
            total += parts
            tiles += 1
    if tiles == 0:
        return None
    where, count = _sectors(side)
    total = total[:, ::2] + total[:, 1::2]
    sums = np.bincount(where, weights=total.ravel(), minlength=count.size + 1)[: count.size]
    power = sums.reshape(count.shape) / np.maximum(count, 1) / tiles
    return Spectrum(power, count, side, tiles)


def _starts(size: int, side: int) -> list[int]:
    """Return the starts of tiles along one axis: separate, or overlapping by up to half."""
    count = min(MOST_TILES, max(1, 2 * size // side - 1))
    if count == 1:
        return [(size - side) // 2]
    return [round(start) for start in np.linspace(0, size - side, count).tolist()]


def _clean(mask: Mask, shape: tuple[int, ...], corner: tuple[int, int], side: int) -> Mask:
    """Return a mask of the clean pixels of a tile; a single True if all of them are clean."""
    rows, columns = (
        np.minimum((np.arange(start, start + side) * cells) // size, cells - 1)
        for start, size, cells in zip(corner, shape, mask.shape, strict=True)
    )
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if not part.any():
        return np.ones((1, 1), dtype=bool)
    return np.asarray(~part[np.ix_(rows - rows[0], columns - columns[0])])


def _flat(tile: Image, clean: Mask) -> Image:
    """Return a tile with its mean subtracted and hot pixels clipped."""
    whole = clean.size == 1
    sample = tile[::8, ::8].ravel() if whole else tile[::8, ::8][clean[::8, ::8]]
    if not len(sample):
        return np.zeros_like(tile)
    middle = median(sample)
    spread = 1.4826 * float(median(np.abs(sample - middle)))
    if spread == 0:
        spread = float(sample.std())
    limit = CLIP_SIGMAS * spread
    np.clip(tile, middle - limit, middle + limit, out=tile)
    tile -= tile.mean() if whole else tile[clean].mean()
    return tile


@lru_cache(maxsize=4)
def _hann(side: int) -> Image:
    one = np.hanning(side + 1)[:-1].astype(np.float32)
    return np.asarray(one[:, None] * one[None, :])


def _places(step: float, band_angstrom: tuple[float, float]) -> NDArray[np.intp]:
    """Return the rings between two wavelengths, the coarser one first."""
    coarse, fine = band_angstrom
    return np.arange(math.ceil(step / coarse), math.floor(step / fine) + 1)


@lru_cache(maxsize=4)
def _sectors(side: int) -> tuple[NDArray[np.intp], Values]:
    """Return the bin of each frequency of ``rfft2``, and the number in each ``[ring, sector]``.

    Frequencies on the axes and beyond Nyquist have an extra bin after all others.
    """
    y = fft.fftfreq(side, 1 / side)[:, None]
    x = np.arange(side // 2 + 1)[None, :]
    ring = np.rint(np.hypot(y, x)).astype(np.intp)
    turn = np.arctan2(y, np.maximum(x, 1e-9)) / np.pi + 0.5
    sector = np.clip((turn * SECTORS).astype(np.intp), 0, SECTORS - 1)
    shape = (side // 2 + 1, SECTORS)
    where = ring * SECTORS + sector
    where[(ring > side // 2) | (np.abs(y) < 2) | (x < 2)] = shape[0] * shape[1]
    count = np.bincount(where.ravel(), minlength=shape[0] * shape[1] + 1)[:-1]
    return where.ravel(), count.reshape(shape).astype(np.float64)
