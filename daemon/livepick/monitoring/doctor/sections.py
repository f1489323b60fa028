"""Sections of the report: each is written alone, so that none can spoil another.

A section that fails or that takes too long, for example because a share hangs, says so in its
place.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from livepick.core.formats.header import printable
from livepick.monitoring.doctor.secrets import without_secrets

__all__ = ["Section", "report"]

SECONDS = 15.0
"""Time that a section may take."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section of the report."""

    title: str
    lines: Callable[[], Iterable[str]]
    """Function that yields the lines. It may raise anything, after some lines as well."""


def report(sections: Iterable[Section]) -> str:
    """Return the text of all sections, without secrets."""
    parts = [f"== {section.title} ==\n{_written(section)}\n" for section in sections]
    return without_secrets("\n".join(parts))


def _written(section: Section) -> str:
    lines: list[str] = []
    ended = threading.Event()

    def write() -> None:
        try:
            lines.extend(printable(line) for line in section.lines())
        except Exception as error:  # noqa: BLE001 - the other sections are still wanted
            lines.append(f"(unavailable: {printable(f'{type(error).__name__}: {error}')})")
        ended.set()

    # A daemon thread: a read from a dead share cannot be interrupted, and must not delay the end.
    threading.Thread(target=write, daemon=True).start()
    if not ended.wait(SECONDS):
        return "\n".join([*lines, f"(unavailable: no answer within {SECONDS:g} s)"])
    return "\n".join(lines) or "(nothing)"
