"""A GPU that was set aside after failures, on this machine or on a node of a cluster."""

from dataclasses import dataclass

__all__ = ["DeviceAside"]


@dataclass(frozen=True, slots=True)
class DeviceAside:
    """A GPU that gets no jobs."""

    name: str
    reason: str
    """Its last failure."""
