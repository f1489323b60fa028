"""Topaz with its pretrained detectors: PyPI's ``topaz-em``, in an environment of its own.

Topaz is GPL software. It is only run as a program, and nothing of it is imported here.

Its guide (``tutorial/01_quick_start_guide.ipynb``) says that the pretrained models expect 4 to 8 Å
per pixel, "~4 Å/pix is better for small to medium sized particles, but ~8 Å/pix is better for large
particles (>= 300 Å particle diameter)", and that the radius is that of the particle in pixels of
the downsampled micrograph. The factor of downsampling is a whole number, so the pixel size is the
smallest multiple that is not below 4 (or 8) Å. All other options are the defaults; picks end at
Topaz's log-likelihood score of -6, which its guide takes as the ranked list in which users choose
a threshold of their own.

Topaz counts pixels from the first one at 0, and multiplies by the factor (``--up-scale``).
"""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from comparison.program import Task
from livepick.core.formats.coordinates import read_all_positions
from livepick.core.imaging.picks import Picks

ENVIRONMENT = Path(__file__).parents[2] / ".compare" / "topaz-venv"
MODELS = ("resnet8_u64", "resnet16_u64")
"""Pretrained detectors; the second is Topaz's default."""

PIXEL_ANGSTROM, LARGE_PIXEL_ANGSTROM = 4.0, 8.0
LARGE_ANGSTROM = 300.0
"""Diameter from which a particle is large, by the guide."""

TABLE = "picks.txt"


@dataclass(frozen=True, slots=True)
class Topaz:
    """``topaz preprocess`` and ``topaz extract`` with one of the pretrained models."""

    model: str
    environment: Path = ENVIRONMENT
    ranks_separately: bool = False
    is_quick: bool = False

    @property
    def name(self) -> str:
        """Name in the table."""
        return f"Topaz {self.model.removesuffix('_u64')}"

    @property
    def command(self) -> str | None:
        """Path of Topaz in its environment, or else on the path; None if it is on neither."""
        own = self.environment / "bin" / "topaz"
        return str(own) if own.is_file() else shutil.which("topaz")

    @property
    def missing(self) -> str | None:
        """Sentence if Topaz is not installed."""
        if self.command is not None:
            return None
        return (
            f"topaz is not installed (python3 -m venv {self.environment} &&"
            f" {self.environment}/bin/pip install topaz-em; 6 GB with its PyTorch for GPUs)"
        )

    def commands(self, task: Task, *, ranking: bool = False) -> list[list[str]]:
        """Return the two commands; the ranking is what they write anyway."""
        topaz, factor = self.command or "topaz", downsampling(task)
        one_thread = ["--num-threads", "1", "--device", "-1"]
        radius_px = round(task.diameter_angstrom / 2 / (task.pixel_size_angstrom * factor))
        small = [f"small/{name}.mrc" for name in task.names]
        return [
            [topaz, "preprocess", "--scale", f"{factor}", *one_thread, "-o", "small", *task.files],
            [
                topaz, "extract", "--model", self.model, "--radius", f"{max(radius_px, 1)}",
                "--up-scale", f"{factor}", *one_thread, "--output", TABLE, *small,
            ],
        ]  # fmt: skip

    def picks(self, task: Task) -> list[Picks]:
        """Read the table of all micrographs; one that is not in it has no picks."""
        found = read_all_positions(task.folder / TABLE)
        return [found[name].picks() if name in found else Picks.empty() for name in task.names]


def downsampling(task: Task) -> int:
    """Return the factor to the pixel size that Topaz's guide advises for the particle."""
    is_large = task.diameter_angstrom >= LARGE_ANGSTROM
    wanted = LARGE_PIXEL_ANGSTROM if is_large else PIXEL_ANGSTROM
    return max(1, math.ceil(wanted / task.pixel_size_angstrom - 1e-6))
