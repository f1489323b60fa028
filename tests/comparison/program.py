"""Interface of a program that picks particles, for the comparison."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from livepick.core.imaging.picks import Picks


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Micrographs that a program picks, and all that it is told about them."""

    folder: Path
    """Working folder of the program."""

    names: Sequence[str]
    """Names of the micrographs without suffix; they are ``mics/NAME.mrc`` in the folder."""

    pixel_size_angstrom: float
    diameter_angstrom: float
    """Longest diameter of the particle, which is darker than the ice."""

    @property
    def files(self) -> list[str]:
        """Paths of the micrographs, relative to the folder."""
        return [f"mics/{name}.mrc" for name in self.names]


class Program(Protocol):
    """A program that picks particles."""

    @property
    def name(self) -> str:
        """Name in the table."""

    @property
    def missing(self) -> str | None:
        """Sentence that says what is not installed and how to get it; None if nothing is."""

    @property
    def ranks_separately(self) -> bool:
        """True if candidates below the default threshold need another run."""

    @property
    def is_quick(self) -> bool:
        """True if a micrograph takes less time than the start of the program."""

    def commands(self, task: Task, *, ranking: bool = False) -> list[list[str]]:
        """Return the commands that pick the micrographs.

        Parameters
        ----------
        ranking
            True: with a threshold so low that practically all candidates are written; False: with
            the program's own default.
        """

    def picks(self, task: Task) -> list[Picks]:
        """Return what the commands have written, for each micrograph, as ``Picks`` defines it.

        Scores are the program's own.
        """
