"""Training runs on disk: find one, order one, and what a new one owes to earlier ones.

A micrograph that was held out once is never trained on again in the same state folder, and one that
was trained on is never held out: figures of different runs are then comparable, and no model is
judged by what it or an ancestor of it has learned.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from livepick.config.sections import Bootstrap, Particle, Training
from livepick.core.contracts.bundle import bundle_name
from livepick.core.contracts.run import RUN, RunSpec
from livepick.errors import TrainerError
from livepick.host.atomic_files import write_atomically
from livepick.retraining.fingerprints import seeding_fingerprint

__all__ = ["Runs", "Waiting", "read_waiting", "say_waiting"]

WAITING = "waiting.json"
"""In the folder of runs: why there is none yet."""


_log = logging.getLogger(__name__)


class Waiting(BaseModel):
    """Why a run with a training fingerprint has not begun, for who asks how the session stands."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    fingerprint: str
    sentence: str
    trouble: bool
    """Somebody must do something; else more micrographs will do."""


def say_waiting(runs: Path, waiting: Waiting | None) -> None:
    """Leave word in the folder of runs why none begins; None: there is nothing to say."""
    if waiting is None:
        (runs / WAITING).unlink(missing_ok=True)
        return
    runs.mkdir(parents=True, exist_ok=True)
    write_atomically(runs / WAITING, waiting.model_dump_json().encode())


def read_waiting(runs: Path) -> Waiting | None:
    """Return what ``say_waiting`` left; None without it."""
    try:
        return Waiting.model_validate_json((runs / WAITING).read_bytes())
    except (OSError, ValidationError):  # it is only a word, and the next look writes it again
        return None


@dataclass(frozen=True, slots=True)
class _Run:
    """What is remembered of an earlier order: all but its picks, which are many."""

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
        The folder; it need not be there yet.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._known: dict[tuple[str, int], _Run | None] = {}

    def latest(self, fingerprint: str) -> Path | None:
        """Return the newest run folder for a training fingerprint."""
        fitting = (run.folder for run in self._all() if run.fingerprint == fingerprint)
        return next(fitting, None)

    def held_out(self) -> frozenset[Path]:
        """Return the micrographs that any run has held out."""
        return frozenset().union(*(run.held_out for run in self._all()))

    def trained_on(self) -> frozenset[Path]:
        """Return the micrographs that any run has learned from."""
        return frozenset().union(*(run.trained_on for run in self._all()))

    def to_continue(
        self, particle: Particle, bootstrap: Bootstrap, training: Training
    ) -> RunSpec | None:
        """Return an earlier run whose seeds and sorting a run with these settings would repeat.

        The one that got furthest before the others, then the newest.
        """
        seeding = seeding_fingerprint(particle, bootstrap, training)
        fitting = [run.folder for run in self._all() if run.seeding == seeding]
        for stage in ("classify", "prepare", ""):
            for folder in fitting:
                if (folder / stage).is_dir():
                    return RunSpec.read(folder)
        return None

    def order(self, spec: RunSpec) -> Path:
        """Make the folder of a run, with the order in it; return the folder."""
        folder = self.directory / bundle_name(spec.version)
        folder.mkdir(parents=True)
        spec.write(folder)
        return folder

    def _all(self) -> list[_Run]:
        """Return the runs whose orders can be read, the newest first."""
        if not self.directory.is_dir():
            return []
        folders = (path for path in self.directory.iterdir() if path.name.isdigit())
        runs = [self._read(folder) for folder in sorted(folders, reverse=True)]
        return [run for run in runs if run is not None]

    def _read(self, folder: Path) -> _Run | None:
        try:
            key = (folder.name, (folder / RUN).stat().st_mtime_ns)
        except FileNotFoundError:
            return None  # the service was killed before it had written the order
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
            frozenset(m.path for m in spec.micrographs if m.held_out),
            frozenset(m.path for m in spec.micrographs if not m.held_out),
        )
