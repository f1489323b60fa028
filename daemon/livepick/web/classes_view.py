"""View of the class averages of the newest picks: a picture with its caption."""

import struct
from dataclasses import dataclass
from pathlib import Path

from livepick.classes.class_folders import picture_of
from livepick.core.contracts.class_averages import CLASSES
from livepick.monitoring.class_status import (
    ClassesStatus,
    classes_sentence,
    freshness_sentence,
    noise_sentence,
    view_hint,
)

__all__ = ["ClassesView", "view_classes"]

_PNG = struct.Struct(">8s4x4s2I")
"""Beginning of a PNG file: signature, first chunk, width and height."""


@dataclass(frozen=True, slots=True)
class ClassesView:
    """Class averages, for the page and the session report."""

    sentence: str
    """Caption: their content and their source."""
    freshness: str
    """Their age, and what is done about it; empty if there is nothing to say."""
    noise: str
    """Statement that most of them cannot be told from noise, and what to do; empty if not so."""
    hint: str
    """Hint about the orientation of the particles; empty if there is none."""
    is_warning: bool
    """True if the hint is a reason to change something."""
    number: int = 0
    version: int = 0
    """Key for the browser's cache."""
    made_at: float | None = None
    """Unix seconds; None if there are none."""
    landed_first: float | None = None
    landed_last: float | None = None
    first_name: str = ""
    last_name: str = ""
    width_px: int = 0
    """Width of the picture; 0 if there is none."""
    height_px: int = 0

    @property
    def has_picture(self) -> bool:
        """True if there is a picture."""
        return self.width_px > 0


def view_classes(status: ClassesStatus, state: Path) -> ClassesView:
    """Return what is shown about class averages.

    Parameters
    ----------
    status
        The latest class averages.
    state
        State folder of the session, which has their pictures.
    """
    row = status.latest
    if row is None:
        return ClassesView(classes_sentence(status), "", "", "", is_warning=False)
    width_px, height_px = _size(picture_of(state / CLASSES, row.number))
    return ClassesView(
        classes_sentence(status),
        freshness_sentence(status),
        noise_sentence(row),
        view_hint(row),
        is_warning=row.view_state == "one_view",
        number=row.number,
        version=int(row.made_at),
        made_at=row.made_at,
        landed_first=status.landed_first,
        landed_last=status.landed_last,
        first_name=status.first_name,
        last_name=status.last_name,
        width_px=width_px,
        height_px=height_px,
    )


def _size(picture: Path) -> tuple[int, int]:
    """Return width and height of a PNG file; 0 if there is none."""
    try:
        with picture.open("rb") as file:
            signature, chunk, width, height = _PNG.unpack(file.read(_PNG.size))
    except (OSError, struct.error):
        return 0, 0
    return (width, height) if (signature, chunk) == (b"\x89PNG\r\n\x1a\n", b"IHDR") else (0, 0)
