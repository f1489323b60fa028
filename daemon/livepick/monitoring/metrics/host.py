"""Metrics of the machine: disks, writable folders, GPUs."""

from collections.abc import Sequence

from livepick.errors import EditedError, OccupiedError
from livepick.host.disks import ROLES, Disk
from livepick.host.gpus import Gpu
from livepick.monitoring.metrics.instruments import InstrumentFactory

__all__ = ["HostMetrics"]

GPU_FIGURES = {
    "memory_used_bytes": (
        "memory_used_bytes",
        "How much GPU memory is used? By all programs; no series without an NVIDIA driver.",
    ),
    "memory_size_bytes": ("memory_size_bytes", "How much memory does the GPU have?"),
    "busy": (
        "busy_ratio",
        "Is the GPU busy? Fraction of the last second or less, for all programs.",
    ),
}
"""Fields of ``host.gpus.Gpu``, each with its metric name and question."""


class HostMetrics:
    """Disks, writable folders and GPUs."""

    def __init__(self, make: InstrumentFactory) -> None:
        self._free_bytes = make.gauge(
            "disk_free_bytes", "Is there free space on the disk?", path_role=ROLES
        )
        self._size_bytes = make.gauge("disk_size_bytes", "How large is the disk?", path_role=ROLES)
        self._shared = make.gauge(
            "disk_shared",
            "Is this disk reported already? 1 if an earlier role has the same disk; the order is"
            " output, state, watch.",
            path_role=ROLES,
        )
        self._output_writable = make.gauge(
            "output_writable", "Can the output folder be written? 0 while picking waits for it."
        )
        self._state_writable = make.gauge(
            "state_writable", "Can the ledger be written? 0 while everything waits for it."
        )
        self._obstacles = make.gauge(
            "output_obstacles",
            "How many files in the output folder are in the way? foreign: livepick did not write"
            " them; edited: they were changed afterwards. They stay as they are.",
            kind=("foreign", "edited"),
        )
        self._ledger_rebuilt = make.gauge(
            "ledger_rebuilt_timestamp_seconds",
            "When was a damaged or missing ledger replaced by a new one? 0: never.",
        )
        self._gpu_figures = {
            figure: make.gauge(f"gpu_{name}", question, gpu=())
            for figure, (name, question) in GPU_FIGURES.items()
        }
        self._gpu_expected = make.gauge(
            "gpu_expected",
            "Should a GPU be used? 1 if picking.device asks for one, and this machine has one or"
            " the session has used one.",
        )
        self._gpus_set_aside = make.gauge(
            "gpus_set_aside",
            "How many GPUs, those of a cluster's workers too, have failed and get no jobs, while"
            " others pick?",
        )
        self._known_gpus: dict[str, set[str]] = {figure: set() for figure in GPU_FIGURES}

    def writable(self, *, output: bool, state: bool) -> None:
        """Set whether the output folder and the ledger can be written."""
        self._output_writable.set(output)
        self._state_writable.set(state)

    def obstacles(self, errors: Sequence[OccupiedError]) -> None:
        """Set the number of files that are in the way of livepick's."""
        edited = sum(isinstance(error, EditedError) for error in errors)
        self._obstacles.labels("edited").set(edited)
        self._obstacles.labels("foreign").set(len(errors) - edited)

    def ledger_rebuilt(self, at: float) -> None:
        """Set when a lost ledger was replaced, in unix seconds; 0 if none was."""
        self._ledger_rebuilt.set(at)

    def disks(self, disks: Sequence[Disk]) -> None:
        """Set free space and size of the disks; of several watched folders the fullest counts."""
        reported: set[int] = set()
        for role in ROLES:
            spaces = [disk.space for disk in disks if disk.role == role]
            if spaces:
                least = min(spaces, key=lambda space: space.free_fraction)
                self._shared.labels(role).set(least.device in reported)
                reported.add(least.device)
                self._free_bytes.labels(role).set(least.free_bytes)
                self._size_bytes.labels(role).set(least.size_bytes)

    def gpu_expected(self, *, is_expected: bool) -> None:
        """Set whether picking on the CPU is a fault."""
        self._gpu_expected.set(is_expected)

    def gpus_set_aside(self, count: int) -> None:
        """Set the number of GPUs that get no jobs."""
        self._gpus_set_aside.set(count)

    def gpus(self, gpus: Sequence[Gpu]) -> None:
        """Set the GPU figures; a GPU that is gone or a value that is not known has no series."""
        for figure, gauge in self._gpu_figures.items():
            values = {str(gpu.index): getattr(gpu, figure) for gpu in gpus}
            known = {gpu: value for gpu, value in values.items() if value is not None}
            for gpu, value in known.items():
                gauge.labels(gpu).set(value)
            for gone in self._known_gpus[figure] - known.keys():
                gauge.remove(gone)
            self._known_gpus[figure] = set(known)
