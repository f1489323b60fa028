"""Automatic remedy of a training: train, diagnose the curves, change a setting, train again.

The best attempt is the one whose picks have the highest **average precision on the held-out
micrographs**, against their seeds. The held-out loss is not suited to this choice: its scale
changes with the class weights, and it rates every pixel, although what matters is that peaks are at
particles and that particles rank before junk. If two attempts are equal, the earlier one is kept: a
rerun has to be an improvement.

All attempts start from the same weights and use the same patches; only their settings differ.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from livepick.config.training_sections import Training
from livepick.core.contracts.progress import Stage
from livepick.core.evaluation.matching import Figures, Matches
from livepick.core.evaluation.matching import figures as figures_of
from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick.errors import TrainerError
from livepick_trainer.learning.attempt_settings import AttemptSettings
from livepick_trainer.learning.attempts import Attempt, History
from livepick_trainer.learning.checkpoint import (
    CHECKPOINT,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from livepick_trainer.learning.curve_diagnosis import diagnose
from livepick_trainer.learning.dataset import Batch, SeededMicrograph
from livepick_trainer.learning.evaluate import evaluate
from livepick_trainer.learning.losses import POSITIVE_WEIGHT, loss_scale
from livepick_trainer.learning.network import PickingNetwork, make_network
from livepick_trainer.learning.train import Checkpoint, EpochFigures, Recipe, train
from livepick_trainer.pipeline.run_context import (
    WEIGHTS,
    Run,
    held_out_batches,
    initial_network,
    training_batches,
)
from livepick_trainer.pipeline.warm_start import has_head_start, scheduled_epochs
from livepick_trainer.seeds.labels import Candidates
from livepick_trainer.seeds.preprocess import PreparedMicrograph

__all__ = [
    "MOST_RERUNS",
    "choose_attempt",
    "next_settings",
    "train_with_remedies",
]

MOST_RERUNS = 2
"""Most attempts after the first."""


def train_with_remedies(
    run: Run,
    draft: Path,
    learned: Sequence[SeededMicrograph],
    held_out: Sequence[SeededMicrograph],
    *,
    start: PickingNetwork | None = None,
    stage: Stage = "train",
    settings: AttemptSettings | None = None,
) -> None:
    """Train, train again with the remedy for the first finding, and write the best weights.

    Parameters
    ----------
    run
        The run, with its settings.
    draft
        Folder for the attempts; in the end, ``WEIGHTS`` and ``history.json`` are written here. If
        the trainer was killed, a second call resumes here, and on the CPU gives the same bytes.
    learned, held_out
        Micrographs to train on, and micrographs to evaluate on.
    start
        Network that each attempt starts from; it is not changed. None: that of the run.
    stage
        Stage named in the progress reports.
    settings
        Settings of the first attempt. None: those of the run.

    Raises
    ------
    TrainerError
        The loss is not finite in any attempt, or a file in ``draft`` is damaged.
    """
    judged = list(held_out_batches(run, held_out))
    start = start or initial_network(run)
    weight = POSITIVE_WEIGHT if run.spec.training.class_weights else 1.0
    warm = has_head_start(run, start, judged, positive_weight=weight)
    attempts: list[Attempt] = []
    settings = settings or _configured_settings(run.spec.training, head_start=warm)
    while settings is not None:
        number = len(attempts) + 1
        folder = draft / f"attempt-{number}"
        attempt = Attempt.read(folder)
        is_new = attempt is None
        if attempt is None:
            folder.mkdir(exist_ok=True)
            network = copy.deepcopy(start)
            task = _Task(run, stage, folder, number, settings, warm)
            attempt = _train_attempt(task, network, learned, held_out, judged)
        attempts.append(attempt)
        settings = next_settings(attempts) if run.spec.training.auto_remedy else None
        if is_new:  # reported before it is written: a kill in between repeats the report
            _report(run, stage, attempt, reruns=settings is not None)
            attempt.write(folder)
    history = choose_attempt(attempts)
    network = make_network(run.spec.training.seed)
    load_weights(draft / f"attempt-{history.kept}" / WEIGHTS, network)
    save_weights(draft / WEIGHTS, network)
    history.write(draft)
    if len(attempts) > 1:
        run.reporter.report(stage, history.why)


def next_settings(attempts: Sequence[Attempt]) -> AttemptSettings | None:
    """Return the settings of the next attempt; None if no further attempt is needed."""
    fault = attempts[-1].fault
    if fault is None or len(attempts) > MOST_RERUNS:
        return None
    tried = [attempt.settings for attempt in attempts]
    return None if fault.settings in tried else fault.settings


def choose_attempt(attempts: Sequence[Attempt]) -> History:
    """Return the history of attempts; the one with the highest average precision is kept.

    Raises
    ------
    TrainerError
        No attempt has weights that can be kept.
    """
    precisions = [attempt.average_precision for attempt in attempts]
    if all(precision is None for precision in precisions):
        rates = ", ".join(f"{attempt.settings.initial_learning_rate:g}" for attempt in attempts)
        raise TrainerError(
            "the training diverged: the loss is not a finite number in any epoch, with"
            f" training.initial_learning_rate at {rates}",
            "Set training.initial_learning_rate to 0.001, and remove micrographs with invalid"
            " pixels from the folder; then raise training.generation to start another run.",
        )

    def rank(index: int) -> tuple[float, int]:
        """Rank an attempt without weights below one that finds nothing or cannot be evaluated."""
        precision = precisions[index]
        if precision is None:
            return -1.0, -index
        return 0.0 if math.isnan(precision) else precision, -index

    best = max(range(len(attempts)), key=rank)
    why = "it is the only attempt"
    if len(attempts) > 1:
        listed = ", ".join("none" if p is None else f"{p:.3f}" for p in precisions)
        why = (
            f"attempt {best + 1} of {len(attempts)} is kept: it has the highest average precision"
            f" on the held-out micrographs ({listed})"
        )
    return History(attempts=attempts, kept=best + 1, why=why)


@dataclass(frozen=True, slots=True)
class _Task:
    """An attempt to be trained."""

    run: Run
    stage: Stage
    folder: Path
    number: int
    settings: AttemptSettings
    warm: bool
    """True if the network knows the particles already; see ``warm_start``."""


def _configured_settings(training: Training, *, head_start: bool) -> AttemptSettings:
    """Return the settings of the config, with fewer epochs for a network with a head start."""
    return AttemptSettings(
        epochs=scheduled_epochs(training.epochs, head_start=head_start),
        initial_learning_rate=training.initial_learning_rate,
        final_learning_rate=training.final_learning_rate,
        class_weights=training.class_weights,
    )


def _train_attempt(
    task: _Task,
    network: PickingNetwork,
    learned: Sequence[SeededMicrograph],
    held_out: Sequence[SeededMicrograph],
    judged: Sequence[Batch],
) -> Attempt:
    """Train ``network`` in place, save its best weights, evaluate and diagnose it."""
    run, settings = task.run, task.settings
    positive_weight = POSITIVE_WEIGHT if settings.class_weights else 1.0

    def save(checkpoint: Checkpoint) -> None:
        save_checkpoint(task.folder / CHECKPOINT, checkpoint)
        _report_epoch(task, checkpoint.history[-1])

    recipe = Recipe(
        epochs=settings.epochs,
        initial_learning_rate=settings.initial_learning_rate,
        final_learning_rate=settings.final_learning_rate,
        seed=run.spec.training.seed,
        positive_weight=positive_weight,
    )
    epochs = train(
        network,
        lambda epoch: training_batches(run, learned, epoch),
        lambda: judged,
        recipe,
        resume=load_checkpoint(task.folder / CHECKPOINT),
        save=save,
    )
    finite = [figures for figures in epochs if figures.is_finite]
    best = min(finite, key=lambda figures: figures.validation_loss) if finite else None
    figures = None
    if best is not None:
        save_weights(task.folder / WEIGHTS, network)
        figures = _held_out_figures(run, network, held_out)
    training_scale = loss_scale(training_batches(run, learned, 0), positive_weight=positive_weight)
    held_out_scale = loss_scale(judged, positive_weight=positive_weight)
    return Attempt(
        number=task.number,
        settings=settings,
        positive_weight=positive_weight,
        training_scale=training_scale,
        held_out_scale=held_out_scale,
        epochs=epochs,
        best_epoch=best.epoch if best else None,
        findings=diagnose(
            epochs,
            settings,
            training_scale=training_scale,
            held_out_scale=held_out_scale,
            warm=task.warm,
        ),
        figures=figures,
    )


def _held_out_figures(
    run: Run, network: PickingNetwork, held_out: Sequence[SeededMicrograph]
) -> Figures:
    """Return figures of the network's picks against the held-out seeds, in prepared pixels."""
    none = Candidates(np.zeros((0, 2), np.float32), np.zeros(0, np.float32))
    prepared = [
        PreparedMicrograph(
            path=Path(f"held-out-{number}"),
            held_out=True,
            original_pixel_size_angstrom=run.spec.particle.diameter_angstrom / DIAMETER_PX,
            image=micrograph.image,
            mask=micrograph.mask,
            scale_y=1.0,
            scale_x=1.0,
            candidates=none,
            area=micrograph.area,
        )
        for number, micrograph in enumerate(held_out)
    ]
    seeds = [micrograph.seeds for micrograph in held_out]
    try:
        found = evaluate(
            network,
            list(zip(prepared, seeds, strict=True)),
            diameter_angstrom=run.spec.particle.diameter_angstrom,
            min_distance_fraction=run.spec.particle.min_distance_fraction,
        )
    except TrainerError:  # no peak anywhere: return the figures for no picks
        truths = sum(len(s.positive_yx_px) for s in seeds)
        nothing = np.zeros(0)
        return figures_of([Matches(nothing, nothing.astype(bool), nothing, truths)])
    return found.figures


def _report_epoch(task: _Task, figures: EpochFigures) -> None:
    attempt = f"attempt {task.number}, " if task.number > 1 else ""
    task.run.reporter.report(
        task.stage,
        f"{attempt}epoch {figures.epoch}: loss {figures.training_loss:.4f},"
        f" held out {figures.validation_loss:.4f}",
        done=figures.epoch,
        total=task.settings.epochs,
        figures=figures,
    )


def _report(run: Run, stage: Stage, attempt: Attempt, *, reruns: bool) -> None:
    """Report the findings of an attempt, and whether another attempt follows."""
    for finding in attempt.findings:
        run.reporter.report(
            stage,
            f"{finding.kind.replace('_', ' ')}: {finding.evidence}; {finding.remedy}",
            finding=finding.kind,
        )
    if reruns and attempt.fault is not None:
        run.reporter.report(
            stage,
            f"training again: {attempt.fault.remedy}",
            rerun=True,
        )
