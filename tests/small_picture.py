"""Pictures for the README with few colours, so that their files are small."""

from pathlib import Path

from PIL import Image

__all__ = ["save_small"]

COLOURS = 64


def save_small(picture: Image.Image, path: Path) -> None:
    """Save a picture as PNG with few colours."""
    few = picture.convert("RGB").quantize(
        COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
    )
    few.save(path, optimize=True)
