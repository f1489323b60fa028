"""Reading of the original micrographs of a run, and the list of those that it had to leave out.

A run takes minutes or hours, and its micrographs may meanwhile be moved to an archive, become
unreadable or be written again. Such a micrograph is left out of the run from then on, unless too
few would be left. The list is in the folder of the stage that noticed, so that a trainer that was
killed, and a run that continues with the stages of another, leave out the same ones.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from livepick.core.formats.micrograph import Micrograph, read_picked
from livepick.errors import MicrographError
from livepick.host.atomic_files import write_atomically
from livepick_trainer.seeds.preprocess import PreparedMicrograph

__all__ = ["LEFT_OUT", "LeftOut", "OriginalError", "original", "read_left_out", "write_left_out"]

LEFT_OUT = "left_out.json"


class OriginalError(Exception):
    """The original of a prepared micrograph can no longer be used."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(path, what)
        self.path = path
        self.what = what


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A micrograph that a run had to leave out."""

    micrograph: str
    """Path of the micrograph."""
    error: str
    """Reason, in words."""


@contextmanager
def original(micrograph: PreparedMicrograph) -> Iterator[Micrograph]:
    """Read the original of a prepared micrograph, for use in the block.

    Raises
    ------
    OriginalError
        It is gone, cannot be read or was written again; or the block raised MicrographError.
    """
    try:
        yield read_picked(
            micrograph.path, micrograph.version, micrograph.original_pixel_size_angstrom
        )
    except MicrographError as error:
        raise OriginalError(micrograph.path, error.what) from error


def read_left_out(folder: Path) -> list[LeftOut]:
    """Return the micrographs that a stage has left out."""
    try:
        entries = json.loads((folder / LEFT_OUT).read_bytes())
    except FileNotFoundError:
        return []
    return [LeftOut(**entry) for entry in entries]


def write_left_out(folder: Path, left_out: list[LeftOut]) -> None:
    """Write the micrographs that a stage has left out, if there are any."""
    if left_out:
        text = json.dumps([asdict(one) for one in left_out], indent=1)
        write_atomically(folder / LEFT_OUT, text.encode() + b"\n")
