"""Health and status of the service: for systemd, the metrics, the page and the health check."""

import dataclasses
import logging
import platform
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import BrokenExecutor
from pathlib import Path

from livepick import __version__
from livepick.config.alert_thresholds import LATEST
from livepick.config.reload import Change, describe, read_anew
from livepick.config.schema import Config
from livepick.core.contracts.bundle import ModelCard
from livepick.core.contracts.job import CUDA
from livepick.errors import LedgerError, LivepickError
from livepick.host.disks import Disk, Role, space_of
from livepick.host.gpus import Cards
from livepick.host.systemd import Systemd
from livepick.ingest.watcher import Watcher
from livepick.ledger.writer import ReadLedger
from livepick.monitoring.drift_monitor import DriftWatch
from livepick.monitoring.health import Health
from livepick.monitoring.metrics.exporter import Metrics
from livepick.monitoring.pace import empty_in_row
from livepick.monitoring.problem import (
    Problem,
    config_refused,
    drifted,
    folder_gone,
    ledger_not_writable,
    no_gpu,
    output_not_writable,
)
from livepick.monitoring.status import Status, read_status
from livepick.picking.dispatch import Dispatch
from livepick.picking.output_sync import Outputs

__all__ = ["Supervisor"]

STATUS_SECONDS = 10.0
"""Interval between two status lines to systemd, and between two disk checks."""

DISPATCH_SECONDS = 90.0
"""The dispatch loop counts as hung after this time without a turn; new workers can take a minute.
"""

BEAT_SECONDS = 90.0
"""The main thread counts as hung after this time without a beat; the first beat comes after the
first listing."""

WATCH_SECONDS = 180.0
"""The watcher counts as hung if a listing of the folders is overdue by this long."""

RESCAN_SECONDS = 60.0
"""Longest interval between listings, unless one is configured."""

CACHE_SECONDS = 1.0
"""Time for which a status is cached, so that the page reads the ledger no more often than this,
however many clients there are."""

_log = logging.getLogger(__name__)


class Supervisor:
    """Checks the parts of the service and reports their state.

    Parameters
    ----------
    provider
        The onnxruntime provider that the workers obtained.
    workers
        Number of workers.
    drifted
        Called once with a sentence when the session begins to drift.
    """

    def __init__(
        self,
        config: Config,
        *,
        systemd: Systemd,
        metrics: Metrics,
        ledger: ReadLedger,
        watcher: Watcher,
        dispatch: Dispatch,
        outputs: Outputs,
        cards: Cards,
        provider: str,
        workers: int,
        drifted: Callable[[str], None],
    ) -> None:
        self._config = config
        self._refused: Problem | None = None
        self._own_disks: tuple[Disk, ...] = ()
        self._systemd = systemd
        self._metrics = metrics
        self._ledger = ledger
        self._watcher = watcher
        self._dispatch = dispatch
        self._outputs = outputs
        self._cards = cards
        self._provider = provider
        self._workers = workers
        self._drift = DriftWatch(ledger, drifted=drifted)
        self._began_at = time.time()
        self._began_monotonic = self._beat_at = time.monotonic()
        self._lock = threading.Lock()
        self._cached: Status | None = None
        self._cached_at = self._told_at = float("-inf")

    def describe(self, card: ModelCard) -> None:
        """Set the metrics that rarely change, and register the health check for each scrape."""
        self._metrics.ask_health(lambda: self.health().ok)
        self._metrics.build.info({"version": __version__, "python": platform.python_version()})
        session = self._ledger.session()
        self._metrics.session.info({"session": self._config.session.name})
        self._describe_config()
        self._metrics.config_last_reload_successful.set(1)
        self._metrics.config_last_reload_time.set(self._began_at)
        self._metrics.use_provider(self._provider)
        self._metrics.begin(
            started_at=session.started_at if session is not None else self._began_at,
            landings=self._ledger.last_collected(),
            last_picked_at=self._ledger.last_picked_at() or 0.0,
            workers=self._workers,
        )
        for run in reversed(self._ledger.runs()):  # the latest run of each result counts
            if run.ended_at is not None:
                self._metrics.training_ended.labels(run.state).set(run.ended_at)
        in_use = self._ledger.model()
        same = in_use is not None and in_use.version == card.version
        self._metrics.serve_with(
            version=card.version,
            kind=card.kind,
            promoted_at=in_use.since if in_use is not None and same else self._began_at,
        )

    def use_provider(self, provider: str) -> None:
        """Record which provider runs the model; callable from any thread."""
        if provider != self._provider:
            _log.warning("picking: runs on %s now, and ran on %s", provider, self._provider)
        with self._lock:
            self._provider, self._cached = provider, None
        self._metrics.use_provider(provider)

    def _describe_config(self) -> None:
        config = self._config
        self._metrics.bootstrap_micrographs.set(config.bootstrap.micrographs)
        self._metrics.config.info(
            {
                "diameter_angstrom": f"{config.particle.diameter_angstrom:g}",
                "device": config.picking.device,
                "threshold": str(config.picking.threshold),
                "training_fingerprint": config.training_fingerprint(),
            }
        )

    def health(self) -> Health:
        """Return the health of the parts; callable from any thread."""
        dispatch_seconds = time.monotonic() - self._dispatch.progress_at
        watching = self._watcher.health()
        watch_seconds = min(time.monotonic() - self._began_monotonic, watching.seconds_since_scan)
        interval = self._config.watch.rescan_seconds or RESCAN_SECONDS
        # If every folder is gone there is nothing to list; that does not count as a hang.
        listed = watch_seconds < interval + 3 * watching.last_scan_seconds + WATCH_SECONDS or all(
            folder.available is False for folder in watching.folders
        )
        beat_seconds = time.monotonic() - self._beat_at
        at_work = dispatch_seconds < DISPATCH_SECONDS and beat_seconds < BEAT_SECONDS
        return Health(
            ok=at_work and listed and self._watcher.is_alive(),
            seconds_since={
                "dispatch": round(dispatch_seconds, 1),
                "supervisor": round(beat_seconds, 1),
                "watch": round(watch_seconds, 1),
            },
        )

    def status(self) -> Status:
        """Return the status of the session; callable from any thread."""
        with self._lock:
            if self._cached is None or time.monotonic() - self._cached_at > CACHE_SECONDS:
                status = read_status(self._config, self._ledger, drift=self._drift.drift)
                self._cached = dataclasses.replace(
                    status,
                    provider=self._provider,
                    disks=self._disks(),
                    problems=self._problems(),
                )
                self._cached_at = time.monotonic()
            return self._cached

    def _disks(self) -> tuple[Disk, ...]:
        watched = (
            Disk("watch", folder.root, folder.space)
            for folder in self._watcher.health().folders
            if folder.space is not None
        )
        return (*watched, *self._own_disks)

    def _problems(self) -> tuple[Problem, ...]:
        """Return the current problems, the most severe first."""
        problems = [
            folder_gone(folder.root, folder.detail)
            for folder in self._watcher.health().folders
            if folder.available is False
        ]
        if (output_fault := self._outputs.fault) is not None:
            problems.append(output_not_writable(self._config.output.directory, output_fault))
        if (ledger_fault := self._dispatch.ledger_fault) is not None:
            problems.append(ledger_not_writable(ledger_fault))
        if self._refused is not None:
            problems.append(self._refused)
        problems += map(drifted, self._drift.drift.findings)
        if self._provider != CUDA and self._config.picking.device == "prefer-gpu":
            problems.append(no_gpu())
        return tuple(problems)

    def beat(self) -> None:
        """Feed the watchdog if all parts are healthy, set the gauges, and report the status.

        The status is reported every ``STATUS_SECONDS``.
        """
        self._beat_at = time.monotonic()
        if self.health().ok:
            self._systemd.alive()
        self._metrics.beat(
            output_writable=self._outputs.fault is None,
            state_writable=self._dispatch.ledger_fault is None,
            now=time.time(),
        )
        watching = self._watcher.health()
        self._metrics.watched(
            available=[folder.available for folder in watching.folders],
            events=watching.events,
            overflows=watching.overflows,
            restarts=watching.restarts,
            settling=watching.watching,
            excluded=watching.excluded,
            scanned_at=watching.last_scan_at,
            scan_seconds=watching.last_scan_seconds,
            interval_seconds=watching.interval_seconds,
        )
        self._metrics.cards(self._cards.present)
        try:
            self._metrics.drifted(self._drift.look())
        except LedgerError as error:  # the dispatch loop decides what that means
            _log.warning("drift: %s", error)
        if time.monotonic() - self._told_at < STATUS_SECONDS:
            return
        self._told_at = time.monotonic()
        self._look_at_disks()
        try:
            status = self.status()
            self._metrics.ledger_particles.set(status.particles)
            self._metrics.judged_so_far(status.verdicts, self._ledger.latest(LATEST))
            newest = self._ledger.latest(LATEST, picked=True)
            self._metrics.empty_in_a_row.set(empty_in_row(newest))
            self._systemd.status(self._sentence(status))
        except LedgerError as error:  # the dispatch loop decides what that means
            _log.warning("status: %s", error)

    def _look_at_disks(self) -> None:
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
        self._metrics.room(self._disks())

    def _sentence(self, status: Status) -> str:
        counts, model = status.counts, status.model
        parts = [
            f"picked {counts.picked}/{counts.total}",
            f"{_thousands(status.particles)} particles",
            f"model {model.version} {model.kind}" if model else "no model",
            "GPU" if self._provider == CUDA else "CPU",
        ]
        if counts.failed:
            parts.append(f"{counts.failed} failed")
        if status.oldest_waiting_at is not None:
            parts.append(f"lag {max(time.time() - status.oldest_waiting_at, 0):.0f} s")
        match status.training.state:
            case "training":
                parts.append("training")
            case "failed":
                parts.append("training failed")
        return ", ".join(parts)

    # --- another config ------------------------------------------------------------------------

    def reload(
        self, config_path: Path, apply: Callable[[Config, Collection[Change]], None]
    ) -> None:
        """Read the config again and apply it as a whole, or report why the old one is kept.

        Parameters
        ----------
        config_path
            Path of the config file.
        apply
            Function that applies a config, given its changes. If it raises before it has changed
            anything, the config is rejected.
        """
        self._systemd.reloading()
        try:
            fresh, changes = read_anew(config_path, self._config)
            if changes:
                apply(fresh, changes)
        except (LivepickError, OSError, BrokenExecutor) as error:
            self._refuse(error)
        else:
            self._accept(fresh, changes)
        self._systemd.ready()

    def _refuse(self, error: BaseException) -> None:
        _log.error("reload: the config is left as it was: %s", error)
        self._metrics.config_reloads.labels("failure").inc()
        self._metrics.config_last_reload_successful.set(0)
        with self._lock:
            self._refused, self._cached = config_refused(error), None

    def _accept(self, fresh: Config, changes: tuple[Change, ...]) -> None:
        _log.info("reload: %s", describe(changes))
        with self._lock:
            self._config, self._refused, self._cached = fresh, None, None
        self._describe_config()
        self._metrics.config_reloads.labels("success").inc()
        self._metrics.config_last_reload_successful.set(1)
        self._metrics.config_last_reload_time.set(time.time())


def _thousands(count: int) -> str:
    return str(count) if count < 10_000 else f"{count / 1000:.0f}k"
