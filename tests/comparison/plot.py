"""The plot of a comparison: average precision and CPU time of all programs, by sample."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib import use

from comparison.livepick_command import BLOB, FIRST, TRAINED
from comparison.result import Result, SampleResult

use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from PIL import Image

from small_picture import save_small

STYLES = {
    FIRST: ("tab:blue", "o"),
    BLOB: ("lightskyblue", "v"),
    TRAINED: ("navy", "*"),
    "RELION LoG": ("tab:orange", "s"),
    "Topaz resnet8": ("yellowgreen", "D"),
    "Topaz resnet16": ("forestgreen", "P"),
}
STEP = 0.13
"""Distance of two programs in a row, so that markers do not hide each other."""


def draw(samples: Sequence[SampleResult], programs: Sequence[str], path: Path) -> None:
    """Draw AP and CPU time of all programs, with a row for each sample."""
    size = (9, 1.6 + 0.6 * len(samples))
    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=size, sharey=True, width_ratios=(3, 2), layout="constrained"
    )
    for number, program in enumerate(programs):
        below = (number - (len(programs) - 1) / 2) * STEP
        _draw_program(samples, program, left, below, lambda one: one.average_precision)
        _draw_program(samples, program, right, below, lambda one: one.cpu_seconds)
    left.set_xlim(0, 1.02)
    left.set_xlabel("average precision")
    right.set_xscale("log")
    right.set_xlabel("CPU seconds per micrograph")
    names = [f"{one.name}\n{' x '.join(str(side) for side in one.shape_px)}" for one in samples]
    left.set_yticks(range(len(samples)), names, fontsize=7)
    left.set_ylim(len(samples) - 0.5, -0.5)
    for axis in (left, right):
        axis.grid(visible=True, axis="x", alpha=0.3)
        for row in range(1, len(samples)):
            axis.axhline(row - 0.5, color="grey", linewidth=0.5)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
    save_small(Image.open(path), path)


def _draw_program(
    samples: Sequence[SampleResult],
    program: str,
    axis: Axes,
    below: float,
    figure: Callable[[Result], float],
) -> None:
    """Draw one figure of a program, a little below the middle of each row."""
    colour, marker = STYLES.get(program, ("grey", "x"))
    found = [(row, one.of(program)) for row, one in enumerate(samples)]
    rows = [row + below for row, one in found if one is not None]
    values = [figure(one) for _, one in found if one is not None]
    axis.scatter(values, rows, c=colour, marker=marker, s=46, label=program, zorder=3)
