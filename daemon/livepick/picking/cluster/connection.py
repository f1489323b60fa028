"""A connection to the scheduler of a cluster, for the service: its workers, and tasks on them.

Dask tries to reach a scheduler that is gone for the whole of its time limit, and says nothing
meanwhile. Here a scheduler counts as lost as soon as the connection breaks.
"""

import asyncio
import itertools
import logging
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.config
from dask.base import annotate
from distributed import Client
from distributed.client import FutureCancelledError
from distributed.comm.core import CommClosedError

from livepick.config.engine_section import EngineSettings
from livepick.core.contracts.node import NEXT_FILE, PICK, REPORT, NodeReport
from livepick.errors import LivepickError
from livepick.picking.cluster.nodes import WorkerInfo
from livepick.picking.cluster.scheduler import (
    SchedulerPlace,
    knock,
    refuse_versions,
    versions_there,
)
from livepick.picking.cluster.security import cluster_security, refuse_open

__all__ = ["Connection", "LostError", "result_of", "why_lost"]

ANSWER_SECONDS = 15.0
"""A scheduler that does not answer for so long counts as lost."""

LOST_SECONDS = 0.2
"""Time between two looks whether it is still connected, while it does not answer."""

CONNECT_SECONDS = 10.0
"""Time limit of a connection to the scheduler."""

FILE_SECONDS = 1.0
"""Longest wait for the scheduler's file while it is connected."""

CLOSE_SECONDS = 2.0
"""Time to take leave of the scheduler."""

_Client: Any = Client
"""Dask's class; most of its functions have no types."""


class LostError(Exception):
    """A task has been lost with its node or scheduler.

    Parameters
    ----------
    hangs
        True if the node answers, and the task does not come back.
    """

    def __init__(self, *, hangs: bool = False) -> None:
        super().__init__(hangs)
        self.hangs = hangs


class Connection:
    """The connection of a session; all functions are for the thread of its event loop.

    Parameters
    ----------
    engine
        Where the scheduler is, and its TLS.
    name
        Name of the session, which the scheduler shows.

    Raises
    ------
    ConfigError
        A file of ``engine.tls`` cannot be used.
    """

    def __init__(self, engine: EngineSettings, name: str) -> None:
        self.place = SchedulerPlace(engine.scheduler, engine.scheduler_file)
        self._engine = engine
        self._name = name
        self._security = cluster_security(engine.tls)
        self._numbers = itertools.count()
        self._prefix = f"{name}-{uuid.uuid4().hex[:12]}"
        self._reading: asyncio.Future[str] | None = None
        """The look at the scheduler's file that is in progress; never more than one."""
        self.client: Any = None
        """Dask's client."""
        self.address = ""

    async def open(self) -> None:
        """Connect to the scheduler.

        Raises
        ------
        LivepickError
            Its address is not known or may not be used, or it has other versions.
        OSError
            It does not answer.
        """
        _quieten()
        self.address = await asyncio.to_thread(self._read_address)
        await knock(self.address, CONNECT_SECONDS)
        refuse_versions(self.address, await versions_there(self.address, self._security))
        client = _Client(
            self.address,
            asynchronous=True,
            security=self._security,
            timeout=CONNECT_SECONDS,
            name=self._name,
            set_as_default=False,
            direct_to_workers=False,
        )
        try:
            await client
        except BaseException:
            await client.close()
            raise
        self.client = client

    async def close(self) -> None:
        """Take leave of the scheduler, which then forgets our tasks."""
        client, self.client = self.client, None
        if client is not None:
            await asyncio.wait_for(client.close(), CLOSE_SECONDS)

    @property
    def is_open(self) -> bool:
        """True if the scheduler is connected."""
        return self.client is not None and self.client.status == "running"

    async def workers(self) -> list[WorkerInfo]:
        """Ask the scheduler for its workers.

        Raises
        ------
        TimeoutError
            It is lost, or does not answer.
        """
        asking = asyncio.ensure_future(self.client.scheduler.identity(n_workers=-1))
        give_up = time.monotonic() + ANSWER_SECONDS
        while not asking.done():
            if not self.is_open or time.monotonic() > give_up:
                asking.cancel()
                raise TimeoutError
            await asyncio.wait({asking}, timeout=LOST_SECONDS)
        workers: dict[str, Any] = asking.result()["workers"]
        return [_worker_info(address, worker) for address, worker in workers.items()]

    async def has_moved(self) -> bool:
        """Return True if the scheduler's file has another address.

        Raises
        ------
        LivepickError
            The file cannot be read now, or has an address that may not be used.
        """
        if self._engine.scheduler is not None:
            return False
        if self._reading is None:
            self._reading = asyncio.ensure_future(asyncio.to_thread(self._read_address))
        await asyncio.wait({self._reading}, timeout=FILE_SECONDS)
        if not self._reading.done():  # its file system hangs; the scheduler may be well
            return False
        reading, self._reading = self._reading, None
        return reading.result() != self.address

    def start(
        self,
        address: str,
        work: Callable[..., Any],
        *args: Any,
        path: Path | None = None,
        **options: Any,
    ) -> Any:
        """Start a task on a worker, and return its Dask future.

        Parameters
        ----------
        address
            Address of the worker. The task never goes to another one.
        work, args
            Function and its arguments.
        path
            File that the worker may read ahead while the task waits there.
        options
            Of ``distributed.Client.submit``.
        """
        key = f"{self._prefix}-{next(self._numbers)}"
        # As bytes: not every name can be sent as text.
        with annotate(**({} if path is None else {NEXT_FILE: os.fsencode(path)})):
            return self.client.submit(
                work, *args, key=key, pure=False, retries=0, workers=[address], **options
            )

    def _read_address(self) -> str:
        address = self.place.read()
        insecure = self._engine.insecure
        refuse_open(address, self._engine.tls, insecure=insecure, accept="engine.insecure: true")
        return address


async def result_of(future: Any) -> Any:
    """Return the result of a task of Dask, or raise what it has raised.

    Raises
    ------
    LostError
        The scheduler has cancelled it, or is lost.
    """
    try:
        return await future
    except asyncio.CancelledError:
        if future.cancelled():
            raise LostError from None
        raise
    except (FutureCancelledError, CommClosedError):  # the latter while the result was fetched
        raise LostError from None


def why_lost(error: Exception) -> str:
    """Return why a connection failed, in words."""
    if isinstance(error, LivepickError):
        return error.what
    return (isinstance(error, OSError) and error.strerror) or str(error) or "no answer"


def _worker_info(address: str, worker: dict[str, Any]) -> WorkerInfo:
    return WorkerInfo(
        address=address,
        incarnation=str(worker.get("local_directory")),
        name=str(worker.get("name")),
        host=str(worker.get("host")),
        slots=int(worker.get("resources", {}).get(PICK, 0)),
        last_seen=float(worker.get("last_seen", 0.0)),
        is_leaving=worker.get("status", "running") != "running",
        report=NodeReport.of_values(worker.get("metrics", {}).get(REPORT)),
    )


def _quieten() -> None:
    """Let Dask log errors only, by the handlers of the service; of the connection, nothing."""
    dask.config.set({"distributed.client.scheduler-info-interval": "1h"})
    for name, level in (("distributed", logging.ERROR), ("distributed.client", logging.CRITICAL)):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(level)
