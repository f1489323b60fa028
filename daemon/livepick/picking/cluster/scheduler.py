"""Where the scheduler of a cluster is, and what is installed there.

A scheduler that is started again, as by a batch system, may have another address, and the scheduler
file on the shared file system names the new one. It is therefore read before each try to connect.

The scheduler unpickles the tasks that pass through it, so it needs the same livepick as the workers
and the service, and the same Dask.
"""

import asyncio
import json
import os
import platform
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from distributed.comm.core import FatalCommClosedError
from distributed.core import rpc

from livepick import __version__
from livepick.config.engine_section import scheduler_host
from livepick.errors import EngineError

__all__ = [
    "AwayError",
    "SchedulerPlace",
    "knock",
    "refuse_versions",
    "versions_there",
]

ANSWER_SECONDS = 10.0
"""Time within which a scheduler answers."""

CONNECT_FRACTION = 0.8
"""Part of it in which it is reached. Dask says only then why it was not."""

KNOCK_SECONDS = 1.0
"""Time for another try, which says why it was not reached."""

MOST_FILE_BYTES = 1 << 24
"""A scheduler file lists the workers of its start, so it is small."""


_rpc: Any = rpc
"""Dask's connection; its parameters have no types."""


class AwayError(EngineError):
    """The scheduler does not answer, or its file is not there yet; it may come."""

    retryable = True


@dataclass(frozen=True, slots=True)
class SchedulerPlace:
    """The address of a scheduler, or the file that names it."""

    address: str | None = None
    file: Path | None = None

    def __str__(self) -> str:
        return self.address or str(self.file)

    def read(self) -> str:
        """Return the address, such as ``tls://host:8786``.

        Raises
        ------
        AwayError
            The file is not there, or is not complete yet.
        """
        if self.file is None:
            return self.address or ""
        try:
            with self.file.open("rb") as file:
                address = json.loads(file.read(MOST_FILE_BYTES))["address"]
        except OSError as error:
            raise AwayError(
                f"the scheduler file {self.file} cannot be read: {error.strerror}",
                "Start the scheduler with --scheduler-file and this path, on a file system that"
                " both machines see.",
            ) from error
        except (ValueError, KeyError, TypeError) as error:  # Dask does not rename it into place
            raise AwayError(
                f"{self.file} is not a scheduler file, or is being written",
                "Name the file that was given to dask scheduler --scheduler-file.",
            ) from error
        return str(address)


async def versions_there(address: str, security: Any) -> dict[str, str | None]:
    """Ask the scheduler for the versions of its packages.

    Parameters
    ----------
    address
        Address of the scheduler.
    security
        TLS of the cluster, a ``distributed.Security``.

    Raises
    ------
    AwayError
        It does not answer.
    EngineError
        It answers, and the two sides do not accept each other's certificates.
    """
    asked = await _ask(address, security, lambda there: there.versions(packages=["livepick"]))
    return dict(asked["packages"])


async def knock(address: str, seconds: float) -> None:
    """Open and close a connection, which fails at once if nobody is there.

    Dask tries on until its time is up, and what it says is only of its last try.

    Raises
    ------
    OSError
        Nobody is there, for the reason in its ``strerror``, or it takes longer.
    """
    port = int(address.rpartition(":")[2])
    opening = asyncio.open_connection(scheduler_host(address), port)
    try:
        _, writer = await asyncio.wait_for(opening, seconds)
    except OSError as error:
        if error.errno and error.errno > 0:  # asyncio says "Connect call failed" to each
            raise OSError(error.errno, os.strerror(error.errno)) from None
        raise
    writer.close()


async def _ask(address: str, security: Any, question: Callable[[Any], Awaitable[Any]]) -> Any:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            async with _rpc(
                address,
                timeout=CONNECT_FRACTION * ANSWER_SECONDS,
                connection_args=security.get_connection_args("worker"),
            ) as scheduler:
                return await question(scheduler)
    except OSError as error:  # TimeoutError and Dask's errors of connections, too
        why = _cause(error)
        if isinstance(why, FatalCommClosedError):
            raise EngineError(
                f"the scheduler {address} and this machine do not accept each other's TLS:"
                f" {_words(why)}",
                "Both need a certificate of the same authority that has not expired"
                " (livepick worker --tls-ca, engine.tls), and the scheduler must have been started"
                " with it.",
            ) from error
        try:
            await knock(address, KNOCK_SECONDS)
        except OSError as refusal:
            why = refusal if refusal.strerror else why
        raise AwayError(
            f"the scheduler {address} does not answer: {_words(why)}",
            "Check that it runs, its address, and that no firewall is between.",
        ) from error


def _cause(error: BaseException) -> BaseException:
    """Return the refusal of TLS behind an error, or else its first cause."""
    while not isinstance(error, FatalCommClosedError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _words(error: BaseException) -> str:
    """Return what a person can use of an error."""
    inner = error.__cause__ or error.__context__ if not str(error) else error
    # Dask begins with its own object, whose address differs each time.
    text = re.sub(r"^in <.*>: (\w+: )?", "", str(inner or ""))
    return text or f"no answer within {ANSWER_SECONDS:g} s"


def refuse_versions(address: str, there: Mapping[str, str | None]) -> None:
    """Refuse a scheduler with other versions than here.

    Parameters
    ----------
    address
        Address of the scheduler.
    there
        Versions of its packages, as ``versions_there`` returns them.

    Raises
    ------
    EngineError
        A version differs.
    """
    here = {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "livepick": __version__,
        "dask": version("dask"),
        "distributed": version("distributed"),
    }
    python = ".".join(str(there.get("python")).split(".")[:2])
    for name, ours in here.items():
        theirs = python if name == "Python" else there.get(name)
        if theirs != ours:
            raise EngineError(
                f"the scheduler {address} has {name} {theirs or '(not installed)'}, and this"
                f" machine has {ours}",
                "Install the same versions on the machines of the scheduler, the service and the"
                " workers: pip install -c constraints.txt, with the extra dask.",
            )
