"""Metrics of the Dask cluster that picks, if one does."""

from livepick.core.contracts.cluster_view import ClusterView
from livepick.monitoring.metrics.instruments import InstrumentFactory, RunningTotal

__all__ = ["ClusterMetrics"]

RETRY_REASONS = (
    "changed",
    "died",
    "io",
    "lost",
    "memory",
    "model",
    "node",
    "provider",
    "time_limit",
    "unexpected",
    "vanished",
)
"""Reasons for another try of a job, on another node; see ``livepick.picking.cluster.nodes``."""


class ClusterMetrics:
    """The scheduler, its workers, and the jobs that were tried on another worker.

    Parameters
    ----------
    make
        Creates the instruments.
    """

    def __init__(self, make: InstrumentFactory) -> None:
        self._connected = make.gauge(
            "cluster_connected",
            "Is the Dask scheduler connected? 0 too if the workers are on this machine.",
        )
        self._nodes = make.gauge(
            "cluster_nodes",
            "Which workers of the cluster pick? Absent if the workers are on this machine.",
            state=(),
        )
        self._slots = make.gauge(
            "cluster_slots", "How many micrographs can the cluster pick at a time?"
        )
        retries = make.counter(
            "cluster_retries",
            "How often was a micrograph tried on another worker of the cluster?",
            reason=RETRY_REASONS,
        )
        self._retries = {reason: RunningTotal(retries.labels(reason)) for reason in RETRY_REASONS}

    def show(self, cluster: ClusterView) -> None:
        """Set all metrics."""
        self._connected.set(cluster.is_connected)
        self._nodes.labels("accepted").set(cluster.count("accepted"))
        self._nodes.labels("refused").set(cluster.count("refused"))
        self._nodes.labels("set_aside").set(cluster.count("set_aside", "silent"))
        self._slots.set(cluster.slots)
        for reason, total in self._retries.items():
            total.raise_to(cluster.retries.get(reason, 0))
