"""The workers of a cluster that take heavy jobs, as the service reaches them.

A worker offers heavy jobs by the resource ``LIVEPICK-HEAVY``. The service asks each of them
separately, all at once and with a time limit, so that one that hangs does not hide the others.

Also a worker that is set aside is asked, because a fault in picking does not end its training; but
it gets no new job.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from livepick.core.contracts.cluster_view import ClusterView
from livepick.core.contracts.heavy_job import HeavyOrder, HeavyReport
from livepick.picking.cluster.heavy_on_node import ask_work, end_work, start_work

__all__ = ["Cluster", "HeavyClient"]

ANSWER_SECONDS = 3.0
"""Longest wait for the answer of a worker."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Cluster(Protocol):
    """Connection to a cluster, such as a ``ClusterExecutor``."""

    @property
    def view(self) -> ClusterView:
        """The cluster as it is now."""

    def call(self, ask: Callable[[Any], Awaitable[T]], seconds: float) -> T:
        """Run a coroutine with the ``distributed.Client``, and return its result."""


class HeavyClient:
    """Calls on the workers that take heavy jobs, for ``livepick.retraining.trainer_on_node``.

    Parameters
    ----------
    cluster
        The connection.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def ask(self, folder: Path) -> dict[str, HeavyReport]:
        """Return the report of each worker that answers about a folder, by its address.

        Those of the workers that are not accepted are left out, unless they have the job.
        """
        reports = self._call(self._addresses(), ask_work, folder)
        accepted = self._addresses("accepted")
        return {
            address: report
            for address, report in reports.items()
            if address in accepted or report.state in ("starting", "running", "ended")
        }

    def start(self, address: str, order: HeavyOrder) -> HeavyReport | None:
        """Let a worker start a job; None if it does not answer, or is not accepted."""
        if address not in self._addresses("accepted"):
            return None
        return self._call([address], start_work, order).get(address)

    def end(self, folder: Path, *, kill: bool) -> None:
        """Tell all workers to end their job on a folder."""
        self._call(self._addresses(), end_work, folder, kill=kill)

    def _addresses(self, *states: str) -> list[str]:
        """Return the workers that offer heavy jobs, in some states or in any."""
        nodes = [node for node in self._cluster.view.nodes if node.heavy]
        return [node.address for node in nodes if not states or node.state in states]

    def _call(
        self, addresses: list[str], function: Callable[..., Any], *args: object, **kwargs: object
    ) -> dict[str, Any]:
        """Call a function on workers; return what it returned, without None, by address."""
        if not addresses:
            return {}

        async def every(client: Any) -> list[Any]:
            async def one(address: str) -> Any:
                try:
                    call = client.run(function, *args, workers=[address], **kwargs)
                    return (await asyncio.wait_for(call, ANSWER_SECONDS))[address]
                except Exception as error:  # noqa: BLE001 - of any kind: it does not answer
                    _log.debug("heavy job: %s does not answer: %r", address, error)
                    return None

            return await asyncio.gather(*map(one, addresses))

        try:
            answers = self._cluster.call(every, 2 * ANSWER_SECONDS)
        except Exception as error:  # noqa: BLE001 - the connection ends in the middle of a call
            _log.debug("heavy job: the cluster does not answer: %r", error)
            return {}
        found = zip(addresses, answers, strict=True)
        return {address: answer for address, answer in found if answer is not None}
