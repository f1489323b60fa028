"""Synthetic scenes: small micrographs with known particles, made where the network works.

A scene is drawn at the network's own scale, ``DIAMETER_PX`` pixels a particle, which costs a
hundredth of a simulated micrograph. Then it passes the same ``prepare`` as any micrograph. Each
scene has a specimen, a microscope, a noise spectrum and junk of its own; it depends only on the
seed and its number.

Four kinds of scenes are drawn. Most have particles of the assumed size, give or take a quarter.
Some have objects of a *wrong* size, much smaller or larger, which are background: where the
diameter is unknown, it is found by trying several, so the network must answer most strongly at the
right one. A few have particles of the wrong contrast, which are background too. The rest are empty.
Junk may be in all of them, apart from some empty ones that are noise alone.

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
from livepick_trainer.pretrain.junk import add_film, add_junk, add_strong_mottle
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

    size_log_sigma: float = 0.13
    """Standard deviation of the logarithm of the particles' size."""

    size_log_reach: float = 0.22
    """Largest change of the logarithm of the size; 0.22 is a quarter."""

    size_log_mean: float = -0.05
    """Mean of the logarithm of the size. The given diameter is often a little generous."""

    wrong_size_fraction: float = 0.18
    empty_fraction: float = 0.22
    junk_fraction: float = 0.45
    film_fraction: float = 0.15
    clump_fraction: float = 0.25
    stranger_fraction: float = 0.35

    inverted_fraction: float = 0.05
    """Fraction of the scenes with particles of the wrong contrast, which are background."""

    noise_fraction: float = 0.35
    """Fraction of the empty scenes that have neither junk nor film: noise alone."""

    soft_fraction: float = 0.3
    """Fraction of the scenes whose particles have less fine detail than their points give them."""

    grainy_fraction: float = 0.35
    """Fraction of the scenes whose particles have more: the points show as grain."""

    mottle_fraction: float = 0.12
    """Fraction of the scenes with strong mottle as coarse as particles, like that of crystals."""

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
    lot = _Lot.drawn(rules, rng)
    diameter_px = DIAMETER_PX * (
        _wrong_factor(rng) if lot.wrong_size else _usual_factor(rules, rng)
    )
    side = rules.size_px + 2 * rules.margin_px
    shape = (side, side)
    transfer = random_transfer(shape, diameter_px, rng)
    power = random_noise_power(shape, transfer, rng)
    added, film = _junk(shape, rules, rng, clean=lot.noise_alone)

    image = random_noise(power, shape, rng)
    centres = np.zeros((0, 2))
    if not lot.empty:
        plane, centres, blur_px = _particles(
            shape, rng, diameter_px=diameter_px, film=film, structures=structures, rules=rules
        )
        spectrum = fft.rfft2(plane)
        spectrum *= transfer * gaussian_transfer(shape, blur_px)
        if len(centres):
            strength = _strength(rules, rng, clear=lot.inverted)
            strength /= detectability(spectrum, power, shape, len(centres))
            image += np.float32(-strength if lot.inverted else strength) * fft.irfft2(
                spectrum, s=shape
            )
    image /= np.float32(visible_sigma(power, shape))
    if added.any():
        image += _with_fringes(added, transfer, rng) if rng.random() < 0.5 else added
    image = random_processing(image, rng)
    return _as_micrograph(image, centres if lot.has_truth else centres[:0], rules)


@dataclass(frozen=True, slots=True)
class _Lot:
    """Kind of a scene."""

    wrong_size: bool
    inverted: bool
    empty: bool
    noise_alone: bool

    @classmethod
    def drawn(cls, rules: SceneRules, rng: Random) -> "_Lot":
        """Draw a kind as often as the rules say."""
        sizes = rules.wrong_size_fraction
        inverted = sizes + rules.inverted_fraction
        empty = inverted + rules.empty_fraction
        drawn, alone = rng.random(), rng.random() < rules.noise_fraction
        is_empty = inverted <= drawn < empty
        return cls(drawn < sizes, sizes <= drawn < inverted, is_empty, is_empty and alone)

    @property
    def has_truth(self) -> bool:
        """True if the particles are to be found."""
        return not (self.wrong_size or self.inverted or self.empty)


def _usual_factor(rules: SceneRules, rng: Random) -> float:
    reach = rules.size_log_reach
    change = np.clip(rng.normal(0, rules.size_log_sigma), -reach, reach)
    return float(np.exp(rules.size_log_mean + change))


def _wrong_factor(rng: Random) -> float:
    """Return a size much smaller or larger than the particle's, smaller more often."""
    low, high = (0.28, 0.6) if rng.random() < 0.6 else (1.65, 4.0)
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _strength(rules: SceneRules, rng: Random, *, clear: bool) -> float:
    """Return the detectability of the particles of a scene."""
    is_faint = not clear and rng.random() < rules.faint_fraction
    low, high = (rules.faintest, rules.faint) if is_faint else (rules.faint, rules.clearest)
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _junk(
    shape: tuple[int, int], rules: SceneRules, rng: Random, *, clean: bool
) -> tuple[FloatArray, Mask | None]:
    """Return an image of junk, and where film is, if there is any."""
    added = np.zeros(shape, dtype=np.float32)
    if clean:
        return added, None
    film = add_film(added, rng) if rng.random() < rules.film_fraction else None
    if rng.random() < rules.junk_fraction:
        add_junk(added, DIAMETER_PX, rng)
    if rng.random() < rules.mottle_fraction:
        add_strong_mottle(added, DIAMETER_PX, rng)
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
    return plane, centres, _blur(rules, rng, specimen.blur, diameter_px)


def _blur(rules: SceneRules, rng: Random, points_blur: float, diameter_px: float) -> float:
    """Return the blur in pixels: that of the points, less so that they show as grain, or more."""
    texture = rng.random()
    if texture < rules.grainy_fraction:
        return max(0.35, rng.uniform(0.4, 0.8) * points_blur * diameter_px)
    blur_px = max(0.5, points_blur * diameter_px)
    if texture < rules.grainy_fraction + rules.soft_fraction:
        soft = float(np.exp(rng.uniform(np.log(0.03), np.log(0.15))))
        blur_px = float(np.hypot(blur_px, soft * diameter_px))
    return blur_px


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
