"""``classes.png``: a picture of every class with its number, size, score and verdict."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from livepick_trainer.classification.class_measurement import ClassFigures
from livepick_trainer.classification.class_selection import ClassDecision

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_classes"]

COLUMNS = 8
MOST_WORDS = 30
"""Characters of a reason that fit under an image."""


def draw_classes(
    averages: NDArray[np.float32],
    figures: Sequence[ClassFigures],
    verdicts: Sequence[ClassDecision],
    *,
    diameter_px: float,
) -> bytes:
    """Return a PNG picture of the class averages, accepted ones framed green, others red.

    Parameters
    ----------
    averages
        (K, box, box).
    figures, verdicts
        Figures and verdict of each class.
    diameter_px
        Particle diameter, in pixels. Drawn as a circle, so that anything much smaller or larger
        stands out.
    """
    # Imported here because only this picture needs matplotlib. pyplot would look for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.patches import Circle  # noqa: PLC0415

    rows = max(1, -(-len(averages) // COLUMNS))
    figure = Figure(figsize=(1.9 * COLUMNS, 2.35 * rows + 0.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    for axes in grid.ravel():
        axes.set(xticks=[], yticks=[])
        axes.axis("off")
    shown = zip(grid.ravel(), averages, figures, verdicts, strict=False)
    for number, (axes, average, of_class, verdict) in enumerate(shown):
        axes.axis("on")
        axes.imshow(average, cmap="gray", interpolation="nearest")
        middle = average.shape[-1] // 2
        axes.add_patch(
            Circle((middle, middle), diameter_px / 2, fill=False, color="yellow", alpha=0.4)
        )
        _caption(axes, number, of_class, verdict)
    accepted = [f.particles for f, v in zip(figures, verdicts, strict=True) if v.accepted]
    total = sum(f.particles for f in figures)
    figure.suptitle(
        f"{len(accepted)} of {len(verdicts)} classes accepted,"
        f" with {sum(accepted)} of {total} particles",
        fontsize=10,
    )
    picture = io.BytesIO()
    canvas.print_png(picture)  # type: ignore[no-untyped-call]
    return picture.getvalue()


def _caption(axes: "Axes", number: int, figures: ClassFigures, verdict: ClassDecision) -> None:
    """Frame and caption one class in the colour of its verdict."""
    colour = "tab:green" if verdict.accepted else "tab:red"
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=2.5)
    word = "accepted" if verdict.accepted else "rejected"
    title = f"class {number}: {figures.particles} particles\n{word}, score {verdict.score:.2f}"
    axes.set_title(title, fontsize=8, color=colour)
    axes.set_xlabel(_wrapped(verdict.reason), fontsize=7)


def _wrapped(sentence: str) -> str:
    """Return the sentence in lines that fit under an image."""
    lines = [""]
    for word in sentence.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > MOST_WORDS:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
