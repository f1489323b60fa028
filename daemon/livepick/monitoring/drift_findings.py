"""The changes of a drift test as findings for the operator."""

from collections.abc import Callable
from typing import Final

from livepick.core.contracts.finding import Finding
from livepick.core.evaluation.drift_test import REFERENCE, WINDOW, Change, Drift, DriftKind

__all__ = ["findings_of"]

_LAST: Final = f"the last {WINDOW} micrographs"


def findings_of(drift: Drift) -> tuple[Finding[DriftKind], ...]:
    """Return the findings of a comparison, the largest change first."""
    first = f"the first {REFERENCE} of model {drift.model_version}"
    return tuple(
        Finding(
            kind=change.kind,
            evidence=_EVIDENCE[change.kind](change, first),
            remedy=_REMEDIES[change.kind],
        )
        for change in drift.changes
    )


def _picks(change: Change, first: str) -> str:
    medians = f"(median {change.now:.0f}, was {change.before:.0f})"
    if change.before < 1:
        return f"{_LAST} have picks, and {first} had almost none {medians}"
    return f"{_LAST} have {change.now / change.before:.0%} of the picks of {first} {medians}"


def _masked(change: Change, first: str) -> str:
    return f"{change.now:.0%} of {_LAST} is masked, compared with {change.before:.0%} of {first}"


def _scores(change: Change, first: str) -> str:
    return (
        f"the median score of {_LAST} is {change.now:.2f}, compared with {change.before:.2f} in"
        f" {first}"
    )


def _distribution(change: Change, first: str) -> str:
    return (
        f"the scores of {_LAST} are distributed differently from those of {first} (stability"
        f" index {change.now:.2f}; {change.before:.2f} is expected by chance)"
    )


_EVIDENCE: Final[dict[DriftKind, Callable[[Change, str], str]]] = {
    "fewer_picks": _picks,
    "more_picks": _picks,
    "more_masked": _masked,
    "lower_scores": _scores,
    "other_scores": _distribution,
}

_REMEDIES: Final[dict[DriftKind, str]] = {
    "fewer_picks": "thin ice, an empty grid square or a different specimen?",
    "more_picks": "more particles, crowding, contamination or a different specimen?",
    "more_masked": "carbon film, ice, contamination, or a beam outside the holes?",
    "lower_scores": "the model is less certain: different ice, defocus or specimen?",
    "other_scores": "the model picks something else: different ice, defocus or specimen?",
}
"""Possible causes of each change."""
