"""Results of a run: ``report.json`` for programs, ``curves.png`` for people."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import TypeAdapter

from livepick.core.evaluation.matching import Figures, curve, pool
from livepick_trainer.learning.attempts import Attempt, History
from livepick_trainer.learning.curve_diagnosis import LOW_ACCURACY, Diagnosis
from livepick_trainer.learning.evaluate import HeldOut, MicrographFigures
from livepick_trainer.learning.export_onnx import Agreement
from livepick_trainer.learning.operating_point import OperatingPoint
from livepick_trainer.learning.train import EpochFigures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Report", "SeedCounts", "draw_curves"]

WIDE = 4.0
"""Losses that spread by more than this factor are drawn on a logarithmic axis."""

COLORS = ("#1f5fa8", "#c8621b", "#3a7d44")
"""Colours of the attempts, in order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedCounts:
    """Numbers of micrographs and seeds to train on, or to evaluate on."""

    micrographs: int
    candidates: int
    """Candidates of the seeding model, with any score."""
    positive: int
    """Seeds learned as particles."""
    ignored: int
    """Candidates learned neither as particle nor as background."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Results of a finished run."""

    parameters: int
    """Number of parameters of the network."""
    training: SeedCounts
    held_out: SeedCounts
    best_epoch: int
    """Epoch whose weights were kept."""
    epochs: Sequence[EpochFigures]
    """Epochs of the attempt that was kept."""
    findings: Sequence[Diagnosis]
    """Findings on its curves, with remedies."""
    attempts: Sequence[Attempt]
    """All attempts, with settings, curves, findings and figures."""
    kept: int
    """Number of the attempt whose weights are in the bundle."""
    why_kept: str
    figures: Figures
    """Figures against the seeds of the held-out micrographs, with distances in their pixels."""
    operating_point: OperatingPoint
    micrographs: Sequence[MicrographFigures]
    """Figures of each held-out micrograph."""
    export: Agreement | None = None
    """Agreement of the exported graph with the network; None until they are compared."""

    def to_json(self) -> bytes:
        """Return the report as JSON; an undefined figure becomes null."""
        return TypeAdapter(Report).dump_json(self, indent=1) + b"\n"


def draw_curves(history: History, held_out: HeldOut) -> bytes:
    """Return a PNG: loss, accuracy and rate of each attempt, precision-recall curve, findings."""
    # Imported here because only this picture needs matplotlib. pyplot would look for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    caption = _caption(history)
    lines = caption.count("\n") + 1
    below = 0.25 + 0.17 * lines  # inches
    figure = Figure(figsize=(10, 7 + below), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    (loss, accuracy), (rate, precision) = figure.subplots(2, 2)
    _draw_loss(loss, history)
    _draw_accuracy(accuracy, history)
    _draw_rate(rate, history)
    _draw_precision(precision, held_out)
    figure.get_layout_engine().set(rect=(0, below / (7 + below), 1, 7 / (7 + below)))  # type: ignore[union-attr, call-arg]
    figure.text(0.02, (below - 0.1) / (7 + below), caption, va="top", fontsize=9)
    picture = io.BytesIO()
    canvas.print_png(picture)  # type: ignore[no-untyped-call]
    return picture.getvalue()


def _draw_loss(axes: "Axes", history: History) -> None:
    every = []
    for attempt in history.attempts:
        training = [figures.training_loss for figures in attempt.epochs]
        held_out = [figures.validation_loss for figures in attempt.epochs]
        _draw_pair(axes, history, attempt, training, held_out)
        every += training + held_out
    scale = history.best.held_out_scale
    axes.axhline(scale.blank, color="0.6", linewidth=0.8, linestyle=":")
    axes.annotate("blind guess", (0.01, scale.blank), xycoords=("axes fraction", "data"),
                  va="bottom", fontsize=8, color="0.4")  # fmt: skip
    finite = [loss for loss in every if np.isfinite(loss) and loss > 0]
    if finite and max(finite) > WIDE * min(finite):
        axes.set_yscale("log")
    axes.set(xlabel="epoch", ylabel="loss", title="Loss: training dashed, held out solid")
    axes.legend(fontsize=8, loc="upper right")


def _draw_accuracy(axes: "Axes", history: History) -> None:
    for attempt in history.attempts:
        _draw_pair(
            axes,
            history,
            attempt,
            [100 * figures.training_accuracy for figures in attempt.epochs],
            [100 * figures.validation_accuracy for figures in attempt.epochs],
        )
    axes.axhline(100 * LOW_ACCURACY, color="0.6", linewidth=0.8, linestyle=":")
    axes.set(
        xlabel="epoch",
        ylabel="balanced accuracy, %",
        title="Accuracy: training dashed, held out solid",
        ylim=(45, 101),
    )


def _draw_rate(axes: "Axes", history: History) -> None:
    for attempt in history.attempts:
        axes.plot(
            [figures.epoch for figures in attempt.epochs],
            [figures.learning_rate for figures in attempt.epochs],
            color=_color(attempt),
            alpha=_alpha(history, attempt),
            label=f"attempt {attempt.number}",
        )
    axes.set(xlabel="epoch", ylabel="learning rate", title="Learning rate", yscale="log")
    if len(history.attempts) > 1:
        axes.legend(fontsize=8)


def _draw_precision(axes: "Axes", held_out: HeldOut) -> None:
    points = curve(pool(held_out.matches))
    axes.plot(points.recall, points.precision, color="0.2")
    chosen = held_out.operating_point
    if np.isfinite([chosen.recall, chosen.precision]).all():
        axes.plot(chosen.recall, chosen.precision, "o", label=f"score {chosen.threshold:.2f}")
        axes.legend(fontsize=8)
    axes.set(
        xlabel="recall",
        ylabel="precision",
        title="Precision and recall against the held-out seeds",
        xlim=(0, 1.02),
        ylim=(0, 1.02),
    )


def _draw_pair(
    axes: "Axes",
    history: History,
    attempt: Attempt,
    training: Sequence[float],
    held_out: Sequence[float],
) -> None:
    """Draw one attempt's curves, and a mark at its best epoch."""
    numbers = [figures.epoch for figures in attempt.epochs]
    name = f"attempt {attempt.number}" if len(history.attempts) > 1 else None
    color, alpha = _color(attempt), _alpha(history, attempt)
    axes.plot(numbers, training, "--", color=color, alpha=alpha)
    axes.plot(numbers, held_out, "-", color=color, alpha=alpha, label=name)
    if attempt.best_epoch is not None:
        best = held_out[attempt.best_epoch - 1]
        label = f"best epoch, {attempt.best_epoch}"
        axes.plot(
            attempt.best_epoch, best, "o", color=color, alpha=alpha, markersize=5, label=label
        )


def _color(attempt: Attempt) -> str:
    return COLORS[(attempt.number - 1) % len(COLORS)]


def _alpha(history: History, attempt: Attempt) -> float:
    return 1.0 if attempt.number == history.kept else 0.4


def _caption(history: History) -> str:
    """Return the text below the curves: each attempt's settings and findings, and which is kept."""
    lines = []
    for attempt in history.attempts:
        settings, figure = attempt.settings, attempt.average_precision
        lines.append(
            f"Attempt {attempt.number}: rate {settings.initial_learning_rate:g} to"
            f" {settings.final_learning_rate:g}, {settings.epochs} epochs, class weights"
            f" {'on' if settings.class_weights else 'off'}; average precision"
            f" {'none' if figure is None else f'{figure:.3f}'}"
        )
        for finding in attempt.findings:
            lines += textwrap.wrap(
                f"{finding.kind.replace('_', ' ')}: {finding.evidence}; {finding.remedy}",
                width=135,
                initial_indent="    ",
                subsequent_indent="        ",
            )
        if not attempt.findings:
            lines.append("    no findings")
    if len(history.attempts) > 1:
        lines += textwrap.wrap(f"Kept: {history.why}.", width=140)
    return "\n".join(lines)
