"""Search for the defocus and astigmatism that fit the spectrum of a micrograph best.

The log spectrum by ring and sector is compared with ``-cos 2χ``, the oscillating part of the
squared CTF (Rohou & Grigorieff 2015, *J. Struct. Biol.* 192, 216), under an envelope. A smooth
background, low-order polynomials of the frequency, is projected out of both, so that it cannot be
mistaken for a ring, and the score is their weighted correlation.

All defoci are tried in each sector by one matrix product. A sum over sectors, each at its own
defocus, is a fit with astigmatism.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from livepick.core.imaging.ctf import Ctf, wavelength_angstrom
from livepick.core.imaging.ctf_spectrum import SECTOR_ANGLES, SECTORS, PolarSpectrum

__all__ = ["FIRST_ANGSTROM", "LAST_ANGSTROM", "Candidate", "Rings", "Search", "best_search"]

Values = NDArray[np.float64]

FIRST_ANGSTROM, LAST_ANGSTROM = 1500.0, 65_000.0
"""Defoci that are tried: wider than those that are accepted, because structure that is not of Thon
rings often fits best at the end of the range."""

STEP_ANGSTROM = 50.0
"""Step between them: a quarter of a radian of phase at 3.5 Å."""

HALF_ASTIGMATISMS_ANGSTROM = (0.0, 200.0, 400.0, 600.0, 800.0, 1000.0, 1300.0)
"""Half the differences of both defoci that are tried, each in directions 300 Å apart."""

DIRECTION_STEP_ANGSTROM = 300.0

COARSEST_ANGSTROM = 25.0
"""Coarsest wavelength that is used; particles and gradients dominate the spectrum beyond it."""

BACKGROUND_TERMS = 9
"""Number of polynomials of the background."""

ENVELOPES_ANGSTROM2 = (0.0, 20.0, 60.0, 150.0)
"""Decays ``b`` that are tried: the rings fade as ``exp(-b g²)``."""

FAR_ANGSTROM = 2000.0
"""Defoci that differ by more have rings that are out of step."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Defocus and astigmatism: the defocus in direction θ is ``defocus + a cos 2θ + b sin 2θ``."""

    defocus: float
    a: float
    b: float
    score: float
    """Correlation with the spectrum, -1 to 1."""
    far_score: float = 0.0
    """Best score of a defocus that is far from it."""

    @property
    def half_astigmatism(self) -> float:
        """Half the difference of both defoci."""
        return math.hypot(self.a, self.b)

    def by_sector(self) -> Values:
        """Return the defocus in each sector."""
        angle = 2 * SECTOR_ANGLES
        return np.asarray(self.defocus + self.a * np.cos(angle) + self.b * np.sin(angle))


@dataclass(frozen=True, slots=True, eq=False)
class Rings:
    """The rings of the spectrum that are used, and the background over them."""

    used: NDArray[np.bool_]
    """True for each ring of the spectrum that is used."""
    g2: Values
    """Squared frequencies, in 1/Å²."""
    root_weight: Values
    """Square root of the weight, which is the number of frequencies in a ring."""
    background: Values
    """Orthonormal polynomials ``[ring, term]``, times the root of the weight."""
    wavelength: float
    cs_angstrom: float
    constant: float
    """Phase of the amplitude contrast."""

    @classmethod
    def of(cls, spectrum: PolarSpectrum, microscope: Ctf) -> "Rings":
        """Return the rings of a spectrum; of ``microscope``, the defocus does not count."""
        used = spectrum.frequency > 1 / COARSEST_ANGSTROM
        frequency, count = spectrum.frequency[used], spectrum.count[used]
        root_weight = np.sqrt(count / count.mean())
        place = np.interp(frequency, (frequency[0], frequency[-1]), (-1, 1))
        terms = np.polynomial.chebyshev.chebvander(place, BACKGROUND_TERMS - 1)
        background, _ = np.linalg.qr(terms * root_weight[:, None])
        return cls(
            used,
            frequency**2,
            root_weight,
            background,
            wavelength_angstrom(microscope.voltage_kv),
            microscope.spherical_aberration_mm * 1e7,
            math.asin(microscope.amplitude_contrast),
        )

    @property
    def numbers(self) -> int:
        """Number of values with independent noise."""
        return (len(self.g2) - BACKGROUND_TERMS) * SECTORS

    def phase(self, defocus: float | Values) -> Values:
        """Return χ with the phase of the amplitude contrast, ``[defocus, ring]``."""
        aberration = 0.5 * self.wavelength**2 * self.cs_angstrom * self.g2**2
        chi = math.pi * self.wavelength * (np.multiply.outer(defocus, self.g2) - aberration)
        return np.asarray(chi + self.constant)

    def flat(self, power: Values) -> Values:
        """Return log power ``[ring, sector]`` without background, times the root of the weight."""
        values = np.log(np.maximum(power[self.used], np.finfo(float).tiny))
        return self.without_background(values * self.root_weight[:, None])

    def without_background(self, values: Values) -> Values:
        """Project the background out of values ``[ring, ...]`` that have the weight."""
        return np.asarray(values - self.background @ (self.background.T @ values))


class Search:
    """The models of all defoci under one envelope.

    Parameters
    ----------
    rings
        Rings of the spectrum.
    decay
        Decay of the envelope, in Å².
    """

    def __init__(self, rings: Rings, decay: float) -> None:
        self.rings = rings
        self.envelope: Values = np.exp(-decay * rings.g2)
        self._defoci = np.arange(FIRST_ANGSTROM, LAST_ANGSTROM, STEP_ANGSTROM)
        models = -np.cos(2 * rings.phase(self._defoci)) * (self.envelope * rings.root_weight)
        self._models = rings.without_background(models.T).T
        self._norms = np.einsum("ij,ij->i", self._models, self._models)

    def best(self, data: Values) -> Candidate:
        """Return the best defocus and astigmatism of those that are tried."""
        products = self._models @ data
        total = float(np.vdot(data, data))
        curves = []
        for half in HALF_ASTIGMATISMS_ANGSTROM:
            around = 2 * math.pi * half / DIRECTION_STEP_ANGSTROM
            number = max(6, round(around)) if half else 1
            for turn in (2 * math.pi * np.arange(number) / number).tolist():
                ab = (half * math.cos(turn), half * math.sin(turn))
                curves.append((ab, self._curve(products, total, Candidate(0.0, *ab, 0.0))))
        (a, b), (first, scores) = max(curves, key=lambda curve: float(curve[1][1].max()))
        place = int(scores.argmax())
        defocus = float(self._defoci[first + place])
        far_score = 0.0
        for _, (begin, others) in curves:
            defoci = self._defoci[begin : begin + len(others)]
            is_far = np.abs(defoci - defocus) > FAR_ANGSTROM
            far_score = max(far_score, float(others[is_far].max(initial=0.0)))
        return Candidate(defocus, a, b, float(scores[place]), far_score)

    def _curve(self, products: Values, total: float, astigmatism: Candidate) -> tuple[int, Values]:
        """Return the scores of successive mean defoci, and the place of the first one."""
        shifts = np.rint(astigmatism.by_sector() / STEP_ANGSTROM).astype(int)
        first = max(0, -int(shifts.min()))
        last = len(self._defoci) - max(0, int(shifts.max()))
        sums, norms = np.zeros(last - first), np.zeros(last - first)
        for sector, shift in enumerate(shifts.tolist()):
            sums += products[first + shift : last + shift, sector]
            norms += self._norms[first + shift : last + shift]
        return first, sums / np.sqrt(np.maximum(norms * total, np.finfo(float).tiny))

    def refined(self, data: Values, start: Candidate) -> Candidate:
        """Return the nearest maximum of the score, by Nelder and Mead's method."""
        total = float(np.vdot(data, data))

        def loss(place: NDArray[Any]) -> float:
            defocus, a, b = place.tolist()
            model = self.wave(Candidate(defocus, a, b, 0.0))
            norm = float(np.vdot(model, model)) * total
            return -float(np.vdot(model, data)) / math.sqrt(norm) if norm > 0 else 0.0

        place = [start.defocus, start.a, start.b]
        simplex = np.array(place) + np.array([[0, 0, 0], [50, 0, 0], [0, 100, 0], [0, 0, 100]])
        found = optimize.minimize(
            loss,
            place,
            method="Nelder-Mead",
            options={"initial_simplex": simplex, "xatol": 1.0, "fatol": 1e-6, "maxfev": 250},
        )
        defocus, a, b = found.x.tolist()
        return dataclasses.replace(start, defocus=defocus, a=a, b=b, score=-float(found.fun))

    def wave(self, candidate: Candidate, phase: float = 0.0) -> Values:
        """Return ``-cos(2χ - phase)`` without background, ``[ring, sector]``."""
        chi = 2 * self.rings.phase(candidate.by_sector()).T - phase
        return self.rings.without_background(-np.cos(chi) * self.weighted_envelope[:, None])

    @property
    def weighted_envelope(self) -> Values:
        """The envelope, times the root of the weight."""
        return np.asarray(self.envelope * self.rings.root_weight)


def best_search(rings: Rings, data: Values) -> tuple[Search, Candidate]:
    """Return the search with the envelope under which the fit is best, and its result."""
    searches = [Search(rings, decay) for decay in ENVELOPES_ANGSTROM2]
    return max(((search, search.best(data)) for search in searches), key=lambda pair: pair[1].score)
