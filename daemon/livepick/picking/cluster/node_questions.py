"""The questions to a node that has joined: its version, and then what it sees of the session."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from livepick import __version__
from livepick.core.contracts.node import HelloRequest, NodeCard
from livepick.errors import LivepickError
from livepick.picking.cluster.connection import Connection, result_of
from livepick.picking.cluster.folder_samples import is_other_folder
from livepick.picking.cluster.node import HELLO_SECONDS, has_entries, hello, version
from livepick.picking.cluster.nodes import WorkerInfo

__all__ = ["ask_node"]

VERSION_SECONDS = 60.0
"""Time limit of the answer to ``version``."""

SEE_SECONDS = 10.0
"""Time limit of a look at a watched folder."""

FIRST = 1_000_000
"""Priority of questions to a node, before all jobs."""


async def ask_node(
    connection: Connection, worker: WorkerInfo, request: Callable[[], HelloRequest]
) -> tuple[NodeCard, HelloRequest] | str:
    """Return the answer of a node with what it was asked, or why it cannot answer.

    Parameters
    ----------
    connection
        Connection to the scheduler.
    worker
        The node.
    request
        Returns what to ask.
    """
    if not worker.slots:
        return "it is a plain Dask worker. Start it with livepick worker."
    try:
        return await _ask(connection, worker, request())
    except TimeoutError:
        reason = "it does not answer. Restart livepick worker there."
    except ImportError as error:
        reason = f"it has no livepick ({error}). Install the same version there."
    except LivepickError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the node
        reason = f"it cannot answer: {error!r}. See its log."
    return reason


async def _ask(
    connection: Connection, worker: WorkerInfo, request: HelloRequest
) -> tuple[NodeCard, HelloRequest] | str:
    found = await _answer(connection, worker, VERSION_SECONDS, version)
    if found != __version__:
        return (
            f"it has livepick {found}, and the service has {__version__}. Install the same version"
            " on both."
        )
    card: NodeCard = await _answer(connection, worker, 2 * HELLO_SECONDS, hello, request)
    return await _unmounted(card) or await _mixed_up(card) or (card, request)


async def _answer(
    connection: Connection, worker: WorkerInfo, seconds: float, work: Callable[..., Any], *args: Any
) -> Any:
    asked = connection.start(worker.address, work, *args, priority=FIRST)
    try:
        return await asyncio.wait_for(result_of(asked), seconds)
    finally:
        asked.release()


async def _unmounted(card: NodeCard) -> str:
    """Return why a node does not fit that sees an empty folder where the service sees files."""
    for root in card.empty_roots:
        with contextlib.suppress(TimeoutError):
            if await asyncio.wait_for(asyncio.to_thread(has_entries, root), SEE_SECONDS):
                return (
                    f"its {root} is empty, and that of the service is not. Mount the watched folder"
                    " there, at the same path."
                )
    return ""


async def _mixed_up(card: NodeCard) -> str:
    """Return why a node does not fit that sees another folder than the service at the same path."""
    for root in dict.fromkeys(sample.root for sample in card.samples):
        samples = [sample for sample in card.samples if sample.root == root]
        with contextlib.suppress(TimeoutError):
            looking = asyncio.to_thread(is_other_folder, samples)
            if await asyncio.wait_for(looking, SEE_SECONDS):
                return (
                    f"its {root} is another folder than that of the service, in which"
                    f" {samples[0].path} is not the same file. Mount the watched folder there, at"
                    " the same path."
                )
    return ""
