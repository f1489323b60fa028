"""The limits of the quality figures, and the verdict on a micrograph."""

from dataclasses import dataclass
from typing import Literal, get_args

from livepick.core.imaging.quality import CtfFigures, Quality

__all__ = ["CTF_LIMITS", "LIMITS", "VERDICTS", "Limit", "QualityVerdict", "judge"]


QualityVerdict = Literal["good", "doubtful", "bad"]


VERDICTS: tuple[QualityVerdict, ...] = get_args(QualityVerdict)


@dataclass(frozen=True, slots=True)
class Limit:
    """The limits at which a figure makes a micrograph doubtful or bad."""

    figure: str
    """Name of the field of ``Quality`` or ``CtfFigures``."""

    doubtful: float
    bad: float
    """Limit for a bad micrograph. It is below ``doubtful`` if small values are bad."""

    meaning: str
    """Description of the problem, in words."""

    remedy: str
    """Advice if many micrographs have this problem, in whole sentences."""

    form: str = "{:.2f}"
    """Format string for the value."""

    unless: tuple[tuple[str, float], ...] = ()
    """Other fields of ``Quality`` that override this limit, each with the least value for which it
    does so. A micrograph that visibly has particles is not empty, however low its contrast."""

    @property
    def range(self) -> str:
        """The limits as text, with the figures that override them."""
        side = "from" if self.bad > self.doubtful else "up to"
        doubtful, bad = (self.form.format(value) for value in (self.doubtful, self.bad))
        text = f"doubtful {side} {doubtful}, bad {side} {bad}"
        others = " or ".join(f"{name} is at least {value:g}" for name, value in self.unless)
        return f"{text}, unless {others}" if others else text

    def verdict(self, value: float | None, others: object = None) -> QualityVerdict:
        """Return the verdict on a value; an unknown value is good.

        Parameters
        ----------
        value
            Value of the figure; None if unknown.
        others
            All figures of the micrograph, for ``unless``; None if they are not known.
        """
        if value is None:
            return "good"
        for name, from_value in self.unless:
            other: float | None = getattr(others, name, None)
            if other is not None and other >= from_value:
                return "good"
        sign = 1 if self.bad > self.doubtful else -1
        if sign * value >= sign * self.bad:
            return "bad"
        return "doubtful" if sign * value >= sign * self.doubtful else "good"

    def sentence(self, value: float, verdict: QualityVerdict) -> str:
        """Return a text that says why a value is not good."""
        limit = self.bad if verdict == "bad" else self.doubtful
        side = "from" if self.bad > self.doubtful else "up to"
        value_text, limit_text = self.form.format(value), self.form.format(limit)
        return f"{self.meaning} ({value_text}; {verdict} {side} {limit_text})"


LIMITS = (
    Limit(
        "contrast",
        1.3,
        1.15,
        "little more than noise, like an empty field",
        "Empty holes, or ice too thick to see through? Choose other holes or another square.",
        unless=(("skewness", 0.25),),
    ),
    Limit(
        "signal_fraction",
        0.08,
        0.02,
        "very weak Thon rings",
        "Empty holes, or no defocus? Check the beam, the focus and the choice of holes.",
        "{:.0%}",
        unless=(("skewness", 0.25), ("contrast", 1.75)),
    ),
    Limit(
        "occupied_fraction",
        0.02,
        0.005,
        "very few picks for the area",
        "Few particles in these holes, or a threshold or diameter that does not fit them?",
        "{:.1%}",
    ),
    Limit(
        "masked_fraction",
        0.3,
        0.7,
        "much of it is carbon, contamination or border",
        "Look at the mask below: do the exposures miss the centre of the holes?",
        "{:.0%}",
    ),
    Limit(
        "contamination_fraction",
        0.1,
        0.3,
        "contamination or thick carbon",
        "Choose another square. If it grows with time, check the vacuum and the cold trap.",
        "{:.0%}",
    ),
    Limit(
        "uneven_fraction",
        0.05,
        0.2,
        "patches that differ from the rest",
        "Cracks, edges of holes, or clumps of particles? Choose other holes.",
        "{:.0%}",
    ),
    Limit(
        "mottle",
        2.5,
        6.0,
        "mottled, like crystalline or uneven ice, or particles wider than the diameter",
        "Is particle.diameter_angstrom too small? If not, choose other holes or another square; if"
        " all are like this, try another grid.",
        "{:.1f}",
    ),
    Limit(
        "ice_ring",
        1.3,
        2.0,
        "a ring of crystalline ice",
        "Choose another square. If all are like this, try another grid.",
    ),
    Limit(
        "anisotropy",
        0.2,
        0.5,
        "Thon rings weaker along one axis, as with drift",
        "Let the stage settle longer before the exposure, and check the motion correction.",
    ),
    Limit(
        "ice_gradient_sigmas",
        6.0,
        15.0,
        "a strong intensity gradient, as with a wedge of ice",
        "Centre the beam, and aim at the centre of the holes.",
        "{:.1f}",
    ),
)
"""Limits of the quality figures, the most important for an operator first. Scores have no limit of
their own: their meaning differs between models, and ``core.evaluation.drift_test`` compares them
with the first scores of the same model.

Margins: mottle is 3.8 or more in three real micrographs of crystalline ice, and at most 1.5 in
clean ones if the diameter is right. Skewness is at most 0.21 in real empty holes and single frames,
and 0.4 or more in clean simulations whose contrast is below 1.75."""


CTF_LIMITS = (
    Limit(
        "ctf_resolution_angstrom",
        8.0,
        15.0,
        "CTF fit ends at low resolution",
        "Thick ice, drift, or wrong focus? Look at the CTF fits.",
        "{:.1f} Å",
    ),
    Limit(
        "astigmatism_angstrom",
        1000.0,
        5000.0,
        "strong astigmatism",
        "Correct the astigmatism of the objective lens.",
        "{:.0f} Å",
    ),
)
"""Limits of the CTF that another program has fitted. No data here has one, so the limits follow
common practice: Scipion's monitor warns at 1000 Å of astigmatism."""


def judge(quality: Quality, ctf: CtfFigures | None = None) -> tuple[QualityVerdict, str]:
    """Return the verdict of the worst figure, and the reasons in words.

    The bad figures come before the doubtful ones; a good micrograph has no reasons.
    """
    found: dict[QualityVerdict, list[str]] = {"bad": [], "doubtful": [], "good": []}
    for limits, figures in ((LIMITS, quality), (CTF_LIMITS, ctf)):
        for limit in limits:
            value: float | None = getattr(figures, limit.figure, None)
            verdict = limit.verdict(value, figures)
            if value is not None and verdict != "good":
                found[verdict].append(limit.sentence(value, verdict))
    worst: QualityVerdict = next((verdict for verdict, reasons in found.items() if reasons), "good")
    return worst, "; ".join(found["bad"] + found["doubtful"])
