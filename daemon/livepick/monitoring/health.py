"""Health of the parts of the service."""

from dataclasses import dataclass

__all__ = ["Health"]


@dataclass(frozen=True, slots=True)
class Health:
    """Health of the parts of the service."""

    ok: bool
    seconds_since: dict[str, float]
    """Seconds since the last sign of life, by part."""
