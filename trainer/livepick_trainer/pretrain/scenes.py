"""Synthetic scenes: small micrographs with known particles, made where the network works.

A scene is drawn at the network's own scale, ``DIAMETER_PX`` pixels a particle, which costs a
hundredth of a simulated micrograph. Then it passes the same ``prepare`` as any micrograph. Each
scene has a specimen, a microscope, a noise spectrum and junk of its own; it depends only on the
seed and its number.

Three kinds of scenes are drawn. Most have particles of the assumed size, give or take a quarter.
Some have objects of a *wrong* size, much smaller or larger, which are background: where the
diameter is unknown, it is found by trying several, so the network must answer most strongly at the
right one. The rest are empty. Junk may be in all of them.

How well a particle can be seen is set by its detectability (``noise.detectability``). A particle
of 4 is hardly seen by a person, and found half of the time by a template that knows it; 10 is easy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from livepick.core.imaging.preprocess import DIAMETER_PX, prepare
from livepick_trainer.learning.dataset import SeededMicrograph
from livepick_trainer.pretrain.junk import add_film, add_junk
from livepick_trainer.pretrain.noise import (
    detectability,
    gaussian_transfer,
    random_noise,
    random_noise_power,
    random_transfer,
    visible_sigma,
)
from livepick_trainer.pretrain.particles import (
    Copies,
    add_projections,
    clumped,
    orientations,
    scattered,
    strangers,
)
from livepick_trainer.pretrain.processing import random_processing
from livepick_trainer.pretrain.specimens import random_specimen
from livepick_trainer.seeds.labels import Seeds

__all__ = ["USUAL_RULES", "SceneRules", "make_scene"]

FloatArray = NDArray[np.float32]
Mask = NDArray[np.bool_]
Array = NDArray[np.float64]
Random = np.random.Generator


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneRules:
    """Size of the scenes, and how often they have what; fractions are probabilities."""

    size_px: int = 336
    """Height and width."""

    margin_px: int = 32
    """Width of the area around the scene that is drawn and cut off, so that particles reach in."""

    size_log_sigma: float = 0.1
    """Standard deviation of the logarithm of the particles' size."""

    size_log_reach: float = 0.22
    """Largest change of the logarithm of the size; 0.22 is a quarter."""

    size_log_mean: float = 0.0
    """Mean of the logarithm of the size. The given diameter is often a little generous."""

    wrong_size_fraction: float = 0.18
    empty_fraction: float = 0.16
    junk_fraction: float = 0.45
    film_fraction: float = 0.15
    clump_fraction: float = 0.25
    stranger_fraction: float = 0.35

    faint_fraction: float = 0.5
    """Fraction of the scenes with a detectability from ``faintest`` to ``faint``; the others reach
    from there to ``clearest``."""

    faintest: float = 3.0
    faint: float = 8.0
    clearest: float = 60.0


USUAL_RULES = SceneRules()

USUAL_POINTS = 1500
"""Number of points of a specimen of the usual size."""

MOST_POINTS = 150_000
"""Largest number of points of all particles of a scene."""


def make_scene(
    seed: int,
    number: int,
    structures: Sequence[Array] = (),
    rules: SceneRules = USUAL_RULES,
) -> SeededMicrograph:
    """Return a scene; the same arguments give the same scene.

    Parameters
    ----------
    seed, number
        Seed of all scenes, and number of this one.
    structures
        Atoms of known structures, each (N, 3), for half of the specimens; may be empty.
    rules
        Size and content.
    """
    rng = np.random.default_rng([seed, number])
    lot = rng.random()
    is_wrong = lot < rules.wrong_size_fraction
    is_empty = not is_wrong and lot < rules.wrong_size_fraction + rules.empty_fraction
    diameter_px = DIAMETER_PX * (_wrong_factor(rng) if is_wrong else _usual_factor(rules, rng))
    side = rules.size_px + 2 * rules.margin_px
    shape = (side, side)
    transfer = random_transfer(shape, diameter_px, rng)
    power = random_noise_power(shape, transfer, rng)
    added, film = _junk(shape, rules, rng)

    image = random_noise(power, shape, rng)
    centres = np.zeros((0, 2))
    if not is_empty:
        plane, centres, blur_px = _particles(
            shape, rng, diameter_px=diameter_px, film=film, structures=structures, rules=rules
        )
        spectrum = fft.rfft2(plane)
        spectrum *= transfer * gaussian_transfer(shape, blur_px)
        if len(centres):
            strength = _strength(rules, rng) / detectability(spectrum, power, shape, len(centres))
            image += np.float32(strength) * fft.irfft2(spectrum, s=shape)
    image /= np.float32(visible_sigma(power, shape))
    if added.any():
        image += _with_fringes(added, transfer, rng) if rng.random() < 0.5 else added
    image = random_processing(image, rng)
    return _as_micrograph(image, centres[:0] if is_wrong else centres, rules)


def _usual_factor(rules: SceneRules, rng: Random) -> float:
    reach = rules.size_log_reach
    change = np.clip(rng.normal(0, rules.size_log_sigma), -reach, reach)
    return float(np.exp(rules.size_log_mean + change))


def _wrong_factor(rng: Random) -> float:
    """Return a size much smaller or larger than the particle's, smaller more often."""
    low, high = (0.28, 0.6) if rng.random() < 0.6 else (1.65, 4.0)
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _strength(rules: SceneRules, rng: Random) -> float:
    """Return the detectability of the particles of a scene."""
    is_faint = rng.random() < rules.faint_fraction
    low, high = (rules.faintest, rules.faint) if is_faint else (rules.faint, rules.clearest)
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _junk(shape: tuple[int, int], rules: SceneRules, rng: Random) -> tuple[FloatArray, Mask | None]:
    """Return an image of junk, and where film is, if there is any."""
    added = np.zeros(shape, dtype=np.float32)
    film = add_film(added, rng) if rng.random() < rules.film_fraction else None
    if rng.random() < rules.junk_fraction:
        add_junk(added, DIAMETER_PX, rng)
    return added, film


def _particles(
    shape: tuple[int, int],
    rng: Random,
    *,
    diameter_px: float,
    film: Mask | None,
    structures: Sequence[Array],
    rules: SceneRules,
) -> tuple[FloatArray, Array, float]:
    """Draw the particles of a scene, with clumps and strangers among them.

    Returns
    -------
    plane
        Projected mass, ``[y, x]``.
    centres
        Centres (y, x) of the particles that are not clumped, shape (N, 2).
    blur_px
        Blur that the points still need.
    """
    centres, heap = scattered(shape, diameter_px, rng), np.zeros((0, 2))
    if film is not None and rng.random() < 0.8:
        y, x = np.rint(centres).astype(int).T
        centres = centres[~film[y.clip(0, shape[0] - 1), x.clip(0, shape[1] - 1)]]
    if rng.random() < rules.clump_fraction:
        centres, heap = clumped(shape, centres, diameter_px, rng)
    everywhere = np.concatenate([centres, heap])
    detail = USUAL_POINTS * np.clip((diameter_px / DIAMETER_PX) ** 2, 0.15, 4)
    points = int(np.clip(MOST_POINTS / max(1, len(everywhere)), 120, detail))
    specimen = random_specimen(rng, structures, points=points)
    particles = Copies(
        specimen=specimen,
        diameter_px=diameter_px,
        centres=everywhere,
        rotations=orientations(len(everywhere), rng),
        masses=1 + rng.uniform(0, 0.25) * rng.standard_normal(len(everywhere)),
    )
    plane = np.zeros(shape, dtype=np.float32)
    add_projections(plane, particles)
    if rng.random() < rules.stranger_fraction:
        add_projections(plane, strangers(shape, particles, structures, rng))
    return plane, centres, max(0.5, specimen.blur * diameter_px)


def _with_fringes(added: FloatArray, transfer: FloatArray, rng: Random) -> FloatArray:
    """Return junk with some of the fringes that the lens gives it."""
    share = np.float32(rng.uniform(0.2, 0.8))
    spectrum = fft.rfft2(added) * ((1 - share) + 2 * share * transfer)
    seen: FloatArray = fft.irfft2(spectrum, s=added.shape)
    return seen


def _as_micrograph(image: FloatArray, centres: Array, rules: SceneRules) -> SeededMicrograph:
    """Prepare the scene as a micrograph, cut off the margin, and move the centres along."""
    prepared = prepare(
        image, pixel_size_angstrom=1, diameter_angstrom=DIAMETER_PX, contrast="bright"
    )
    inside = np.s_[rules.margin_px : -rules.margin_px, rules.margin_px : -rules.margin_px]
    yx_px = (centres - rules.margin_px).astype(np.float32)
    return SeededMicrograph(
        prepared.image[inside],
        (prepared.mask | prepared.unpicked)[inside],
        Seeds(yx_px, np.zeros((0, 2), dtype=np.float32)),
    )
