"""Quality figures of a micrograph for display: name, unit and limits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from livepick.core.imaging.quality_limits import CTF_LIMITS, LIMITS, Limit, QualityVerdict
from livepick.ledger.rows import MicrographRow

__all__ = [
    "FIGURES",
    "PICKS_FIGURES",
    "Figure",
    "FigureText",
    "Reason",
    "figures_of",
    "main_reason",
    "reasons_of",
]

_Value = Callable[[MicrographRow], float | None]


@dataclass(frozen=True, slots=True)
class Figure:
    """One quality figure."""

    name: str
    value: _Value
    """Function that returns the figure of a micrograph; None if it is not known."""
    form: str
    """Format string for a value."""
    limit: Limit | None
    """Limit of the figure; None if no value makes a micrograph doubtful or bad."""

    def verdict(self, row: MicrographRow) -> QualityVerdict:
        """Return the verdict of this figure on a micrograph; an unknown value counts as good."""
        if self.limit is None:
            return "good"
        return self.limit.verdict(self.value(row), row.quality)

    @property
    def limits(self) -> str:
        """Limits beyond which a value is doubtful, and bad, as text; empty without a limit."""
        return "" if self.limit is None else self.limit.range


def _of_quality(name: str) -> _Value:
    return lambda row: getattr(row.quality, name, None)


def _of_ctf(name: str) -> _Value:
    return lambda row: getattr(row.ctf, name, None)


def _defocus_micrometres(row: MicrographRow) -> float | None:
    return None if row.ctf is None else row.ctf.defocus_angstrom / 10_000


_NAMES: Final = {
    "contrast": "contrast, (S + N) / N",
    "signal_fraction": "power above the noise",
    "occupied_fraction": "area under picks",
    "masked_fraction": "masked area",
    "contamination_fraction": "area under contamination",
    "uneven_fraction": "uneven patches",
    "mottle": "mottle",
    "ice_ring": "crystalline ice ring",
    "anisotropy": "anisotropy of Thon rings",
    "ice_gradient_sigmas": "ice gradient, in noise sigmas",
    "ctf_resolution_angstrom": "CTF fit resolution",
    "astigmatism_angstrom": "astigmatism",
}
"""Display names of the figures that have limits."""

PICKS_FIGURES: Final = ("picks", "median score of picks")
"""Names of the figures that describe only the picks."""

FIGURES: Final = (
    Figure(PICKS_FIGURES[0], lambda row: row.pick_count, "{:.0f}", None),
    Figure(PICKS_FIGURES[1], _of_quality("median_score"), "{:.2f}", None),
    *(
        Figure(_NAMES[limit.figure], _of_quality(limit.figure), limit.form, limit)
        for limit in LIMITS
    ),
    Figure("skewness", _of_quality("skewness"), "{:.2f}", None),
    Figure("area under carbon film", _of_quality("carbon_fraction"), "{:.0%}", None),
    Figure("dead border", _of_quality("border_fraction"), "{:.0%}", None),
    Figure("noise, in grey values", _of_quality("noise_sigma"), "{:.4g}", None),
    Figure("defocus", _defocus_micrometres, "{:.2f} µm", None),
    Figure("correlation of the CTF fit", lambda row: row.ctf_score, "{:.2f}", None),
    *(
        Figure(_NAMES[limit.figure], _of_ctf(limit.figure), limit.form, limit)
        for limit in CTF_LIMITS
    ),
)
"""All figures, in display order."""


@dataclass(frozen=True, slots=True)
class FigureText:
    """A figure of one micrograph, as text."""

    name: str
    value: str
    verdict: QualityVerdict
    limits: str


def figures_of(row: MicrographRow) -> tuple[FigureText, ...]:
    """Return the known figures of a micrograph."""
    return tuple(
        FigureText(figure.name, figure.form.format(value), figure.verdict(row), figure.limits)
        for figure in FIGURES
        if (value := figure.value(row)) is not None
    )


def reasons_of(row: MicrographRow) -> tuple[str, ...]:
    """Return the reasons why a micrograph is bad, or else doubtful; empty if it is good."""
    if row.quality_verdict in (None, "good"):
        return ()
    return tuple(
        figure.limit.meaning
        for figure in FIGURES
        if figure.limit is not None and figure.verdict(row) == row.quality_verdict
    )


@dataclass(frozen=True, slots=True)
class Reason:
    """Most frequent quality problem of a group of micrographs."""

    meaning: str
    """Description of the problem."""
    remedy: str
    """Advice, in full sentences."""
    count: int
    """Number of micrographs with this problem."""


def main_reason(rows: Sequence[MicrographRow]) -> Reason | None:
    """Return the most frequent reason why micrographs are not good.

    For a bad micrograph only the figures that make it bad count; for a doubtful one, all doubtful
    figures count. None if no figure gives a reason, for example after an update of livepick that
    changed a limit.
    """
    best: Reason | None = None
    for figure in FIGURES:
        if figure.limit is None:
            continue
        count = sum(
            figure.verdict(row) == row.quality_verdict
            for row in rows
            if row.quality_verdict != "good"
        )
        if count and (best is None or count > best.count):
            best = Reason(figure.limit.meaning, figure.limit.remedy, count)
    return best
