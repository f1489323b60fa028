"""Machine on which the trainer of a run works, in the run's folder, for the session's status.

The file is there only while a worker of the cluster trains, or while the run waits for one.
"""

import contextlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from livepick.host.atomic_files import write_atomically
from livepick.host.foreign_files import read_bounded

__all__ = ["TrainerPlace", "read_place", "write_place"]

PLACE = "place.json"


class TrainerPlace(BaseModel):
    """Machine of a trainer that is not the service's machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    host: str = ""
    """Host name; empty as long as there is none."""
    waits: str = ""
    """Condition that the run waits for, if no machine works on it, or none that answers."""


def write_place(folder: Path, place: TrainerPlace | None) -> None:
    """Write where the trainer of a run works; None removes the file, as for this machine."""
    with contextlib.suppress(OSError):  # only informational
        if place is None:
            (folder / PLACE).unlink(missing_ok=True)
        else:
            write_atomically(folder / PLACE, place.model_dump_json().encode())


def read_place(folder: Path) -> TrainerPlace | None:
    """Return what ``write_place`` wrote; None if there is nothing."""
    try:
        return TrainerPlace.model_validate_json(read_bounded(folder / PLACE, limit_bytes=1 << 16))
    except (OSError, ValidationError):
        return None
