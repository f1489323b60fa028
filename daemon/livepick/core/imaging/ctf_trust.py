"""Tests of a CTF fit: its doubts, and the resolution to which it holds.

Noise has a best defocus too, and so has any structure of the spectrum. Each test compares the fit
with other explanations of the same spectrum, so none depends on the detector, dose or specimen:

- the score is far above what independent random numbers give;
- other defoci, far from it, fit much worse;
- rings that are equally spaced in frequency fit worse. Those are what the outlines of particles and
  the filters of other programs leave; Thon rings get closer and closer;
- rings that begin with any other phase fit hardly better. With a phase plate they would;
- fits to two halves of the tiles, which share no noise, agree;
- the rings agree with the fit one by one, for three rings at least, and to 12 Å or finer.

The limits were chosen on simulations and noise other than those that ``tests/benchmarks/ctf.py``
reports on.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from livepick.core.imaging.ctf_search import (
    FIRST_ANGSTROM,
    LAST_ANGSTROM,
    Candidate,
    Rings,
    Search,
)
from livepick.core.imaging.ctf_spectrum import SECTORS

__all__ = ["doubt", "reach"]

Values = NDArray[np.float64]

LEAST_ANGSTROM, MOST_ANGSTROM = 2500.0, 60_000.0
"""Range of the defoci that are accepted."""

MOST_HALF_ASTIGMATISM_ANGSTROM = 1500.0
"""Largest half of the difference of both defoci; the search goes to 1300 Å."""

LEAST_SIGMAS = 8.0
"""Least score, in standard deviations of that of random numbers: at most 7.3 in noise."""

LEAST_OVER_FAR = 1.5
"""Least ratio of the score to that of the best defocus far away."""

LEAST_OVER_EVEN = 1.1
"""Least ratio of the score to that of the best equally spaced rings."""

LONGEST_EVEN_ANGSTROM = 900.0
EVEN_STEP_ANGSTROM = 4.0
"""Lengths to which equally spaced rings belong: a ring every ``1 / length``."""

MOST_PHASE_RADIANS = math.pi / 4
PHASE_REACH_ANGSTROM = 1500.0
PHASE_STEP_ANGSTROM = 75.0
"""Largest phase of the rings, and the defoci around the best one that are tried with it."""

MOST_APART_ANGSTROM = 200.0
MOST_APART_FRACTION = 0.01
"""Largest difference between both halves: the sum of a length and a fraction of the defocus."""

LEAST_RINGS = 3.0
COARSEST_ANGSTROM = 12.0
"""The fit must hold up to so many rings, and to this wavelength."""

LEAST_AGREEMENT = 0.5
"""Least correlation over neighbouring rings at which a fit holds, as in CTFFIND (Rohou & Grigorieff
2015)."""

WINDOW_RINGS = 1.5
LEAST_WINDOW = 16
"""Width over which it is taken: in Thon rings, and in rings of the spectrum."""


def doubt(
    search: Search, data: Values, best: Candidate, halves: list[Candidate], reached: float
) -> str:
    """Return why a fit cannot be trusted, in words; empty if it can.

    Parameters
    ----------
    search
        Search that found it.
    data
        Spectrum of the micrograph, from ``Rings.flat``.
    best
        The fit.
    halves
        Best fits of both halves of the tiles.
    reached
        Frequency to which the fit holds, from ``reach``.
    """
    return next(_doubts(search, data, best, halves, reached), "")


def _doubts(
    search: Search, data: Values, best: Candidate, halves: list[Candidate], reached: float
) -> Iterator[str]:
    """Yield the reasons of ``doubt``; the tests that take the most time come last."""
    half = best.half_astigmatism
    if best.defocus < LEAST_ANGSTROM or best.defocus + half > MOST_ANGSTROM:
        yield "no Thon rings between 0.25 and 6 µm of defocus"
    if best.defocus - half < FIRST_ANGSTROM or half > MOST_HALF_ASTIGMATISM_ANGSTROM:
        yield "no clear Thon rings: the best fit has impossible astigmatism"
    if best.score * math.sqrt(search.rings.numbers) < LEAST_SIGMAS:
        yield "no Thon rings above the noise"
    if best.score < LEAST_OVER_FAR * best.far_score:
        yield "no clear Thon rings: other defoci fit nearly as well"
    one, other = halves
    apart = math.hypot(one.defocus - other.defocus, one.a - other.a, one.b - other.b)
    if apart > MOST_APART_ANGSTROM + MOST_APART_FRACTION * best.defocus:
        yield "no clear Thon rings: two halves of the micrograph have different defoci"
    if reached < 1 / COARSEST_ANGSTROM:
        yield f"the fit does not hold to {COARSEST_ANGSTROM:g} Å"
    if (count := _count(search.rings, best, reached)) < LEAST_RINGS:
        yield f"only {count:.1f} Thon rings agree with the fit"
    if best.score < LEAST_OVER_EVEN * _even_score(search, data):
        yield "the rings are equally spaced, so they are not Thon rings"
    if abs(_phase(search, data, best)) > MOST_PHASE_RADIANS:
        yield "the rings do not begin as Thon rings do without a phase plate"


def reach(search: Search, data: Values, best: Candidate) -> float:
    """Return the frequency in 1/Å to which a fit holds, ring by ring; 0 if nowhere.

    Sectors are averaged along lines of equal phase, as in CTFFIND.
    """
    rings = search.rings
    even = rings.phase(best.defocus)
    place = np.searchsorted(np.maximum.accumulate(even), rings.phase(best.by_sector()).T)
    place = np.clip(place, 0, len(even) - 1).ravel()
    values = (data / rings.root_weight[:, None]).ravel()
    count = np.bincount(place, minlength=len(even))
    profile = np.bincount(place, weights=values, minlength=len(even)) / np.maximum(count, 1)
    model = -np.cos(2 * even) * search.envelope
    frequency = np.sqrt(rings.g2)
    reached = 0.0
    for middle, g in enumerate(frequency.tolist()):
        ring = 1 / (2 * rings.wavelength * best.defocus * g) / (frequency[1] - frequency[0])
        half = max(LEAST_WINDOW, WINDOW_RINGS * ring) / 2
        low, high = round(middle - half), round(middle + half)
        if low < 0 or high > len(frequency):
            continue
        if np.corrcoef(profile[low:high], model[low:high])[0, 1] >= LEAST_AGREEMENT:
            reached = g
        elif reached:
            break
    return reached


def _count(rings: Rings, best: Candidate, reached: float) -> float:
    """Return the number of Thon rings up to a frequency."""
    phase = rings.phase(best.defocus)
    place = np.searchsorted(np.sqrt(rings.g2), reached)
    return float(phase[min(int(place), len(phase) - 1)] - phase[0]) / math.pi


def _even_score(search: Search, data: Values) -> float:
    """Return the score of the best rings that are equally spaced in frequency."""
    rings = search.rings
    lengths = np.arange(5 * EVEN_STEP_ANGSTROM, LONGEST_EVEN_ANGSTROM, EVEN_STEP_ANGSTROM)
    turns = 2 * math.pi * np.multiply.outer(np.sqrt(rings.g2), lengths)
    weighted = search.weighted_envelope[:, None]
    cos, sin = (rings.without_background(wave(turns) * weighted) for wave in (np.cos, np.sin))
    sums = data.sum(axis=1)
    explained = _explained(
        np.stack([cos.T @ sums, sin.T @ sums]),
        SECTORS * np.stack([(cos**2).sum(axis=0), (sin**2).sum(axis=0)]),
        SECTORS * (cos * sin).sum(axis=0),
    )
    return math.sqrt(float(explained.max()) / float(np.vdot(data, data)))


def _phase(search: Search, data: Values, best: Candidate) -> float:
    """Return the phase of the rings at which the fit is best, -π to π; 0 is that of the CTF.

    The defocus is free as well, since it and the phase depend on each other.
    """
    found = (0.0, 0.0)
    reach_angstrom = np.arange(-PHASE_REACH_ANGSTROM, PHASE_REACH_ANGSTROM, PHASE_STEP_ANGSTROM)
    for offset in reach_angstrom.tolist():
        defocus = best.defocus + offset
        if defocus < FIRST_ANGSTROM or defocus > LAST_ANGSTROM:
            continue
        near = Candidate(defocus, best.a, best.b, 0.0)
        cos, sin = search.wave(near), search.wave(near, math.pi / 2)
        products = np.array([np.vdot(cos, data), np.vdot(sin, data)])
        squares = np.array([np.vdot(cos, cos), np.vdot(sin, sin)])
        both = float(np.vdot(cos, sin))
        explained = float(_explained(products, squares, np.array(both)))
        weights = np.linalg.solve(np.array([[squares[0], both], [both, squares[1]]]), products)
        found = max(found, (explained, math.atan2(weights[1], weights[0])))
    return found[1]


def _explained(products: Values, squares: Values, both: Values) -> Values:
    """Return the power of the data that a cosine and a sine explain together.

    Parameters
    ----------
    products
        Products of either with the data, first axis 2.
    squares
        Their squares, first axis 2.
    both
        Their product with each other.
    """
    a, b = products
    determinant = squares[0] * squares[1] - both**2
    power = (a**2 * squares[1] - 2 * a * b * both + b**2 * squares[0]) / np.maximum(
        determinant, np.finfo(float).tiny
    )
    # Two waves that the background leaves alike say nothing.
    return np.where(determinant > 1e-6 * squares[0] * squares[1], power, 0.0)
