"""Picture of the class averages: each with its number of particles, resolution and verdict.

Every average is drawn pixel by pixel, enlarged by a whole number, so that nothing is interpolated.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from livepick.core.contracts.class_averages import ClassFigures

__all__ = ["COLUMNS", "Montage", "draw_montage"]

COLUMNS: Final = 8

ENLARGED = 2
FRAME_PX = 3
GAP_PX = 8
CAPTION_PX = 36
"""Height of the two lines below an average."""

LINE_PX, POINTS = 16, 9
"""Height of a line, and size of its letters."""

DPI = 100
"""Pixels of the picture in an inch of matplotlib's; all sizes are in pixels."""

MARK = {"Title": "livepick class averages"}
"""Text in the file that tells the picture from others."""

CONTRAST_SIGMAS = 3.0
"""Brightest value of an average, in standard deviations from its mean inside the disc."""

_GOOD, _JUNK = (0x1A, 0x7F, 0x37), (0xB4, 0x2B, 0x2B)
_PAPER, _INK, _FAINT = (255, 255, 255), (0x22, 0x22, 0x22), (0x66, 0x66, 0x66)


@dataclass(frozen=True, slots=True, eq=False)
class Montage:
    """The picture."""

    png: bytes
    width_px: int
    height_px: int


def draw_montage(
    averages: NDArray[np.float32], classes: Sequence[ClassFigures], *, diameter_px: float
) -> Montage:
    """Return the picture of the averages, good ones framed green, others red.

    Parameters
    ----------
    averages
        (K, box, box), in the order in which they are drawn, row by row.
    classes
        Figures of each.
    diameter_px
        Particle diameter in pixels of the averages; the contrast is that inside this circle.
    """
    # Imported here because only the picture needs matplotlib. pyplot would look for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    canvas = _canvas(averages, classes, diameter_px)
    height_px, width_px = canvas.shape[:2]
    figure = Figure(figsize=(width_px / DPI, height_px / DPI), dpi=DPI)
    drawn = FigureCanvasAgg(figure)
    figure.figimage(canvas, origin="upper")
    for number, one in enumerate(classes):
        top_px, left_px = _corner(number, averages.shape[-1])
        x = left_px + ENLARGED * averages.shape[-1] / 2 + FRAME_PX
        y = top_px + ENLARGED * averages.shape[-1] + 2 * FRAME_PX
        colour = _GOOD if one.is_good else _JUNK
        verdict = "good" if one.is_good else "junk"
        for line, text, ink in (
            (0, f"{one.particles:,}  {verdict}", colour),
            (1, f"{one.resolution_angstrom:.0f} Å", _FAINT),
        ):
            figure.text(
                x / width_px,
                1 - (y + 3 + LINE_PX * line) / height_px,
                text,
                ha="center",
                va="top",
                fontsize=POINTS,
                color=tuple(c / 255 for c in ink),
            )
    picture = io.BytesIO()
    drawn.print_png(picture, metadata=MARK)  # type: ignore[no-untyped-call]
    return Montage(picture.getvalue(), width_px, height_px)


def _corner(number: int, box_px: int) -> tuple[int, int]:
    """Return the top and the left edge of the frame of an average."""
    across = ENLARGED * box_px + 2 * FRAME_PX
    row, column = divmod(number, COLUMNS)
    return GAP_PX + row * (across + CAPTION_PX + GAP_PX), GAP_PX + column * (across + GAP_PX)


def _canvas(
    averages: NDArray[np.float32], classes: Sequence[ClassFigures], diameter_px: float
) -> NDArray[np.uint8]:
    """Return the picture without text, ``[y, x, rgb]``."""
    box_px = averages.shape[-1]
    across = ENLARGED * box_px + 2 * FRAME_PX
    rows = max(1, -(-len(averages) // COLUMNS))
    height = GAP_PX + rows * (across + CAPTION_PX + GAP_PX)
    width = GAP_PX + COLUMNS * (across + GAP_PX)
    canvas = np.full((height, width, 3), _PAPER, dtype=np.uint8)
    y, x = np.indices((box_px, box_px)) - box_px // 2
    disc = np.hypot(y, x) <= diameter_px / 2
    for number, (average, one) in enumerate(zip(averages, classes, strict=True)):
        top, left = _corner(number, box_px)
        canvas[top : top + across, left : left + across] = _GOOD if one.is_good else _JUNK
        grey = np.kron(_grey(average, disc), np.ones((ENLARGED, ENLARGED), dtype=np.uint8))
        inner = np.s_[top + FRAME_PX : top + across - FRAME_PX]
        canvas[inner, left + FRAME_PX : left + across - FRAME_PX] = grey[..., None]
    return canvas


def _grey(average: NDArray[np.float32], disc: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the average in grey: the mean around the particle is dark grey."""
    level, spread = float(np.median(average)), float(average[disc].std())
    low, high = level - CONTRAST_SIGMAS / 2 * spread, level + CONTRAST_SIGMAS * spread
    scaled = (average - low) / max(high - low, 1e-6)
    return np.asarray(np.round(255 * np.clip(scaled, 0, 1)), dtype=np.uint8)
