"""A port for a program that must be told its port."""

import secrets
import socket
from pathlib import Path

__all__ = ["free_port"]

FIRST, LAST = 10_000, 30_000
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """Return a port that nobody listens on.

    The kernel gives the ports of its own range to connections, so one of those could be taken
    before the program listens on it.
    """
    last = min(LAST, int(EPHEMERAL.read_text().split()[0])) if EPHEMERAL.exists() else LAST
    while True:
        port = FIRST + secrets.randbelow(last - FIRST) if last > FIRST else 0
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = listener.getsockname()[1]
            return found
