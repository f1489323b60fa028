"""What a run came to: ``report.json`` for programs, ``curves.png`` for people."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import TypeAdapter

from livepick.core.matching import Figures, curve, pool
from livepick_trainer.evaluate import HeldOut, MicrographFigures, OperatingPoint
from livepick_trainer.export_onnx import Agreement
from livepick_trainer.train import EpochFigures

__all__ = ["Report", "SeedCounts", "draw_curves"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedCounts:
    """What there was to learn from, or to be judged by."""

    micrographs: int
    candidates: int
    """Of the seeding model, of any score."""
    positive: int
    """Taken for particles."""
    ignored: int
    """Taken for neither particle nor background."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Everything that is known of a run when it ends."""

    parameters: int
    """Of the network."""
    training: SeedCounts
    held_out: SeedCounts
    best_epoch: int
    """Whose weights were kept."""
    epochs: Sequence[EpochFigures]
    figures: Figures
    """Against the held-out micrographs' seeds, distances in their pixels."""
    operating_point: OperatingPoint
    micrographs: Sequence[MicrographFigures]
    """Held out."""
    export: Agreement | None = None
    """None until the graph was compared with the network."""

    def to_json(self) -> bytes:
        """Return it as JSON; a figure that is not defined becomes null."""
        return TypeAdapter(Report).dump_json(self, indent=1) + b"\n"


def draw_curves(epochs: Sequence[EpochFigures], held_out: HeldOut) -> bytes:
    """Return a PNG picture: the losses by epoch, and precision by recall."""
    # Only this picture needs matplotlib, and its pyplot would look for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9, 4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    numbers = [epoch.epoch for epoch in epochs]
    left.plot(numbers, [epoch.training_loss for epoch in epochs], label="training")
    left.plot(numbers, [epoch.validation_loss for epoch in epochs], label="held out")
    left.set(xlabel="epoch", ylabel="loss", title="Learning")
    left.legend()

    points = curve(pool(held_out.matches))
    right.plot(points.recall, points.precision)
    chosen = held_out.operating_point
    if np.isfinite([chosen.recall, chosen.precision]).all():
        right.plot(chosen.recall, chosen.precision, "o", label=f"score {chosen.threshold:.2f}")
        right.legend()
    right.set(
        xlabel="recall",
        ylabel="precision",
        title="Against the held-out seeds",
        xlim=(0, 1.02),
        ylim=(0, 1.02),
    )
    picture = io.BytesIO()
    canvas.print_png(picture)  # type: ignore[no-untyped-call]
    return picture.getvalue()
