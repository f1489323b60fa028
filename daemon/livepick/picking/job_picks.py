"""The picks of a list of micrographs, for a job that ends: from a model, or from a session.

Both sources yield one event for each micrograph, and None when nothing has happened for a while, so
that the caller can look whether it should stop.
"""

import dataclasses
import os
import time
from collections import deque
from collections.abc import Collection, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from livepick.core.contracts.job import Job, Result
from livepick.core.imaging.picks import Picks
from livepick.errors import (
    LivepickError,
    MemoryLimitError,
    MicrographError,
    PoisonError,
    TimeLimitError,
)
from livepick.ledger.output_rows import Visible
from livepick.ledger.reader import LedgerReader
from livepick.picking import tasks
from livepick.picking.engine import Engine
from livepick.picking.finality import Finality

__all__ = [
    "Event",
    "Picked",
    "SessionPicks",
    "Unpicked",
    "bundle_picks",
    "relative_path",
]

LOOK_SECONDS = 1.0
"""Longest time between two events."""

TRIES_ALONE = 2
"""Number of times that a micrograph is tried alone after it ended or occupied its worker."""

LEDGER_SECONDS = 5.0
"""Time between two looks at the ledger."""


@dataclass(frozen=True, slots=True)
class Picked:
    """A micrograph with its picks."""

    name: str
    """Name in the list of micrographs."""
    entry: Visible
    candidates: Picks


@dataclass(frozen=True, slots=True)
class Unpicked:
    """A micrograph that gets no picks."""

    name: str
    state: Literal["failed", "waiting", "left_out"]
    """``waiting``: the time has passed, and it has no final picks yet. ``left_out``: by a setting,
    because of its quality or because the job shall not wait."""
    reason: str


Event = Picked | Unpicked | None


def relative_path(name: str) -> Path:
    """Return the path of a micrograph that a list names; absolute if the name is."""
    return Path(os.path.normpath(name))


def bundle_picks(project: Path, names: Sequence[str], job: Job, engine: Engine) -> Generator[Event]:
    """Pick micrographs with a model, in the order in which workers finish.

    Micrographs that ended their worker or exceeded a limit are tried again one by one.

    Parameters
    ----------
    project
        Folder of the project.
    names
        Micrographs, relative to the project.
    job
        The model and its settings.
    engine
        Workers; stopped at the end.

    Raises
    ------
    ModelError
        The model is damaged, or the GPU was required and not obtained.
    EngineError
        Workers cannot be started.
    """
    try:
        suspects = yield from _pick(project, names, job, engine, at_once=engine.capacity)
        for name in suspects:
            for _ in range(TRIES_ALONE):
                deaths = yield from _pick(project, [name], job, engine, at_once=1)
                if not deaths:
                    break
            else:
                yield Unpicked(name, "failed", str(deaths[name]))
    finally:
        engine.stop()


def _pick(
    project: Path, names: Sequence[str], job: Job, engine: Engine, *, at_once: int
) -> Generator[Event, None, dict[str, LivepickError]]:
    """Yield the picks of micrographs; return those that ended or occupied their workers."""
    left = deque(names)
    running: dict[Future[Result], str] = {}
    suspects: dict[str, LivepickError] = {}
    while left or running:
        while left and len(running) < at_once:
            name = left.popleft()
            path = project / name
            running[engine.submit(tasks.pick, dataclasses.replace(job, path=path))] = name
        done, _ = wait(running, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
        yield None
        for future in done:
            name = running.pop(future)
            try:
                result = future.result()
                entry = Visible.of_result(project, relative_path(name), result)
                yield Picked(name, entry, result.picks)
            except (TimeLimitError, MemoryLimitError) as error:
                suspects[name] = error
            except MicrographError as error:
                yield Unpicked(name, "failed", str(error))
            except BrokenExecutor as death:
                suspects[name] = PoisonError(
                    f"its worker process died on every try: {death}",
                    "Look in the system log for an out-of-memory kill.",
                )
    return suspects


class SessionPicks:
    """The picks of a session.

    Parameters
    ----------
    project
        Folder of the project.
    ledger
        Ledger of the session.
    finality
        Tells which picks are final.
    verdicts
        Quality verdicts of the micrographs that get picks.
    """

    def __init__(
        self,
        project: Path,
        ledger: LedgerReader,
        finality: Finality,
        *,
        verdicts: Collection[str],
    ) -> None:
        self._project = project
        self._ledger = ledger
        self._finality = finality
        self._verdicts = verdicts

    def final(self, names: Sequence[str], *, wait_seconds: float) -> Generator[Event]:
        """Yield the final picks of micrographs, as soon as the session has them.

        Parameters
        ----------
        names
            Micrographs, relative to the project.
        wait_seconds
            Time after which micrographs without final picks are given up. 0: those that have none
            now are left out.
        """
        until = time.monotonic() + wait_seconds
        pending = dict.fromkeys(names, "the session has not seen it, or not picked it yet")
        namesakes = _Namesakes(self._project, names)
        while True:
            yield from self._look(pending, namesakes)
            if not pending or time.monotonic() >= until:
                break
            look_again = min(until, time.monotonic() + LEDGER_SECONDS)
            while (seconds := look_again - time.monotonic()) > 0:
                yield None
                time.sleep(min(seconds, LOOK_SECONDS))
        for name, reason in pending.items():
            yield Unpicked(name, "waiting" if wait_seconds else "left_out", reason)

    def _look(self, pending: dict[str, str], namesakes: "_Namesakes") -> Generator[Event]:
        """Yield the picks that are final now; note what the others are waiting for."""
        for row in self._ledger.recent(-1, state="failed"):
            for name in namesakes.names(row.path) & pending.keys():
                del pending[name]
                yield Unpicked(name, "failed", f"{row.error}. {row.remedy}")
        for entry in self._ledger.visible():
            for name in namesakes.names(entry.root / entry.relative) & pending.keys():
                event = self._event(name, entry)
                if isinstance(event, str):
                    pending[name] = event
                    continue
                del pending[name]
                yield event

    def _event(self, name: str, entry: Visible) -> Picked | Unpicked | str:
        """Return the picks of a micrograph, or what it is waiting for."""
        if not self._finality.is_final(entry.model_kind):
            row = self._ledger.get(entry.id)
            if row is not None and row.state == "picked" and row.error is not None:
                return f"its picks are provisional, and picking it again failed: {row.error}"
            return "its picks are provisional: the session will pick it again with a trained model"
        if entry.verdict not in self._verdicts:
            return Unpicked(name, "left_out", f"the session judged its quality {entry.verdict}")
        candidates = self._ledger.candidates(entry.id)
        row = self._ledger.get(entry.id)
        if candidates is None or row is None or row.model_version != entry.model_version:
            return "the session is picking it again"
        place = dataclasses.replace(entry, root=self._project, relative=relative_path(name))
        return Picked(name, place, candidates)


class _Namesakes:
    """The names in a list of micrographs by the files that they are.

    Parameters
    ----------
    project
        Folder of the project.
    names
        Micrographs, relative to the project.
    """

    def __init__(self, project: Path, names: Sequence[str]) -> None:
        self._names: dict[Path, set[str]] = {}
        for name in names:
            path = project / name
            for place in {path, _real(path)}:
                self._names.setdefault(place, set()).add(name)
        self._file_names = {path.name for path in self._names}
        self._real: dict[Path, Path] = {}

    def names(self, path: Path) -> set[str]:
        """Return the names that a file of the session has in the list; links are followed."""
        if path.name not in self._file_names:
            return set()
        if path not in self._real:
            self._real[path] = _real(path)
        return self._names.get(path, set()) | self._names.get(self._real[path], set())


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
