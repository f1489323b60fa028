"""Durations as options of commands."""

import re

import typer

__all__ = ["parse_duration"]

_SECONDS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Return a duration in seconds from ``2s``, ``500ms``, ``1.5m``, or a plain number."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+) *([a-z]*)", text.strip())
    if found is None or found[2] not in _SECONDS:
        raise typer.BadParameter(f"{text!r} is not a duration; write it like 2s, 500ms or 1.5m")
    return float(found[1]) * _SECONDS[found[2]]
