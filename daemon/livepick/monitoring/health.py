"""Whether the parts of the service get on."""

from dataclasses import dataclass

__all__ = ["Health"]


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the parts of the service get on."""

    ok: bool
    seconds_since: dict[str, float]
    """Since the last sign of life, by part."""
