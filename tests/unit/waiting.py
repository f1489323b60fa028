"""Waiting for what another thread or process does."""

import time
from collections.abc import Callable

__all__ = ["until"]


def until(
    condition: Callable[[], object], what: str = "a condition", *, seconds: float = 180.0
) -> None:
    """Wait until a condition is true."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, f"waited {seconds:g} s for {what}"
        time.sleep(0.02)
