"""livepick's pickers as programs: ``livepick pick`` with one of the first pickers, or a model."""

import sys
from dataclasses import dataclass
from pathlib import Path

from comparison.program import Task
from livepick.core.formats.coordinates import read_coordinates
from livepick.core.imaging.picks import Picks

LIVEPICK = Path(sys.executable).with_name("livepick")
FIRST = "livepick, first picker"
BLOB = "livepick, blob picker"
TRAINED = "livepick, trained"

OUTPUT = "picks"


@dataclass(frozen=True, slots=True)
class Livepick:
    """``livepick pick`` with a model."""

    name: str
    model: str
    """``general``, ``blob``, or the folder of a model that was trained on the same specimen."""

    missing: str | None = None
    ranks_separately: bool = True
    is_quick: bool = True

    def commands(self, task: Task, *, ranking: bool = False) -> list[list[str]]:
        """Return the command; its default threshold is the model's."""
        command = [
            str(LIVEPICK), "pick", self.model, *task.files,
            "--output", OUTPUT,
            "--pixel-size", f"{task.pixel_size_angstrom:g}",
            "--diameter", f"{task.diameter_angstrom:g}",
            "--device", "cpu",
        ]  # fmt: skip
        return [[*command, "--threshold", "0"] if ranking else command]

    def picks(self, task: Task) -> list[Picks]:
        """Read the STAR file of each micrograph."""
        folder = task.folder / OUTPUT
        return [read_coordinates(folder / f"{name}_autopick.star") for name in task.names]
