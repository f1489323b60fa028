"""A call of a function in a process of its own, with a time limit.

For a function that loads a large library, may crash in it, or may never return. Functions of the
service that are called often have workers instead (``livepick.picking.worker_pool``).
"""

import logging
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from livepick.host.processes import end_with_parent, forget_if_alive, kill_group, lead_group

__all__ = ["ProcessDiedError", "call_isolated"]

END_SECONDS = 5.0
"""Longest wait for the end of the process. One that waits for a dead disk does not end."""

R = TypeVar("R")


class ProcessDiedError(Exception):
    """The process ended before the function returned."""


def call_isolated(
    function: Callable[..., R], *args: object, timeout_seconds: float, log: bool = True
) -> R:
    """Call a function in a new process, and return what it returns or raise what it raises.

    Parameters
    ----------
    function, args
        A function that can be imported, and its arguments.
    timeout_seconds
        Time limit, which includes the start of the process.
    log
        False to leave out what the function would log.

    Raises
    ------
    TimeoutError
        The function took longer; the process has been killed.
    ProcessDiedError
        The process was killed, or crashed.
    OSError
        The process cannot be started.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(theirs, os.getpid(), log, function, args))
    with ours:
        with theirs:
            process.start()
        try:
            if not ours.poll(timeout_seconds):
                raise TimeoutError(f"no answer within {timeout_seconds:g} s")
            has_failed, value = ours.recv()
        except (EOFError, ConnectionResetError):
            process.join(END_SECONDS)
            raise ProcessDiedError(_end(process.exitcode)) from None
        finally:
            kill_group(process.pid or 0)
            process.kill()
            process.join(END_SECONDS)
            forget_if_alive(process)
    if has_failed:
        raise value
    result: R = value
    return result


def _end(exit_code: int | None) -> str:
    if exit_code is None:
        return "the process does not answer"
    if exit_code < 0:
        return f"the process was ended by signal {-exit_code}"
    return f"the process exited with status {exit_code}"


def _run(
    channel: Connection,
    parent: int,
    log: bool,  # noqa: FBT001 - a process passes its arguments by position
    function: Callable[..., Any],
    args: Any,
) -> None:
    end_with_parent(parent)
    lead_group()
    if not log:
        logging.disable()
    try:
        answer: tuple[bool, Any] = (False, function(*args))
    except Exception as error:  # noqa: BLE001 - raised again by the caller
        answer = (True, error)
    channel.send(answer)
