"""A training run on disk: the daemon's order, and the trainer's progress.

``runs/NNNN/run.json`` is the order, and ``start.npz`` the weights to start from, if the training
does not start from random ones. ``progress.jsonl`` is the trainer's progress, one line of JSON
per step. The daemon writes the order and reads the progress; the trainer does the reverse.
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from livepick.config.sections import Particle
from livepick.config.training_sections import Bootstrap, Training
from livepick.core.contracts.bundle import MOST_WEIGHTS_BYTES, sha256
from livepick.core.formats.file_version import FileVersion
from livepick.core.imaging.ctf import Ctf
from livepick.errors import TrainerError
from livepick.host.atomic_files import write_atomically
from livepick.host.foreign_files import errors_of_file, read_bounded

__all__ = [
    "DISK_FULL_STATUS",
    "RUN",
    "RUNS",
    "START",
    "RunMicrograph",
    "RunSpec",
    "RunStart",
    "SeedPick",
    "SeedsFrom",
]

RUNS = "runs"
"""Name of the folder of runs in the state directory."""

RUN = "run.json"

START = "start.npz"
"""File in a run's folder with the weights that the training starts from, a copy of the bundle's
``weights.npz``. A run that is resumed therefore starts from the same weights, whatever has become
of the bundle."""

MOST_BYTES = 1 << 30
"""Largest specification that is read: it has the seeds of a session."""

DISK_FULL_STATUS = 75
"""Exit status of the trainer on a full disk, where it cannot write anything else (EX_TEMPFAIL)."""


SeedsFrom = Literal["blob", "general", "model", "coordinates"]

SeedPick = tuple[float, float, float]
"""x and y in pixels of the original micrograph (``core.imaging.picks``), and the score."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class RunMicrograph(_Record):
    """One micrograph of a training run, with the picks that the ledger had for it."""

    path: Path
    pixel_size_angstrom: float
    held_out: bool
    """True if it is never trained on, but used to evaluate the model and set its threshold."""
    seeds: list[SeedPick]
    """All candidates of the seeding model, best first, including those below its threshold."""
    version: FileVersion | None = None
    """Content that the seeds belong to; None in runs of earlier versions. Its inode is 0, because a
    share that is mounted again may have others."""
    ctf: Ctf | None = None
    """CTF of the micrograph, if a program has measured it."""


class RunStart(_Record):
    """Weights that a run starts from."""

    source: str
    """``general`` for the model that ships with livepick, else the bundle's folder."""
    livepick_version: str
    """Version of the livepick that made that model."""
    sha256: str
    """Digest of ``START``."""

    @property
    def name(self) -> str:
        """Name of the model for a sentence."""
        return "the general model" if self.source == "general" else f"model {self.source}"


class RunSpec(_Record):
    """Specification of a training run: everything that the trainer needs to know."""

    version: int
    """Number of the new bundle; the run's folder has the same number."""
    parent: int | None
    """Version of the session's bundle that made the seeds; None if a person or a bundle from
    elsewhere made them."""
    fingerprint: str
    particle_fingerprint: str
    models_directory: Path
    particle: Particle
    training: Training
    bootstrap: Bootstrap = Bootstrap()
    seeds_from: SeedsFrom = "blob"
    """Source of the seeds: a first picker, another model, or a person, who is trusted."""
    seed_threshold: float
    """Threshold of the seeding model."""
    start: RunStart | None = None
    """Weights that the training starts from; None: random ones."""
    continues: str | None = None
    """Name of an earlier run with the same seeds, whose stages before ``select`` are reused."""
    unmatched: list[str] = []
    """Mismatches between a coordinates file and the session, one sentence each; a long list is
    shortened."""
    orientation: list[str] = []
    """Direction of ``y`` in a coordinates file, and how it was found; one sentence for each kind of
    micrograph file."""
    micrographs: list[RunMicrograph]

    @classmethod
    def read(cls, run_folder: Path) -> Self:
        """Read ``run.json`` of a run folder; TrainerError if it is missing or malformed."""
        path = run_folder / RUN
        with errors_of_file(path, TrainerError, "The daemon writes it; start the run again."):
            return cls.model_validate_json(read_bounded(path, limit_bytes=MOST_BYTES))

    def read_start(self, run_folder: Path) -> bytes | None:
        """Return the content of ``START``; None if the training starts from random weights.

        Raises
        ------
        TrainerError
            The file is missing, or not the one that this specification names.
        """
        if self.start is None:
            return None
        path = run_folder / START
        remedy = "Raise training.generation by one; another run then starts."
        try:
            data = read_bounded(path, limit_bytes=MOST_WEIGHTS_BYTES)
        except OSError as error:
            raise TrainerError(f"{path} cannot be read: {error.strerror}", remedy) from error
        if sha256(data) != self.start.sha256:
            raise TrainerError(
                f"{path} is not the file that {RUN} names: the run was to start from"
                f" {self.start.name}",
                remedy,
            )
        return data

    def write(self, run_folder: Path) -> None:
        """Write ``run.json`` atomically."""
        write_atomically(run_folder / RUN, self.model_dump_json(indent=1).encode())
