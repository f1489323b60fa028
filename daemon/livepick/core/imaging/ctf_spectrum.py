"""The spectrum of a micrograph that the CTF is fitted to: log power by frequency and direction.

Periodograms of tiles of about a thousand ångström are averaged (Welch 1967, *IEEE Trans. Audio
Electroacoust.* 15, 70): long enough to separate the Thon rings of several micrometres of defocus.
They are averaged further over sectors, from whose direction astigmatism can be told. Tiles whose
variance is far from that of most are left out, such as those on the edge of a hole or on a crystal;
carbon film is used, because its rings are the clearest. Two halves of the tiles are kept apart, so
that a fit to one can be compared with a fit to the other.

The two axes are left out, because bad rows and columns of detectors show up there.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

__all__ = ["SECTORS", "SECTOR_ANGLES", "PolarSpectrum", "is_too_small", "polar_spectrum"]

Image = NDArray[np.float32]
Values = NDArray[np.float64]

SECTORS = 24
"""Number of sectors in half a turn; the other half is the same."""

TILE_ANGSTROM = 1000.0
SMALLEST_TILE_PX, LARGEST_TILE_PX = 256, 1024

LARGEST_PIXEL_ANGSTROM = 1.7
"""Pixels are binned up to this size: Thon rings finer than 3.4 Å are weak in one micrograph."""

FINEST_ANGSTROM = 3.0
HIGHEST = 0.47
"""Highest frequency used, in cycles per pixel; Nyquist is at 0.5."""

MOST_PIXELS = 18_000_000
"""Most pixels in all tiles together: it bounds the time. A 4096² micrograph has 17 millions."""

MOST_RATIO = 3.0
"""Largest ratio of the variance of a tile to the median of all, and of the median to that."""

LEAST_TILES = 4

CLIP_SIGMAS = 6.0
"""Pixels are clipped at this many standard deviations, so that none dominates."""


@dataclass(frozen=True, slots=True, eq=False)
class PolarSpectrum:
    """Mean power by frequency and direction, for both halves of the tiles."""

    frequency: Values
    """Spatial frequency of each ring, in 1/Å."""

    count: Values
    """Number of frequencies of one tile in a sector of each ring, on average."""

    halves: tuple[Values, Values]
    """Mean power ``[ring, sector]`` of each half."""

    tiles: int
    """Number of tiles in both halves."""

    @property
    def power(self) -> Values:
        """Mean power ``[ring, sector]`` of all tiles."""
        return (self.halves[0] + self.halves[1]) / 2


SECTOR_ANGLES: Values = (np.arange(SECTORS) + 0.5) * np.pi / SECTORS - np.pi / 2
"""Direction of each sector in radians, from the x axis towards later rows."""


def polar_spectrum(image: NDArray[Any], *, pixel_size_angstrom: float) -> PolarSpectrum | None:
    """Return the spectrum of a micrograph; None if there are too few usable tiles.

    Parameters
    ----------
    image
        Image ``[y, x]`` of any real type; not changed.
    pixel_size_angstrom
        Its pixel size.
    """
    factor, shape, side = _layout(image.shape, pixel_size_angstrom)
    if min(shape) < side:
        return None
    pixel = factor * pixel_size_angstrom
    window, (where, counts, radii) = _hann(side), _sectors(side)
    last = int(side * min(HIGHEST, pixel / FINEST_ANGSTROM))
    variances, sums = [], []
    for y, x in _corners(shape, side):
        tile = _tile(image, y * factor, x * factor, side, factor)
        variances.append(float(tile.var()))
        tile *= window
        wave = fft.rfft2(tile, overwrite_x=True)
        power = np.square(wave.real)
        power += np.square(wave.imag)
        total = np.bincount(where, weights=power.ravel(), minlength=counts.size + 1)[:-1]
        sums.append(total.reshape(counts.shape)[: last + 1])
    good = _alike(np.array(variances))
    if np.count_nonzero(good) < LEAST_TILES:
        return None
    counts = counts[: last + 1]
    powers = np.array(sums)[good] / np.maximum(counts, 1)
    return PolarSpectrum(
        frequency=radii[: last + 1] / (side * pixel),
        count=counts.mean(axis=1),
        halves=(powers[::2].mean(axis=0), powers[1::2].mean(axis=0)),
        tiles=len(powers),
    )


def is_too_small(shape: tuple[int, ...], *, pixel_size_angstrom: float) -> bool:
    """Return True if a micrograph of this shape ``(height, width)`` has too few tiles."""
    _, binned, side = _layout(shape, pixel_size_angstrom)
    return min(binned) < side or len(_corners(binned, side)) < LEAST_TILES


def _layout(shape: tuple[int, ...], pixel_size_angstrom: float) -> tuple[int, tuple[int, int], int]:
    """Return the binning factor, the shape after it, and the side of a tile."""
    factor = max(1, int(LARGEST_PIXEL_ANGSTROM / pixel_size_angstrom))
    binned = (shape[0] // factor, shape[1] // factor)
    wished = min(round(TILE_ANGSTROM / (factor * pixel_size_angstrom)), min(binned) // 2)
    side = fft.next_fast_len(max(wished, SMALLEST_TILE_PX), real=True)
    return factor, binned, min(side // 2 * 2, LARGEST_TILE_PX)


def _corners(shape: tuple[int, int], side: int) -> list[tuple[int, int]]:
    """Return the corners of tiles: they overlap by up to half, as far as the time allows."""
    most = MOST_PIXELS / side**2
    separate = [max(1, n // side) for n in shape]
    overlapping = [1 + math.ceil(2 * (n - side) / side) for n in shape]
    ratio = math.sqrt(most / (overlapping[0] * overlapping[1]))
    numbers = [
        max(least, min(number, round(number * ratio)))
        for least, number in zip(separate, overlapping, strict=True)
    ]
    starts = [
        np.rint(np.linspace(0, n - side, number)).astype(int).tolist()
        if number > 1
        else [(n - side) // 2]
        for n, number in zip(shape, numbers, strict=True)
    ]
    return [(y, x) for y in starts[0] for x in starts[1]]


def _tile(image: NDArray[Any], y: int, x: int, side: int, factor: int) -> Image:
    """Return a tile, binned, with its mean subtracted and hot pixels clipped."""
    part = image[y : y + side * factor, x : x + side * factor]
    if factor == 1:
        tile = part.astype(np.float32)
    else:
        tile = np.zeros((side, side), dtype=np.float32)
        for row in range(factor):
            for column in range(factor):
                tile += part[row::factor, column::factor]
    sample = tile[::8, ::8]
    middle = float(np.median(sample))
    spread = 1.4826 * float(np.median(np.abs(sample - middle)))
    if spread > 0:
        limit = CLIP_SIGMAS * spread
        np.clip(tile, middle - limit, middle + limit, out=tile)
    tile -= tile.mean()
    return tile


def _alike(variances: Values) -> NDArray[np.bool_]:
    """Return True for the tiles whose variance is about that of most; False for flat ones."""
    known = variances[variances > 0]
    if not len(known):
        return variances > 0
    ratio = variances / np.median(known)
    return (ratio > 1 / MOST_RATIO) & (ratio < MOST_RATIO)


@lru_cache(maxsize=4)
def _hann(side: int) -> Image:
    one = np.hanning(side + 1)[:-1].astype(np.float32)
    return np.asarray(one[:, None] * one[None, :])


@lru_cache(maxsize=4)
def _sectors(side: int) -> tuple[NDArray[np.intp], Values, Values]:
    """Return the bin of each frequency, the number in each bin, and the mean radius of each ring.

    Bins are ``[ring, sector]``. Frequencies on the axes and beyond Nyquist have an extra bin after
    all others.
    """
    y = fft.fftfreq(side, 1 / side)[:, None]
    x = np.arange(side // 2 + 1)[None, :]
    radius = np.hypot(y, x)
    ring = np.rint(radius).astype(np.intp)
    turn = np.arctan2(y, np.maximum(x, 1e-9)) / np.pi + 0.5
    sector = np.clip((turn * SECTORS).astype(np.intp), 0, SECTORS - 1)
    bins = (side // 2 + 1) * SECTORS
    where = ring * SECTORS + sector
    where[(ring > side // 2) | (np.abs(y) < 2) | (x < 2)] = bins
    counts = np.bincount(where.ravel(), minlength=bins + 1)[:-1].astype(float)
    counts = counts.reshape(-1, SECTORS)
    total = np.bincount(where.ravel(), weights=radius.ravel(), minlength=bins + 1)[:-1]
    radii = total.reshape(-1, SECTORS).sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
    return where.ravel(), counts, radii
