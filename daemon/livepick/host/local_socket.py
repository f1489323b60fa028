"""Unix sockets by path, however long it is.

The kernel limits the path of a socket to 107 bytes, and state folders are often deeper. The socket
is therefore named through its open folder.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

__all__ = ["connect_local", "listen_local"]


def listen_local(path: Path) -> socket.socket:
    """Return a listening socket that the owner and the group of a file can connect to.

    A socket that was left there is replaced.

    Raises
    ------
    OSError
        The file system has no sockets, or the folder cannot be written.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            path.unlink()
        with _through_folder(path) as name:
            listener.bind(name)
        path.chmod(0o660)
        listener.listen(16)
    except OSError:
        listener.close()
        raise
    return listener


def connect_local(path: Path, *, timeout_seconds: float) -> socket.socket:
    """Return a connection to a socket.

    Raises
    ------
    OSError
        There is none, nobody listens, or this user may not connect.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_seconds)
    try:
        with _through_folder(path) as name:
            connection.connect(name)
    except OSError:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def _through_folder(path: Path) -> Iterator[str]:
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
