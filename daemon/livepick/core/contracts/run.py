"""A training run on disk: what the daemon asks for, and what the trainer says on the way.

``runs/NNNN/run.json`` is the order, ``progress.jsonl`` the trainer's running account, one JSON
line a step. The daemon writes the first and follows the second; the trainer the other way round.
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from livepick.config.sections import Bootstrap, Particle, Training
from livepick.core.imaging.ctf import Ctf
from livepick.errors import TrainerError
from livepick.host.atomic_files import write_atomically

__all__ = ["DISK_FULL_STATUS", "RUN", "RUNS", "RunMicrograph", "RunSpec", "SeedPick"]

RUNS = "runs"
"""Name of the folder of runs in the state directory."""

RUN = "run.json"

DISK_FULL_STATUS = 75
"""With this the trainer ends on a full disk, where it can write nothing else (EX_TEMPFAIL)."""


SeedPick = tuple[float, float, float]
"""x and y in pixels of the original micrograph (``core.imaging.picks``), and the score."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class RunMicrograph(_Record):
    """One micrograph of a training run, with the picks that the ledger had for it."""

    path: Path
    pixel_size_angstrom: float
    held_out: bool
    """Never trained on; judges the model and sets its threshold."""
    seeds: list[SeedPick]
    """All candidates of the seeding model, best first, also those below its threshold."""
    ctf: Ctf | None = None
    """How it was taken, if a program has measured that."""


class RunSpec(_Record):
    """What a training run is to do: everything the trainer needs to know."""

    version: int
    """Number that the new bundle takes; the run's folder has the same number."""
    parent: int | None
    """Version of the session's bundle that made the seeds; None if a person or a bundle from
    elsewhere did."""
    fingerprint: str
    particle_fingerprint: str
    models_directory: Path
    particle: Particle
    training: Training
    bootstrap: Bootstrap = Bootstrap()
    seeds_from: Literal["blob", "model", "coordinates"] = "blob"
    """Who made the seeds; those of ``coordinates`` are a person's, and believed."""
    seed_threshold: float
    """Threshold of the seeding model."""
    continues: str | None = None
    """Name of an earlier run with the same seeds, whose stages before ``select`` are used."""
    unmatched: list[str] = []
    """What of a coordinates file did not match the session, a sentence each; not all of a long
    list."""
    micrographs: list[RunMicrograph]

    @classmethod
    def read(cls, run_folder: Path) -> Self:
        """Read ``run.json`` of a run folder; TrainerError if it is missing or malformed."""
        path = run_folder / RUN
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise TrainerError(
                f"{path} cannot be read: {error}", "The daemon writes it; start the run again."
            ) from error

    def write(self, run_folder: Path) -> None:
        """Write ``run.json``, whole or not at all."""
        write_atomically(run_folder / RUN, self.model_dump_json(indent=1).encode())
