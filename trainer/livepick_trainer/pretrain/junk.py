"""Things in micrographs that are not particles: ice, carbon, gold, cracks, mottle, clumps.

Each function adds one kind to an image in which particles are bright and the noise has a standard
deviation of about 1. Sizes are in units of the particle's diameter, so that there is junk smaller
than a particle, as large, and larger.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, special

from livepick_trainer.pretrain.noise import frequencies

__all__ = ["add_film", "add_junk", "add_strong_mottle"]

FloatArray = NDArray[np.float32]
Mask = NDArray[np.bool_]
Random = np.random.Generator


def add_junk(image: FloatArray, diameter_px: float, rng: Random) -> None:
    """Add one to three kinds of junk to an image, in place."""
    for _ in range(int(rng.integers(1, 4))):
        kind = _KINDS[int(rng.integers(len(_KINDS)))]
        kind(image, diameter_px, rng)


def add_film(image: FloatArray, rng: Random) -> Mask:
    """Add the edge of a film to an image, in place, and return where the film is.

    The film has another brightness and more texture, and a fringe along its edge.
    """
    height, width = image.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    radius = float(np.exp(rng.uniform(np.log(0.8), np.log(12)))) * max(image.shape)
    depth = rng.uniform(-0.35, 0.45) * max(image.shape)
    y0 = height / 2 - np.sin(angle) * (radius + depth)
    x0 = width / 2 - np.cos(angle) * (radius + depth)
    beyond = np.hypot(y - np.float32(y0), x - np.float32(x0)) - np.float32(radius)
    if rng.random() < 0.3:
        np.negative(beyond, out=beyond)
    film = np.asarray(beyond > 0)
    soft = special.expit(beyond / np.float32(rng.uniform(0.7, 3)))
    step = np.float32(rng.choice([-1, 1]) * np.exp(rng.uniform(np.log(0.2), np.log(10))))
    wave, decay = rng.uniform(3, 14), rng.uniform(2, 12)
    fringe = np.cos(beyond * np.float32(2 * np.pi / wave) + np.float32(rng.uniform(0, 6)))
    fringe *= np.exp(-np.abs(beyond) / np.float32(decay)) * np.float32(rng.uniform(0, 4))
    texture = _band_noise(image.shape, rng.uniform(0.05, 0.4), rng.uniform(0.3, 1.0), rng)
    image += step * soft + fringe + soft * texture * np.float32(rng.uniform(0, 1.5))
    return film


def add_strong_mottle(image: FloatArray, diameter_px: float, rng: Random) -> None:
    """Add mottle as strong as the noise or stronger, in place, as crystalline or uneven ice shows.

    Unlike noise, it has bright lumps and a wide dark ground, or the reverse, and several scales.
    """
    mottle = np.zeros_like(image)
    for _ in range(int(rng.integers(1, 4))):
        scale = diameter_px * float(np.exp(rng.uniform(np.log(0.4), np.log(3.0))))
        octaves = float(rng.uniform(0.3, 1.2))
        mottle += np.float32(rng.uniform(0.3, 1)) * _band_noise(
            image.shape, 1 / scale, octaves, rng
        )
    mottle /= mottle.std()
    skew = np.float32(rng.uniform(-0.6, 0.9))
    if abs(skew) > 0.05:
        mottle = np.expm1(skew * mottle) / skew
        mottle /= mottle.std()
    image += mottle * np.float32(np.exp(rng.uniform(np.log(0.5), np.log(4))))


def _strength(rng: Random, low: float, high: float, *, dark: float = 0.3) -> np.float32:
    """Return a random strength, log-uniform, with a negative sign in a fraction ``dark``."""
    sign = -1 if rng.random() < dark else 1
    return np.float32(sign * np.exp(rng.uniform(np.log(low), np.log(high))))


def _band_noise(
    shape: tuple[int, int], frequency: float, octaves: float, rng: Random
) -> FloatArray:
    """Return noise of unit variance around one frequency, in 1/px."""
    f = np.maximum(frequencies(shape), 1e-4)
    band = np.exp(-((np.log2(f / np.float32(frequency)) / np.float32(octaves)) ** 2))
    spectrum = fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    noise: FloatArray = fft.irfft2(spectrum * band, s=shape)
    return noise / np.float32(noise.std() + 1e-6)


def _window(
    image: FloatArray, y: float, x: float, reach: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the part of an image around a point, and the distances from it along y and x."""
    top, left = max(0, int(y - reach)), max(0, int(x - reach))
    part = image[top : max(top, int(y + reach) + 1), left : max(left, int(x + reach) + 1)]
    rows = np.arange(top, top + part.shape[0], dtype=np.float32) - np.float32(y)
    columns = np.arange(left, left + part.shape[1], dtype=np.float32) - np.float32(x)
    return part, rows[:, None], columns[None, :]


def _place(image: FloatArray, rng: Random) -> tuple[float, float]:
    return float(rng.uniform(0, image.shape[0])), float(rng.uniform(0, image.shape[1]))


def _contamination(image: FloatArray, diameter_px: float, rng: Random) -> None:
    """Add irregular lumps of ice: strong or weak, with a rim and a texture."""
    strength = _strength(rng, 0.5, 14, dark=0.15)
    size = np.exp(rng.uniform(np.log(0.2), np.log(5)))
    for _ in range(int(rng.integers(1, 2 + int(12 / (0.5 + size) ** 2)))):
        radius = 0.5 * size * diameter_px * float(rng.uniform(0.6, 1.4))
        part, dy, dx = _window(image, *_place(image, rng), 2.2 * radius)
        if not part.size:
            continue
        angle = np.arctan2(dy, dx)
        outline = np.ones_like(angle)
        for order in range(2, 7):
            phase = np.float32(rng.uniform(0, 2 * np.pi))
            outline += np.float32(rng.normal(0, 0.3) / order) * np.cos(order * angle + phase)
        distance = np.hypot(dy, dx) / (np.float32(radius) * outline.clip(0.35))
        power = np.float32(rng.choice([2, 4, 12]))
        body = np.exp(-(distance**power))
        rim = np.exp(-(((distance - 1) * np.float32(0.5 * radius)) ** 2))
        part += strength * body * np.float32(rng.uniform(0.7, 1.3))
        part += strength * rim * np.float32(rng.uniform(-0.5, 0.5))


def _gold(image: FloatArray, diameter_px: float, rng: Random) -> None:
    """Add gold beads: small and very strong, alone or in groups."""
    radius = 0.5 * diameter_px * float(np.exp(rng.uniform(np.log(0.1), np.log(0.9))))
    strength = _strength(rng, 4, 30, dark=0.1)
    y, x = _place(image, rng)
    spread = rng.uniform(0.5, 8) * diameter_px
    for _ in range(int(rng.integers(1, 15))):
        part, dy, dx = _window(
            image, y + rng.normal(0, spread), x + rng.normal(0, spread), 2 * radius + 4
        )
        part += strength * special.expit((np.float32(radius) - np.hypot(dy, dx)) / np.float32(0.6))


def _gradient(image: FloatArray, _diameter_px: float, rng: Random) -> None:
    """Add a slow change of brightness."""
    height, width = image.shape
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    c = rng.normal(0, rng.uniform(0.5, 4), 5).astype(np.float32)
    image += c[0] * y + c[1] * x + c[2] * y * x + c[3] * y * y + c[4] * x * x


def _crack(image: FloatArray, diameter_px: float, rng: Random) -> None:
    """Add lines: cracks, filaments, folds."""
    height, width = image.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    thick = np.float32(diameter_px * np.exp(rng.uniform(np.log(0.06), np.log(0.8))))
    strength = _strength(rng, 0.4, 8)
    for _ in range(int(rng.integers(1, 4))):
        angle = rng.uniform(0, np.pi)
        y0, x0 = _place(image, rng)
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        along = (x - np.float32(x0)) * cos + (y - np.float32(y0)) * sin
        across = (y - np.float32(y0)) * cos - (x - np.float32(x0)) * sin
        bend = np.float32(rng.uniform(0, 3) * diameter_px)
        across += bend * np.sin(along * np.float32(rng.uniform(0.1, 1) / diameter_px))
        image += strength * np.exp(-((across / thick) ** 2))


def _mottle(image: FloatArray, diameter_px: float, rng: Random) -> None:
    """Add mottle at one scale, about that of particles or smaller, in patches or everywhere."""
    frequency = 1 / (diameter_px * float(np.exp(rng.uniform(np.log(0.15), np.log(2.0)))))
    mottle = _band_noise(image.shape, min(frequency, 0.45), rng.uniform(0.15, 0.8), rng)
    if rng.random() < 0.5:
        where = _band_noise(image.shape, 1 / (6 * diameter_px), 0.8, rng)
        mottle *= special.expit(2 * where)
    image += mottle * np.float32(np.exp(rng.uniform(np.log(0.3), np.log(3))))


def _lattice(image: FloatArray, diameter_px: float, rng: Random) -> None:
    """Add a crystal lattice with two or three wave vectors, as of crystalline ice."""
    height, width = image.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    wave = 2 * np.pi / (diameter_px * float(np.exp(rng.uniform(np.log(0.12), np.log(1.2)))))
    turn, fold = rng.uniform(0, np.pi), int(rng.choice([2, 3]))
    lattice = np.zeros_like(image)
    for i in range(fold):
        angle = turn + i * np.pi / fold
        phase = x * np.float32(wave * np.cos(angle)) + y * np.float32(wave * np.sin(angle))
        lattice += np.cos(phase + np.float32(rng.uniform(0, 6)))
    where = _band_noise(image.shape, 1 / (8 * diameter_px), 0.8, rng)
    lattice *= special.expit(3 * where + np.float32(rng.uniform(-2, 2)))
    image += lattice * np.float32(np.exp(rng.uniform(np.log(0.1), np.log(1.5))))


def _cells(image: FloatArray, diameter_px: float, rng: Random) -> None:
    """Add cells with bright borders, like hexagonal ice or a drying film."""
    height, width = image.shape
    size = diameter_px * float(np.exp(rng.uniform(np.log(0.6), np.log(5))))
    count = max(4, int(height * width / size**2))
    seeds = rng.uniform(0, (height, width), (count, 2)).astype(int)
    level = np.zeros(image.shape, dtype=np.float32)
    empty = np.ones(image.shape, dtype=bool)
    empty[seeds[:, 0], seeds[:, 1]] = False
    nearest = ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
    level[seeds[:, 0], seeds[:, 1]] = rng.standard_normal(count)
    level = level[tuple(nearest)]
    edges = np.abs(ndimage.laplace(level)) > 0.1
    strength = np.float32(np.exp(rng.uniform(np.log(0.2), np.log(3))))
    image += strength * ndimage.gaussian_filter(level, rng.uniform(0.5, 3)) * np.float32(0.5)
    border = ndimage.gaussian_filter(edges.astype(np.float32), rng.uniform(0.6, 2.5))
    image += _strength(rng, 0.3, 3) * border


def _clump(image: FloatArray, diameter_px: float, rng: Random) -> None:
    """Add a clump of lumps of all sizes, such as denatured protein."""
    y, x = _place(image, rng)
    extent = diameter_px * rng.uniform(0.6, 3.5)
    strength = _strength(rng, 0.3, 3, dark=0.1)
    for _ in range(int(rng.integers(4, 40))):
        sigma = diameter_px * float(rng.uniform(0.06, 0.35))
        part, dy, dx = _window(
            image, y + rng.normal(0, extent / 2), x + rng.normal(0, extent / 2), 3 * sigma
        )
        height = strength * np.float32(rng.uniform(0.3, 1.2))
        part += height * np.exp(-(dy**2 + dx**2) / np.float32(2 * sigma**2))


def _lines(image: FloatArray, _diameter_px: float, rng: Random) -> None:
    """Add a few rows or columns of another brightness, as a detector's seams leave them."""
    for _ in range(int(rng.integers(1, 5))):
        target = image if rng.random() < 0.5 else image.T
        first = int(rng.integers(len(target)))
        target[first : first + int(rng.integers(1, 6))] += _strength(rng, 0.3, 6, dark=0.5)


_KINDS: tuple[Callable[[FloatArray, float, Random], None], ...] = (
    _contamination,
    _contamination,
    _contamination,
    _gold,
    _gradient,
    _crack,
    _mottle,
    _mottle,
    _lattice,
    _cells,
    _clump,
    _clump,
    _lines,
)
