"""Sections of the report about a session: config, ledger, errors, training, files left out."""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from livepick.config.last_known_good import CONFIG_COPY, read_config_copy
from livepick.config.schema import Config
from livepick.config.yaml_loader import parse_config, read_text, state_directory
from livepick.core.contracts.bundle import bundle_name
from livepick.core.contracts.run import RUNS
from livepick.errors import ConfigError
from livepick.host.lock import holder
from livepick.ingest.skipped import SkippedView
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.reader import LedgerReader
from livepick.ledger.session_config import session_config
from livepick.monitoring.human_units import size
from livepick.retraining.trainer_process import LOG, last_log_lines

__all__ = ["SessionFacts", "read_facts"]

LAST_ERRORS = 15
LAST_RUNS = 5
TRAINER_LINES = 30
TRAINER_BYTES = 64 << 10
"""Largest numbers that are shown, and size of the end of the trainer's log that is read."""

MOST_CONFIG = 100_000
"""Number of characters of the config file that are shown."""


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """Facts about a session, however few are known."""

    path: Path
    """The config file."""
    text: str
    """Its text; empty if it cannot be read."""
    fault: str
    """Fault of it, in words; empty if there is none."""
    config: Config | None
    """The settings, or else those that were last in use; None if there are neither."""
    state: Path | None
    """The state folder, also if the rest of the config is wrong."""

    def folders(self) -> dict[str, Path]:
        """Return the folders of the session, by what they are for."""
        found: dict[str, Path] = {}
        if self.state is not None:
            found["state"] = self.state
        if self.config is not None:
            found["output"] = self.config.output.directory
            watched = enumerate(self.config.watch.directories, start=1)
            found |= {f"watched {number}": folder for number, folder in watched}
        return found

    def about_config(self) -> Iterator[str]:
        """Yield the config file, and its faults."""
        yield f"{self.path}: {self.fault or 'valid'}"
        if self.config is None:
            yield "no settings are known"
        elif self.fault:
            yield "the sections below use the settings that were last in use"
        yield ""
        yield from self.text[:MOST_CONFIG].splitlines()
        if self.fault and self.state is not None:
            yield ""
            yield f"settings last in use ({self.state / CONFIG_COPY}):"
            yield from read_text(self.state / CONFIG_COPY).splitlines()

    def about_ledger(self) -> Iterator[str]:
        """Yield the files of the state folder, and the counts by state and reason."""
        state = self._state()
        for entry in sorted(os.scandir(state), key=lambda one: one.name):
            status = entry.stat(follow_symlinks=False)
            at = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(status.st_mtime))
            yield f"{entry.name}{'/' if entry.is_dir() else ''}: {size(status.st_size)}, {at}"
        yield from self._from_ledger(_counts)

    def about_errors(self) -> Iterator[str]:
        """Yield the latest failures of micrographs and trainings."""
        yield from self._from_ledger(_errors)

    def about_files_left_out(self) -> Iterator[str]:
        """Yield the files in the watched folders that were left out at the last scan."""
        yield from self._from_ledger(_left_out)

    def about_training(self) -> Iterator[str]:
        """Yield the runs, and the end of the latest log of the trainer."""
        yield from self._from_ledger(_runs)
        runs = self._state() / RUNS
        logs = sorted(runs.glob(f"*/{LOG}"), key=lambda path: path.stat().st_mtime)
        if logs:
            yield f"end of {logs[-1]}:"
            yield from last_log_lines(logs[-1].parent, TRAINER_LINES, most_bytes=TRAINER_BYTES)

    def _state(self) -> Path:
        if self.state is None:
            raise FileNotFoundError("the config names no state folder")
        return self.state

    def _from_ledger(self, read: Callable[[Database], Iterator[str]]) -> Iterator[str]:
        path = self._state() / LEDGER
        open_ledger = Database.at_rest if holder(path) is None else Database.read_only
        with open_ledger(path) as database:
            yield from read(database)


def read_facts(path: Path) -> SessionFacts:
    """Return the facts about the session of a config file."""
    try:
        text = read_text(path)
    except ConfigError as error:
        return SessionFacts(path, "", str(error), None, None)
    try:
        config = session_config(parse_config(text, path))
    except Exception as error:  # noqa: BLE001 - the report is wanted because something is wrong
        fault = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
    else:
        return SessionFacts(path, text, "", config, config.state.directory)
    state = copy = None
    with contextlib.suppress(Exception):  # as above
        state = state_directory(text, path)
        copy = None if state is None else read_config_copy(state)
    return SessionFacts(
        path, text, fault, None if copy is None else session_config(copy.config), state
    )


def _counts(database: Database) -> Iterator[str]:
    reader = LedgerReader(database)
    session = reader.session()
    if session is not None:
        yield f"session {session.name}, begun {_when(session.started_at)}"
    totals = reader.totals()
    yield f"micrographs: {totals.counts}"
    yield f"particles: {totals.particles:,}"
    yield f"quality: {totals.verdicts}"
    reasons = database.rows(
        "select reason, count(*) as n from micrograph where state = 'failed' group by reason"
        " order by n desc"
    )
    for row in reasons:
        yield f"failed, {row['reason']}: {row['n']:,}"
    yield f"model in use: {reader.model()}"
    yield f"last picked: {_when(reader.last_picked_at())}"
    yield f"oldest waiting: {_when(reader.oldest_waiting_at())}"


def _errors(database: Database) -> Iterator[str]:
    reader = LedgerReader(database)
    for row in reader.recent(LAST_ERRORS, state="failed"):
        yield f"{_when(row.changed_at)} {row.relative} [{row.reason}] {row.error}. {row.remedy}"
    failed = Counter(run.reason for run in reader.runs() if run.state == "failed")
    for reason, count in failed.most_common(LAST_RUNS):
        yield f"training failed {count} times: {reason}"


def _left_out(database: Database) -> Iterator[str]:
    for root, files in LedgerReader(database).skipped().items():
        yield f"{root}:"
        yield from (f"  [{one.kind}] {SkippedView.of(one).words}" for one in files)


def _runs(database: Database) -> Iterator[str]:
    for run in LedgerReader(database).runs()[:LAST_RUNS]:
        yield (
            f"run {bundle_name(run.version)}: {run.state}, {_when(run.started_at)} to"
            f" {_when(run.ended_at)}. {run.reason}"
        )


def _when(at: float | None) -> str:
    return "never" if not at else time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(at))
