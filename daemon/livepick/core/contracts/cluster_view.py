"""The cluster as the service sees it now, for the page, the metrics and the status."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from livepick.core.contracts.device_aside import DeviceAside

__all__ = ["ClusterView", "NodeView"]


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node of the cluster."""

    address: str
    """Address of the Dask worker."""

    name: str
    host: str
    state: Literal["asked", "accepted", "refused", "set_aside", "silent", "leaving"]
    slots: int
    """Number of jobs that it picks at a time."""

    jobs: int
    """Number of jobs of this session that it has."""

    reason: str = ""
    """Reason why it is refused or set aside."""

    remedy: str = ""
    """Remedy for the reason."""

    heavy: bool = False
    """True if it offers to train."""

    version: str = ""
    """Version of livepick; empty: not known."""

    memory_bytes: int = 0
    """Memory of the machine, or of the batch job; 0: not known."""

    gpus_aside: tuple[DeviceAside, ...] = ()
    """GPUs that have failed, and get no jobs for a while."""

    def as_json(self) -> dict[str, Any]:
        """Return the node as JSON-serializable values. Scripts rely on this format."""
        return {
            "name": self.name,
            "host": self.host,
            "address": self.address,
            "state": self.state,
            "reason": self.reason,
            "remedy": self.remedy,
            "slots": self.slots,
            "jobs": self.jobs,
            "heavy": self.heavy,
            "version": self.version,
            "memory_bytes": self.memory_bytes,
            "gpus_set_aside": [{"name": gpu.name, "reason": gpu.reason} for gpu in self.gpus_aside],
        }


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The scheduler and its nodes."""

    scheduler: str
    """Its address, or the file in which it writes it."""

    is_connected: bool = False
    fault: str = ""
    """Reason why the scheduler is not connected."""

    remedy: str = ""
    """Remedy for the fault; empty: not known."""

    provider: str = ""
    """The onnxruntime provider of the accepted nodes, the worst if they differ; empty: none yet."""

    nodes: tuple[NodeView, ...] = ()

    retries: Mapping[str, int] = field(default_factory=dict)
    """Number of jobs that were tried on another node, by reason."""

    @property
    def slots(self) -> int:
        """Number of jobs that the accepted nodes pick at a time."""
        return sum(node.slots for node in self.nodes if node.state == "accepted")

    def as_json(self) -> dict[str, Any]:
        """Return the cluster as JSON-serializable values. Scripts rely on this format."""
        return {
            "connected": self.is_connected,
            "scheduler": self.scheduler,
            "fault": self.fault,
            "remedy": self.remedy,
            "slots": self.slots,
            "nodes": [node.as_json() for node in self.nodes],
        }

    def count(self, *states: str) -> int:
        """Return the number of nodes in one of these states."""
        return sum(node.state in states for node in self.nodes)
