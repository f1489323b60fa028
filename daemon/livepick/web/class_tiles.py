"""Parts of ``classes.png`` that show one class each; the trainer draws them in rows of eight."""

from pathlib import Path
from typing import Final

from livepick.web.embedded_pictures import read_picture

__all__ = ["picture_size_px", "tile_view_box"]

COLUMNS: Final = 8
"""Classes in a row, as in ``livepick_trainer.classification.class_picture``."""

TITLE_PX: Final = 25
"""Height of the line above all classes."""

_PNG = b"\x89PNG\r\n\x1a\n"


def picture_size_px(path: Path) -> tuple[int, int] | None:
    """Return width and height of a PNG picture; None if there is none."""
    data = read_picture(path) or b""
    if not data.startswith(_PNG) or len(data) < 24:
        return None
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def tile_view_box(number: int, count: int, size_px: tuple[int, int] | None) -> str:
    """Return the part of the picture with a class, as an SVG view box; empty without a picture.

    Parameters
    ----------
    number, count
        Number of the class, and of all classes.
    size_px
        Width and height of the picture.
    """
    if size_px is None:
        return ""
    width, height = size_px
    rows = -(-count // COLUMNS)
    across, down = width / COLUMNS, (height - TITLE_PX) / rows
    x, y = (number % COLUMNS) * across, TITLE_PX + (number // COLUMNS) * down
    return f"{x:.0f} {y:.0f} {across:.0f} {down:.0f}"
