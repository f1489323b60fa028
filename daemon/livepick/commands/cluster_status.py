"""The workers of a Dask cluster, for ``livepick status``."""

from typing import TYPE_CHECKING

from livepick.core.contracts.cluster_view import ClusterView, NodeView

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["cluster_status"]

_WORKERS = 32
"""Maximum number of workers to list."""

_GIB = 1 << 30


def cluster_status(cluster: ClusterView | None) -> "list[RenderableType]":
    """Return the scheduler and its workers; nothing if the workers are on this machine.

    The problems say why a worker gets no jobs.
    """
    from rich.table import Table  # noqa: PLC0415 - not for --json, nor for the service
    from rich.text import Text  # noqa: PLC0415

    if cluster is None:
        return []
    if not cluster.is_connected:
        return [Text(f"The scheduler {cluster.scheduler} is not connected.", style="yellow")]
    count, accepted = len(cluster.nodes), cluster.count("accepted")
    workers = f"{accepted} of {count} worker{'' if count == 1 else 's'}"
    at_a_time = f"{cluster.slots} micrograph{'' if cluster.slots == 1 else 's'} at a time"
    title = f"Cluster {cluster.scheduler}: {workers} accepted, {at_a_time}"
    if not cluster.nodes:
        return [Text(title, style="yellow")]
    table = Table()
    for name in ("worker", "host", "state"):
        table.add_column(name, overflow="fold")
    for name in ("at a time", "memory", "livepick"):
        table.add_column(name, justify="right")
    has_aside = any(node.gpus_aside for node in cluster.nodes)
    if has_aside:
        table.add_column("GPUs set aside", overflow="fold")
    for node in cluster.nodes[:_WORKERS]:
        cells = _cells(node) if has_aside else _cells(node)[:-1]
        table.add_row(*map(Text, cells), style=_style(node))
    more = count - _WORKERS
    rest = [Text(f"and {more} more", style="dim")] if more > 0 else []
    return [Text(title), table, *rest]


def _cells(node: NodeView) -> list[str]:
    return [
        node.name,
        node.host,
        node.state.replace("_", " "),
        str(node.slots),
        f"{node.memory_bytes / _GIB:.1f} GiB" if node.memory_bytes else "",
        node.version,
        ", ".join(gpu.name for gpu in node.gpus_aside),
    ]


def _style(node: NodeView) -> str:
    return "" if node.state == "accepted" and not node.gpus_aside else "yellow"
