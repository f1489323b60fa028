"""Waits of the demo: each gives up when nothing moves, not after a fixed time.

A status is the output of ``livepick status --json``.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any


class DemoError(Exception):
    """The session did not do what the demo shows."""


class ProgressWatch:
    """Tells a session that is slow from one that has stopped.

    Parameters
    ----------
    patience_seconds
        Longest time without a change of anything.
    clock
        Returns seconds.
    """

    def __init__(
        self, patience_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._seen: dict[str, object] = {}
        self._change = "the session began"
        self._changed_at = clock()

    def check(self, waits_for: str, progress: Mapping[str, object]) -> None:
        """Record how far the session is.

        Parameters
        ----------
        waits_for
            The next thing that the demo needs, for the error.
        progress
            Counts, stages and states by name.

        Raises
        ------
        DemoError
            Nothing has changed for too long.
        """
        changed = [
            f"{name} {value}" for name, value in progress.items() if self._seen.get(name) != value
        ]
        if changed:
            self._change = ", ".join(changed) if self._seen else "the session began"
            self._seen, self._changed_at = dict(progress), self._clock()
        elif self._clock() - self._changed_at > self._patience_seconds:
            raise DemoError(f"still waiting for {waits_for}; {self.last_change()}")

    def last_change(self) -> str:
        """Return what moved last, and when."""
        return f"last change {self._clock() - self._changed_at:.0f} s ago: {self._change}"


def is_complete(status: Mapping[str, Any], micrographs: int) -> bool:
    """Return True if the trained model has picked all micrographs."""
    return _is_trained(status) and status["micrographs"]["picked"] == micrographs


def _is_trained(status: Mapping[str, Any]) -> bool:
    return status["model"] is not None and status["model"]["kind"] == "trained"


def next_step(status: Mapping[str, Any], micrographs: int) -> str:
    """Return what the session needs next, as words."""
    counts = status["micrographs"]
    if missing := micrographs - sum(counts.values()):
        return f"{missing} more micrographs to land"
    if status["training"]["state"] == "training":
        return f"run {status['training']['version']} to train a model"
    if not _is_trained(status):
        return "a trained model"
    return f"the trained model to pick {micrographs - counts['picked']} more micrographs"


def progress(status: Mapping[str, Any]) -> dict[str, object]:
    """Return everything that moves in a session, by name."""
    training, run = status["training"], status["training"]["progress"] or {}
    return {
        **status["micrographs"],
        "training": training["state"],
        "run at": " ".join(str(run[key]) for key in ("stage", "done") if run),
        "model": status["model"]["version"] if status["model"] else None,
    }
