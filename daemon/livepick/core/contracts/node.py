"""Values that pass between the service and the nodes of a cluster.

A node is a ``livepick worker``: one Dask worker with processes of its own that pick.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from livepick.config.sections import Device
from livepick.core.contracts.device_aside import DeviceAside

__all__ = [
    "HEAVY",
    "NEXT_FILE",
    "PICK",
    "REPORT",
    "FileSample",
    "HelloRequest",
    "NodeCard",
    "NodeReport",
    "TaskLimits",
]

PICK = "LIVEPICK-PICK"
"""Dask resource of a node: the number of jobs that it picks at a time."""

HEAVY = "LIVEPICK-HEAVY"
"""Dask resource of a node that runs one training or 2D classification at a time."""

REPORT = "livepick"
"""Name of the report of a node among the metrics of its Dask worker."""

NEXT_FILE = "livepick-file"
"""Dask annotation of a task: path of the file that it reads, for the node to read ahead."""


@dataclass(frozen=True, slots=True)
class TaskLimits:
    """Limits of a job on a node, as the service can know them."""

    seconds: float
    """Time from its start in a process of the node."""

    memory_bytes: int | None = None
    """Memory limit of the session for its process; None: the limit of the node."""

    alone: bool = False
    """True if the service has no other job in progress."""


@dataclass(frozen=True, slots=True)
class HelloRequest:
    """Question to a node that has joined, and what it is to look at."""

    device: Device
    """Device to pick on."""

    bundle: Path | None
    """Folder of the model in use; None: the general model of the node's own livepick."""

    graph_sha256: str | None
    """Checksum of its graph; None: any."""

    token_file: Path
    """File in the state folder."""

    token: str | None
    """Content of that file, which tells this folder from another one with the same path; None: the
    session has not begun."""

    roots: tuple[Path, ...]
    """Watched folders."""


@dataclass(frozen=True, slots=True)
class FileSample:
    """A file that a node sees in a watched folder."""

    root: Path
    path: Path
    """Its path below the folder."""

    size_bytes: int
    modified_at: float
    """Unix seconds, by the clock of the file server."""


@dataclass(frozen=True, slots=True)
class NodeCard:
    """Answer of a node."""

    heavy: bool = False
    """True if it offers to train."""

    token: str | None = None
    """Content of the token file; None: not seen."""

    missing_roots: tuple[Path, ...] = ()
    """Watched folders that it does not see."""

    empty_roots: tuple[Path, ...] = ()
    """Watched folders in which it sees nothing, as if a share were not mounted."""

    samples: tuple[FileSample, ...] = ()
    """Some files of the watched folders, as it sees them."""

    graph_sha256: str | None = None
    """Checksum of the model's graph; None: not seen."""

    provider: str | None = None
    """The onnxruntime provider that runs the model; None: it does not run."""

    fault: str = ""
    """Reason why the model does not run or the folders cannot be looked at; empty: no fault."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """Report of a node that comes to the scheduler with each heartbeat, for all services."""

    version: str = ""
    """Version of livepick; empty: the node does not report any."""

    memory_bytes: int = 0
    """Memory of the machine, or of the batch job."""

    gpus_aside: tuple[DeviceAside, ...] = ()
    """GPUs that have failed, and get no jobs for a while."""

    def as_values(self) -> dict[str, Any]:
        """Return the report as values that Dask can send."""
        return {
            "version": self.version,
            "memory_bytes": self.memory_bytes,
            "gpus_aside": [[gpu.name, gpu.reason] for gpu in self.gpus_aside],
        }

    @classmethod
    def of_values(cls, values: Any) -> Self:
        """Return the report from such values; an empty one if they are of another version."""
        try:
            gpus = tuple(DeviceAside(str(name), str(why)) for name, why in values["gpus_aside"])
            return cls(str(values["version"]), int(values["memory_bytes"]), gpus)
        except (KeyError, TypeError, ValueError):
            return cls()
