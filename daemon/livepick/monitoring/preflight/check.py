"""Result of a preflight check."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Check", "CheckVerdict"]

CheckVerdict = Literal["ok", "warning", "fault"]
"""``fault``: the service would not start, or would not do its whole job. ``warning``: it would
work, but somebody should know."""


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check."""

    name: str
    """Short name of the check."""

    verdict: CheckVerdict

    found: str
    """Finding of the check."""

    remedy: str = ""
    """Advice. If the verdict is ``ok``, what could be changed; usually empty then."""
