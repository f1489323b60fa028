"""Reading the file of the next job while the job of this worker process is computed.

The pool names the file on a socket of its own, and a thread reads it as soon as the running job has
read its own file, so that they do not share the disk. The content stays in the memory of the
system (the page cache), where every worker of the machine finds it; the process keeps none. Errors
are left to the job. The thread may hang with a file system that does not answer; nothing waits for
it.

The content goes to ``/dev/null``, so the system copies nothing: 64 MB take 3 to 10 ms of CPU time
from a disk, and 1 ms if they are in memory already. ``posix_fadvise`` takes no more than the
read-ahead of the device at once (often 128 KiB), and on FUSE, in whatever steps, only as much as
fits into the queue of requests: 12 % of such a file.

FUSE forgets the content of a file when it is opened again, unless its server asks otherwise, and
BeeGFS usually keeps it nowhere. A file there would be read twice, so none is read ahead.
"""

import contextlib
import os
import socket
import stat
import threading
from pathlib import Path

from livepick.host.filesystem import file_system_type

__all__ = ["pause", "resume", "start"]

MOST_BYTES = 1 << 29
"""Most that is read of a file: more than any micrograph has."""

PIECE_BYTES = 8 << 20

MOST_PATH_BYTES = 1 << 16

FORGETFUL = ("fuse", "beegfs")
"""Begin of the types of file systems that do not keep what has been read."""

_may_read = threading.Event()
"""Set while the job does not read."""


def start(next_files: socket.socket) -> None:
    """Start the thread of this process.

    Parameters
    ----------
    next_files
        Socket on which paths arrive, one a message; the thread ends when it is closed.
    """
    threading.Thread(target=_run, args=(next_files,), name="read-ahead", daemon=True).start()


def pause() -> None:
    """Begin no file: a job has begun, and reads its own."""
    _may_read.clear()


def resume() -> None:
    """Read ahead: the job has read its file."""
    _may_read.set()


def _run(next_files: socket.socket) -> None:
    keeps: dict[int, bool] = {}
    with next_files, contextlib.suppress(OSError):  # the service has ended
        while path := next_files.recv(MOST_PATH_BYTES):
            _may_read.wait()
            with contextlib.suppress(BlockingIOError):  # the jobs of older ones have begun
                while newer := next_files.recv(MOST_PATH_BYTES, socket.MSG_DONTWAIT):
                    path = newer
            with contextlib.suppress(OSError):
                _read(Path(os.fsdecode(path)), keeps)


def _read(path: Path, keeps: dict[int, bool]) -> None:
    """Read a file into the memory of the system.

    Parameters
    ----------
    path
        The file.
    keeps
        True for the devices whose file system keeps what has been read; filled here.
    """
    status = path.stat()
    if status.st_dev not in keeps:
        keeps[status.st_dev] = not file_system_type(path).startswith(FORGETFUL)
    if not keeps[status.st_dev] or not stat.S_ISREG(status.st_mode):
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb", buffering=0), Path(os.devnull).open("wb") as nowhere:
        offset = 0
        while offset < MOST_BYTES and (
            count := os.sendfile(nowhere.fileno(), descriptor, offset, PIECE_BYTES)
        ):
            offset += count
