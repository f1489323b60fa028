"""Configs of the sessions of an instrument, and the ports of their pages."""

import socket
from pathlib import Path

from livepick.config.instrument_config import Instrument
from livepick.config.reload import FileStamp, file_stamp
from livepick.config.schema import WrittenConfig
from livepick.config.session_config_file import SESSION_CONFIG
from livepick.config.sessions_section import PLACEHOLDER, folder_above
from livepick.config.yaml_loader import load_config
from livepick.errors import ConfigError, PortsTakenError
from livepick.ledger.session_end import SESSION_END

__all__ = ["SessionConfigs", "known_sessions"]


def known_sessions(instrument: Instrument) -> list[Path]:
    """Return the state folders of all sessions that have a config."""
    pattern = instrument.sessions.state
    root = folder_above(pattern)
    below = str(pattern.relative_to(root)).replace(PLACEHOLDER, "*")
    try:
        return sorted(path.parent for path in root.glob(f"{below}/{SESSION_CONFIG}"))
    except OSError:
        return []


class SessionConfigs:
    """Configs of sessions, each read again when its file has changed."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[FileStamp, WrittenConfig | ConfigError]] = {}

    def load(self, path: Path) -> WrittenConfig:
        """Return a config. Raises ConfigError if it has a fault."""
        stamp = file_stamp(path)
        kept = self._read.get(path)
        if kept is None or kept[0] != stamp:
            try:
                kept = (stamp, load_config(path))
            except ConfigError as error:
                kept = (stamp, error)
            self._read[path] = kept
        if isinstance(kept[1], ConfigError):
            raise kept[1]
        return kept[1]

    def _ports(self, instrument: Instrument, state: Path) -> tuple[int | None, set[int], set[int]]:
        """Return the port of a session, and those of the others that are open and that are over."""
        own = None
        of_open: set[int] = set()
        of_over: set[int] = set()
        for each in known_sessions(instrument):
            port = self._port_in(each / SESSION_CONFIG)
            if each == state:
                own = port
            elif port:
                (of_over if (each / SESSION_END).exists() else of_open).add(port)
        return own, of_open, of_over

    def has_port_of_another(self, instrument: Instrument, state: Path) -> bool:
        """Return True if another session has the port of this one."""
        own, taken, _ = self._ports(instrument, state)
        return own in taken

    def port_for(self, instrument: Instrument, state: Path) -> int:
        """Return the port of a session: the one that its config has, or a free one.

        Ports of sessions that are over are given away last, because these may go on.

        Raises
        ------
        PortsTakenError
            None is free.
        """
        own, taken, of_others = self._ports(instrument, state)
        if own and own not in taken:
            return own
        for avoided in (taken | of_others, taken):
            for port in instrument.sessions.port_range:
                if port not in avoided and _is_free(instrument.web.host, port):
                    return port
        raise PortsTakenError(
            f"all ports of sessions.ports ({instrument.sessions.ports}) are in use",
            "Give sessions.ports a larger range, or end sessions: livepick list shows them.",
        )

    def _port_in(self, path: Path) -> int | None:
        """Return the port of a session's page; None if it is not known."""
        try:
            return self.load(path).web.port
        except ConfigError:
            return None


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
