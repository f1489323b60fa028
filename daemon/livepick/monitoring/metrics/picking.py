"""Metrics of picking: micrographs, particles, times, workers.

This is one file because it is one family of metrics: most of it is names and help texts.
"""

import collections
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from livepick.config.alert_thresholds import LATEST
from livepick.core.contracts.job import CPU, CUDA, Result, StageSeconds
from livepick.core.formats.header import NOTE_WORDS, NoteKind
from livepick.core.imaging.picks import FloatArray
from livepick.core.imaging.quality import CtfFigures, Quality
from livepick.core.imaging.quality_limits import QualityVerdict
from livepick.errors import OutputError
from livepick.ledger.rows import Counts, CtfOutcome, MicrographRow
from livepick.monitoring.metrics.instruments import ERROR_REASONS, ErrorCounter, InstrumentFactory
from livepick.monitoring.metrics.landings import LandingMetrics
from livepick.monitoring.metrics.quality import SCORE_BUCKETS, QualityMetrics

__all__ = ["LATEST_STATES", "MOST_UNCOUNTED", "PickingMetrics"]

STATES = ("queued", "picking", "picked", "failed", "stale")
"""States of the micrographs in the ledger."""

STAGES = ("read", "preprocess", "infer", "peaks", "export")
"""Processing stages of one micrograph, in order."""

OUTCOMES = ("picked", "empty", "repicked", "failed", "skipped", "superseded")
"""Outcomes of a micrograph. ``picked`` and ``empty`` count first picks. ``repicked``: picked again
by another model or at another threshold, whatever the result. ``skipped``: images excluded by
``watch.include`` and similar settings, not counting those present at the start. ``superseded``:
new content under a known name, which is picked again."""

LATEST_STATES = ("waiting", "picked", "empty", "failed")
"""States of the micrographs that landed last."""

LATENCY_BUCKETS_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 3600)
"""From "faster than the next exposure" to "an hour behind the microscope". An alert uses 600."""

STAGE_BUCKETS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

PARTICLE_BUCKETS = (0, 1, 10, 25, 50, 100, 200, 400, 800, 1600)
"""Upper bounds in particles per micrograph; the first bucket holds the empty micrographs."""

MOST_UNCOUNTED = 100
"""Picked micrographs that are counted together, if no scrape comes before."""


class PickingMetrics:
    """Micrographs from landing to picks on disk.

    The gauge by state is called ``livepick_ledger_micrographs``, because a client registry rejects
    a gauge ``livepick_micrographs`` next to the counter ``livepick_micrographs_total``.

    Parameters
    ----------
    make
        Creates the instruments.
    errors
        Counts errors of picking with all others.
    landings
        Metrics of landing times.
    quality
        Metrics of the quality of picked micrographs.
    """

    def __init__(
        self,
        make: InstrumentFactory,
        *,
        errors: ErrorCounter,
        landings: LandingMetrics,
        quality: QualityMetrics,
    ) -> None:
        self._errors = errors
        self._quality = quality
        self._worker_count = 0
        self._provider = ""
        self._landings = landings
        self._uncounted: list[_Picked] = []
        self._lock = threading.Lock()
        self._make_micrographs(make)
        self._make_particles(make)
        self._make_work(make)
        make.before_scrape(self._count_picked)

    def _make_micrographs(self, make: InstrumentFactory) -> None:
        self._discovered = make.counter(
            "micrographs_discovered", "Is anything arriving? Complete micrographs found."
        )
        self._micrographs = make.counter(
            "micrographs",
            "Is it keeping up? Micrographs by outcome; picked and empty are first picks.",
            state=OUTCOMES,
        )
        self._in_ledger = make.gauge(
            "ledger_micrographs",
            "Where does the session stand? Micrographs by state.",
            state=STATES,
        )
        self._latest = make.gauge(
            "latest_micrographs",
            f"How is it going now? The {LATEST} micrographs that landed last, by outcome.",
            state=LATEST_STATES,
        )
        self._empty_in_row = make.gauge(
            "consecutive_empty_micrographs",
            "Is there anything at all? Newest micrographs in a row without a pick, 50 at most.",
        )
        self._repick_failures = make.counter(
            "repick_failures",
            "Are picks out of date? Micrographs that could not be picked again; they keep their"
            " picks.",
            reason=ERROR_REASONS,
        )
        self._repick_failed = make.gauge(
            "repick_failed_micrographs",
            "How many picks are out of date because picking them again failed?",
        )
        self._notes = make.counter(
            "micrograph_notes",
            "Are headers odd? First picks of micrographs that were read with a note, by kind.",
            kind=tuple(NOTE_WORDS),
        )
        self._retries = make.counter("retries", "Micrographs queued again after an error.")

    def _make_particles(self, make: InstrumentFactory) -> None:
        self._ledger_particles = make.gauge(
            "ledger_particles",
            "How many particles does the session have? Each micrograph counts once.",
        )
        self._particles = make.counter(
            "particles", "Is it finding anything? Picks above the threshold, of all models."
        )
        self._particles_per_micrograph = make.histogram(
            "particles_per_micrograph",
            "Is the grid any good? Picks above the threshold, per micrograph.",
            PARTICLE_BUCKETS,
        )
        self._score = make.histogram(
            "particle_score", "Do scores drift? Scores of picks above the threshold.", SCORE_BUCKETS
        )

    def _make_work(self, make: InstrumentFactory) -> None:
        stage_seconds = make.histogram(
            "stage_duration_seconds",
            "Where does the time go? Time per micrograph in each stage.",
            STAGE_BUCKETS_SECONDS,
            stage=STAGES,
        )
        self._stage_seconds_of = {stage: stage_seconds.labels(stage) for stage in STAGES}
        self._latency_seconds = make.histogram(
            "end_to_end_latency_seconds",
            "How old are picks? Time from the landing of a file to its first picks on disk.",
            LATENCY_BUCKETS_SECONDS,
        )
        self._last_picked = make.gauge(
            "last_micrograph_picked_timestamp_seconds", "When were the last picks written?"
        )
        self._queue_depth = make.gauge(
            "queue_depth",
            "Is it falling behind? Micrographs waiting.",
            stage=("settling", "queued", "picking"),
        )
        self._oldest_pending = make.gauge(
            "oldest_pending_timestamp_seconds",
            "When did the oldest micrograph without picks land? 0 if none is waiting.",
        )
        self._workers = make.gauge(
            "workers", "Are all workers busy? Workers by activity.", state=("busy", "idle")
        )
        self._worker_crashes = make.counter("worker_crashes", "Worker processes that died.")
        self._provider_active = make.gauge(
            "inference_provider_active",
            "Does the GPU work? 1 for the provider in use.",
            provider=(CUDA, CPU),
        )

    def restore(self, *, last_picked_at: float, workers: int) -> None:
        """Set the state at a start.

        Parameters
        ----------
        last_picked_at
            Time of the last picks, in unix seconds; 0 if no micrograph is picked.
        workers
            Number of workers.
        """
        self._last_picked.set(last_picked_at)
        self.use_workers(workers)
        self._workers.labels("idle").set(workers)

    def use_workers(self, count: int) -> None:
        """Set the number of workers, of which those of a cluster come and go."""
        self._worker_count = count

    # --- arrivals -------------------------------------------------------------------------------

    def landed(self, landed_at: float, *, collected: bool) -> None:
        """Count a complete micrograph; its landing time is in unix seconds.

        ``collected``: True if the landing shows that a session is collecting.
        """
        self._discovered.inc()
        if collected:
            self._landings.landed(landed_at)

    def superseded(self) -> None:
        """Count new content under a known name."""
        self._micrographs.labels("superseded").inc()

    def skipped(self, count: int) -> None:
        """Count images that were excluded by the settings."""
        self._micrographs.labels("skipped").inc(count)

    def settling(self, count: int) -> None:
        """Set the number of files that are not complete yet."""
        self._queue_depth.labels("settling").set(count)

    # --- picking --------------------------------------------------------------------------------

    def picked(
        self, result: Result, *, latency_seconds: float | None, export_seconds: float
    ) -> None:
        """Count a micrograph whose picks are on disk; the latency is None if it was picked again.

        A micrograph that was picked again is not counted a second time as picked or empty, nor as
        good or bad: alerts use these counts as shares of all micrographs that arrived.

        Many micrographs are counted together, at the next scrape at the latest: there are two dozen
        figures of each, and the dispatch thread has little time for one.
        """
        scores = result.picks.score
        picked = _Picked(
            scores[scores >= result.threshold],
            result.quality,
            result.seconds,
            export_seconds,
            latency_seconds,
            frozenset(note.kind for note in result.notes),
        )
        self._last_picked.set(time.time())
        self.use_provider(result.provider)
        with self._lock:
            self._uncounted.append(picked)
        if len(self._uncounted) >= MOST_UNCOUNTED:
            self._count_picked()

    def _count_picked(self) -> None:
        """Count the micrographs that were picked since the last call; called from any thread."""
        with self._lock:
            every, self._uncounted = self._uncounted, []
        if not every:
            return
        counts = [len(one.scores) for one in every]
        self._score.observe_all(np.concatenate([one.scores for one in every]))
        self._particles.inc(sum(counts))
        self._particles_per_micrograph.observe_all(counts)
        first = [one for one in every if one.latency_seconds is not None]
        empty = sum(not len(one.scores) for one in first)
        self._micrographs.labels("repicked").inc(len(every) - len(first))
        self._micrographs.labels("empty").inc(empty)
        self._micrographs.labels("picked").inc(len(first) - empty)
        for kind, count in collections.Counter(k for one in first for k in one.notes).items():
            self._notes.labels(kind).inc(count)
        self._latency_seconds.observe_all([max(one.latency_seconds or 0.0, 0.0) for one in first])
        self._quality.first_picked([one.quality for one in first])
        for stage, seconds in self._stage_seconds_of.items():
            seconds.observe_all([one.stage_seconds(stage) for one in every])

    def ctf_found(self, figures: CtfFigures) -> None:
        """Observe CTF figures, fitted or of another program; called once per micrograph."""
        self._quality.ctf_found(figures)

    def ctf_fitted(self, outcome: CtfOutcome) -> None:
        """Count a fit of the CTF."""
        self._quality.ctf_fitted(outcome)

    def failed(self, reason: str, stage: Literal["ingest", "pick", "export"]) -> None:
        """Count a micrograph that failed for good."""
        self._micrographs.labels("failed").inc()
        self._errors.count(stage, reason)

    def repick_failed(self, reason: str, stage: Literal["ingest", "pick", "export"]) -> None:
        """Count a micrograph that could not be picked again, and keeps its picks."""
        self._repick_failures.labels(reason if reason in ERROR_REASONS else "internal").inc()
        self._errors.count(stage, reason)

    def retried(self, reason: str) -> None:
        """Count a micrograph that is queued again after an error."""
        self._retries.inc()
        self._errors.count("pick", reason)

    def output_failed(self) -> None:
        """Count a write to the output folder that failed."""
        self._errors.count("export", OutputError.reason)

    def worker_crashed(self) -> None:
        """Count a worker that died."""
        self._worker_crashes.inc()

    def use_provider(self, provider: str) -> None:
        """Set which onnxruntime provider runs the model."""
        if provider != self._provider:
            self._provider = provider
            for known in (CUDA, CPU):
                self._provider_active.labels(known).set(known == provider)

    # --- the ledger -----------------------------------------------------------------------------

    def queue(self, counts: Counts, oldest_waiting_at: float | None) -> None:
        """Set the number of micrographs per state, and when the oldest without picks landed."""
        for state in STATES:
            self._in_ledger.labels(state).set(getattr(counts, state))
        self._queue_depth.labels("queued").set(counts.queued + counts.stale)
        self._queue_depth.labels("picking").set(counts.picking)
        busy = min(counts.picking, self._worker_count)
        self._workers.labels("busy").set(busy)
        self._workers.labels("idle").set(self._worker_count - busy)
        self._oldest_pending.set(oldest_waiting_at or 0)

    def set_person_verdicts(self, counts: Mapping[str, int]) -> None:
        """Set the numbers of micrographs that people have excluded and included."""
        self._quality.set_person_verdicts(counts)

    def session_so_far(
        self,
        *,
        particles: int,
        repicks_failed: int,
        verdicts: Mapping[QualityVerdict, int],
        latest: Sequence[MicrographRow],
        empty_in_row: int,
    ) -> None:
        """Set the session's particles, failed re-picks and verdicts, and its latest outcomes."""
        self._ledger_particles.set(particles)
        self._repick_failed.set(repicks_failed)
        states = collections.Counter(map(_latest_state, latest))
        for state in LATEST_STATES:
            self._latest.labels(state).set(states[state])
        self._quality.set_verdicts(verdicts, latest)
        self._empty_in_row.set(empty_in_row)


@dataclass(frozen=True, slots=True)
class _Picked:
    """A picked micrograph that is not counted yet."""

    scores: FloatArray
    """Scores above the threshold."""
    quality: Quality
    seconds: StageSeconds
    export_seconds: float
    latency_seconds: float | None
    """Time from landing to picks; None: it was picked again."""
    notes: frozenset[NoteKind]

    def stage_seconds(self, stage: str) -> float:
        """Return the time that a stage took."""
        return self.export_seconds if stage == "export" else float(getattr(self.seconds, stage))


def _latest_state(row: MicrographRow) -> str:
    if row.state == "failed":
        return "failed"
    if row.pick_count is None:
        return "waiting"
    return "picked" if row.pick_count else "empty"
