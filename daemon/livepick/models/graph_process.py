"""Making the graph of a first picker in a short-lived process, without onnx in the service."""

from collections.abc import Callable
from typing import TypeVar

from livepick.errors import EngineError
from livepick.host.isolated_call import ProcessDiedError, call_isolated

__all__ = ["make_in_process"]

MAKE_SECONDS = 120.0
"""Time limit; it takes a second, and longer from a slow disk."""

TRIES = 3
"""A process may be killed by accident; this many in a row are not an accident."""

R = TypeVar("R")


def make_in_process(function: Callable[..., R], *args: object) -> R:
    """Return what a function returns that makes a graph; it is called in a process of its own.

    Parameters
    ----------
    function, args
        A function that can be imported, and its arguments.

    Raises
    ------
    EngineError
        No process could be started for it.
    """
    for left in reversed(range(TRIES)):
        try:
            return call_isolated(function, *args, timeout_seconds=MAKE_SECONDS)
        except (ProcessDiedError, TimeoutError, OSError) as error:
            if not left:
                raise EngineError(
                    f"the first picker could not be made in a process of its own: {error}",
                    "Check the load and the memory of the machine, and the system log.",
                ) from error
    raise AssertionError("unreachable")
