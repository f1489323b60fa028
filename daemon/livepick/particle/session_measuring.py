"""The thread that measures the particle on the first micrographs of a session.

Each micrograph is measured in a process of its own, with low priority, so that neither the service
nor its workers are slowed down, and a process that dies or hangs costs one micrograph at most. What
was found goes to the dispatch loop, which writes it to the ledger: after any stop, measuring
continues where it was, and after the loss of the ledger it begins again.

The rules are in ``session_verdict``. The main thread asks for the config with the measured numbers
(``config``), and applies it as it applies an edit of the file.
"""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from livepick.config.measured_particle import ParticleMeasured
from livepick.config.schema import Config, WrittenConfig
from livepick.core.contracts.job import Job, Result
from livepick.core.contracts.particle_measurement import ParticleEvidence, ParticleJob
from livepick.core.contracts.particle_state import ParticleExample, ParticleState
from livepick.core.formats.header import printable
from livepick.errors import LedgerError, LivepickError, ModelError
from livepick.host.isolated_call import ProcessDiedError
from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.ledger.inbox import ParticleChanged, ParticleSeen
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import MicrographRow
from livepick.ledger.session_config import with_measured
from livepick.particle.own_process import measure_apart, pick_apart
from livepick.particle.session_verdict import (
    Seen,
    judge_particle,
    picks_wait,
    training_waits,
    wants_more,
)

__all__ = ["Measure", "ParticleMeasuring"]

POLL_SECONDS = 1.0
"""Time between two looks at the ledger for another micrograph."""

JUDGE_SECONDS = 10.0
"""Time between two judgements while nothing is new: a question has its time."""

PAUSE_SECONDS = 30.0
"""Time between two tries while measuring is not possible."""

MOST_TRIES = 2
"""Tries with one micrograph that ends its process or cannot be read at the moment."""

FAULTY_PROCESSES = 3
"""Processes that die in a row, after which the fault is not with the micrographs."""

AHEAD = 10
"""Micrographs beyond the measured ones that are looked at."""

MOST_POSITIONS = 60
"""Positions shown in an example."""


class Measure(Protocol):
    """Measures one micrograph, somewhere else."""

    def __call__(self, job: ParticleJob, *, is_urgent: bool) -> ParticleEvidence:
        """Raise MicrographError, ModelError, TimeoutError, ProcessDiedError or OSError."""
        ...


Pick = Callable[[Job], Result]
"""Picks one micrograph, somewhere else; raises the same."""

_log = logging.getLogger(__name__)


class ParticleMeasuring:
    """Measures the particle: call ``run`` in a thread of its own; all else is for any thread.

    Parameters
    ----------
    written
        The config as it is in the file.
    ledger
        Read access to the micrographs and to what was measured before.
    send
        Passes a message to the dispatch loop.
    bundle
        Folder of the general model.
    measure, pick
        Measure and pick one micrograph in a process of its own; tests pass their own.
    clock
        Function that returns the time in unix seconds.
    unexpected
        Counts the unexpected errors that are passed over.
    """

    def __init__(
        self,
        written: WrittenConfig,
        *,
        ledger: LedgerReader,
        send: Callable[[ParticleSeen | ParticleChanged], None],
        bundle: Path,
        measure: Measure = measure_apart,
        pick: Pick = pick_apart,
        clock: Callable[[], float] = time.time,
        unexpected: UnexpectedErrors | None = None,
    ) -> None:
        self._written = written
        self._ledger = ledger
        self._send = send
        self._bundle = bundle
        self._measure = measure
        self._pick = pick
        self._clock = clock
        self._unexpected = unexpected or UnexpectedErrors()
        self._stop = threading.Event()
        self._lock = threading.RLock()
        self._seen: dict[int, tuple[int, ParticleEvidence | None]] = {}
        self._tries: dict[int, int] = {}
        self._deaths = 0
        self._has_worked = False
        self._has_more = True
        self._judged_at = float("-inf")
        for row in ledger.particle_evidence():
            try:
                evidence = (
                    None if row.evidence is None else ParticleEvidence.from_json(row.evidence)
                )
            except ValueError:  # of another version: measured again
                continue
            self._seen[row.micrograph_id] = (row.content, evidence)
        self._recorded = ledger.particle()
        self._state = ParticleState.begin(written.particle)
        if self._recorded is not None and self._recorded.question == self._state.question:
            self._state = dataclasses.replace(self._recorded, fault="", remedy="")
        self._judge()

    # --- calls from any thread ---------------------------------------------------------------

    @property
    def state(self) -> ParticleState:
        """Size and contrast of the particle, as far as known."""
        return self._state

    def use(self, written: WrittenConfig) -> None:
        """Use another config; what was measured answers its questions at once, as far as it can."""
        with self._lock:
            self._written = written
            if ParticleState.begin(written.particle).question != self._state.question:
                self._state = ParticleState.begin(written.particle)
            self._judge()

    def config(self, written: WrittenConfig) -> Config:
        """Return a config with the measured numbers."""
        return with_measured(written, self._state)

    @property
    def picks_wait(self) -> bool:
        """True while nothing is to be picked, because the particle is not known."""
        return picks_wait(self._state)

    def training_waits(self) -> str | None:
        """Return why a training waits for the particle, as a sentence; None if it does not.

        Raises
        ------
        LedgerError
            The ledger cannot be read.
        """
        state = self._state
        # A micrograph may have been picked since the thread looked for one.
        has_more = self._has_more or (wants_more(state) and self._next() is not None)
        return training_waits(state, more_to_measure=has_more, now=self._clock())

    def stop(self) -> None:
        """Ask ``run`` to return; a measurement in progress ends with the program."""
        self._stop.set()

    # --- the thread --------------------------------------------------------------------------

    def run(self) -> None:
        """Measure until ``stop``."""
        pause_seconds = 0.0
        while not self._stop.wait(pause_seconds):
            pause_seconds = PAUSE_SECONDS
            try:
                with self._unexpected.passing_over("particle", "the particle's size"):
                    pause_seconds = self.step()
            except LedgerError as error:
                _log.warning("particle: %s", error)

    def step(self) -> float:
        """Do the next thing that is due; return the seconds until there may be more to do.

        Raises
        ------
        LedgerError
            The ledger cannot be read.
        """
        if wants_more(self._state) and not self._bundle.is_dir():
            self._fail(
                "the general model is not installed",
                "Install livepick again, or give particle.diameter_angstrom and particle.contrast.",
            )
            return PAUSE_SECONDS
        row = self._next() if wants_more(self._state) else None
        had_more, self._has_more = self._has_more, row is not None
        if row is None:
            is_news = had_more or bool(self._state.fault)
            if is_news or self._clock() - self._judged_at >= JUDGE_SECONDS:
                with self._lock:
                    self._state = dataclasses.replace(self._state, fault="", remedy="")
                self._judge()
            self._illustrate()
            return POLL_SECONDS
        if not self._measure_one(row):
            return PAUSE_SECONDS
        self._judge()
        self._illustrate()
        return 0.0

    def _next(self) -> MicrographRow | None:
        """Return the micrograph to be measured next, in the order they landed; None: there is none.

        If nothing waits for the particle, picking a micrograph comes before measuring it.
        """
        rows = [
            row
            for row in self._ledger.first_landed(len(self._seen) + AHEAD)
            if self._seen.get(row.id, (None,))[0] != row.content
            and (self._state.is_automatic or row.picked_at is not None)
        ]
        return min(rows, key=lambda row: self._tries.get(row.id, 0) // MOST_TRIES, default=None)

    def _measure_one(self, row: MicrographRow) -> bool:
        """Measure a micrograph; return False if that is not possible at present."""
        micrograph, name = self._written.micrograph, printable(row.relative)
        job = ParticleJob(
            path=row.path,
            version=row.version,
            bundle=self._bundle,
            pixel_size_angstrom=micrograph.pixel_size_angstrom,
            trust=micrograph.trust,
        )
        self._tries[row.id] = self._tries.get(row.id, 0) + 1
        try:
            evidence = self._measure(job, is_urgent=self.picks_wait)
        except ModelError as error:
            self._tries[row.id] -= 1  # not its fault
            self._fail(error.what, error.remedy)
            return False
        except LivepickError as error:
            if not error.retryable or self._tries[row.id] >= MOST_TRIES:
                self._leave_out(row, str(error))
            return True
        except (TimeoutError, ProcessDiedError, OSError) as error:
            self._deaths += 1
            is_faulty = self._deaths >= FAULTY_PROCESSES
            if self._tries[row.id] >= MOST_TRIES and (self._has_worked or not is_faulty):
                self._leave_out(row, f"{name}: {error}")
            if not is_faulty:
                return True
            self._fail(
                f"measuring it fails again and again: {error}",
                "Check the load and the memory of the machine, or give particle.diameter_angstrom"
                " and particle.contrast.",
            )
            return False
        self._deaths, self._has_worked = 0, True
        _log.info("%s: measured for the particle's size", name)
        with self._lock:
            self._seen[row.id] = (row.content, evidence)
            self._state = dataclasses.replace(self._state, fault="", remedy="")
        self._send(ParticleSeen(row.id, row.content, evidence.to_json()))
        return True

    def _leave_out(self, row: MicrographRow, reason: str) -> None:
        _log.warning("particle: a micrograph is left out: %s", reason)
        with self._lock:
            self._seen[row.id] = (row.content, None)
        self._send(ParticleSeen(row.id, row.content, None, reason))

    def _fail(self, fault: str, remedy: str) -> None:
        """Record that nothing can be measured at present."""
        with self._lock:
            if fault != self._state.fault:
                level = logging.ERROR if self._state.is_automatic else logging.WARNING
                _log.log(level, "particle: its size cannot be measured: %s", fault)
            self._state = dataclasses.replace(self._state, fault=fault, remedy=remedy)
            self._record()

    # --- what is known -----------------------------------------------------------------------

    def _judge(self) -> None:
        """Update what is known, and report what is new."""
        with self._lock:
            before = self._state
            known = [evidence for _, (_, evidence) in sorted(self._seen.items())]
            found = tuple(evidence for evidence in known if evidence is not None)
            self._state = judge_particle(
                self._written.particle,
                Seen(found, len(known) - len(found)),
                first_training=self._written.bootstrap.micrographs,
                more_to_measure=self._has_more,
                previous=before,
                now=self._clock(),
            )
            self._judged_at = self._clock()
            _report(before, self._state)
            self._record()

    def _record(self) -> None:
        if self._state != self._recorded:
            self._recorded = self._state
            self._send(ParticleChanged(self._state))

    # --- examples ----------------------------------------------------------------------------

    def _illustrate(self) -> None:
        """Find the particles in one micrograph at each diameter that the page shows."""
        state = self._state
        wanted = _illustrated(state)
        drawn = [(one.diameter_angstrom, one.contrast) for one in state.examples]
        if drawn == [(one.diameter_angstrom, one.contrast) for one in wanted]:
            return
        row = self._clearest(state)
        examples: list[ParticleExample] = []
        for guess in wanted if row is not None else ():
            example = self._example(row, guess) if row is not None else None
            if example is None:
                return  # without pictures; the words say the same
            examples.append(example)
        with self._lock:
            if self._state.question == state.question and examples:
                self._state = dataclasses.replace(self._state, examples=tuple(examples))
                self._record()

    def _clearest(self, state: ParticleState) -> MicrographRow | None:
        """Return the micrograph that shows particles best."""
        contrast = state.best.contrast if state.best is not None else "dark"
        marks = [
            (max((x for x in one.curves(contrast).network if x > 0), default=0.0), -number)
            for number, (_, one) in self._seen.items()
            if one is not None
        ]
        return self._ledger.get(-max(marks)[1]) if marks else None

    def _example(self, row: MicrographRow, guess: ParticleMeasured) -> ParticleExample | None:
        micrograph = self._written.micrograph
        job = Job(
            row.path,
            row.version,
            self._bundle,
            pixel_size_angstrom=micrograph.pixel_size_angstrom,
            diameter_angstrom=guess.diameter_angstrom,
            contrast=guess.contrast,
            trust=micrograph.trust,
        )
        try:
            result = self._pick(job)
        except (LivepickError, TimeoutError, ProcessDiedError, OSError) as error:
            _log.info("particle: no picture of %g Å: %s", guess.diameter_angstrom, error)
            return None
        best = result.picks.above(result.threshold)
        places = zip(best.x_px.tolist(), best.y_px.tolist(), strict=True)
        return ParticleExample(
            micrograph_id=row.id,
            content=row.content,
            diameter_angstrom=guess.diameter_angstrom,
            contrast=guess.contrast,
            pixel_size_angstrom=result.pixel_size_angstrom,
            height_px=result.shape_px[0],
            width_px=result.shape_px[1],
            positions=tuple((round(x, 1), round(y, 1)) for x, y in places)[:MOST_POSITIONS],
        )


def _illustrated(state: ParticleState) -> list[ParticleMeasured]:
    """Return the guesses of which the page shows an example."""
    if state.contradiction and state.best is not None:
        diameter = state.given_angstrom or state.best.diameter_angstrom
        given = ParticleMeasured(diameter, state.given_contrast or state.best.contrast)
        return [given, state.best]
    if state.is_asking and state.best is not None and state.second is not None:
        return [state.best, state.second]
    if state.is_settled and state.used is not None:
        return [state.used]
    return [ParticleMeasured(one.diameter_angstrom, one.contrast) for one in state.examples]


def _report(before: ParticleState, after: ParticleState) -> None:
    """Log what is new."""
    used = after.used
    if used is not None and used != before.used and not after.is_settled:
        _log.info(
            "particle: %g Å, %s, so far (micrographs measured: %d)",
            used.diameter_angstrom,
            used.contrast,
            after.micrographs,
        )
    if used is not None and after.is_settled and not before.is_settled:
        _log.info(
            "particle: %g Å, %s, from now on (micrographs measured: %d, confidence %.0f %%)%s",
            used.diameter_angstrom,
            used.contrast,
            after.micrographs,
            100 * after.confidence,
            f": {after.settled_by}" if after.settled_by else "",
        )
    if after.is_asking and after.second != before.second and after.best and after.second:
        _log.warning(
            "particle: is it %g Å (%s) or %g Å (%s)? Set particle.diameter_angstrom",
            after.best.diameter_angstrom,
            after.best.contrast,
            after.second.diameter_angstrom,
            after.second.contrast,
        )
    if after.contradiction and not before.contradiction:
        _log.warning("particle: the micrographs contradict the config: %s", after.contradiction)
    if before.contradiction and not after.contradiction:
        _log.info("particle: the micrographs contradict the config no longer")
