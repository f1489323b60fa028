"""All preflight checks, in the order in which they are printed."""

import errno
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from livepick.config.recommendations import advice
from livepick.config.schema import Config, WrittenConfig
from livepick.config.web_config import check_exposure, read_protection
from livepick.config.web_section import Web
from livepick.config.web_tls import make_context
from livepick.errors import ConfigError
from livepick.host.lock import holder
from livepick.host.sqlite_version import SQLITE_REMEDY, sqlite_fault, sqlite_version
from livepick.ledger.database import LEDGER
from livepick.ledger.session_config import recorded_particle, with_measured
from livepick.models.general_model import SHIPPED
from livepick.monitoring.preflight.actions import page_actions
from livepick.monitoring.preflight.check import Check
from livepick.monitoring.preflight.cluster import cluster
from livepick.monitoring.preflight.cryosparc import cryosparc
from livepick.monitoring.preflight.folders import (
    free_space,
    ledger_file_system,
    other_service,
    watched_folder,
    writable_folder,
)
from livepick.monitoring.preflight.micrographs import ctf, pixel_size, watched_files
from livepick.monitoring.preflight.notices import links_in_mails, notices
from livepick.monitoring.preflight.on_picked import on_picked
from livepick.monitoring.preflight.output import output_folder
from livepick.monitoring.preflight.particle import particle
from livepick.monitoring.preflight.picking import first_picks, picking_device, trainer
from livepick.monitoring.preflight.relion import relion
from livepick.monitoring.problem import web_insecure

__all__ = ["check_environment"]

OUTPUT_GIB = 2.0
"""Coordinates of 10,000 micrographs at about 100 kB each, with a safety factor of two."""

STATE_GIB = 5.0
"""Space for the ledger with all candidates, training patches and models of a long session."""

ADVISED = "It is allowed; change it unless you have a reason for it."


def check_environment(written: WrittenConfig, config_file: Path | None = None) -> Iterator[Check]:
    """Run the checks one after another, and yield each result as soon as it is known.

    Parameters
    ----------
    written
        The config.
    config_file
        File that it was read from; None: it is not checked that the page can edit it.
    """
    known = recorded_particle(written.state.directory)
    config = with_measured(written, known)
    yield _sqlite()
    for folder in config.watch.directories:
        yield watched_folder(folder, config.watch.mode)
    yield from watched_files(config)
    yield from output_folder(config)
    yield from relion(config)
    yield from cryosparc(config.output)
    yield from on_picked(config.output)
    yield writable_folder("state folder", config.state.directory)
    yield ledger_file_system(config.state.directory)
    yield other_service(config)
    yield pixel_size(config)
    yield particle(written.particle, known, SHIPPED)
    yield from _pickers(config)
    yield from ctf(config)
    yield from (Check("advice", "warning", sentence, ADVISED) for sentence in advice(config))
    yield free_space("output disk", config.output.directory, OUTPUT_GIB)
    yield free_space("state disk", config.state.directory, STATE_GIB)
    yield web_address(config.web, config.state.directory / LEDGER)
    yield from notices(config)
    yield from links_in_mails(config)
    if config.web.actions != "off" and config_file is not None:
        yield page_actions(config.web, config_file)
    yield _system_time()


def check_machine(written: WrittenConfig) -> Iterator[Check]:
    """Yield the checks that need no folder of a session, for all sessions of an instrument."""
    config = with_measured(written, None)
    yield _sqlite()
    yield from _pickers(config)
    yield from (Check("advice", "warning", sentence, ADVISED) for sentence in advice(config))
    yield from notices(config)
    yield _system_time()


def _pickers(config: Config) -> Iterator[Check]:
    """Yield the checks of what picks and trains."""
    if config.engine.kind == "dask":
        yield from cluster(config)
    else:
        yield picking_device(config)
    yield trainer(config)
    yield first_picks(config)


def _sqlite() -> Check:
    name = "SQLite"
    if (fault := sqlite_fault()) is not None:
        return Check(name, "fault", fault, SQLITE_REMEDY)
    return Check(name, "ok", sqlite_version())


def web_address(web: Web, lock: Path) -> Check:
    """Check the address of a page; ``lock`` is that of the service which may be using it."""
    name = "page and metrics"
    try:
        protection = read_protection(web)
        if protection.tls_server_config is not None:
            make_context(protection.tls_server_config)
    except ConfigError as error:
        return Check(name, "fault", error.what, error.remedy)
    host, port = web.host, web.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and holder(lock) is not None:
            return Check(name, "ok", f"{web.listen} is in use by the running service")
        return Check(
            name,
            "fault",
            f"cannot listen on {web.listen}: {error.strerror}",
            "Set web.listen to a free port of this machine.",
        )
    try:
        insecure = check_exposure(web, protection, host=str(address[0]))
    except ConfigError as error:
        return Check(name, "fault", error.what, error.remedy)
    if insecure:
        return Check(
            name,
            "warning",
            f"anyone who can reach {web.listen} can read the page (web.insecure)",
            web_insecure(web.listen).remedy,
        )
    return Check(name, "ok", f"{web.listen} is free")


def _system_time() -> Check:
    name = "system time"
    # The installation is older than any session, so a clock set before it must be wrong.
    installed_at = Path(__file__).stat().st_mtime
    now = time.time()
    shown = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now))
    if now < installed_at - 86400:
        return Check(
            name,
            "warning",
            f"it is {shown}, which is before livepick was installed",
            "Set the clock: timedatectl set-ntp true.",
        )
    return Check(name, "ok", shown)
