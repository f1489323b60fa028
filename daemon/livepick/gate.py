"""The gate: both models pick the held-out micrographs on the workers, and ``core.gate`` compares.

Which micrographs: those that the candidate's run or the champion's has held out. No run of a
session trains on what another has held out, or holds out what another has trained on
(``livepick.runs``), so that neither model has learned from any of them.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from livepick.config import Config
from livepick.core.gate import Comparison, Pair, Verdict, decide, measure
from livepick.core.held_out import HeldOutLabels, LabelledMicrograph
from livepick.core.picks import Picks
from livepick.models import Bundle
from livepick.trial import TRIAL_SECONDS, Submit, try_job
from livepick.worker import Job, Result

__all__ = ["Compute", "Gate", "Judgement"]

OWN = 0
"""Number of the labels of the candidate's run."""

Compute = Callable[..., Future[Any]]
"""Gives a function with its arguments to the workers: this process has no scipy."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, with the figures that it rests on."""

    candidate: int
    """Version."""
    champion: int
    """Version."""
    verdict: Verdict
    comparison: Comparison | None


class Gate:
    """Judges bundles.

    Parameters
    ----------
    config
        Of the session.
    submit, compute
        Give jobs to the workers.
    """

    def __init__(self, config: Config, submit: Submit, compute: Compute) -> None:
        self._config = config
        self._submit = submit
        self._compute = compute

    def judge(self, candidate: Bundle, champion: Bundle, *, asked: bool) -> Judgement:
        """Compare a bundle with the one that picks; takes as long as picking twice.

        Raises
        ------
        ModelError
            One of the models does not run.
        EngineError
            Workers cannot be started.
        """
        pairs: list[Pair] = []
        picked: dict[Path, tuple[Result, Result] | None] = {}
        for number, labels in enumerate(_labels(candidate, champion)):
            if labels is None:
                continue
            for micrograph in labels.micrographs:
                path = micrograph.path
                if path not in picked:
                    picked[path] = self._picks(path, candidate, champion)
                both = picked[path]
                if both is not None:
                    pairs.append(_pair(number, labels, micrograph, *both))
        comparison: Comparison | None = None
        if any(len(pair.particles) for pair in pairs):
            comparison = self._compute(measure, pairs, own_labels=OWN).result(TRIAL_SECONDS)
        verdict = decide(comparison, mode=self._config.retrain.gate, asked=asked)
        return Judgement(candidate.card.version, champion.card.version, verdict, comparison)

    def _picks(
        self, path: Path, candidate: Bundle, champion: Bundle
    ) -> tuple[Result, Result] | None:
        """Return what both pick in a micrograph; None if that has gone bad."""
        results = []
        for bundle in (candidate, champion):
            job = Job(
                path=path,
                version=None,
                bundle=bundle.path,
                device=self._config.picking.device,
                pixel_size_angstrom=self._config.micrograph.pixel_size_angstrom,
            )
            result = try_job(f"model {bundle.card.version}", job, self._submit)
            if result is None:
                return None
            results.append(result)
        return results[0], results[1]


def _labels(candidate: Bundle, champion: Bundle) -> list[HeldOutLabels | None]:
    """Return the labels to judge by: the candidate's, and the champion's if they count."""
    theirs, others = HeldOutLabels.read(candidate.path), HeldOutLabels.read(champion.path)
    if theirs is not None and theirs.by == "person":
        return [theirs]  # the newest word of a person
    if others is not None and others.by == "person":
        return [None, others]
    return [theirs, others]


def _pair(
    number: int,
    labels: HeldOutLabels,
    micrograph: LabelledMicrograph,
    candidate: Result,
    champion: Result,
) -> Pair:
    return Pair(
        micrograph=str(micrograph.path),
        labels=number,
        particles=_positions(micrograph.particles),
        doubtful=_positions(micrograph.doubtful),
        radius_px=labels.radius_angstrom / micrograph.pixel_size_angstrom,
        candidate=candidate.picks,
        champion=champion.picks,
        champion_threshold=champion.threshold,
    )


def _positions(positions: list[tuple[float, float]]) -> Picks:
    xy = np.array(positions, dtype=np.float32).reshape(-1, 2)
    return Picks(xy[:, 0].copy(), xy[:, 1].copy(), np.ones(len(xy), dtype=np.float32))
