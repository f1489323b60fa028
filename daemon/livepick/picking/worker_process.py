"""A worker process: it receives one job at a time, runs it, and sends the outcome back.

A message is its length in eight bytes and a pickle. The process leads a process group of its own,
so that it can be killed with everything that it has started.
"""

import contextlib
import os
import pickle
import signal
import socket
import struct
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from livepick.config.engine_section import CudaSettings
from livepick.host.processes import end_with_parent, lead_group
from livepick.picking import read_ahead
from livepick.picking.cuda_settings import use_cuda_settings

__all__ = ["LENGTH", "Outcome", "Setup", "framed", "run_set_up", "run_worker"]

LENGTH = struct.Struct("!Q")
"""Length of a message, before it."""

MOST_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Setup:
    """Settings of a worker process before it loads any library."""

    environment: dict[str, str]
    """Variables of its environment, as ``CUDA_VISIBLE_DEVICES``."""
    cuda: CudaSettings
    """Use of a GPU."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of a job."""

    value: Any
    """Return value, or the exception."""
    is_error: bool = False
    traceback: str = ""
    """Traceback in the worker, if there was an exception."""


def framed(data: bytes) -> bytes:
    """Return a message with its length before it."""
    return LENGTH.pack(len(data)) + data


def run_set_up(
    setup: Setup,
    next_files: socket.socket,
    target: Callable[[socket.socket, int], None],
    channel: socket.socket,
    parent: int,
) -> None:
    """Set this process up, then call the target with the last two arguments.

    ``next_files`` names the files to read ahead.
    """
    os.environ.update(setup.environment)
    use_cuda_settings(setup.cuda)
    read_ahead.start(next_files)
    target(channel, parent)


def run_worker(channel: socket.socket, parent: int) -> None:
    """Run jobs until the channel is closed; the target of a worker process.

    Parameters
    ----------
    channel
        Socket to the parent.
    parent
        Process id of the parent.
    """
    end_with_parent(parent)
    lead_group()
    # Ctrl-C in a terminal reaches the whole process group; the service decides about the jobs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, EOFError):  # the service has ended
        channel.sendall(framed(pickle.dumps(Outcome(None))))
        while True:
            (size,) = LENGTH.unpack(_receive(channel, LENGTH.size))
            request = _receive(channel, size)
            read_ahead.pause()
            channel.sendall(framed(_answer(request)))


def _receive(channel: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = channel.recv(min(size - len(data), MOST_READ_BYTES))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def _answer(request: bytes) -> bytes:
    """Run a job, and return its pickled outcome."""
    try:
        work, args, kwargs = pickle.loads(request)  # noqa: S301 - of our own service
        return pickle.dumps(Outcome(work(*args, **kwargs)), pickle.HIGHEST_PROTOCOL)
    except BaseException as error:  # noqa: BLE001 - the service decides
        text = "".join(traceback.format_exception(error))
        error.__traceback__ = None
        try:
            return pickle.dumps(Outcome(error, is_error=True, traceback=text))
        except Exception:  # noqa: BLE001 - an exception with an argument that cannot be sent
            last_line = traceback.format_exception_only(error)[-1].strip()
            return pickle.dumps(Outcome(RuntimeError(last_line), is_error=True, traceback=text))
