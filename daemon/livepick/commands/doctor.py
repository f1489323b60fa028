"""``livepick doctor``: write one text about a session and its machine, to attach to a report."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from livepick import __version__
from livepick.commands.session_option import SessionOption, named_config
from livepick.host.lock import holder
from livepick.ledger.database import LEDGER
from livepick.monitoring.doctor import machine
from livepick.monitoring.doctor.sections import Section, report
from livepick.monitoring.doctor.session import SessionFacts, read_facts
from livepick.web.client import service_answer, service_status

__all__ = ["doctor"]


def doctor(
    config_path: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="The session's configuration file.")
    ],
    *,
    session: SessionOption = None,
) -> None:
    """Print what livepick, this machine and the session are like, to attach to a report.

    It changes nothing, and works while the service runs, after it has ended, and with a config or a
    ledger that is damaged. Passwords, keys, e-mail addresses and the names of home folders are
    removed; paths, names of micrographs and addresses of machines are not: read it before you send
    it. The exit status is 0.
    """
    facts = read_facts(named_config(config_path, session, or_instrument=True))
    text = (
        f"livepick doctor {__version__}, {time.strftime('%Y-%m-%d %H:%M:%S %z')}\n"
        "Read it before you send it: paths, file names and addresses of machines are in it.\n\n"
        + report(
            [
                Section("Versions", machine.versions),
                Section("Machine", machine.machine),
                Section("GPU", machine.gpus),
                Section("Config", facts.about_config),
                Section("Service", lambda: _service(facts)),
                Section("Heartbeats and metrics", lambda: _metrics(facts)),
                Section("systemd", machine.systemd),
                Section("Ledger", facts.about_ledger),
                Section("Last errors", facts.about_errors),
                Section("Files left out", facts.about_files_left_out),
                Section("Training", facts.about_training),
                Section("Folders and file systems", lambda: _file_systems(facts)),
                Section("Limits", machine.limits),
                Section("Log", machine.log),
            ]
        )
    )
    encoding = sys.stdout.encoding or "utf-8"
    typer.echo(text.encode(encoding, "backslashreplace"), nl=False)


def _service(facts: SessionFacts) -> Iterator[str]:
    if facts.state is None:
        yield "unknown, because the config names no state folder"
        return
    process = holder(facts.state / LEDGER)
    if facts.config is not None:
        service = service_status(facts.config, facts.path)
        yield f"{service.state}: {service.sentence}".rstrip(": ")
        yield f"page: {service.address or 'no answer'}"
        for problem in service.problems:
            yield f"[{problem.level}, {problem.kind}] {problem.sentence} {problem.remedy}"
    yield from machine.processes(int(process) if process and process.isdigit() else None)


def _metrics(facts: SessionFacts) -> Iterator[str]:
    """Yield the heartbeats of the running service, and its metrics that are not zero."""
    if facts.state is None or holder(facts.state / LEDGER) is None:
        yield "the service is not running"
        return
    heartbeats = service_answer(facts.state, "/healthz").decode(errors="replace")
    yield f"heartbeats, in seconds: {heartbeats}"
    for line in service_answer(facts.state, "/metrics").decode(errors="replace").splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith("livepick_") and "_bucket{" not in name and value != "0.0":
            yield line


def _file_systems(facts: SessionFacts) -> Iterator[str]:
    folders = facts.folders()
    if not folders:
        yield "unknown, because the config names no folders"
    yield from machine.file_systems(folders)
