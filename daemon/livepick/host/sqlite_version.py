"""SQLite of this Python: its version, and what to do if it is too old for the ledger."""

import sys

try:
    import sqlite3
except ImportError:  # a Python that was built without it
    sqlite3 = None  # type: ignore[assignment]

__all__ = ["OLDEST_SQLITE", "SQLITE_REMEDY", "sqlite_fault", "sqlite_version"]

OLDEST_SQLITE = (3, 37)
"""Oldest supported SQLite: the first with STRICT tables."""

SQLITE_REMEDY = (
    "Install livepick with a Python that brings its own SQLite, by uv or conda, without root:"
    " deploy/install.md."
)


def sqlite_version() -> str:
    """Return the version of SQLite that this Python uses; empty if it has none."""
    return "" if sqlite3 is None else sqlite3.sqlite_version


def sqlite_fault() -> str | None:
    """Return why the ledger cannot be used with this Python, as one clause; None if it can."""
    needed = f"livepick needs {'.'.join(map(str, OLDEST_SQLITE))} or newer for its ledger"
    if sqlite3 is None:
        return f"this Python ({sys.executable}) was built without SQLite, and {needed}"
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        return f"this Python ({sys.executable}) has SQLite {sqlite3.sqlite_version}, and {needed}"
    return None
