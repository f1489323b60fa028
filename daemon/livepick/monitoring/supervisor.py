"""Reports the state of the service to systemd, the metrics, the page and the health check.

This is one file because it is the only place that sees all parts: each of its steps reads several.
"""

import dataclasses
import logging
import platform
import threading
import time
from collections.abc import Callable
from pathlib import Path

from livepick import __version__
from livepick.classes.making_state import MakingState
from livepick.config.alert_thresholds import LATEST
from livepick.config.schema import Config
from livepick.core.contracts.bundle import ModelCard
from livepick.core.contracts.cluster_view import ClusterView
from livepick.core.contracts.job import CUDA
from livepick.core.contracts.particle_state import ParticleState
from livepick.core.imaging.ctf import Ctf
from livepick.errors import LedgerError, ModelError
from livepick.host.disks import Disk, Role, space_of
from livepick.host.gpu_signs import gpu_sign
from livepick.host.gpus import GpuMonitor
from livepick.host.systemd import Systemd
from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.ingest.watcher import Watcher
from livepick.ledger.reader import LedgerReader
from livepick.ledger.session_rows import Rebuilt
from livepick.monitoring.drift_findings import findings_of
from livepick.monitoring.drift_monitor import DriftMonitor
from livepick.monitoring.end_status import end_sentence
from livepick.monitoring.health import Health, HealthCheck
from livepick.monitoring.metrics.exporter import Metrics
from livepick.monitoring.optics_check import OPTICS_REMEDY, optics_contradiction
from livepick.monitoring.pace import empty_in_row
from livepick.monitoring.problem import (
    Problem,
    config_refused,
    drifted,
    folder_gone,
    gpu_set_aside,
    ledger_not_writable,
    ledger_rebuilt,
    model_damaged,
    no_gpu,
    no_workers,
    nodes_unfit,
    notices_not_sent,
    optics_contradicted,
    output_not_writable,
    output_obstructed,
    unexpected_errors,
    workers_left_behind,
)
from livepick.monitoring.status import Status, read_status
from livepick.picking.dispatch import Dispatch
from livepick.picking.output_sync import Outputs

__all__ = ["Supervisor"]

STATUS_SECONDS = 10.0
"""Interval between two status lines to systemd, and between two disk checks."""

CACHE_SECONDS = 1.0
"""Time for which a status is cached, so that the page reads the ledger no more often than this,
however many clients there are."""

UNEXPECTED_SECONDS = 3600.0
"""Time for which an unexpected error is shown as a problem."""

REBUILT_SECONDS = 24 * 3600.0
"""Time for which it is shown that the ledger was rebuilt; longer while the old one is kept."""

_log = logging.getLogger(__name__)


class Supervisor:
    """Collects the state of the parts of the service and reports it.

    Parameters
    ----------
    provider
        The onnxruntime provider that the workers obtained; empty: not known yet, of a cluster.
    workers
        Number of workers.
    drifted
        Called once with a sentence when the session begins to drift.
    model_fault
        Function that returns why the model that should pick cannot be used; None if it can.
    unexpected
        Unexpected errors of all parts.
    page_problems
        Returns the problems of the page's own server.
    particle
        Returns what is known about the particle.
    classes
        Returns what is done about class averages at the moment.
    cluster
        Returns the cluster as it is now; None if the workers are on this machine.
    is_ending
        Returns True while the session is ending.
    ctf_of_program
        Returns the latest CTF that another program has written, and the micrograph that it is of.
    page_url
        URL of the page for links in mails.
    notices_fault
        Returns why a notice was not sent, in words; empty if all were.
    gpu_sign
        Returns a sign that this machine has a GPU, in words; empty: there is none.
    """

    def __init__(
        self,
        config: Config,
        *,
        systemd: Systemd,
        metrics: Metrics,
        ledger: LedgerReader,
        watcher: Watcher,
        dispatch: Dispatch,
        outputs: Outputs,
        gpu_monitor: GpuMonitor,
        provider: str,
        workers: int,
        drifted: Callable[[str], None],
        model_fault: Callable[[], ModelError | None] = lambda: None,
        unexpected: UnexpectedErrors | None = None,
        page_problems: Callable[[], list[Problem]] = list,
        particle: Callable[[], ParticleState | None] = lambda: None,
        cluster: Callable[[], ClusterView | None] = lambda: None,
        classes: Callable[[], MakingState] = MakingState,
        is_ending: Callable[[], bool] = lambda: False,
        ctf_of_program: Callable[[], tuple[Path, Ctf] | None] = lambda: None,
        page_url: str = "",
        gpu_sign: Callable[[], str] = gpu_sign,
        notices_fault: Callable[[], str] = str,
    ) -> None:
        self._notices_fault = notices_fault
        self._gpu_sign = gpu_sign()
        self._had_gpu = provider == CUDA
        self._page_url = page_url
        self._is_ending = is_ending
        self._ctf_of_program = ctf_of_program
        self._classes = classes
        self._cluster = cluster
        self._particle = particle
        self._page_problems = page_problems
        self._model_fault = model_fault
        self._unexpected = unexpected or UnexpectedErrors()
        self._config = config
        self._rejected_edit: Problem | None = None
        self._own_disks: tuple[Disk, ...] = ()
        self._systemd = systemd
        self._metrics = metrics
        self._ledger = ledger
        self._watcher = watcher
        self._dispatch = dispatch
        self._outputs = outputs
        self._gpu_monitor = gpu_monitor
        self._provider = provider
        self._workers = workers
        self._drift = DriftMonitor(ledger, drifted=drifted)
        self._health = HealthCheck(
            dispatch,
            watcher,
            rescan_seconds=config.watch.rescan_seconds,
            unexpected=self._unexpected,
        )
        self._began_at = time.time()
        self._lock = threading.Lock()
        self._cached: Status | None = None
        self._cached_at = self._reported_at = float("-inf")

    def describe(self, card: ModelCard) -> None:
        """Set the metrics that rarely change, and register the health check for each scrape."""
        metrics, session = self._metrics, self._ledger.session()
        metrics.session.describe(
            version=__version__,
            python=platform.python_version(),
            session=self._config.session.name,
            started_at=session.started_at if session is not None else self._began_at,
            page_url=self._page_url,
        )
        metrics.session.check_health(lambda: self.health().ok)
        metrics.session.use_config(self._config, read_at=self._began_at)
        self._had_gpu = self._had_gpu or self._ledger.has_used(CUDA)
        metrics.host.writable(output=True, state=True)
        rebuilt = self._ledger.rebuilt()
        metrics.host.ledger_rebuilt(0.0 if rebuilt is None else rebuilt.at)
        metrics.landings.restore(self._ledger.last_collected())
        metrics.picking.restore(
            last_picked_at=self._ledger.last_picked_at() or 0.0, workers=self._workers
        )
        metrics.picking.use_provider(self._provider)
        for run in reversed(self._ledger.runs()):  # the latest run of each result counts
            if run.ended_at is not None:
                metrics.training.ended_before(run.state, run.ended_at)
        in_use = self._ledger.model()
        same = in_use is not None and in_use.version == card.version
        metrics.training.use_model(
            version=card.version,
            kind=card.kind,
            promoted_at=in_use.since if in_use is not None and same else self._began_at,
        )

    def use_provider(self, provider: str) -> None:
        """Record which provider runs the model; callable from any thread."""
        if self._provider not in ("", provider):
            _log.warning("picking: the provider changed from %s to %s", self._provider, provider)
        with self._lock:
            self._provider, self._cached = provider, None
            self._had_gpu = self._had_gpu or provider == CUDA
        self._metrics.picking.use_provider(provider)

    def health(self) -> Health:
        """Return the health of the parts; callable from any thread."""
        return self._health.health()

    def status(self) -> Status:
        """Return the status of the session; callable from any thread."""
        with self._lock:
            if self._cached is None or time.monotonic() - self._cached_at > CACHE_SECONDS:
                status = read_status(self._config, self._ledger, drift=self._drift.drift)
                self._cached = dataclasses.replace(
                    status,
                    is_ending=status.is_ending or self._is_ending(),
                    particle=self._particle() or status.particle,
                    classes=dataclasses.replace(status.classes, making=self._classes()),
                    provider=self._provider,
                    awaited=tuple(
                        folder.root
                        for folder in self._watcher.health().folders
                        if folder.is_awaited
                    ),
                    disks=self._disks(),
                    cluster=self._cluster(),
                    problems=self._problems(),
                )
                self._cached_at = time.monotonic()
            return self._cached

    def _gpu_problems(self) -> list[Problem]:
        why = self._why_a_gpu() if self._provider not in ("", CUDA) else ""
        return [no_gpu(why)] if why else []

    def _why_a_gpu(self) -> str:
        """Return why a GPU is expected, as a clause; empty: picking on the CPU is no fault.

        By default a GPU is used where there is one, and most machines without one are so by choice.
        """
        device = self._config.picking.device
        if device == "cpu":
            return ""
        if device == "require-gpu":
            return "picking.device is require-gpu"
        if self._had_gpu:
            return "one was used before in this session"
        return "" if self._cluster() is not None else self._gpu_sign

    def _disks(self) -> tuple[Disk, ...]:
        watched = (
            Disk("watch", folder.root, folder.space)
            for folder in self._watcher.health().folders
            if folder.space is not None
        )
        return (*watched, *self._own_disks)

    def changed(self) -> None:
        """Read the status again for the next one who asks."""
        with self._lock:
            self._cached = None

    def _worker_problems(self) -> list[Problem]:
        problems = []
        if (fault := self._dispatch.engine_fault) is not None:
            problems.append(no_workers(fault))
        if count := self._dispatch.left_behind:
            problems.append(workers_left_behind(count))
        if (cluster := self._cluster()) is not None:
            problems += nodes_unfit(cluster)
        return problems + list(map(gpu_set_aside, self._dispatch.devices_aside))

    def _optics_problems(self) -> list[Problem]:
        found = self._ctf_of_program()
        clause = "" if found is None else optics_contradiction(self._config.optics, *found)
        return [optics_contradicted(clause, OPTICS_REMEDY)] if clause else []

    def _problems(self) -> tuple[Problem, ...]:
        """Return the current problems, the most severe first."""
        problems = [
            folder_gone(folder.root, folder.detail)
            for folder in self._watcher.health().folders
            if folder.available is False and not folder.is_awaited
        ]
        if (output_fault := self._outputs.fault) is not None:
            problems.append(output_not_writable(self._config.output.directory, output_fault))
        if obstacles := self._outputs.obstacles:
            problems.append(output_obstructed(obstacles))
        if (ledger_fault := self._dispatch.ledger_fault) is not None:
            problems.append(ledger_not_writable(ledger_fault))
        problems += self._worker_problems()
        rebuilt = self._ledger.rebuilt()
        if rebuilt is not None and _is_news(rebuilt):
            problems.append(ledger_rebuilt(rebuilt))
        if (model_fault := self._model_fault()) is not None:
            problems.append(model_damaged(model_fault))
        if self._rejected_edit is not None:
            problems.append(self._rejected_edit)
        if (latest := self._unexpected.latest) is not None:
            since_seconds = time.time() - latest.at
            if since_seconds < UNEXPECTED_SECONDS:
                problems.append(unexpected_errors(latest, self._unexpected.count))
        problems += self._optics_problems()
        problems += map(drifted, findings_of(self._drift.drift))
        problems += self._gpu_problems()
        problems += self._own_problems()
        return tuple(problems)

    def _own_problems(self) -> list[Problem]:
        """Return the problems of what livepick tells people: notices and the page."""
        fault = self._notices_fault()
        notices = [notices_not_sent(fault)] if fault else []
        return notices + self._page_problems()

    def beat(self) -> None:
        """Feed the watchdog if all parts are healthy, set the gauges, and report the status.

        Called every second by the main thread. The status is reported every ``STATUS_SECONDS``.
        """
        self._health.beat()
        if self.health().responds:
            self._systemd.alive()
        with self._unexpected.passing_over("monitoring", "the metrics"):
            self._set_gauges()
        try:
            with self._unexpected.passing_over("drift", "the drift check"):
                self._metrics.training.drifted(self._drift.check())
        except LedgerError as error:  # the dispatch loop decides what that means
            _log.warning("drift: %s", error)
        if time.monotonic() - self._reported_at >= STATUS_SECONDS:
            self._reported_at = time.monotonic()
            try:
                with self._unexpected.passing_over("monitoring", "the status"):
                    self._check_disks()
                    self._report_status()
            except LedgerError as error:  # the dispatch loop decides what that means
                _log.warning("status: %s", error)

    def _set_gauges(self) -> None:
        self._metrics.host.writable(
            output=self._outputs.fault is None, state=self._dispatch.ledger_fault is None
        )
        self._metrics.host.obstacles(self._outputs.obstacles)
        self._metrics.landings.update_activity(time.time())
        self._metrics.ingest.watched(self._watcher.health())
        self._metrics.host.gpus(self._gpu_monitor.gpus)
        self._metrics.host.gpu_expected(is_expected=bool(self._why_a_gpu()))
        self._metrics.host.gpus_set_aside(len(self._dispatch.devices_aside))
        self._metrics.training.model_usable(self._model_fault() is None)
        self._metrics.particle.show(self._particle())
        if (cluster := self._cluster()) is not None:
            self._metrics.cluster.show(cluster)
            self._metrics.picking.use_workers(cluster.slots)
            if cluster.provider not in ("", self._provider):
                self.use_provider(cluster.provider)

    def _report_status(self) -> None:
        status = self.status()
        self._metrics.session.ended(is_over=status.end is not None)
        self._metrics.picking.session_so_far(
            particles=status.particles,
            repicks_failed=status.repicks_failed,
            verdicts=status.verdicts,
            latest=self._ledger.latest(LATEST),
            empty_in_row=empty_in_row(self._ledger.latest(LATEST, picked=True)),
        )
        self._metrics.classes.show(status.classes.latest)
        self._systemd.status(self._status_line(status))

    def _check_disks(self) -> None:
        """Check the disks of the output and state folders; the watcher checks the watched ones.

        A missing folder is left out: the output folder is created with the first micrograph.
        """
        places: tuple[tuple[Role, Path], ...] = (
            ("output", self._config.output.directory),
            ("state", self._config.state.directory),
        )
        self._own_disks = tuple(
            Disk(role, place, space)
            for role, place in places
            if (space := space_of(place)) is not None
        )
        self._metrics.host.disks(self._disks())

    def _status_line(self, status: Status) -> str:
        counts, model = status.counts, status.model
        if status.end is not None:
            return end_sentence(status.end, counts)
        parts = [
            f"picked {counts.picked}/{counts.total}",
            f"{_thousands(status.particles)} particles",
            f"model {model.version} {model.kind}" if model else "no model",
            {CUDA: "GPU", "": "no worker yet"}.get(self._provider, "CPU"),
        ]
        if counts.failed:
            parts.append(f"{counts.failed} failed")
        if status.repicks_failed:
            parts.append(f"{status.repicks_failed} not picked again")
        if status.oldest_waiting_at is not None:
            parts.append(f"lag {max(time.time() - status.oldest_waiting_at, 0):.0f} s")
        if status.particle is not None and status.particle.contradiction:
            parts.append("the particle's size is contradicted")
        match status.training.state:
            case "training":
                parts.append("training")
            case "failed":
                parts.append("training failed")
        return ", ".join(parts)

    def use_config(self, config: Config) -> None:
        """Report a new config, which is in use now."""
        with self._lock:
            self._config, self._rejected_edit, self._cached = config, None, None
        self._metrics.session.use_config(config, read_at=time.time())
        self._metrics.session.reloaded(accepted=True)

    def use_measured(self, config: Config) -> None:
        """Report a config in which only a measured number is new."""
        with self._lock:
            self._config, self._cached = config, None
        self._metrics.session.use_particle(config)

    def config_rejected(self, error: Exception) -> None:
        """Report an edit of the config that was rejected; the old config stays in use."""
        with self._lock:
            self._rejected_edit, self._cached = config_refused(error), None
        self._metrics.session.reloaded(accepted=False)


def _is_news(rebuilt: Rebuilt) -> bool:
    """Return True if the operator should still be told that the ledger was rebuilt."""
    is_kept = bool(rebuilt.aside) and Path(rebuilt.aside).exists()
    return not rebuilt.done or is_kept or time.time() - rebuilt.at < REBUILT_SECONDS


def _thousands(count: int) -> str:
    return str(count) if count < 10_000 else f"{count / 1000:.0f}k"
