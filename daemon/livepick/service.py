"""The service: creates all parts, wires them by hand, and stops them.

::

    watcher ──Landed──► inbox ──► dispatch ──jobs──► engine (worker processes)
                          ▲         │  ▲ Finished       ▲ trial of a new model
                 Promoted │         ▼  └────────────────┤
                     scheduler    ledger, coordinates   │
                          └─ trainer (a process) ─ bundle

Each of these parts has a thread: the watcher, the dispatch loop, the scheduler of retraining, the
web server, the search for CTF files, the measurement of the particle, the class averages and the
monitoring of GPUs.
The main thread handles signals, checks the config file for edits, and runs the supervisor, which
reports the state of the service. Only the main thread applies a new config: it passes to each part
the settings that the part needs. A diameter that was measured is applied like an edit.
If a part ends unexpectedly, the service ends and systemd restarts it; every start recovers from the
state on disk.

A session that is over has a service with fewer parts: it starts no workers and trains nothing, but
watches, counts and serves the page. Between the two, this process starts the service again.

With ``engine.kind: dask`` the engine is the nodes of a cluster, which come and go: a thread of its
own keeps the connection, and picking waits while there is no node.

This is one file because it is the map of the program: what is made from what, and who calls whom.
"""

import collections
import contextlib
import enum
import functools
import logging
import queue
import signal
import threading
import time
from collections.abc import Collection
from pathlib import Path
from types import FrameType

from livepick.classes.session_classes import SessionClasses
from livepick.config.last_known_good import save_config_copy
from livepick.config.measured_particle import resolve
from livepick.config.recommendations import advice
from livepick.config.reload import Change, ConfigFile, ConfigReloader, compare, describe
from livepick.config.schema import Config, WrittenConfig
from livepick.core.contracts.bundle import ModelCard
from livepick.core.contracts.judgement import Judgement
from livepick.core.contracts.trainer import StartTrainer
from livepick.end_session import ReportWriter, SessionEnding, record_end, session_is_over
from livepick.errors import (
    DamagedLedgerError,
    LedgerError,
    LivepickError,
    ModelError,
    ProviderError,
    StateFolderGoneError,
)
from livepick.host.gpus import GpuMonitor, nvml
from livepick.host.lock import lock_file
from livepick.host.processors import usable_processors
from livepick.host.systemd import Systemd, machine_is_stopping
from livepick.host.threads import Ended, Threads
from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.ingest.ctf_watcher import CtfWatcher
from livepick.ingest.watcher import Watcher
from livepick.ledger.check import LedgerCheck
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.history import History
from livepick.ledger.inbox import (
    CallEnded,
    Inbox,
    PeopleJudged,
    PickingChanged,
    Promoted,
    RunChanged,
    Stop,
)
from livepick.ledger.page_queries import PageQueries
from livepick.ledger.person_verdicts import PersonVerdictFile
from livepick.ledger.place import Place
from livepick.ledger.reader import LedgerReader
from livepick.ledger.session_end import SessionEnd
from livepick.ledger.session_end_queries import SessionEndQueries
from livepick.ledger.session_rows import RunState
from livepick.ledger.writer import LedgerWriter
from livepick.models.bundle_on_disk import Bundle
from livepick.models.general_model import SHIPPED
from livepick.models.registry import MODELS, Models
from livepick.monitoring.metrics.exporter import Metrics
from livepick.monitoring.start_waits import StartWaits
from livepick.monitoring.supervisor import Supervisor
from livepick.notices.events import events_of
from livepick.notices.notifier import Notifier
from livepick.particle.session_measuring import ParticleMeasuring
from livepick.picking.cluster.heavy_client import HeavyClient
from livepick.picking.ctf_fitting import CtfFitting
from livepick.picking.dispatch import Dispatch
from livepick.picking.engine import Engine
from livepick.picking.exports import make_on_picked, make_outputs
from livepick.picking.model_in_use import CurrentModel
from livepick.picking.output_sync import Outputs
from livepick.picking.recover_picks import PicksRecovery
from livepick.picking.start_workers import (
    PROBE_SECONDS,
    WAIT_SECONDS,
    Workers,
    start_no_workers,
    start_workers,
    start_workers_on_cluster,
)
from livepick.picking.tasks import pick, probe
from livepick.rebuild import begin_rebuilding, picks_recovery
from livepick.retraining.promoter import Promoter
from livepick.retraining.scheduler import Scheduler
from livepick.retraining.trainer_on_node import start_on_nodes
from livepick.retraining.trainer_process import TrainerProcess
from livepick.retraining.trial_picking import TRIAL_SECONDS
from livepick.web.address_file import AddressFile
from livepick.web.page import Sections, Sources
from livepick.web.page_server import PageServer
from livepick.web.thumbnails import PICTURE_SECONDS

__all__ = ["Outcome", "Service"]

TICK_SECONDS = 1.0
"""Interval between two beats of the supervisor."""

END_RETRY_SECONDS = 10.0
"""Time between two tries to end the session, if the ledger or its folder is at fault."""

APPLY_SECONDS = 10.0
"""Time between two tries to apply a measured diameter, if the first one fails."""

FIRST_SCAN_SECONDS = 60.0
"""Maximum time that READY waits for the first scan, because a file system may hang."""

STOP_SECONDS = 7.0
"""Time for all parts to stop. A part that takes longer is abandoned; the next start recovers."""

SCRAPE_SECONDS = 18.0
"""Maximum time for Prometheus to learn that the service was stopped on purpose: by default it asks
every 15 seconds."""

LISTS_SECONDS = 40.0
"""Further time for the lists of a long session. systemd gives a stop 60 seconds."""

DELIVERY_SECONDS = 5.0
"""Time from the begin of a stop for a notice that is being delivered: one that is cut off is sent
again."""

_log = logging.getLogger(__name__)


class Outcome(enum.Enum):
    """Reasons for which a service has ended."""

    STOPPED = enum.auto()
    """It was told to stop, or to exit at the end of the session."""
    EDITED = enum.auto()
    """The config was edited while the start waited, and must be read again."""
    CHANGED = enum.auto()
    """The session is over, or was reopened: another service with the same settings follows."""


class Service:
    """One session, from the first scan of the folders to the end.

    Parameters
    ----------
    written
        Settings of the session, as they are in the file.
    config_file
        File that the config was read from; its edits are applied.
    systemd
        Service manager to report to.
    place
        State folder that this process had before and lost; None: any.
    exits_when_over
        True to stop once the session is over; False to stay, at rest.
    """

    def __init__(
        self,
        written: WrittenConfig,
        config_file: ConfigFile,
        systemd: Systemd,
        place: Place | None = None,
        *,
        exits_when_over: bool = False,
    ) -> None:
        self.place = place
        """State folder of this session."""
        self._exits_when_over = exits_when_over
        self._written = written
        self._config = resolve(written, None)
        self._config_file = config_file
        self._systemd = systemd
        self._metrics = Metrics()
        self._unexpected = UnexpectedErrors(self._metrics.session.unexpected_error)
        self._inbox: Inbox = queue.SimpleQueue()
        self._person_verdicts = PersonVerdictFile(written.state.directory)
        self._address_file = AddressFile(written.state.directory)
        self._threads = Threads()
        self._recovery: PicksRecovery | None = None
        self._built = False
        self._picks_wait = False
        self._apply_at = self._end_at = float("-inf")

    @property
    def settings(self) -> WrittenConfig:
        """Settings in use."""
        return self._written

    def run(self) -> Outcome:
        """Run until SIGTERM or SIGINT.

        A start waits while the machine is not ready for it: see ``start_waits``.

        Returns
        -------
        Outcome
            What to do next.

        Raises
        ------
        ConfigError
            The address of the page cannot be bound.
        BusyError
            Another service uses the state folder; not under a service manager.
        ProviderError
            A GPU is required but not available; not under a service manager.
        DamagedLedgerError
            The ledger is damaged, or its file was removed: a new service begins another.
        StateFolderGoneError
            The state folder was renamed or unmounted: a new service waits for it.
        LivepickError
            A part cannot continue.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        for sentence in advice(self._config):
            _log.warning("config: %s", sentence)
        self._systemd.status("starting")
        with contextlib.ExitStack() as ending:
            waits = StartWaits(self._systemd, self._config_file.is_due)
            if not waits.run(lambda: self._build_or_undo(ending)):
                return Outcome.EDITED
            self._built = True
            self.place = self._ledger_check.place
            self._start()
            ended = self._wait()
            failure = ended if isinstance(ended, BaseException) else None
            # After these, this process starts the service again.
            if ended is not Outcome.CHANGED and not isinstance(
                failure, DamagedLedgerError | StateFolderGoneError
            ):
                self._systemd.stopping()
            if failure is None:
                self._address_file.remove()  # if it stays, the end was unexpected
            self._stop(on_purpose=ended is Outcome.STOPPED)
            self._record_end()
        self._built = False  # a signal now ends the process
        if self._is_told_to_stop():
            failure, ended = None, Outcome.STOPPED
        if failure is not None:
            raise failure
        if ended is Outcome.CHANGED:
            return Outcome.CHANGED
        _log.info("session %s: stopped", self._config.session.name)
        return Outcome.STOPPED

    def _is_told_to_stop(self) -> bool:
        """Return True if a signal to stop came while the service ended for another reason."""
        while (event := self._threads.next_event(0.0)) is not None:
            if event in (signal.SIGTERM, signal.SIGINT):
                return True
        return False

    def _record_end(self) -> None:
        """Add the end of the session to its history, if this service has ended it."""
        if self._session_end.end is not None:
            try:
                record_end(self._history, self._session_end.end)
            except LedgerError as error:  # the next start does it
                _log.warning("session: its end was not added to the history: %s", error)

    def _save_if_removed(self, database: Database) -> None:
        """Save the ledger for the next start, if its file was removed or replaced."""
        if database.damage is None and not database.in_place():
            try:
                database.place.refuse_other_folder()
                database.save_copy()
            except StateFolderGoneError:
                _log.warning("ledger: whole, in the state folder that was renamed or unmounted")
            except LedgerError as error:
                _log.error("ledger: not saved: %s", error)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if number != signal.SIGHUP and not self._built:
            # No work is in progress yet: the workers end with this process.
            raise SystemExit(0)
        self._threads.signal(number)

    # --- making and wiring the parts ---------------------------------------------------------

    def _build_or_undo(self, ending: contextlib.ExitStack) -> None:
        """Create every part; after an error, end those that exist already."""
        with contextlib.ExitStack() as parts:
            self._build(parts)
            ending.enter_context(parts.pop_all())

    def _build(self, ending: contextlib.ExitStack) -> None:
        """Create every part, and pass to each the other parts that it needs.

        This is one function, so that all parts and their connections are seen in one place.
        """
        state = self._written.state.directory

        # The ledger, and the model to start with.
        # Opening it fails if another service uses the state folder.
        if self.place is not None and self.place.path == state / LEDGER:
            self.place.refuse_other_folder()
        database = ending.enter_context(Database.writable(state / LEDGER))
        ending.callback(self._save_if_removed, database)
        ledger = LedgerWriter(database)
        self._address_file.remove()  # of a service that was killed
        save_config_copy(self._written)
        ledger.session.begin(self._written.session.name)
        read_only = ending.enter_context(Database.read_only(state / LEDGER))
        for_lists = ending.enter_context(Database.read_only(state / LEDGER))
        self._ledger_check = LedgerCheck([database, read_only, for_lists])
        reader = LedgerReader(read_only)
        self._measuring = ParticleMeasuring(
            self._written,
            ledger=reader,
            send=self._inbox.put,
            bundle=SHIPPED,
            unexpected=self._unexpected,
        )
        config = self._config = self._measuring.config(self._written)
        over = session_is_over(self._written, ledger)
        self._history = History(database)
        self._models = Models(state / MODELS)
        is_rebuilding = begin_rebuilding(ledger, database.lost, config, self._models)
        self._models.ensure_first_picker(config)

        # The address of the page, before the workers: their start takes longer.
        self._page = PageServer(config)
        ending.callback(self._page.close)

        # Picking: watcher → inbox → dispatch → workers → coordinate files.
        self._systemd.extend_timeout(PROBE_SECONDS + WAIT_SECONDS)
        model, workers = self._start_workers(config, over, ending)
        self._model_version = model.card.version
        self._picks_wait = self._measuring.picks_wait and model.card.is_provisional
        self._outputs = outputs = make_outputs(
            lambda: self._config,
            ledger,
            roots=[*config.watch.directories, *ledger.reader.roots()],
            failed=self._metrics.picking.output_failed,
            lists=LedgerReader(for_lists),
            unexpected=self._unexpected,
        )
        if is_rebuilding:
            self._recovery = picks_recovery(config, outputs, self._inbox.put)
        self._dispatch = self._make_dispatch(ledger, workers.engine, outputs, model, over)
        self._watcher = Watcher(
            config.watch,
            self._inbox.put,
            known=ledger.reader.known(),
            movies=ledger.reader.movies(),
            unexpected=self._unexpected,
        )
        self._ctf_watcher = CtfWatcher(
            reader, config.micrograph.ctf_place, found=self._inbox.put, unexpected=self._unexpected
        )

        # Retraining: picks → trainer process → promotion gate → model for the dispatch loop.
        self._scheduler = self._make_scheduler(reader, workers, model)

        # Class averages: newest picks → program of the trainer → the page.
        self._classes = self._make_classes(reader, workers)

        # The end of the session: all picked → closing report → a service at rest.
        self._session_end = self._make_session_end(read_only, ledger, over)

        # Monitoring: the supervisor reads all parts; the page and the metrics show what it reports.
        self._gpu_monitor = GpuMonitor(nvml(), unexpected=self._unexpected)
        self._supervisor = Supervisor(
            config,
            systemd=self._systemd,
            metrics=self._metrics,
            ledger=reader,
            watcher=self._watcher,
            dispatch=self._dispatch,
            outputs=outputs,
            gpu_monitor=self._gpu_monitor,
            provider=workers.provider,
            workers=workers.count,
            cluster=lambda: workers.cluster.view if workers.cluster is not None else None,
            drifted=self._scheduler.drifted,
            model_fault=self._models.fault,
            unexpected=self._unexpected,
            page_problems=self._page.problems,
            page_url=self._page.link,
            notices_fault=lambda: self._notifier.fault,
            particle=lambda: self._measuring.state,
            classes=lambda: self._classes.state,
            is_ending=lambda: self._session_end.is_ending,
            ctf_of_program=lambda: self._ctf_watcher.latest,
        )
        # Notices: what the page says, by mail, chat or webhook.
        sections = Sections(self._make_sources(read_only))
        self._notifier = Notifier(
            lambda: self._config.notify.to,
            state=state,
            session=config.session.name,
            events=lambda: list(events_of(self._supervisor.status(), sections.headline())),
            link=self._page.link,
            counter=self._metrics.notices,
            unexpected=self._unexpected,
        )
        self._supervisor.describe(model.card)
        submit_picture = functools.partial(workers.engine.submit_timed, PICTURE_SECONDS)
        self._page.serve(
            self._metrics,
            self._make_sources(read_only),
            submit_picture,
            self._unexpected,
            config_file=self._config_file.path,
        )

        self._reloader = ConfigReloader(
            self._written,
            self._config_file,
            systemd=self._systemd,
            apply=self._apply_written,
            accepted=lambda _: self._supervisor.use_config(self._config),
            rejected=self._supervisor.config_rejected,
            unexpected=self._unexpected,
        )

    def _start_workers(
        self, config: Config, over: SessionEnd | None, ending: contextlib.ExitStack
    ) -> tuple[Bundle, Workers]:
        """Start the workers with the current model or, if it does not run, with another one.

        After the end of the session there are none, except for one that draws pictures on demand.
        """
        while True:
            model = self._models.current(config)
            if over is not None:
                return model, start_no_workers(config, ending)
            with contextlib.ExitStack() as attempt:
                try:
                    if config.engine.kind == "dask":
                        workers = start_workers_on_cluster(
                            config, model, lambda: self._models.current(self._config), attempt
                        )
                    else:
                        workers = start_workers(config, model, attempt)
                except ProviderError:
                    raise  # not the model's fault
                except ModelError as error:
                    if self._replacement(model.card.version, error) is None:
                        raise
                else:
                    ending.push(attempt.pop_all())
                    return model, workers

    def _replacement(self, version: int, error: ModelError) -> tuple[Path, ModelCard] | None:
        """Set a model aside that does not run, and return another one; None if there is none.

        An intact blob picker that does not run is a fault of the machine.
        """
        config = self._config
        intact_blob = self._models.blob(config)
        if intact_blob is not None and intact_blob.card.version == version:
            return None
        _log.error("model %d: set aside: %s", version, error)
        self._models.set_aside(version, error)
        self._models.ensure_blob(config)
        model = self._models.current(config)
        return None if model.card.version == version else (model.path, model.card)

    def _make_dispatch(
        self,
        ledger: LedgerWriter,
        engine: Engine,
        outputs: Outputs,
        model: Bundle,
        over: SessionEnd | None,
    ) -> Dispatch:
        config = self._config
        return Dispatch(
            self._inbox,
            ledger=ledger,
            engine=engine,
            outputs=outputs,
            work=pick,
            model=CurrentModel(
                ledger,
                bundle=model.path,
                card=model.card,
                device=config.picking.device,
                pixel_size_angstrom=config.micrograph.pixel_size_angstrom,
                trust=config.micrograph.trust,
                threshold=config.picking.fixed_threshold,
                repick=config.picking.repick,
                is_fallback=self._models.fault() is not None,
            ),
            replacement=self._replacement,
            is_held=lambda: self._picks_wait or over is not None,
            instruments=self._metrics.picking,
            unexpected=self._unexpected,
            fitting=CtfFitting(
                lambda: self._config,
                ledger=ledger,
                engine=engine,
                outputs=outputs,
                instruments=self._metrics.picking,
                finished=self._inbox.put,
                unexpected=self._unexpected,
            )
            if over is None
            else None,
            not_found=lambda *place, gone: self._watcher.not_found(*place, gone=gone),
            on_picked=make_on_picked(
                lambda: self._config,
                ledger,
                outputs,
                instruments=self._metrics.on_picked,
                page=lambda: self._page.url,
                wake=lambda: self._inbox.put(CallEnded()),
                unexpected=self._unexpected,
            ),
        )

    def _make_scheduler(self, reader: LedgerReader, workers: Workers, model: Bundle) -> Scheduler:
        engine = workers.engine
        promoter = Promoter(
            self._config,
            models=self._models,
            metrics=self._metrics.training,
            current=model,
            submit=lambda job: engine.submit_timed(TRIAL_SECONDS, pick, job),
            compute=lambda work, *args, **kwargs: engine.submit_timed(
                TRIAL_SECONDS, functools.partial(work, *args, **kwargs)
            ),
            probe=lambda bundle, device: engine.submit_timed(PROBE_SECONDS, probe, bundle, device),
            promoted=self._on_promoted,
        )
        return Scheduler(
            self._config,
            models=self._models,
            metrics=self._metrics.training,
            promoter=promoter,
            ledger=reader,
            submit=lambda job: engine.submit_timed(TRIAL_SECONDS, pick, job),
            run_changed=self._on_run_changed,
            particle_waits=lambda: (
                self._session_end.training_waits() or self._measuring.training_waits()
            ),
            start_trainer=self._start_of_trainers(workers),
            unexpected=self._unexpected,
        )

    def _make_classes(self, reader: LedgerReader, workers: Workers) -> SessionClasses:
        return SessionClasses(
            self._config,
            ledger=reader,
            send=self._inbox.put,
            is_training=lambda: self._scheduler.is_training,
            processors=usable_processors(),
            on_cluster=self._uses_heavy_workers(workers),
            start=self._start_of_trainers(workers),
            unexpected=self._unexpected,
        )

    def _make_session_end(
        self, database: Database, ledger: LedgerWriter, over: SessionEnd | None
    ) -> SessionEnding:
        return SessionEnding(
            lambda: self._config.session,
            self._config.state.directory,
            end=over,
            ledger=SessionEndQueries(database),
            watching=self._watcher.health,
            scan=self._watcher.scan_soon,
            is_training=lambda: self._scheduler.is_training,
            changes=lambda: ledger.changes,
            report=ReportWriter(self._config_file.path),
            exits=self._exits_when_over,
        )

    def _uses_heavy_workers(self, workers: Workers) -> bool:
        return workers.cluster is not None and self._config.engine.heavy != "local"

    def _start_of_trainers(self, workers: Workers) -> StartTrainer:
        """Return the function that starts trainers, on this machine or on the cluster."""
        if workers.cluster is None or self._config.engine.heavy == "local":
            return TrainerProcess.start_or_adopt
        guard = lock_file(self._config.state.directory / LEDGER)
        return start_on_nodes(HeavyClient(workers.cluster), guard)

    def _make_sources(self, database: Database) -> Sources:
        return Sources(
            status=self._supervisor.status,
            health=self._supervisor.health,
            config=lambda: self._config,
            ledger=LedgerReader(database),
            queries=PageQueries(database),
            settings_text=self._settings_text,
        )

    def _settings_text(self) -> str:
        try:
            return self._config_file.path.read_text()
        except (OSError, UnicodeDecodeError):
            return ""

    def _on_promoted(self, bundle: Bundle, provider: str) -> None:
        card = bundle.card
        self._model_version = card.version
        self._picks_wait = self._picks_wait and card.is_provisional
        self._inbox.put(Promoted(bundle.path, card, self._models.fault() is not None))
        self._metrics.training.use_model(
            version=card.version, kind=card.kind, promoted_at=time.time()
        )
        self._supervisor.use_provider(provider)

    def _on_run_changed(
        self,
        version: int,
        fingerprint: str,
        state: RunState,
        reason: str,
        judgement: Judgement | None,
    ) -> None:
        self._inbox.put(RunChanged(version, fingerprint, state, reason, judgement))

    # --- start, wait, stop -------------------------------------------------------------------

    def _start(self) -> None:
        self._threads.start("dispatch", self._dispatch.run)
        self._page.start()
        # At the end, only a delivery is waited for, and not for long.
        threading.Thread(target=self._notifier.run, name="notices", daemon=True).start()
        self._watcher.start()
        self._ledger_check.start()
        if self._recovery is not None:
            threading.Thread(target=self._recovery.run, name="recovery", daemon=True).start()
        if self._session_end.end is None:
            self._threads.start("scheduler", self._scheduler.run)
            self._threads.start("ctf watcher", self._ctf_watcher.run)
            self._threads.start("class averages", self._classes.run)
            # Not waited for at the end: its process ends with the program.
            threading.Thread(target=self._measuring.run, name="particle", daemon=True).start()
            self._threads.start("gpus", self._gpu_monitor.run)
        give_up = time.monotonic() + FIRST_SCAN_SECONDS
        while not self._scanned() and not self._threads.has_event and time.monotonic() < give_up:
            time.sleep(0.05)
        _log.info("session %s: ready", self._config.session.name)
        self._systemd.ready()

    def _scanned(self) -> bool:
        health = self._watcher.health()
        return health.last_scan_at > 0 or all(f.available is False for f in health.folders)

    def _wait(self) -> BaseException | Outcome:
        """Supervise until a signal, the end of a part or of the session; return which, or why."""
        while True:
            self._supervisor.beat()
            self._reloader.reload_if_edited()
            self._apply_measured()
            self._page.reload_if_edited()
            self._read_person_verdicts()
            if (loss := self._ledger_check.loss_of_folder()) is not None:
                return loss
            if (damage := self._ledger_check.damage()) is not None:
                return damage
            if (outcome := self._end_session()) is not None:
                return outcome
            match self._threads.next_event(TICK_SECONDS):
                case None:
                    pass
                case signal.SIGHUP:
                    self._reloader.reload()
                case Ended(part, error):
                    return (
                        self._ledger_check.loss_of_folder()
                        or error
                        or LivepickError(
                            f"{part} has ended unexpectedly", "Please report this bug in livepick."
                        )
                    )
                case number:
                    _log.info("%s: stopping", signal.Signals(number).name)
                    return Outcome.STOPPED

    def _end_session(self) -> Outcome | None:
        """Take the next step to the end of the session, or from there back."""
        if time.monotonic() < self._end_at:
            return None
        try:
            turn = self._session_end.turn()
        except LedgerError as error:
            _log.error("session: its end waits: %s", error)
            self._end_at = time.monotonic() + END_RETRY_SECONDS
            return None
        match turn:
            case None:
                return None
            case "ended" if self._exits_when_over:
                _log.info("session %s: over, so the service exits", self._config.session.name)
                return Outcome.STOPPED
            case _:
                return Outcome.CHANGED

    def _read_person_verdicts(self) -> None:
        """Pass the verdicts of people on to the ledger if their file has changed."""
        try:
            verdicts = self._person_verdicts.changed()
        except LedgerError as error:
            _log.error("the previous verdicts of people stay: %s", error)
            return
        if verdicts is not None:
            self._inbox.put(PeopleJudged(verdicts))
            self._metrics.picking.set_person_verdicts(
                collections.Counter(each.verdict for each in verdicts.by_place.values())
            )

    def _apply_written(self, written: WrittenConfig, changes: Collection[Change]) -> None:
        """Apply an edited config. Raises what ``_apply_config`` raises, before any change."""
        before = self._written
        self._measuring.use(written)
        try:
            self._apply_config(self._measuring.config(written), changes, written)
        except BaseException:
            self._measuring.use(before)
            raise
        self._written = written
        self._release_picks()

    def _apply_measured(self) -> None:
        """Apply what has been measured of the particle, like an edit of the config."""
        if time.monotonic() < self._apply_at:
            return
        config = self._measuring.config(self._written)
        if config != self._config:
            changes = compare(self._config, config)
            try:
                self._apply_config(config, changes, self._written)
            except (LivepickError, OSError) as error:
                _log.error("particle: what was measured cannot be applied: %s", error)
                self._apply_at = time.monotonic() + APPLY_SECONDS
                return
            _log.info("particle: measured: %s", describe(changes))
            self._supervisor.use_measured(config)
        self._release_picks()

    def _release_picks(self) -> None:
        """Let picking begin once the particle is known and its model is in use."""
        if self._picks_wait and not self._measuring.picks_wait:
            with contextlib.suppress(ModelError):  # the scheduler reports it
                wanted = self._models.current(self._config).card.version
                self._picks_wait = wanted != self._model_version

    def _apply_config(
        self, config: Config, changes: Collection[Change], written: WrittenConfig
    ) -> None:
        """Apply a new config that needs no restart.

        Steps that may fail come first, so that a failure changes nothing.

        Raises
        ------
        ModelError
            The first picker for another particle could not be written.
        LedgerWriteError
            The state folder cannot be written to.
        """
        has_other_picks = config.bootstrap.picks != self._config.bootstrap.picks
        if config.particle != self._config.particle or has_other_picks:
            self._models.ensure_first_picker(config)  # takes about a second
        save_config_copy(written)
        for sentence in advice(config):
            if sentence not in advice(self._config):
                _log.warning("config: %s", sentence)
        self._config = config
        self._scheduler.use(config)
        self._classes.use(config)
        self._ctf_watcher.use(config.micrograph.ctf_place)
        if any(change.name.startswith("picking.") for change in changes):
            self._inbox.put(PickingChanged(config.picking.fixed_threshold, config.picking.repick))

    def _stop(self, *, on_purpose: bool) -> None:
        """Stop all parts. The files on disk are always consistent, so no step has to succeed.

        If it is on purpose, a Prometheus that watches the service is told, so that nobody is
        called. A restart of the machine is not: the service may not come back.
        """
        told_at = time.monotonic()
        is_told = on_purpose and self._metrics.scrapes.is_watched and not machine_is_stopping()
        if is_told:
            self._metrics.session.stopped()
        if self._recovery is not None:
            self._recovery.stop()
        self._session_end.stop()
        if self._exits_when_over and self._session_end.end is not None:
            self._supervisor.changed()
            self._notifier.turn(is_last=True)
        self._notifier.stop()
        self._scheduler.stop()
        self._classes.stop()
        self._ctf_watcher.stop()
        self._measuring.stop()
        self._gpu_monitor.stop()
        self._watcher.stop(timeout_seconds=2.0)
        self._inbox.put(Stop())
        self._threads.join(STOP_SECONDS)
        give_up = time.monotonic() + LISTS_SECONDS
        while self._outputs.is_finishing and time.monotonic() < give_up:
            self._threads.join(0.2)
        give_up = told_at + SCRAPE_SECONDS
        while is_told and not self._metrics.scrapes.since(told_at) and time.monotonic() < give_up:
            time.sleep(0.1)
        self._notifier.wait(max(0.0, told_at + DELIVERY_SECONDS - time.monotonic()))
        self._page.stop()
