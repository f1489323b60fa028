"""The thread that has class averages made of the newest picks of a session.

They are made by a program of the trainer in a process of its own, with low priority, on a worker of
the cluster if that takes heavy jobs: the same process, lock and adoption as for a training
(``retraining.trainer_process``). There is one such process at a time.

On a machine with two processors or fewer, and on a cluster, none runs beside a training: one that
has begun is ended when a training begins, and starts anew when it is over.

What was made goes to the dispatch loop, which writes it to the ledger. A result that was finished
while the service was down is recorded at its next start; anything unfinished is made anew.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from livepick.classes.class_folders import ClassFolders
from livepick.classes.class_order import MOST_ROWS, make_order
from livepick.classes.making_state import MakingState
from livepick.classes.when_due import why_due
from livepick.config.schema import Config
from livepick.core.contracts.class_averages import CLASSES, PROGRAM, RESULT
from livepick.core.contracts.run import DISK_FULL_STATUS
from livepick.core.contracts.trainer import PYTHON, Ended, StartTrainer, Trainer
from livepick.errors import LedgerError
from livepick.host.trainer_packages import missing_packages
from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.ledger.inbox import ClassesMade
from livepick.ledger.reader import LedgerReader
from livepick.ledger.session_rows import ClassAveragesRow
from livepick.retraining.trainer_process import TrainerProcess, last_log_lines

__all__ = ["COMMAND", "SessionClasses"]

POLL_SECONDS = 2.0
"""Time between two looks at the process; until the first one too."""

LOOK_SECONDS = 10.0
"""Time between two looks at the newest picks, which takes a few milliseconds."""

PAUSE_SECONDS = 600.0
"""Time between two tries after a failure."""

MOST_SECONDS = 3600.0
"""Longest time of one process: it takes half a minute of a core, but may get little of it."""

FEW_PROCESSORS = 2
"""Processors up to which none runs beside a training."""

MOST_THREADS = 2

COMMAND: Final = (PYTHON, "-m", PROGRAM)
"""Program that makes them; the folder is its argument."""

_log = logging.getLogger(__name__)


class SessionClasses:
    """Makes class averages: call ``run`` in a thread of its own; all else is for any thread.

    Parameters
    ----------
    config
        Config of the session.
    ledger
        Read access to the picks, and to what was made before.
    send
        Passes a message to the dispatch loop.
    is_training
        Returns True while a training runs.
    processors
        Number of processors of this machine that may be used.
    on_cluster
        True if heavy jobs run on workers of a cluster, which take one at a time.
    start
        Function that starts or adopts the process.
    missing
        Returns the packages that are missing to make them here.
    clock
        Function that returns the time in unix seconds.
    unexpected
        Counts the unexpected errors that are passed over.
    """

    def __init__(
        self,
        config: Config,
        *,
        ledger: LedgerReader,
        send: Callable[[ClassesMade], None],
        is_training: Callable[[], bool],
        processors: int,
        on_cluster: bool = False,
        start: StartTrainer = TrainerProcess.start_or_adopt,
        missing: Callable[[], list[str]] = missing_packages,
        clock: Callable[[], float] = time.time,
        unexpected: UnexpectedErrors | None = None,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._send = send
        self._is_training = is_training
        self._few = processors <= FEW_PROCESSORS or on_cluster
        self._threads = 1 if processors <= FEW_PROCESSORS else MOST_THREADS
        self._on_cluster = on_cluster
        self._start = start
        self._missing = missing
        self._clock = clock
        self._unexpected = unexpected or UnexpectedErrors()
        self._folders = ClassFolders(config.state.directory / CLASSES, config.session.name)
        self._last: ClassAveragesRow | None = None
        self._made: list[int] = []
        self._process: tuple[Path, Trainer] | None = None
        self._began_at = 0.0
        self._not_before = float("-inf")
        self._has_recovered = False
        self._stop = threading.Event()
        self._state = MakingState()

    # --- calls from any thread ---------------------------------------------------------------

    @property
    def state(self) -> MakingState:
        """Work on class averages at the moment."""
        return self._state

    def use(self, config: Config) -> None:
        """Use another config from the next step on."""
        self._config = config

    def stop(self) -> None:
        """Ask ``run`` to return."""
        self._stop.set()

    # --- the thread --------------------------------------------------------------------------

    def run(self) -> None:
        """Make class averages until ``stop``; then end the process, if there is one."""
        pause_seconds = POLL_SECONDS
        try:
            while not self._stop.wait(pause_seconds):
                try:
                    with self._unexpected.passing_over("classes", "class averages"):
                        self.step()
                except LedgerError as error:  # the dispatch loop decides what that means
                    _log.warning("class averages: %s", error)
                pause_seconds = LOOK_SECONDS if self._process is None else POLL_SECONDS
        finally:
            self._end("the service stops")

    def step(self) -> None:
        """Do the next thing that is due, if any.

        Raises
        ------
        LedgerError
            The ledger cannot be read.
        """
        if not self._has_recovered:
            self._recover()
            self._has_recovered = True
        if not self._config.class_averages.enabled:
            self._end("they are switched off")
            self._show(MakingState(is_off=True))
        elif self._process is not None:
            self._follow(*self._process)
        else:
            self._consider()

    def _recover(self) -> None:
        """Take over what an earlier service has left."""
        rows = self._ledger.class_averages(limit=10)
        self._last = rows[0] if rows else None
        self._made = [row.number for row in rows]
        running = self._folders.running()
        if running is not None:
            self._begin(running)
            return
        for row in self._folders.recover(self._ledger):
            self._record(row)
        self._folders.remove_others(self._made)

    # --- when to make some -------------------------------------------------------------------

    def _consider(self) -> None:
        """Begin if class averages are due and nothing is against it."""
        if not self._on_cluster and (missing := self._missing()):
            self._fail(
                f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed",
                "Install the trainer: pip install 'livepick[trainer]'; or set"
                " class_averages.enabled to false.",
                level=logging.INFO,
            )
            return
        if time.monotonic() < self._not_before:
            return
        model = self._ledger.model()
        why = why_due(
            self._ledger.newest_picked(MOST_ROWS),
            self._last,
            model_version=None if model is None else model.version,
            now=self._clock(),
            every_seconds=60 * self._config.class_averages.every_minutes,
            diameter_angstrom=self._config.particle.diameter_angstrom,
        )
        if why is None:
            self._show(MakingState(fault=self._state.fault, remedy=self._state.remedy))
        elif self._gives_way:
            self._show(MakingState(waits="a training runs"))
        else:
            self._order(why)

    @property
    def _gives_way(self) -> bool:
        return self._few and self._is_training()

    def _order(self, why: str) -> None:
        try:
            order = make_order(self._config, self._ledger, threads=self._threads)
            if order is None:
                return
            folder = self._folders.begin(order, self._last)
            _log.info(
                "class averages %s: begun with %d picks of %d micrographs: %s",
                folder.name,
                order.particles,
                len(order.micrographs),
                why,
            )
            self._begin(folder)
        except OSError as error:
            self._fail(
                f"writing to the state folder failed: {error.strerror}",
                "Free space on its disk, and check its permissions. livepick tries again.",
            )

    def _begin(self, folder: Path) -> None:
        self._process = folder, self._start(folder, COMMAND, threads=self._threads)
        self._began_at = time.monotonic()
        self._show(MakingState(since=self._clock()))

    # --- while they are made -----------------------------------------------------------------

    def _follow(self, folder: Path, process: Trainer) -> None:
        if self._gives_way:
            self._end("a training begins")
            self._show(MakingState(waits="a training runs"))
            return
        ended = process.poll()
        if ended is None:
            if time.monotonic() - self._began_at > MOST_SECONDS:
                self._end("they take too long")
                self._fail(
                    f"they were not finished within {MOST_SECONDS / 60:g} minutes",
                    "Check the load of the machine (top). livepick tries again.",
                )
            return
        self._process = None
        row = self._folders.row(folder, self._ledger) if (folder / RESULT).is_dir() else None
        if row is not None:
            self._record(row)
            self._show(MakingState())
        else:
            self._failed(folder, ended)
        self._folders.remove_others(self._made)

    def _record(self, row: ClassAveragesRow) -> None:
        self._last = row
        self._made.append(row.number)
        self._send(ClassesMade(row))
        _log.info(
            "class averages %04d: %.0f %% of %d particles in %d of %d classes show a particle",
            row.number,
            100 * row.good_fraction,
            row.particles,
            row.good_classes,
            row.classes,
        )

    def _failed(self, folder: Path, ended: Ended) -> None:
        """Say why there is no result."""
        if ended.exit_status == DISK_FULL_STATUS:
            self._fail("the disk of the state folder is full", "Free space on it.")
        elif ended.lost:
            self._fail(ended.lost, "livepick tries again.")
        elif ended.exit_status is None or ended.exit_status < 0:
            self._fail(
                "their process was killed, as the system does when memory runs out",
                "Free memory. livepick tries again.",
            )
        else:
            what, remedy = ([""] * 2 + last_log_lines(folder, 2, most_bytes=4096))[-2:]
            self._fail(what or f"their process ended with {ended.exit_status}", remedy)

    def _end(self, why: str) -> None:
        """End the process, if there is one; what it did is lost, and begins anew."""
        if self._process is None:
            return
        folder, process = self._process
        self._process = None
        process.end()
        if (folder / RESULT).is_dir():  # it was finished meanwhile
            with contextlib.suppress(LedgerError):
                row = self._folders.row(folder, self._ledger)
                if row is not None:
                    self._record(row)
                    return
        _log.info("class averages %s: ended, because %s", folder.name, why)
        self._folders.remove(folder)

    def _fail(self, fault: str, remedy: str, *, level: int = logging.WARNING) -> None:
        """Report why class averages cannot be made, once, and try again later."""
        if fault != self._state.fault:
            _log.log(level, "class averages: not made, because %s", fault)
        self._not_before = time.monotonic() + PAUSE_SECONDS
        self._show(MakingState(fault=fault, remedy=remedy))

    def _show(self, state: MakingState) -> None:
        self._state = state
