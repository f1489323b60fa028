"""What an operator should know, how grave it is, and what to do."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Level", "Problem"]

Level = Literal["attention", "bad"]
"""``bad``: micrographs or picks stay out until somebody acts. ``attention``: it goes on, and
somebody should look."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be."""

    level: Level
    sentence: str
    """What is the case, with a full stop."""
    remedy: str = ""
    """What to do, in whole sentences; empty if ``sentence`` says it."""
