"""All Prometheus metrics of the service, created in one registry.

The help text of each instrument is the operator's question that it answers. Label values come from
short fixed lists (never a file, a user or an error's text). Each is exported as zero from the
start, so that rates are correct from the first event. Timestamps are unix seconds, and 0 until the
first event: dashboards subtract them from ``time()``.

The gauge by state is called ``livepick_ledger_micrographs``, because a client registry rejects a
gauge ``livepick_micrographs`` next to the counter ``livepick_micrographs_total``.
"""

import collections
import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from livepick import errors
from livepick.config.alert_thresholds import GAPS, LATEST, SESSION_SECONDS
from livepick.core.contracts.job import CPU, CUDA, Result
from livepick.core.contracts.progress import FindingKind, Progress, Stage
from livepick.core.evaluation.drift_test import DRIFT_FIGURES, DRIFT_KINDS, Drift
from livepick.core.evaluation.model_comparison import Comparison
from livepick.core.imaging.quality import CtfFigures, Quality
from livepick.core.imaging.quality_limits import VERDICTS, Verdict, judge
from livepick.host.disks import ROLES, Disk
from livepick.host.gpus import Card
from livepick.ingest.folder import FileEvents
from livepick.ledger.rows import Counts, MicrographRow
from livepick.retraining.eta import RunProgress

__all__ = ["CONTENT_TYPE", "ERROR_REASONS", "ERROR_STAGES", "PICK_STAGES", "STATES", "Metrics"]

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

STATES = ("queued", "picking", "picked", "failed", "stale")
"""States of the micrographs in the ledger."""

PICK_STAGES = ("read", "preprocess", "infer", "peaks", "export")
"""Processing stages of one micrograph, in order."""

ERROR_STAGES = ("ingest", "pick", "export", "train")
"""Stages in which an error can occur."""

_OUTCOMES = ("picked", "empty", "repicked", "failed", "skipped", "superseded")
"""Outcomes of a micrograph. ``picked`` and ``empty`` count first picks. ``repicked``: picked again
by another model or at another threshold, whatever the result. ``skipped``: images excluded by
``watch.include`` and similar settings, not counting those present at the start. ``superseded``:
new content under a known name, which is picked again."""

LATEST_STATES = ("waiting", "picked", "empty", "failed")
"""States of the micrographs that landed last."""

EVENT_TYPES = tuple(field.name for field in dataclasses.fields(FileEvents))
WORKER_STATES = ("busy", "idle")
QUEUE_STAGES = ("settling", "queued", "picking")
TRAINING_STAGES = tuple(stage for stage in get_args(Stage) if stage not in ("done", "failed"))
TRAINING_RESULTS = ("promoted", "kept_aside", "failed", "superseded", "stopped")
JUDGED = ("candidate", "champion")
FINDINGS: tuple[str, ...] = get_args(FindingKind)

PROVIDERS = (CUDA, CPU)

LATENCY_BUCKETS_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 3600)
"""From "faster than the next exposure" to "an hour behind the microscope". An alert uses 600."""

STAGE_BUCKETS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

PARTICLE_BUCKETS = (0, 1, 10, 25, 50, 100, 200, 400, 800, 1600)
"""Upper bounds in particles per micrograph; the first bucket holds the empty micrographs."""

SCORE_BUCKETS = (0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95)

QUALITY_FIGURES: dict[str, tuple[str, tuple[float, ...]]] = {
    "median_score": ("How sure is the model? Median score of a micrograph's picks.", SCORE_BUCKETS),
    "masked_fraction": (
        "How much is carbon, contamination or border? Of the area.",
        (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9),
    ),
    "contamination_fraction": (
        "How much is ice or other contamination? Of the area.",
        (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5),
    ),
    "carbon_fraction": ("How much is film? Of the area.", (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7)),
    "occupied_fraction": (
        "Is the field full? Area under picks, of what is not masked.",
        (0.005, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5),
    ),
    "contrast": (
        "Is there more than noise? Power at the size of a particle over the noise; 1 is noise.",
        (1.05, 1.15, 1.3, 1.5, 2, 3, 5, 10, 20, 50),
    ),
    "signal_fraction": (
        "Are there Thon rings? Power between 40 and 7 Å above the noise; an empty hole has none.",
        (0.02, 0.05, 0.08, 0.1, 0.2, 0.3, 0.5),
    ),
    "skewness": (
        "Is it more than noise? Skewness at the size of a particle; noise has 0.",
        (0, 0.1, 0.25, 0.5, 1, 2, 4),
    ),
    "mottle": (
        "Is ice mottled? Power wider than a particle that picks do not explain, over particles'.",
        (0.25, 0.5, 1, 1.5, 2, 2.5, 4, 6, 10),
    ),
    "uneven_fraction": (
        "Are there patches that differ? Tiles of another variance.",
        (0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    ),
    "anisotropy": (
        "Does the stage drift? Power above the noise that is along one axis, 0 to 1.",
        (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7),
    ),
    "ice_ring": (
        "Is ice crystalline? Its ring over what is beside it; 1 is none.",
        (1.05, 1.1, 1.2, 1.3, 1.5, 2, 5),
    ),
    "ice_gradient_sigmas": (
        "Is there a wedge of ice? Slow change of brightness, in deviations of the noise.",
        (0.5, 1, 2, 4, 6, 10, 15),
    ),
}
"""Fields of ``core.imaging.quality.Quality``, each with its question and buckets at its limits.
Unknown values are not observed."""

CTF_HISTOGRAMS: dict[str, tuple[str, tuple[float, ...]]] = {
    "ctf_resolution_angstrom": (
        "How far do Thon rings reach? Where a CTF program has said so; counted when it is read.",
        (3, 4, 5, 6, 8, 10, 15, 20, 30),
    ),
    "defocus_angstrom": (
        "Is it in focus? Mean of both defoci, where a CTF program has fitted them.",
        (2500, 5000, 10_000, 15_000, 20_000, 25_000, 30_000, 40_000, 60_000),
    ),
    "astigmatism_angstrom": (
        "Is the objective lens astigmatic? Difference of both defoci, likewise.",
        (100, 250, 500, 1000, 2000, 5000, 10_000),
    ),
}
"""Fields of ``core.imaging.quality.CtfFigures``, in the same form."""

_NAMED = {"median_score": "score_median"}
"""Metric names that differ from the field name: the measured quantity comes first."""

GPU_FIGURES = {
    "memory_used_bytes": (
        "memory_used_bytes",
        "Is there room on the card? Used by all programs; no series without an NVIDIA driver.",
    ),
    "memory_size_bytes": ("memory_size_bytes", "How much memory has that card?"),
    "busy": ("busy_ratio", "Is the card at work? Share of the last moment, by all programs."),
}
"""Fields of ``gpu.Card``, each with its name and question."""


def _reasons(root: type[errors.LivepickError]) -> set[str]:
    return {root.reason}.union(*(_reasons(child) for child in root.__subclasses__()))


ERROR_REASONS = tuple(sorted(_reasons(errors.LivepickError)))
"""``reason`` of every livepick error class, and ``internal`` for all other exceptions."""


def _observe(histograms: Mapping[str, Histogram], figures: Quality | CtfFigures) -> None:
    for figure, histogram in histograms.items():
        value = getattr(figures, figure)
        if value is not None:
            histogram.observe(value)


def _state_of(row: MicrographRow) -> str:
    if row.state == "failed":
        return "failed"
    if row.pick_count is None:
        return "waiting"
    return "picked" if row.pick_count else "empty"


_Instrument = TypeVar("_Instrument", Counter, Gauge, Histogram)


def _zeros(instrument: _Instrument, *choices: tuple[str, ...]) -> _Instrument:
    """Export every combination of the label values from the start."""
    for values in itertools.product(*choices):
        instrument.labels(*values)
    return instrument


class Metrics:
    """Instruments of the service, in a registry of their own unless one is passed."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the series
        self.registry = registry or CollectorRegistry()
        self._counted: dict[Counter, int] = {}
        self._excluded: int | None = None
        self._landings: collections.deque[float] = collections.deque(maxlen=GAPS + 1)
        self._worker_count = 0
        self._known_gpus: dict[str, set[str]] = {figure: set() for figure in GPU_FIGURES}
        self._make_information()
        self._make_micrographs()
        self._make_quality()
        self._make_times()
        self._make_folders()
        self._make_model()
        self._make_training()

    def _make_information(self) -> None:
        self.build = Info("livepick_build", "Which program is this?", registry=self.registry)
        self.session = Info(
            "livepick_session", "Which microscope session is this?", registry=self.registry
        )
        self.session_started = self._gauge(
            "session_started_timestamp_seconds", "When did this session begin?"
        )
        self.session_active = self._gauge(
            "session_active",
            "Is it collecting? 1 until no micrograph has landed for six hours; 0 as long as there"
            " is only what was in the folders at the start.",
        )
        self.healthy = self._gauge(
            "healthy", "Do all parts of the service get on? As /healthz says."
        )
        self.config = Info(
            "livepick_config", "With which settings are picks made?", registry=self.registry
        )
        self.config_reloads = _zeros(
            self._counter("config_reloads", "Reloads of the config asked for.", "result"),
            ("success", "failure"),
        )
        self.config_last_reload_successful = self._gauge(
            "config_last_reload_successful", "Is the config on disk in force?"
        )
        self.config_last_reload_time = self._gauge(
            "config_last_reload_success_timestamp_seconds", "When was it last read with success?"
        )

    def _make_micrographs(self) -> None:
        self.discovered = self._counter(
            "micrographs_discovered", "Does anything arrive? Complete micrographs found."
        )
        self.micrographs = _zeros(
            self._counter(
                "micrographs",
                "Is it keeping up? Micrographs by outcome; picked and empty are first picks.",
                "state",
            ),
            _OUTCOMES,
        )
        self.in_ledger = _zeros(
            self._gauge("ledger_micrographs", "Where does the session stand?", "state"), STATES
        )
        self.latest = _zeros(
            self._gauge(
                "latest_micrographs",
                f"How does it go now? The {LATEST} that landed last, by what became of them.",
                "state",
            ),
            LATEST_STATES,
        )
        self.ledger_particles = self._gauge(
            "ledger_particles", "How many particles has the session? Each micrograph once."
        )
        self.particles = self._counter(
            "particles", "Is it finding anything? Picks above the threshold, of all models."
        )
        self.particles_per_micrograph = self._histogram(
            "particles_per_micrograph",
            "Is the grid any good? Picks above the threshold.",
            PARTICLE_BUCKETS,
        )
        self.empty_in_a_row = self._gauge(
            "consecutive_empty_micrographs",
            "Is there anything at all? Newest micrographs without a pick, 50 at most.",
        )
        self.score = self._histogram(
            "particle_score", "Do scores drift? Of picks above the threshold.", SCORE_BUCKETS
        )
        self.errors = _zeros(
            self._counter("errors", "What goes wrong, and where?", "stage", "reason"),
            ERROR_STAGES,
            ERROR_REASONS,
        )
        self.retries = self._counter("retries", "Micrographs queued again after an error.")
        self.worker_crashes = self._counter("worker_crashes", "Worker processes that died.")
        self.workers = _zeros(
            self._gauge("workers", "Are all workers at work? By what they do.", "state"),
            WORKER_STATES,
        )

    def _make_quality(self) -> None:
        self.quality_verdicts = _zeros(
            self._counter(
                "micrograph_quality_verdicts",
                "Are micrographs any good? Each once, as judged at its first picks; a CTF that is"
                " fitted later does not count here.",
                "verdict",
            ),
            VERDICTS,
        )
        self.verdicts_in_ledger = _zeros(
            self._gauge(
                "ledger_quality_verdicts",
                "Is the session any good? Micrographs by their present verdict, CTF included.",
                "verdict",
            ),
            VERDICTS,
        )
        self.latest_verdicts = _zeros(
            self._gauge(
                "latest_quality_verdicts",
                f"Is it still good? Present verdicts on the {LATEST} that landed last.",
                "verdict",
            ),
            VERDICTS,
        )
        self.quality_figures = {
            figure: self._histogram(
                f"micrograph_{_NAMED.get(figure, figure)}",
                f"{question} At first picks.",
                buckets,
            )
            for figure, (question, buckets) in QUALITY_FIGURES.items()
        }
        self.ctf_figures = {
            figure: self._histogram(f"micrograph_{figure}", question, buckets)
            for figure, (question, buckets) in CTF_HISTOGRAMS.items()
        }

    def _make_times(self) -> None:
        self.stage_seconds = _zeros(
            self._histogram(
                "stage_duration_seconds", "Where does time go?", STAGE_BUCKETS_SECONDS, "stage"
            ),
            PICK_STAGES,
        )
        self.latency_seconds = self._histogram(
            "end_to_end_latency_seconds",
            "How stale are picks? From the file landing to its first picks on disk.",
            LATENCY_BUCKETS_SECONDS,
        )
        self.queue_depth = _zeros(
            self._gauge("queue_depth", "Is it falling behind? Micrographs waiting.", "stage"),
            QUEUE_STAGES,
        )
        self.oldest_pending = self._gauge(
            "oldest_pending_timestamp_seconds",
            "When did the oldest micrograph without picks land? 0 if none waits.",
        )
        self.last_seen = self._gauge(
            "last_micrograph_seen_timestamp_seconds",
            "When did the last micrograph land? What was there at the start says nothing of it.",
        )
        self.gap_seconds = self._gauge(
            "micrograph_gap_seconds",
            "How often does one land? Median of the last 25 gaps; 0 until there are two.",
        )
        self.last_picked = self._gauge(
            "last_micrograph_picked_timestamp_seconds", "When were the last picks written?"
        )

    def _make_folders(self) -> None:
        self.root_available = self._gauge(
            "watch_root_available", "Is the watched folder of this index there?", "root"
        )
        self.watch_events = _zeros(
            self._counter(
                "watch_events",
                "Does the file system tell of files? None where folders are polled.",
                "type",
            ),
            EVENT_TYPES,
        )
        self.watch_restarts = self._counter(
            "watch_restarts", "How often did watching by events have to be started anew?"
        )
        self.watch_overflows = self._counter(
            "watch_overflows", "Are file events lost? Only the rescan finds those files."
        )
        self.scan_seconds = self._gauge(
            "scan_duration_seconds", "How long does a listing of the watched folders take?"
        )
        self.last_scan = self._gauge(
            "last_scan_timestamp_seconds", "When were the watched folders last listed?"
        )
        self.rescan_interval = self._gauge(
            "rescan_interval_seconds", "How often are they to be listed? The slowest of them."
        )
        self.disk_free_bytes = _zeros(
            self._gauge("disk_free_bytes", "Is there room on the disk?", "path_role"), ROLES
        )
        self.disk_size_bytes = _zeros(
            self._gauge("disk_size_bytes", "How large is that disk?", "path_role"), ROLES
        )
        self.disk_shared = _zeros(
            self._gauge(
                "disk_shared",
                "Is that disk told of already? 1 if it is that of an earlier role: output, state,"
                " watch.",
                "path_role",
            ),
            ROLES,
        )
        self.output_writable = self._gauge(
            "output_writable", "Does the output folder take writes? 0 while picking waits for it."
        )
        self.state_writable = self._gauge(
            "state_writable", "Does the ledger take writes? 0 while all waits for it."
        )

    def _make_model(self) -> None:
        self.provider_active = _zeros(
            self._gauge(
                "inference_provider_active", "Does the GPU work? 1 for the one in use.", "provider"
            ),
            PROVIDERS,
        )
        self.gpu_figures = {
            figure: self._gauge(f"gpu_{name}", question, "gpu")
            for figure, (name, question) in GPU_FIGURES.items()
        }
        self.model = self._gauge("model_info", "Which model picks?", "version", "kind")
        self.model_promoted = self._gauge(
            "model_promoted_timestamp_seconds", "Since when does this model pick?"
        )
        self.drift_score = _zeros(
            self._gauge(
                "drift_score",
                "Is the session still what the model was promoted on? Size of the change of the"
                " last micrographs; 1 is the least that matters.",
                "figure",
            ),
            DRIFT_FIGURES,
        )
        self.score_drift_psi = self._gauge(
            "score_drift_psi",
            "Are scores spread as they were? Stability index of the last micrographs; from 0.25"
            " above chance on it is a finding, and 0 until there are enough of them.",
        )
        self.drift_active = _zeros(
            self._gauge(
                "drift_active", "Which change of the last micrographs is no chance?", "finding"
            ),
            DRIFT_KINDS,
        )

    def _make_training(self) -> None:
        self.training_running = self._gauge("training_running", "Is a training run under way?")
        self.training_stage = _zeros(
            self._gauge("training_stage", "What does it do? 1 for the stage under way.", "stage"),
            TRAINING_STAGES,
        )
        self.training_stage_done = self._gauge(
            "training_stage_done_ratio", "How far is that stage? 0 if it does not count its steps."
        )
        self.training_ends = self._gauge(
            "training_expected_end_timestamp_seconds",
            "When may the run end, at the pace of its epochs? 0 if nothing is known of it.",
        )
        self.training_loss = self._gauge(
            "training_loss", "How does it learn? Training loss of the last epoch."
        )
        self.validation_loss = self._gauge(
            "training_validation_loss", "And on held-out micrographs?"
        )
        self.training_accuracy = self._gauge(
            "training_accuracy",
            "Does it tell particles from background? Mean of both pixels' shares that are right.",
        )
        self.validation_accuracy = self._gauge(
            "training_validation_accuracy", "And on held-out micrographs? 0.5 finds nothing."
        )
        self.training_findings = _zeros(
            self._counter("training_findings", "What do learning curves say is wrong?", "finding"),
            FINDINGS,
        )
        self.training_reruns = self._counter(
            "training_reruns", "Trainings repeated with the remedy of a finding."
        )
        self.training_runs = _zeros(
            self._counter("training_runs", "Training runs ended, by result.", "result"),
            TRAINING_RESULTS,
        )
        self.training_ended = _zeros(
            self._gauge(
                "training_ended_timestamp_seconds", "When did a run last end so?", "result"
            ),
            TRAINING_RESULTS,
        )
        self.bootstrap_micrographs = self._gauge(
            "bootstrap_micrographs", "For how many micrographs does the first training wait?"
        )
        self.gate_average_precision = _zeros(
            self._gauge(
                "gate_average_precision",
                "Was the last new model better? Of both on held-out micrographs, at the gate.",
                "model",
            ),
            JUDGED,
        )
        self.gate_precision = _zeros(
            self._gauge(
                "gate_precision", "And of as many picks as the one in use writes?", "model"
            ),
            JUDGED,
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"livepick_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"livepick_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(f"livepick_{name}", text, labels, buckets=buckets, registry=self.registry)

    def exposition(self) -> bytes:
        """Return the text that Prometheus scrapes."""
        return generate_latest(self.registry)

    def begin(
        self, *, started_at: float, landings: Sequence[float], last_picked_at: float, workers: int
    ) -> None:
        """Restore the state from before this start, so that a restart hides or fires no alert.

        Parameters
        ----------
        started_at
            Start of the session, in unix seconds like all times here.
        landings
            Landing times of the last micrographs that arrived while the session was collecting,
            oldest first.
        last_picked_at
            Time of the last picks; 0 if no micrograph is picked.
        workers
            Number of workers.
        """
        self.session_started.set(started_at)
        for landed_at in landings:
            self._note_landing(landed_at)
        self.last_picked.set(last_picked_at)
        self.output_writable.set(1)
        self.state_writable.set(1)
        self._worker_count = workers
        self.workers.labels("idle").set(workers)

    def landed(self, landed_at: float, *, collected: bool) -> None:
        """Count a complete micrograph; its landing time is in unix seconds.

        ``collected``: True if the landing shows that a session is collecting.
        """
        self.discovered.inc()
        if collected:
            self._note_landing(landed_at)

    def _note_landing(self, landed_at: float) -> None:
        self._landings.append(landed_at)
        self.last_seen.set(landed_at)
        gaps = [after - before for before, after in itertools.pairwise(self._landings)]
        if gaps:
            self.gap_seconds.set(max(statistics.median(gaps), 0.0))

    def superseded(self) -> None:
        """Count new content under a known name."""
        self.micrographs.labels("superseded").inc()

    def ask_health(self, healthy: Callable[[], bool]) -> None:
        """Evaluate the health at each scrape: a part that pushed its own health could hang too."""
        self.healthy.set_function(healthy)

    def beat(self, *, output_writable: bool, state_writable: bool, now: float) -> None:
        """Set the gauges for writable output, writable state and an active session."""
        self.output_writable.set(output_writable)
        self.state_writable.set(state_writable)
        last = self._landings[-1] if self._landings else 0.0
        self.session_active.set(now - last < SESSION_SECONDS)

    def room(self, disks: Sequence[Disk]) -> None:
        """Set free space and size of the disks; of several watched folders the fullest counts."""
        told: set[int] = set()
        for role in ROLES:
            spaces = [disk.space for disk in disks if disk.role == role]
            if spaces:
                least = min(spaces, key=lambda space: space.free_fraction)
                self.disk_shared.labels(role).set(least.device in told)
                told.add(least.device)
                self.disk_free_bytes.labels(role).set(least.free_bytes)
                self.disk_size_bytes.labels(role).set(least.size_bytes)

    def picked(
        self, result: Result, *, latency_seconds: float | None, export_seconds: float
    ) -> None:
        """Count a micrograph whose picks are on disk; the latency is None if it was picked again.

        A micrograph that was picked again is not counted a second time as picked or empty, nor as
        good or bad: alerts use these counts as shares of all micrographs that arrived. No CTF is
        known at first picks.
        """
        scores = result.picks.above(result.threshold).score.tolist()
        for score in scores:
            self.score.observe(score)
        self.particles.inc(len(scores))
        self.particles_per_micrograph.observe(len(scores))
        if latency_seconds is None:
            self.micrographs.labels("repicked").inc()
        else:
            self.micrographs.labels("picked" if scores else "empty").inc()
            self.latency_seconds.observe(max(latency_seconds, 0.0))
            verdict, _ = judge(result.quality)
            self.quality_verdicts.labels(verdict).inc()
            _observe(self.quality_figures, result.quality)
        seconds = dataclasses.asdict(result.seconds) | {"export": export_seconds}
        for stage in PICK_STAGES:
            self.stage_seconds.labels(stage).observe(seconds[stage])
        self.last_picked.set(time.time())
        self.use_provider(result.provider)

    def ctf_found(self, figures: CtfFigures) -> None:
        """Observe the CTF figures that another program measured; called once per micrograph."""
        _observe(self.ctf_figures, figures)

    def judged_so_far(
        self, verdicts: Mapping[Verdict, int], latest: Sequence[MicrographRow]
    ) -> None:
        """Set the verdict counts of the session, and the states and verdicts of the latest."""
        states = collections.Counter(_state_of(row) for row in latest)
        for state in LATEST_STATES:
            self.latest.labels(state).set(states[state])
        words = collections.Counter(row.quality_verdict for row in latest)
        for verdict in VERDICTS:
            self.verdicts_in_ledger.labels(verdict).set(verdicts[verdict])
            self.latest_verdicts.labels(verdict).set(words[verdict])

    def failed(self, reason: str, stage: Literal["ingest", "pick", "export"]) -> None:
        """Count a micrograph that failed for good."""
        self.micrographs.labels("failed").inc()
        self.error(stage, reason)

    def retried(self, reason: str) -> None:
        """Count a micrograph that is queued again after an error."""
        self.retries.inc()
        self.error("pick", reason)

    def queue(self, counts: Counts, oldest_waiting_at: float | None) -> None:
        """Set the number of micrographs per state, and when the oldest without picks landed."""
        for state in STATES:
            self.in_ledger.labels(state).set(getattr(counts, state))
        self.queue_depth.labels("queued").set(counts.queued + counts.stale)
        self.queue_depth.labels("picking").set(counts.picking)
        busy = min(counts.picking, self._worker_count)
        self.workers.labels("busy").set(busy)
        self.workers.labels("idle").set(self._worker_count - busy)
        self.oldest_pending.set(oldest_waiting_at or 0)

    def worker_crashed(self) -> None:
        """Count a worker that died."""
        self.worker_crashes.inc()

    def output_failed(self) -> None:
        """Count a write to the output folder that failed."""
        self.error("export", errors.OutputError.reason)

    def error(self, stage: Literal["ingest", "pick", "export", "train"], reason: str) -> None:
        """Count an error; a reason outside ``ERROR_REASONS`` counts as ``internal``."""
        self.errors.labels(stage, reason if reason in ERROR_REASONS else "internal").inc()

    def watched(
        self,
        *,
        available: Sequence[bool | None],
        events: FileEvents,
        overflows: int,
        restarts: int,
        settling: int,
        excluded: int,
        scanned_at: float,
        scan_seconds: float,
        interval_seconds: float,
    ) -> None:
        """Set the metrics of the watcher.

        Parameters
        ----------
        available
            Availability of each watched folder, in the order of the config. A folder that has not
            been checked yet has no series.
        events, overflows, restarts
            Counts of the event queue since the start.
        settling
            Number of files that are not complete yet.
        excluded
            Number of images that were excluded at the last listing.
        scanned_at, scan_seconds
            End and duration of the last listing.
        interval_seconds
            Interval between listings.
        """
        for index, there in enumerate(available):
            if there is not None:
                self.root_available.labels(str(index)).set(there)
        for kind in EVENT_TYPES:
            self._raise_to(self.watch_events.labels(kind), getattr(events, kind))
        self._raise_to(self.watch_overflows, overflows)
        self._raise_to(self.watch_restarts, restarts)
        if scanned_at > 0:
            before = excluded if self._excluded is None else self._excluded
            self.micrographs.labels("skipped").inc(max(excluded - before, 0))
            self._excluded = excluded
        self.rescan_interval.set(interval_seconds)
        self.queue_depth.labels("settling").set(settling)
        self.last_scan.set(scanned_at)
        self.scan_seconds.set(scan_seconds)

    def _raise_to(self, counter: Counter, count: int) -> None:
        """Raise a counter to a total that another part has counted since the start."""
        counter.inc(count - self._counted.get(counter, 0))
        self._counted[counter] = count

    def training_failed(self, reason: str) -> None:
        """Count a training error."""
        self.error("train", reason)

    def training_is_running(self, *, running: bool) -> None:
        """Set the gauge for a training run in progress."""
        self.training_running.set(running)

    def trained(self, line: Progress) -> None:
        """Update losses, accuracies, findings and reruns from a line of the trainer's progress."""
        for gauge, value in (
            (self.training_loss, line.training_loss),
            (self.validation_loss, line.validation_loss),
            (self.training_accuracy, line.training_accuracy),
            (self.validation_accuracy, line.validation_accuracy),
        ):
            if value is not None:
                gauge.set(value)
        if line.finding is not None:
            self.training_findings.labels(line.finding).inc()
        if line.rerun:
            self.training_reruns.inc()

    def training_at(self, progress: RunProgress | None) -> None:
        """Set the progress of the current run; None: no run, or no progress reported yet."""
        for stage in TRAINING_STAGES:
            self.training_stage.labels(stage).set(progress is not None and progress.stage == stage)
        self.training_stage_done.set(progress.fraction if progress is not None else 0)
        ends_at = progress.ends_at if progress is not None else None
        self.training_ends.set(ends_at or 0)

    def training_ended_as(self, result: str) -> None:
        """Count a run that has ended, and set the time of its end."""
        self.training_runs.labels(result).inc()
        self.training_ended.labels(result).set(time.time())

    def judged(self, comparison: Comparison | None) -> None:
        """Set the gate's figures of the new model and of the current one; None changes nothing."""
        if comparison is None:
            return
        average, precision = comparison.average_precision, comparison.precision
        self.gate_average_precision.labels("candidate").set(average.candidate)
        self.gate_average_precision.labels("champion").set(average.champion)
        self.gate_precision.labels("candidate").set(precision.candidate)
        self.gate_precision.labels("champion").set(precision.champion)

    def serve_with(self, *, version: int, kind: str, promoted_at: float) -> None:
        """Set which model picks from now on; the series of the previous model is removed."""
        self.model.clear()
        self.model.labels(str(version), kind).set(1)
        self.model_promoted.set(promoted_at)

    def drifted(self, drift: Drift) -> None:
        """Set the drift of the last micrographs from the first that the model picked."""
        active = {finding.kind for finding in drift.findings}
        for figure in DRIFT_FIGURES:
            self.drift_score.labels(figure).set(drift.size(figure))
        self.score_drift_psi.set(drift.stability_index or 0.0)
        for kind in DRIFT_KINDS:
            self.drift_active.labels(kind).set(kind in active)

    def use_provider(self, provider: str) -> None:
        """Set which onnxruntime provider runs the model."""
        for known in PROVIDERS:
            self.provider_active.labels(known).set(known == provider)

    def cards(self, present: Sequence[Card]) -> None:
        """Set the GPU figures; a card that is gone or a value that is not known has no series."""
        for figure, gauge in self.gpu_figures.items():
            values = {str(card.index): getattr(card, figure) for card in present}
            known = {gpu: value for gpu, value in values.items() if value is not None}
            for gpu, value in known.items():
                gauge.labels(gpu).set(value)
            for gone in self._known_gpus[figure] - known.keys():
                gauge.remove(gone)
            self._known_gpus[figure] = set(known)
