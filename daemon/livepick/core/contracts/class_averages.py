"""Class averages of the newest picks on disk: the service's order, and the program's result.

``classes/NNNN/order.json`` is the order: micrographs and their picks. The program
``python -m livepick_trainer.live_classes`` sorts them into 2D classes, and ``result/`` with
``classes.json``, ``classes.png`` and ``particles.npz`` appears by one rename and never changes.
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from livepick.config.sections import Particle
from livepick.core.formats.file_version import FileVersion
from livepick.core.imaging.ctf import Ctf
from livepick.errors import TrainerError
from livepick.host.atomic_files import write_atomically
from livepick.host.foreign_files import errors_of_file, read_bounded

__all__ = [
    "CLASSES",
    "LEAST_CUT",
    "LEAST_PARTICLES",
    "MOST_PARTICLES",
    "ORDER",
    "PARTICLES",
    "PICTURE",
    "PROGRAM",
    "RESULT",
    "ClassFigures",
    "ClassesOrder",
    "ClassesResult",
    "OrderedMicrograph",
    "ViewBalance",
    "ViewState",
]

CLASSES = "classes"
"""Name of the folder of class averages in the state directory."""

ORDER = "order.json"
RESULT = "result"
"""Folder of the result, in the folder of the order."""

SUMMARY, PICTURE, PARTICLES = "classes.json", "classes.png", "particles.npz"
"""Files of the result. ``PARTICLES``: micrograph, pick, class and verdict of each particle, by
the numbers that these have in the order and in the result."""

PROGRAM = "livepick_trainer.live_classes"
"""Module that makes class averages, for ``python -m``."""

LEAST_PARTICLES = 150
"""Fewest picks that are sorted: averages of a handful are noise."""

LEAST_CUT = 75
"""Fewest of them whose box is entirely inside the micrograph, and that are sorted."""

MOST_PARTICLES = 4000
"""Most particles that are sorted, so that the cost is bounded: half a minute of one core."""

MOST_ORDER_BYTES = 1 << 26
MOST_RESULT_BYTES = 1 << 22

ViewState = Literal["balanced", "one_view", "unknown", "round"]
"""``one_view``: one view holds more of the good particles than orientations at random would give.
``round``: the same, but that view is round, as a sphere is from all sides. ``unknown``: there are
too few good particles to tell."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class OrderedMicrograph(_Record):
    """One micrograph with the picks to be sorted."""

    path: Path
    pixel_size_angstrom: float
    version: FileVersion | None = None
    """Content that the picks belong to. Its inode is 0: a share that is mounted again may have
    others."""
    ctf: Ctf | None = None
    """CTF, for flipping phases; None if it is not known."""
    picks: list[tuple[float, float]]
    """x and y in pixels of the micrograph (``core.imaging.picks``)."""


class ClassesOrder(_Record):
    """Everything that the program needs to know."""

    session: str
    """Name of the session that the micrographs belong to."""
    particle: Particle
    model_version: int
    """Model that made the picks; if there are several, one that is not in use any more."""
    first_id: int
    """Smallest number of a micrograph in the ledger."""
    last_id: int
    """Largest number of a micrograph in the ledger."""
    threshold: float | None = None
    """Threshold of the picks of the last micrograph; None in orders of earlier versions."""
    threads: int = 1
    """Number of CPU threads."""
    micrographs: list[OrderedMicrograph]
    """Micrographs in the order they landed; the last one has the number ``last_id``."""

    @property
    def particles(self) -> int:
        """Number of picks."""
        return sum(len(micrograph.picks) for micrograph in self.micrographs)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the order in a folder; TrainerError if it is missing or malformed."""
        path = folder / ORDER
        with errors_of_file(path, TrainerError, "Remove its folder; livepick makes another."):
            return cls.model_validate_json(read_bounded(path, limit_bytes=MOST_ORDER_BYTES))

    def write(self, folder: Path) -> None:
        """Write the order to a folder atomically."""
        write_atomically(folder / ORDER, self.model_dump_json(indent=1).encode())


class ClassFigures(_Record):
    """One class, in the order of the picture."""

    particles: int
    resolution_angstrom: float
    """Resolution at which the averages of its two halves agree."""
    is_good: bool
    """True if it shows a particle."""
    score: float
    """Lowest mark of the class, 0 to 1; from 0.5 on it is good."""
    reason: str
    """Reason for the verdict, in a few words."""
    view: int | None = None
    """Number of the view that it shows, from 0, the largest; None for a class that is not good."""


class ViewBalance(_Record):
    """Distribution of the good particles over the views of the particle."""

    state: ViewState
    largest_fraction: float | None = None
    """Fraction of the good particles that show the most frequent view; None if unknown."""
    views: int = 0
    """Number of views that can be told apart."""


class ClassesResult(_Record):
    """Figures of the class averages."""

    made_at: float
    """Time when they were made, in unix seconds."""
    micrographs: int
    """Number of micrographs that the particles are from."""
    left_out: list[str] = []
    """Micrographs that could not be read, each with the reason."""
    with_ctf: int = 0
    """Number of micrographs whose phases were flipped."""
    particles: int
    """Particles in classes; picks too close to the edge for a whole box are left out."""
    good_particles: int
    """Particles in good classes."""
    noise_particles: int = 0
    """Particles in the other classes that cannot be told from averages of noise."""
    classes: list[ClassFigures]
    views: ViewBalance
    width_px: int
    """Width of the picture."""
    height_px: int
    cpu_seconds: float

    @property
    def good_fraction(self) -> float:
        """Fraction of the particles that are in good classes."""
        return self.good_particles / max(1, self.particles)

    @property
    def good_classes(self) -> int:
        """Number of good classes."""
        return sum(one.is_good for one in self.classes)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the result in the folder of an order; TrainerError if it is not whole."""
        path = folder / RESULT / SUMMARY
        with errors_of_file(path, TrainerError, "Remove its folder; livepick makes another."):
            return cls.model_validate_json(read_bounded(path, limit_bytes=MOST_RESULT_BYTES))

    def to_json(self) -> bytes:
        """Return the content of ``SUMMARY``."""
        return self.model_dump_json(indent=1).encode() + b"\n"
