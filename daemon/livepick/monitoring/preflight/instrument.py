"""Preflight checks of an instrument: the folders of its sessions, and their ports."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

from livepick.config.instrument_config import Instrument
from livepick.config.sessions_section import folder_above
from livepick.host.loopback import is_loopback
from livepick.monitoring.preflight.actions import page_actions
from livepick.monitoring.preflight.check import Check
from livepick.monitoring.preflight.environment import check_machine, web_address
from livepick.monitoring.preflight.folders import (
    free_space,
    ledger_file_system,
    watched_folder,
    writable_folder,
)

__all__ = ["check_instrument"]

EXPECTED_GIB = 20
"""Space that ledgers and models of a number of sessions need."""


def check_instrument(instrument: Instrument) -> Iterator[Check]:
    """Yield the checks of an instrument; those of a session need its folder."""
    sessions = instrument.sessions
    root, state = folder_above(sessions.pattern), folder_above(sessions.state)
    yield watched_folder(root, "poll")
    yield writable_folder("state folder", state)
    yield ledger_file_system(state)
    yield free_space("free space (state)", state, EXPECTED_GIB)
    if folder_above(sessions.output) != root:
        yield writable_folder("output folder", folder_above(sessions.output))
    elif root.exists():
        yield _session_folders(instrument)
    yield _ports(instrument)
    yield web_address(instrument.web, state / "sessions")
    if instrument.web.actions != "off":
        yield page_actions(instrument.web, None)
    if instrument.web.external_url is not None and sessions.external_url is None:
        yield Check(
            "links",
            "warning",
            "web.external_url is set, and sessions.external_url is not",
            "The overview links no page of a session. Give sessions.external_url, with {port}.",
        )
    yield from check_machine(instrument.sample)


def _session_folders(instrument: Instrument) -> Check:
    """Check that the service may write into the folders of sessions that are there."""
    root = folder_above(instrument.sessions.pattern)
    name = "output folders"
    try:
        with os.scandir(root) as entries:
            folders = [each.path for each in entries if not each.name.startswith(".")]
    except OSError as error:
        return Check(name, "fault", f"{root} cannot be listed: {error.strerror}", "Permit it.")
    closed = [each for each in folders if Path(each).is_dir() and not os.access(each, os.W_OK)]
    if closed:
        return Check(
            name,
            "warning",
            f"{len(closed)} of the sessions' folders in {root} cannot be written, such as"
            f" {closed[0]}",
            "Give the service's user permission to write there, or set sessions.output to a folder"
            " of its own.",
        )
    return Check(name, "ok", f"in the sessions' folders in {root}")


def _ports(instrument: Instrument) -> Check:
    name, ports = "ports of the sessions", instrument.sessions.port_range
    free = 0
    for port in ports:
        family = socket.AF_INET6 if ":" in instrument.web.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((instrument.web.host, port))
            except OSError:
                continue
            free += 1
    found = f"{free} of {len(ports)} are free on {instrument.web.host}"
    if not free:
        return Check(name, "fault", found, "Give sessions.ports another range.")
    where = "" if is_loopback(instrument.web.host) else "; a firewall must let them through"
    return Check(name, "ok", found + where)
