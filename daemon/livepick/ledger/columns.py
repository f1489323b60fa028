"""Columns of the table ``micrograph``: their groups, and their conversion to values and back."""

import dataclasses
import functools
from pathlib import Path
from typing import Any, Protocol

from livepick.core.formats.file_version import FileVersion
from livepick.core.imaging.quality import CtfFigures, Quality

__all__ = [
    "CTF_COLUMNS",
    "CTF_FIGURES",
    "FRESH",
    "JUDGES_CONTENT",
    "NEW_PRIORITY",
    "NO_RESULT",
    "PASSING",
    "QUALITY_FIGURES",
    "REPICK_PRIORITY",
    "Columns",
    "ctf_of",
    "place_of",
    "quality_of",
    "shape_of",
    "stored_version",
    "version_from",
    "version_of",
]

QUALITY_FIGURES = tuple(field.name for field in dataclasses.fields(Quality))
CTF_FIGURES = tuple(field.name for field in dataclasses.fields(CtfFigures))
"""Numeric columns whose values may be unknown."""

CTF_COLUMNS = (
    *CTF_FIGURES,
    *("ctf_source", "ctf_outcome", "ctf_score", "ctf_reason", "ctf_settings"),
)
"""Columns about the CTF of a content."""

PASSING = ("vanished", "io", "incomplete", "changed", "pixel_size", "internal")
"""Failure reasons outside the file: in folders, settings or livepick itself. The same content is
tried again when it lands again, at the latest after the next start."""

JUDGES_CONTENT = ("header", "movie", "content", "pixel_size", "micrograph", "too_small")
"""Failure reasons that say what the content of a file is. With any other reason, new content may
not have been read at all."""

NEW_PRIORITY, REPICK_PRIORITY = 0, 1
"""Queue priorities; lower values are picked first."""

_NO_FAILURE = "reason = null, error = null, remedy = null"
FRESH = f"tries = 0, crashes = 0, interruptions = 0, not_before = 0, {_NO_FAILURE}"
"""Assignments that forget earlier tries and the failure."""

_RESULT = (
    *("picked_content", "picked_at", "model_version", "model_kind", "threshold", "pick_count"),
    *("pixel_size_angstrom", "height_px", "width_px", "provider"),
    *("read_seconds", "preprocess_seconds", "infer_seconds", "peaks_seconds"),
    *(*QUALITY_FIGURES, *CTF_COLUMNS, "quality_verdict", "quality_reason"),
    *("note_kinds", "notes"),
)
"""Columns that hold the result of picking."""
NO_RESULT = ", ".join(f"{name} = null" for name in _RESULT)
"""Assignments that forget the result."""


class Columns(Protocol):
    """A row of the ledger, indexed by column name."""

    def __getitem__(self, name: str, /) -> Any: ...


def version_of(row: Columns) -> FileVersion:
    """Return the version of the file content that a row describes."""
    return version_from(row["size_bytes"], row["mtime_ns"], row["inode"])


def version_from(size_bytes: int, mtime_ns: int, inode: int) -> FileVersion:
    """Return the version of the file content with these stored numbers."""
    return FileVersion(size_bytes, mtime_ns, inode % 2**64)


def stored_version(version: FileVersion) -> dict[str, int]:
    """Return the columns of a version of the file content."""
    # SQLite's integers are signed, and some file systems use all 64 bits of an inode.
    inode = (version.inode + 2**63) % 2**64 - 2**63
    return {"size_bytes": version.size_bytes, "mtime_ns": version.mtime_ns, "inode": inode}


_root = functools.lru_cache(maxsize=64)(Path)
"""Path of a watched folder: a session has few, and tens of thousands of rows."""


def place_of(row: Columns) -> tuple[Path, Path]:
    """Return the watched folder and the path below it."""
    return _root(row["root"]), Path(row["relative"])


def shape_of(row: Columns) -> tuple[int, int] | None:
    """Return the height and width in pixels; None until they are known."""
    return None if row["height_px"] is None else (row["height_px"], row["width_px"])


def quality_of(row: Columns) -> Quality | None:
    """Return the quality figures in a row; None if the micrograph has no picks."""
    if row["masked_fraction"] is None:
        return None
    return Quality(*(row[name] for name in QUALITY_FIGURES))


def ctf_of(row: Columns) -> CtfFigures | None:
    """Return the CTF figures, fitted here or by another program; None if there are none."""
    if row["defocus_u_angstrom"] is None:
        return None
    return CtfFigures(*(row[name] for name in CTF_FIGURES))
