"""RELION's reference-free autopicker, a Laplacian of Gaussian: Debian's package ``relion``.

The options are those that RELION's own *Auto-picking* job writes with its defaults: ``--shrink 0
--lowpass 20`` and no change of the threshold. The job wants a smallest and a largest diameter, so
it gets 10 % less and 10 % more than the true one.

That choice was made before any result. Tried afterwards, as fractions of the true diameter, on the
micrographs of daemon/accuracy.md: .83 to 1 gave AP .26 (sums of 10146) and .55 (EMPIAR-10017),
.7 to .9 gave .16 and .50, .5 to .7 gave .13 and .46, and .9 to 1.1, which stays, .34 and .52.

With the default threshold (``--LoG_adjust_threshold 0``) it writes the peaks of the filtered
micrograph that are above the mean of the pixels that have the right size; the option adds standard
deviations to it. Peaks are taken from the highest to the lowest, so a lower threshold adds picks at
the end of the list and changes no other.

Its coordinates are array indices divided by the scale at which it works, so the centre of the first
pixel is at 0, as in livepick.
"""

import shutil
from dataclasses import dataclass

from comparison.program import Task
from livepick.core.formats.coordinates import read_coordinates
from livepick.core.imaging.picks import Picks

COMMAND = "relion_autopick"
DIAMETERS = 0.9, 1.1
"""Smallest and largest diameter, as fractions of the true one."""

RANKING_SIGMAS = -10
"""Change of the threshold, in standard deviations, with which all peaks above 0 are written."""

OUTPUT = "picks"


@dataclass(frozen=True, slots=True)
class RelionLog:
    """``relion_autopick --LoG``."""

    name: str = "RELION LoG"
    ranks_separately: bool = True
    is_quick: bool = True
    command: str = COMMAND

    @property
    def missing(self) -> str | None:
        """Sentence if RELION is not installed."""
        if shutil.which(self.command) is not None:
            return None
        return f"{self.command} is not installed (Debian: apt-get install relion)"

    def commands(self, task: Task, *, ranking: bool = False) -> list[list[str]]:
        """Return the command."""
        smallest, largest = (fraction * task.diameter_angstrom for fraction in DIAMETERS)
        return [
            [
                self.command, "--i", "mics/*.mrc", "--odir", f"{OUTPUT}/", "--pickname", "autopick",
                "--angpix", f"{task.pixel_size_angstrom:g}",
                "--LoG", "--LoG_diam_min", f"{smallest:g}", "--LoG_diam_max", f"{largest:g}",
                "--shrink", "0", "--lowpass", "20",
                "--LoG_adjust_threshold", f"{RANKING_SIGMAS if ranking else 0}",
            ]
        ]  # fmt: skip

    def picks(self, task: Task) -> list[Picks]:
        """Read the STAR file of each micrograph; one without a table has no picks."""
        found = []
        for name in task.names:
            path = task.folder / OUTPUT / "mics" / f"{name}_autopick.star"
            is_empty = "_rlnCoordinateX" not in path.read_text()
            found.append(Picks.empty() if is_empty else read_coordinates(path))
        return found
