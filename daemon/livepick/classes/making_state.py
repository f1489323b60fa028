"""State of the making of class averages, for the page and the status."""

from dataclasses import dataclass

__all__ = ["MakingState"]


@dataclass(frozen=True, slots=True)
class MakingState:
    """Work of the service on class averages at the moment."""

    since: float | None = None
    """Time since when new ones are being made, in unix seconds; None if they are not."""
    waits: str = ""
    """Reason that due ones are not made now, as a clause; empty if none are due."""
    fault: str = ""
    """Reason that they cannot be made, as a clause; empty if they can."""
    remedy: str = ""
    """Remedy of the fault, in full sentences."""
    is_off: bool = False
    """True if the config has switched them off."""
