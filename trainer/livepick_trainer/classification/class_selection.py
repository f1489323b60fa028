"""Automatic selection of the 2D classes that show particles.

Each class has to pass two tests. **Is it one whole particle?** Eight marks, each from 0 (certainly
not) to 1 (no objection), rate the average: enough particles that clearly belong to it, halves that
agree, a bright core or wall, centred, no more signal around it than in it, about as long as the
session's own good classes and not much stronger. One fault is enough, so the lowest mark counts: a
sharp average of the carbon's edge is still not a particle.

**Is it more than noise?** The answer is a probability, computed from three figures:

- the *decoys*: what the same picker finds in the negatives (the inverted images) of the same
  micrographs, sorted into the same classes. A negative holds no particles, and inverted noise is
  statistically the same as noise. A class that attracts few decoys is not made of noise, whatever
  its size;
- its strength, as a fraction of that of the good classes;
- how much brighter it is than its surroundings.

The probability is a logistic function of these. Its four coefficients were fitted to the share of
true particles in 190 classes of eight sets of micrographs with known positions (two real, six
simulated). Fitted to seven sets and applied to the eighth, it keeps .84 to 1.0 of the sorted
particles at a purity of .80 to .98. Fixed limits for each figure, based on the configured diameter,
kept .66 to 1.0 at .81 to .98. The score is the lower of the two results, and the threshold is 0.5.
The reason for a verdict is therefore a single sentence. No configured number limits the size of a
class.

Without decoys, the second test compares classes only with each other. If nearly all candidates are
noise, classes of noise are then the usual ones: at 3 % particles, 45 to 79 % of the candidates were
in accepted classes. ``must_be_clear`` therefore adds a test that is independent of the other
classes (``half_agreement``): the usual strength is at least that of the faintest whole class that
is clearer than noise, and if the halves of all accepted classes together agree no better than those
of noise, only classes that are clearer by themselves are accepted. Classes of particles with a weak
signal do not pass it. For the seeds of a training, such particles are wanted, and most of its picks
are particles, so it is not applied there.

The figures are measured in ``class_measurement``. The limits, the marks and the verdict are in this
one file, because a limit makes sense only beside the mark that uses it.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from livepick_trainer.classification.class_measurement import ClassFigures, measure_classes
from livepick_trainer.classification.half_agreement import is_beyond_noise

__all__ = ["ClassDecision", "Selection", "SelectionRules", "judge_classes", "select_classes"]

Stack = NDArray[np.float32]
Vector = NDArray[np.float64]
Limits = tuple[float, float]
"""Value at which a mark is 0, and value at which it is 1."""

MOST_STRENGTH = 2.5
"""Upper limit of the strength, as a multiple of the median particle's, when the usual strength is
computed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectionRules:
    """Limits of the marks (linear in between), and coefficients of the more-than-noise test."""

    threshold: float = 0.5

    particles: Limits = (5, 15)
    resolution_diameters: Limits = (0.67, 0.33)
    """Resolution divided by the diameter."""
    core_contrast: Limits = (-0.1, 0.3)
    """Brightness of the core over the surroundings, divided by the strength of all structure.
    It is negative where picks lie *between* particles, and 0.15 or more for hollow shells."""
    wall_contrast: Limits = (0.2, 0.8)
    """The same for the darkest eighth of the wall. A thin shell has an empty core, but its wall
    is bright all around, unlike neighbours around an empty place. The better of the two marks
    counts."""
    centring_diameters: Limits = (0.3, 0.1)
    neighbours: Limits = (1.0, 0.4)
    """Signal around the particle, as a fraction of the signal inside."""

    certainty: Limits = (1.0, 2.0)
    """Certainty of its particles. At 1, they could as well be in any other class."""
    strong: Limits = (4.0, 2.0)
    """Strength divided by the usual one. Views of one particle differ by a factor of up to 2.5,
    such as the side and top views of GroEL."""
    length: Limits = (0.0, 0.9)
    """Length divided by the usual one. End views and fragments are about half as long."""

    log_odds: float = 0.44
    """Log odds of a class that has the usual strength, as many decoys as candidates, and the
    brightness of its surroundings."""
    of_decoys: float = -0.47
    """Change for each e-fold of decoys over candidates, within ``decoy_ratios``."""
    of_strength: float = 2.4
    """Change for each e-fold of the strength over the usual one, within ``strengths``."""
    of_disc_contrast: float = 2.5
    """Change for each unit of the disc's contrast, within ``disc_contrasts``."""

    decoy_ratios: Limits = (0.05, 5.0)
    strengths: Limits = (0.2, 1.2)
    """Strength above the upper limit does not count as further evidence."""
    disc_contrasts: Limits = (-0.5, 0.5)
    few_decoys: float = 0.5
    """Classes with fewer decoys per candidate than this define the usual strength and length."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassDecision:
    """Verdict on one class."""

    accepted: bool
    score: float
    """Lowest mark of the class, in [0, 1]."""
    reason: str
    """Reason in words, with the deciding figure."""
    overruled: bool = False
    """True if a person decided on this class."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Selection:
    """Verdicts on all classes, and the resulting selection of particles."""

    figures: tuple[ClassFigures, ...]
    verdicts: tuple[ClassDecision, ...]
    believed: NDArray[np.bool_]
    """(N,): True for each particle in an accepted class."""


def select_classes(
    averages: Stack,
    halves: Stack,
    half_sizes: NDArray[np.int64],
    label: NDArray[np.int64],
    probability: NDArray[np.float32],
    *,
    classes: int,
    pixel_size_angstrom: float,
    diameter_angstrom: float,
    decoys: Vector | None = None,
    must_be_clear: bool = False,
    rules: SelectionRules | None = None,
    accept: Collection[int] = (),
    reject: Collection[int] = (),
) -> Selection:
    """Judge each class, and select the particles in accepted ones.

    Parameters
    ----------
    averages
        (K, box, box): class averages, particles bright.
    halves
        (2, K, box, box): averages of two halves of each class's particles.
    half_sizes
        (2, K): number of particles in each half.
    label
        (N,): each particle's class.
    probability
        (N,): probability that the particle is in that class.
    classes
        Number of classes to choose from; some may have stayed empty, so K is at most this.
    pixel_size_angstrom
        Pixel size of the averages.
    diameter_angstrom
        Particle diameter.
    decoys
        (K,): number of places in each class that the picker found in the micrographs' negatives;
        None if the negatives were not searched.
    must_be_clear
        True to reject classes whose averages cannot be told from averages of noise.
    rules
        Limits and coefficients. None: the defaults.
    accept, reject
        Numbers of the classes that a person has accepted or rejected.

    Raises
    ------
    ValueError
        A class is both accepted and rejected, or does not exist.
    """
    for number in {*accept, *reject}:
        if not 0 <= number < len(averages) or (number in accept and number in reject):
            raise ValueError(f"class {number} is not one of {len(averages)}, or decided both ways")
    figures = measure_classes(
        averages,
        halves,
        half_sizes,
        _certainty(label, probability, len(averages)) * classes,
        pixel_size_angstrom=pixel_size_angstrom,
        diameter_angstrom=diameter_angstrom,
    )
    if decoys is not None:
        ratio = (decoys + 1) / (np.bincount(label, minlength=len(averages)) + 1)
        figures = tuple(
            replace(of_class, decoys=float(r)) for of_class, r in zip(figures, ratio, strict=True)
        )
    verdicts = tuple(
        _overruled(verdict, accepted=number in accept, rejected=number in reject)
        for number, verdict in enumerate(
            judge_classes(
                figures,
                diameter_angstrom=diameter_angstrom,
                must_be_clear=must_be_clear,
                rules=rules,
            )
        )
    )
    accepted = np.array([verdict.accepted for verdict in verdicts], dtype=bool)
    return Selection(figures=figures, verdicts=verdicts, believed=accepted[label])


def judge_classes(
    figures: Collection[ClassFigures],
    *,
    diameter_angstrom: float,
    must_be_clear: bool = False,
    rules: SelectionRules | None = None,
) -> tuple[ClassDecision, ...]:
    """Return the score and verdict of each class, as the module docstring describes.

    The usual strength and length are taken from the classes that are whole particles and have few
    decoys.
    """
    rules = rules or SelectionRules()
    marks = [_marks(f, diameter_angstrom, rules) for f in figures]
    whole = [min(mark for mark, _ in m) >= rules.threshold for m in marks]
    good = [f for f, w in zip(figures, whole, strict=True) if w]
    sure = [f for f in good if f.decoys is None or f.decoys < rules.few_decoys] or good
    strength = _usual_strength(sure)
    if must_be_clear:
        strength = max([strength, *(f.strength for f in _faintest_clear(sure))])
    length = _weighted_median([f.length_diameters for f in sure], [f.particles for f in sure])
    verdicts = []
    for f, of_class in zip(figures, marks, strict=True):
        longer = f.length_diameters / length if length else 1.0
        stronger = f.strength / strength if strength else 1.0
        score, fault = min(
            *of_class,
            _more_than_noise(f, stronger, rules),
            (_mark(longer, rules.length), f"small: {longer:.2f} of the usual length"),
            (_mark(stronger, rules.strong), f"too strong: {stronger:.2f} of the usual strength"),
            key=lambda mark: mark[0],
        )
        accepted = score >= rules.threshold
        reason = f"{f.resolution_angstrom:.0f} Å" if accepted else fault
        verdicts.append(ClassDecision(accepted=accepted, score=score, reason=reason))
    return _without_noise(figures, verdicts) if must_be_clear else tuple(verdicts)


def _faintest_clear(figures: Collection[ClassFigures]) -> list[ClassFigures]:
    """Return the faintest of the classes that are clearer than noise; nothing if there is none."""
    clear = [f for f in figures if is_beyond_noise([f.agreement_sigmas])]
    return [min(clear, key=lambda f: f.strength)] if clear else []


def _without_noise(
    figures: Collection[ClassFigures], verdicts: Collection[ClassDecision]
) -> tuple[ClassDecision, ...]:
    """Return the verdicts; accepted classes that are like noise together need to be clear alone."""
    pairs = list(zip(figures, verdicts, strict=True))
    if is_beyond_noise([f.agreement_sigmas for f, v in pairs if v.accepted]):
        return tuple(verdicts)
    return tuple(
        v
        if not v.accepted or is_beyond_noise([f.agreement_sigmas])
        else replace(
            v,
            accepted=False,
            score=0.0,
            reason="cannot be told from noise: its halves agree as little",
        )
        for f, v in pairs
    )


def _certainty(label: NDArray[np.int64], probability: NDArray[np.float32], count: int) -> Vector:
    """Return the mean probability of each class's particles."""
    total = np.bincount(label, weights=probability, minlength=count)
    mean = total / np.maximum(np.bincount(label, minlength=count), 1)
    return np.asarray(mean, dtype=np.float64)


def _mark(value: float, limits: Limits) -> float:
    bad, good = limits
    return float(np.clip((value - bad) / (good - bad), 0, 1))


def _marks(
    figures: ClassFigures, diameter_angstrom: float, rules: SelectionRules
) -> list[tuple[float, str]]:
    """Return the marks that depend on this class alone, each with the fault it stands for."""
    f = figures
    return [
        (_mark(f.particles, rules.particles), f"only {f.particles} particles"),
        (
            _mark(f.certainty, rules.certainty),
            f"assigned by chance: only {f.certainty:.1f} times as likely as in any other class",
        ),
        (
            _mark(f.resolution_angstrom / diameter_angstrom, rules.resolution_diameters),
            f"half averages agree only to {f.resolution_angstrom:.0f} Å",
        ),
        (
            max(
                _mark(f.core_contrast, rules.core_contrast),
                _mark(f.wall_contrast, rules.wall_contrast),
            ),
            f"core is not bright: contrast {f.core_contrast:.2f}",
        ),
        (
            _mark(f.off_centre_diameters, rules.centring_diameters),
            f"off centre by {f.off_centre_diameters:.2f} diameters",
        ),
        (
            _mark(f.neighbours, rules.neighbours),
            f"signal around the particle: {f.neighbours:.2f} of that inside",
        ),
    ]


def _more_than_noise(
    figures: ClassFigures, stronger: float, rules: SelectionRules
) -> tuple[float, str]:
    """Return the probability that a class is more than noise, and the main reason against it.

    ``stronger`` is its strength divided by the usual one.
    """
    f = figures
    decoys = 1.0 if f.decoys is None else f.decoys
    terms = [
        (
            rules.of_decoys * math.log(float(np.clip(decoys, *rules.decoy_ratios))),
            f"like noise: {decoys:.1f} decoys per candidate",
        ),
        (
            rules.of_strength * math.log(float(np.clip(stronger, *rules.strengths))),
            f"faint: {stronger:.2f} of the usual strength",
        ),
        (
            rules.of_disc_contrast * float(np.clip(f.disc_contrast, *rules.disc_contrasts)),
            f"no brighter than its surroundings: contrast {f.disc_contrast:.2f}",
        ),
    ]
    log_odds = rules.log_odds + sum(term for term, _ in terms)
    return 1 / (1 + math.exp(-log_odds)), min(terms)[1]


def _usual_strength(figures: Collection[ClassFigures]) -> float:
    """Return the strength above and below which half of all signal lies.

    The median is weighted by *signal*, not by particles. Where most candidates are noise, most
    classes are noise, and compared with their median the particles would be too strong. Anything
    much stronger than most particles is ice or gold, and counts only up to the limit.
    """
    strength = [f.strength for f in figures]
    size = [f.particles for f in figures]
    most = MOST_STRENGTH * _weighted_median(strength, size)
    signal = [n * min(s, most) ** 2 for s, n in zip(strength, size, strict=True)]
    return _weighted_median(strength, signal)


def _weighted_median(values: Collection[float], weights: Collection[float]) -> float:
    """Return the value at which half of the total weight is reached; 0 if there are no values."""
    if not values:
        return 0.0
    ordered = np.argsort(list(values), kind="stable")
    total = np.cumsum(np.array(list(weights), dtype=np.float64)[ordered])
    return float(np.array(list(values))[ordered][np.searchsorted(total, total[-1] / 2)])


def _overruled(verdict: ClassDecision, *, accepted: bool, rejected: bool) -> ClassDecision:
    if not accepted and not rejected:
        return verdict
    return ClassDecision(
        accepted=accepted, score=verdict.score, reason="decided by a person", overruled=True
    )
