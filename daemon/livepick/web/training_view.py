"""Training data for the page: curves, 2D classes, and the result of the promotion gate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, get_args

from livepick.config.schema import Config
from livepick.core.contracts.bundle import bundle_name
from livepick.core.contracts.finding import Finding
from livepick.core.contracts.judgement import Judgement
from livepick.core.contracts.progress import Stage
from livepick.core.contracts.run import RUNS
from livepick.core.contracts.training_report import (
    ClassVerdict,
    read_classes,
    read_findings,
)
from livepick.core.evaluation.model_comparison import Difference
from livepick.ledger.page_queries import PageQueries
from livepick.ledger.session_rows import RunRow
from livepick.models.registry import MODELS
from livepick.monitoring.stage_names import STAGE_NAMES
from livepick.monitoring.training_status import TrainingStatus
from livepick.web.before_and_after_view import BeforeAndAfterView, view_before_and_after
from livepick.web.learning_curves import Attempt, Chart, charts_of, read_attempts

__all__ = [
    "CLASSES",
    "GateFigure",
    "GateView",
    "RunActivity",
    "TrainingView",
    "gate_of",
    "run_activity",
    "view_training",
]

CLASSES = "classes.png"
"""File in a bundle with the 2D classes of its seeds, drawn with their verdicts."""

_STEPS: Final = tuple(stage for stage in get_args(Stage) if stage not in ("done", "failed"))


@dataclass(frozen=True, slots=True)
class RunActivity:
    """Current activity of the training run in progress."""

    version: int
    words: str
    step: int
    """Current step of ``steps``, counted from 1; 0 if the run is not at one of them."""
    steps: int
    unit: str
    """Unit of ``done`` and ``total``; empty if there is no meaningful one."""
    done: int
    total: int
    """Total to count to; 0 if the stage does not count."""
    ends_at: float | None
    """Expected end, in unix seconds; None if it is not known yet."""


@dataclass(frozen=True, slots=True)
class GateFigure:
    """One named figure of both models at the promotion gate."""

    name: str
    figure: Difference


@dataclass(frozen=True, slots=True)
class GateView:
    """Outcome of a model at the promotion gate."""

    candidate: int
    current: int
    promoted: bool
    outcome: str
    figures: tuple[GateFigure, ...]
    micrographs: int
    """Number of held-out micrographs that both models were compared on; 0 without a comparison."""


@dataclass(frozen=True, slots=True)
class TrainingView:
    """Latest training that has data to show."""

    version: int | None = None
    is_running: bool = False
    attempts: tuple[Attempt, ...] = ()
    """Learning curves of the whole run."""
    findings: tuple[Finding[str], ...] = ()
    classes: tuple[ClassVerdict, ...] = ()
    has_picture: bool = False
    """True if there is a picture of the classes."""
    gate: GateView | None = None
    change: BeforeAndAfterView | None = None
    """Changes by the model; None if they are not known."""

    @property
    def charts(self) -> tuple[Chart, ...]:
        """Charts of the learning curves; empty if there are none yet."""
        return charts_of(self.attempts)

    @property
    def accepted(self) -> tuple[ClassVerdict, ...]:
        """Classes that were accepted for training."""
        return tuple(verdict for verdict in self.classes if verdict.accepted)


def view_training(config: Config, runs: Sequence[RunRow], queries: PageQueries) -> TrainingView:
    """Return the view of the run in progress, or else of the latest run that produced a model.

    Parameters
    ----------
    config
        Config of the session.
    runs
        Training runs, latest first.
    queries
        Ledger with the micrographs that both models picked.
    """
    state = config.state.directory
    for run in runs:
        folder, bundle = (state / name / bundle_name(run.version) for name in (RUNS, MODELS))
        running = run.state == "running"
        if not running and not bundle.is_dir():
            continue
        return TrainingView(
            version=run.version,
            is_running=running,
            attempts=read_attempts(folder, bundle),
            findings=read_findings(bundle),
            classes=read_classes(bundle),
            has_picture=(bundle / CLASSES).is_file(),
            gate=gate_of(run.judgement),
            change=view_before_and_after(folder, config, queries),
        )
    return TrainingView()


def run_activity(training: TrainingStatus) -> RunActivity | None:
    """Return the activity of the current run; None without a run or before its first report."""
    progress = training.progress
    if training.state != "training" or training.version is None or progress is None:
        return None
    learns = progress.stage in ("train", "retrain") and progress.training_loss is not None
    counted = {"prepare": "micrograph"}.get(progress.stage, "epoch" if learns else "")
    return RunActivity(
        version=training.version,
        words=STAGE_NAMES[progress.stage],
        step=_STEPS.index(progress.stage) + 1 if progress.stage in _STEPS else 0,
        steps=len(_STEPS),
        unit=counted,
        done=min(progress.done, progress.total),
        total=progress.total,
        ends_at=progress.ends_at,
    )


def gate_of(judgement: Judgement | None) -> GateView | None:
    """Return the judgement of a run as the page shows it; None if there is none."""
    if judgement is None:
        return None
    comparison = judgement.comparison
    return GateView(
        judgement.candidate,
        judgement.current,
        judgement.decision.promote,
        judgement.decision.outcome,
        ()
        if comparison is None
        else (
            GateFigure("average precision at the gate", comparison.average_precision),
            GateFigure(f"precision of the best {comparison.picks} picks", comparison.precision),
        ),
        0 if comparison is None else comparison.micrographs,
    )
