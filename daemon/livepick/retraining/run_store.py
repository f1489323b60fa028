"""Training runs on disk: find one, create one, and look up which micrographs earlier runs used.

A micrograph that was held out once is never trained on again in the same state folder, and one that
was trained on is never held out. The figures of different runs are therefore comparable, and no
model is judged by micrographs that it or its ancestors have learned from.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from livepick.config.sections import Particle
from livepick.config.training_sections import Bootstrap, Training
from livepick.core.contracts.bundle import bundle_name, numbered_folders
from livepick.core.contracts.run import RUN, START, RunSpec
from livepick.core.formats.image_names import uncompressed_path
from livepick.errors import TrainerError
from livepick.host.atomic_files import write_atomically
from livepick.host.foreign_files import read_bounded
from livepick.retraining.fingerprints import seeding_fingerprint

__all__ = ["Runs", "Waiting", "read_waiting", "write_waiting"]

WAITING = "waiting.json"
"""Name of the file in the folder of runs with the reason why no run has started yet."""


_log = logging.getLogger(__name__)


class Waiting(BaseModel):
    """Reason why a run with a training fingerprint has not started, for the session's status."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    fingerprint: str
    sentence: str
    trouble: bool
    """True if an operator must act; False if more micrographs are enough."""


def write_waiting(runs: Path, waiting: Waiting | None) -> None:
    """Write to the folder of runs why no run begins; None removes the file."""
    if waiting is None:
        (runs / WAITING).unlink(missing_ok=True)
        return
    runs.mkdir(parents=True, exist_ok=True)
    write_atomically(runs / WAITING, waiting.model_dump_json().encode())


def read_waiting(runs: Path) -> Waiting | None:
    """Return what ``write_waiting`` wrote; None if there is nothing."""
    try:
        return Waiting.model_validate_json(read_bounded(runs / WAITING, limit_bytes=1 << 20))
    except (OSError, ValidationError):  # only informational, and written again later
        return None


@dataclass(frozen=True, slots=True)
class _Run:
    """Cached summary of an earlier run's specification, without its many picks."""

    folder: Path
    fingerprint: str
    seeding: str
    held_out: frozenset[Path]
    trained_on: frozenset[Path]


class Runs:
    """The folder of runs of one session.

    Parameters
    ----------
    directory
        The folder; it need not exist yet.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._known: dict[tuple[str, int], _Run | None] = {}

    def latest(self, fingerprint: str) -> Path | None:
        """Return the newest run folder for a training fingerprint."""
        fitting = (run.folder for run in self._all() if run.fingerprint == fingerprint)
        return next(fitting, None)

    def held_out(self) -> frozenset[Path]:
        """Return all micrographs held out by any run, by their paths without compression."""
        return frozenset().union(*(run.held_out for run in self._all()))

    def trained_on(self) -> frozenset[Path]:
        """Return all micrographs that any run has trained on, in the same way."""
        return frozenset().union(*(run.trained_on for run in self._all()))

    def to_continue(
        self, particle: Particle, bootstrap: Bootstrap, training: Training
    ) -> RunSpec | None:
        """Return an earlier run whose seeds and sorting a run with these settings would repeat.

        Prefers the run that got furthest, then the newest. None if there is none.
        """
        runs = self._all()
        seeding = seeding_fingerprint(particle, bootstrap, training) if runs else ""
        fitting = [run.folder for run in runs if run.seeding == seeding]
        for stage in ("classify", "prepare", ""):
            for folder in fitting:
                if (folder / stage).is_dir():
                    return RunSpec.read(folder)
        return None

    def create(self, spec: RunSpec, start: bytes | None = None) -> Path:
        """Create the folder of a run with its specification, and return the folder.

        Parameters
        ----------
        spec
            Specification of the run.
        start
            Weights that the training starts from, if ``spec`` names any.
        """
        folder = self.directory / bundle_name(spec.version)
        folder.mkdir(parents=True)
        if start is not None:  # before the specification, which makes the folder a run
            write_atomically(folder / START, start)
        spec.write(folder)
        return folder

    def _all(self) -> list[_Run]:
        """Return the runs with a readable specification, the newest first."""
        runs = [self._read(folder) for folder in reversed(numbered_folders(self.directory))]
        return [run for run in runs if run is not None]

    def _read(self, folder: Path) -> _Run | None:
        try:
            key = (folder.name, (folder / RUN).stat().st_mtime_ns)
        except FileNotFoundError:
            return None  # the service was killed before it wrote the specification
        if key not in self._known:
            self._known[key] = self._read_anew(folder)
        return self._known[key]

    def _read_anew(self, folder: Path) -> _Run | None:
        try:
            spec = RunSpec.read(folder)
        except TrainerError as error:
            _log.warning("run %s: left out: %s", folder.name, error)
            return None
        return _Run(
            folder,
            spec.fingerprint,
            seeding_fingerprint(spec.particle, spec.bootstrap, spec.training),
            frozenset(uncompressed_path(m.path) for m in spec.micrographs if m.held_out),
            frozenset(uncompressed_path(m.path) for m in spec.micrographs if not m.held_out),
        )
