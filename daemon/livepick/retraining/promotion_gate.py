"""The promotion gate: both models pick the held-out micrographs and are compared.

The workers do the picking, and ``core.evaluation.model_comparison`` does the comparison.

The micrographs are those held out by the candidate's run or by the current model's. No run of a
session trains on micrographs that another run has held out, or holds out micrographs that another
has trained on (``livepick.retraining.run_store``), so neither model has learned from any of them.
"""

import dataclasses
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

from livepick.config.schema import Config
from livepick.core.contracts.before_and_after import BeforeAndAfter, PickedByBoth
from livepick.core.contracts.held_out_labels import HeldOutLabels, LabelledMicrograph
from livepick.core.contracts.job import Job, Result
from livepick.core.contracts.judgement import Judgement
from livepick.core.evaluation.model_comparison import (
    Comparison,
    Decision,
    Pair,
    decide,
    measure,
)
from livepick.core.imaging.pick_area import PickArea
from livepick.core.imaging.picks import Picks
from livepick.errors import FolderAwayError, MicrographError, ModelError, StalledError
from livepick.host.filesystem import away
from livepick.models.bundle_on_disk import Bundle
from livepick.retraining.curated_picks import shortened_list
from livepick.retraining.trial_picking import Submit, result_of, try_job

__all__ = ["Compute", "PromotionGate"]

OWN_LABELS = 0
"""Index of the labels from the candidate's run."""

Compute = Callable[..., Future[Any]]
"""Submits a function and its arguments to the workers, because this process has no scipy."""


class _CurrentModelError(Exception):
    """The current model does not run: any model that runs is better."""


class PromotionGate:
    """Compares new models with the current one, and decides on their promotion.

    Parameters
    ----------
    config
        Config of the session.
    submit, compute
        Functions that submit jobs to the workers.
    """

    def __init__(self, config: Config, submit: Submit, compute: Compute) -> None:
        self._config = config
        self._submit = submit
        self._compute = compute
        self._left_out: dict[Path, MicrographError] = {}
        self._has_stalled = False
        self.before_and_after: BeforeAndAfter | None = None
        """Picks of both models at the last comparison; None if there was none."""

    def judge(
        self, candidate: Bundle, current: Bundle, *, requested: bool, recent_only: bool = False
    ) -> Judgement:
        """Compare a bundle with the current one; takes as long as picking the micrographs twice.

        Parameters
        ----------
        candidate, current
            The bundle to judge, and the bundle in use.
        requested
            True if a person asked for the training.
        recent_only
            True to use only micrographs of the candidate's run, because those that the current
            model was judged by no longer resemble what the microscope delivers.

        Raises
        ------
        ModelError
            One of the models does not run.
        EngineError
            Workers cannot be started.
        FolderAwayError
            Held-out micrographs cannot be read, because their folder is not there now, or does not
            answer.
        """
        self._left_out = {}
        self._has_stalled = False
        self.before_and_after = None
        try:
            pairs = self._pairs(candidate, current, recent_only=recent_only)
        except _CurrentModelError as error:
            fault = f"the current model does not run: {error}"
            decision = Decision(promote=True, outcome="not compared", sentence=fault)
            return Judgement(candidate.card.version, current.card.version, decision, None)
        comparison: Comparison | None = None
        if any(len(pair.particles) for pair in pairs):
            comparison = result_of(
                "the comparison", lambda: self._compute(measure, pairs, own_labels=OWN_LABELS)
            )
        decision = decide(
            comparison,
            mode=self._config.retrain.gate,
            requested=requested,
            provisional=current.card.is_provisional,
        )
        decision = dataclasses.replace(decision, sentence=decision.sentence + self._without())
        return Judgement(candidate.card.version, current.card.version, decision, comparison)

    def _without(self) -> str:
        """Return the end of the sentence: the micrographs that were left out."""
        if not self._left_out:
            return ""
        names = sorted(path.name for path in self._left_out)
        return (
            f"; {len(names)} held-out micrograph{'s' if len(names) > 1 else ''} left out, because"
            f" they can no longer be used: {shortened_list(names)}"
        )

    def _pairs(self, candidate: Bundle, current: Bundle, *, recent_only: bool) -> list[Pair]:
        """Return the picks of both models in each held-out micrograph that is still readable."""
        pairs: list[Pair] = []
        picked: dict[Path, tuple[Result, Result] | None] = {}
        shown: list[PickedByBoth] = []
        for number, labels in enumerate(_labels(candidate, current, recent_only=recent_only)):
            if labels is None:
                continue
            for micrograph in labels.micrographs:
                path = micrograph.path
                if not any(path.is_relative_to(root) for root in self._config.watch.directories):
                    continue  # a bundle from elsewhere was judged by other micrographs
                if path not in picked:
                    picked[path] = self._picks(micrograph, candidate, current)
                    if (first := picked[path]) is not None:
                        radius_px = labels.radius_angstrom / micrograph.pixel_size_angstrom
                        shown.append(PickedByBoth(path, micrograph.version, radius_px, *first))
                both = picked[path]
                if both is not None:
                    pairs.append(_pair(number, labels, micrograph, *both))
        if shown:
            self.before_and_after = BeforeAndAfter.of(
                candidate.card.version, current.card.version, shown
            )
        return pairs

    def _picks(
        self, micrograph: LabelledMicrograph, candidate: Bundle, current: Bundle
    ) -> tuple[Result, Result] | None:
        """Return the picks of both models in a micrograph; None if it is no longer usable."""
        new = self._pick(micrograph, candidate)
        if new is None:
            return None
        try:
            old = self._pick(micrograph, current)
        except ModelError as error:
            raise _CurrentModelError(str(error)) from error
        return None if old is None else (new, old)

    def _pick(self, micrograph: LabelledMicrograph, bundle: Bundle) -> Result | None:
        job = Job(
            path=micrograph.path,
            version=micrograph.version,
            bundle=bundle.path,
            device=self._config.picking.device,
            pixel_size_angstrom=self._config.micrograph.pixel_size_angstrom,
            trust=self._config.micrograph.trust,
        )
        found = try_job(f"model {bundle.card.version}", job, self._submit)
        if isinstance(found, Result):
            self._has_stalled = False
            return found
        roots = [r for r in self._config.watch.directories if micrograph.path.is_relative_to(r)]
        why = away(roots)
        if isinstance(found, StalledError):
            if self._has_stalled and why is None:  # two in a row: it is not due to one file
                why = f"{roots[0]} does not answer: {found.what}"
            self._has_stalled = True
        if why is not None:
            raise FolderAwayError(
                f"held-out micrographs cannot be read: {why}",
                "Mount it again; livepick then continues by itself.",
            )
        self._left_out[micrograph.path] = found
        return None


def _labels(candidate: Bundle, current: Bundle, *, recent_only: bool) -> list[HeldOutLabels | None]:
    """Return the labels to judge by: the candidate's, and the current model's if they apply."""
    new, old = HeldOutLabels.read(candidate.path), HeldOutLabels.read(current.path)
    if recent_only or (new is not None and new.by == "person"):
        return [new]  # the newest labels by a person
    if old is not None and old.by == "person":
        return [None, old]
    return [new, old]


def _pair(
    number: int,
    labels: HeldOutLabels,
    micrograph: LabelledMicrograph,
    candidate: Result,
    current: Result,
) -> Pair:
    return Pair(
        micrograph=str(micrograph.path),
        labels=number,
        particles=_positions(micrograph.particles),
        doubtful=_positions(micrograph.doubtful),
        radius_px=labels.radius_angstrom / micrograph.pixel_size_angstrom,
        candidate=candidate.picks,
        current=current.picks,
        current_threshold=current.threshold,
        area=_common(candidate.area, current.area),
    )


def _common(one: PickArea | None, other: PickArea | None) -> PickArea | None:
    """Return the area in which both models may pick; None: everywhere."""
    if one is None or other is None:
        return other if one is None else one
    return one.intersection(other)


def _positions(positions: list[tuple[float, float]]) -> Picks:
    xy = np.array(positions, dtype=np.float32).reshape(-1, 2)
    return Picks(xy[:, 0].copy(), xy[:, 1].copy(), np.ones(len(xy), dtype=np.float32))
