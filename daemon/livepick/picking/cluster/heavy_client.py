"""The workers of a cluster that take heavy jobs, as the service reaches them.

A worker offers heavy jobs by the resource ``LIVEPICK-HEAVY``. The service asks each of them
separately, all at once and with a time limit, so that one that hangs does not hide the others.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from livepick.core.contracts.heavy_job import HeavyOrder, HeavyReport
from livepick.picking.cluster.heavy_on_node import ask_work, end_work, start_work

__all__ = ["HeavyClient"]


ANSWER_SECONDS = 3.0
"""Longest wait for the answer of a worker."""

_log = logging.getLogger(__name__)


class HeavyClient:
    """Calls on the workers that take heavy jobs, for ``livepick.retraining.trainer_on_node``.

    Parameters
    ----------
    client
        Function that returns the connection to the scheduler, a ``distributed.Client``; None while
        there is none.
    workers
        Function that returns the addresses of the accepted workers that offer ``LIVEPICK-HEAVY``.
    """

    def __init__(self, client: Callable[[], Any], workers: Callable[[], Collection[str]]) -> None:
        self._client = client
        self._workers = workers

    def ask(self, folder: Path) -> dict[str, HeavyReport]:
        """Return the report of each worker that answers about a folder, by its address."""
        return self._call(sorted(self._workers()), ask_work, folder)

    def start(self, address: str, order: HeavyOrder) -> HeavyReport | None:
        """Let a worker start a job; None if it does not answer."""
        return self._call([address], start_work, order).get(address)

    def end(self, folder: Path, *, kill: bool) -> None:
        """Tell all workers to end their job on a folder."""
        self._call(sorted(self._workers()), end_work, folder, kill=kill)

    def _call(
        self, addresses: list[str], function: Callable[..., Any], *args: object, **kwargs: object
    ) -> dict[str, Any]:
        """Call a function on workers; return what it returned, without None, by address."""
        client = self._client()
        if client is None or not addresses:
            return {}

        async def one(address: str) -> Any:
            try:
                call = client.run(function, *args, workers=[address], asynchronous=True, **kwargs)
                return (await asyncio.wait_for(call, ANSWER_SECONDS)).get(address)
            except Exception as error:  # noqa: BLE001 - of any kind: the worker does not answer
                _log.debug("heavy job: %s does not answer: %s", address, error)
                return None

        async def every() -> list[Any]:
            return await asyncio.gather(*(one(address) for address in addresses))

        try:
            answers = client.sync(every, callback_timeout=2 * ANSWER_SECONDS)
        except Exception as error:  # noqa: BLE001 - the connection ends in the middle of a call
            _log.debug("heavy job: the cluster does not answer: %s", error)
            return {}
        return {
            a: answer for a, answer in zip(addresses, answers, strict=True) if answer is not None
        }
