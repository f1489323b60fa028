"""Search for the sessions of an instrument: the folders that match its pattern.

Nothing is opened for writing here, and no micrograph is read: a folder's time of change says when
the last file came into it.
"""

import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from livepick.config.sessions_section import PLACEHOLDER, folder_above

__all__ = ["FolderState", "FoundSession", "Listing", "SessionFolders"]

MOST_LEVELS = 4
MOST_FOLDERS = 500
"""Levels and number of the sub-folders of a session that are looked at for new files."""

OF_THE_SYSTEM = ("lost+found", "$RECYCLE.BIN", "System Volume Information")
"""Folders that a file system has by itself."""

FolderState = Literal["ready", "incomplete", "denied", "same", "unreadable_name"]
"""State of a session's folder. ``incomplete``: the folder of the micrographs is not there yet.
``same``: it is that of another session, by a link. ``unreadable_name``: its name is not UTF-8."""


@dataclass(frozen=True, slots=True)
class FoundSession:
    """A folder that matches the pattern of an instrument."""

    folder: Path
    """Folder with the name of the session."""
    directory: Path
    """Folder of its micrographs."""
    state: FolderState
    detail: str = ""
    """Reason of a state other than ``ready``."""
    newest_at: float | None = None
    """Time when the last file came into it, in unix seconds; None: there is no file."""
    changed_at: float = 0.0
    """Time when something was last made in ``folder``, in unix seconds."""
    identity: tuple[int, int] | None = None
    """Device and inode of ``directory``."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Result of a search."""

    root: Path
    fault: str = ""
    """Reason why the folder of all sessions cannot be listed; empty: it can."""
    is_missing: bool = False
    """True if that folder does not exist: not yet, or not mounted."""
    sessions: tuple[FoundSession, ...] = ()
    hidden: int = 0
    """Number of folders of the system, and of those with a name that begins with a dot, which are
    left out."""
    others: int = 0
    """Number of further folders and files whose names do not match."""


@dataclass(slots=True)
class _Known:
    """A folder that was listed before."""

    changed_ns: int
    came_at: float
    """Time of that change in unix seconds; not later than when it was seen, as the clock of a file
    server may be ahead."""
    has_files: bool
    inner: list[Path] = field(default_factory=list)


class SessionFolders:
    """Searches the folders of an instrument; only folders that have changed are listed again.

    Parameters
    ----------
    pattern
        Folder of a session's micrographs, with ``{session}`` for its name.
    """

    def __init__(self, pattern: Path) -> None:
        self._root = folder_above(pattern)
        named, *rest = pattern.parts[len(self._root.parts) :]
        before, after = named.split(PLACEHOLDER)
        self._name = re.compile(f"{re.escape(before)}(.+){re.escape(after)}", re.DOTALL)
        self._rest = Path(*rest)
        self._known: dict[Path, _Known] = {}

    def name_of(self, folder: Path) -> str:
        """Return what stands for ``{session}`` in the name of a folder."""
        found = self._name.fullmatch(folder.name)
        return folder.name if found is None else found[1]

    def search(self) -> Listing:
        """Return all folders that match. The call may hang for as long as the file system does."""
        sessions: list[FoundSession] = []
        hidden = others = 0
        try:
            with os.scandir(self._root) as entries:
                listed = sorted(entries, key=lambda entry: (entry.is_symlink(), entry.name))
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            return Listing(self._root, error.strerror or str(error), is_missing=missing)
        seen: dict[tuple[int, int], Path] = {}
        for entry in listed:
            if _is_hidden(entry.name):
                hidden += 1
            elif self._name.fullmatch(entry.name) is None or not _is_folder(entry):
                others += 1
            else:
                found = self._look(Path(entry.path))
                if (target := self._session_behind(entry)) is not None:
                    found = FoundSession(
                        found.folder, found.directory, "same", f"it leads to the folder of {target}"
                    )
                elif found.identity is not None and found.identity in seen:
                    first = seen[found.identity].name
                    found = FoundSession(
                        found.folder, found.directory, "same", f"it leads to the folder of {first}"
                    )
                elif found.identity is not None:
                    seen[found.identity] = found.folder
                sessions.append(found)
        return Listing(self._root, sessions=tuple(sessions), hidden=hidden, others=others)

    def _session_behind(self, entry: "os.DirEntry[str]") -> str | None:
        """Return the name of the folder of another session that a link leads to.

        None if it is not a link, or leads elsewhere. The target need not exist: while a session is
        being renamed, its link must not count as a session.
        """
        if not entry.is_symlink():
            return None
        target = Path(os.path.realpath(entry.path))
        is_beside = target.parent == Path(os.path.realpath(self._root))
        is_session = not _is_hidden(target.name) and self._name.fullmatch(target.name)
        return target.name if is_beside and is_session else None

    def look_at(self, folder: Path) -> FoundSession:
        """Return what is found in the folder of one session."""
        return self._look(folder)

    def _look(self, folder: Path) -> FoundSession:
        directory = folder / self._rest
        try:
            str(directory).encode()
        except UnicodeEncodeError:
            return FoundSession(folder, directory, "unreadable_name", "its name is not UTF-8 text")
        try:
            changed_at = folder.stat().st_mtime
        except OSError as error:
            return FoundSession(folder, directory, "denied", error.strerror or str(error))
        try:
            status = directory.stat()
            newest_at = self._newest(directory)
        except (FileNotFoundError, NotADirectoryError):
            detail = f"{self._rest} does not exist yet"
            return FoundSession(folder, directory, "incomplete", detail, changed_at=changed_at)
        except OSError as error:
            detail = error.strerror or str(error)
            return FoundSession(folder, directory, "denied", detail, changed_at=changed_at)
        return FoundSession(
            folder,
            directory,
            "ready",
            newest_at=newest_at,
            changed_at=changed_at,
            identity=(status.st_dev, status.st_ino),
        )

    def _newest(self, directory: Path) -> float | None:
        """Return when the last file came into a folder or its sub-folders."""
        newest: float | None = None
        level = [directory]
        count = 0
        for _ in range(MOST_LEVELS):
            deeper: list[Path] = []
            for folder in level:
                count += 1
                if count > MOST_FOLDERS:
                    return newest
                known = self._list(folder, is_top=folder == directory)
                if known is not None:
                    if known.has_files:
                        newest = max(newest or 0.0, known.came_at)
                    deeper += known.inner
            level = deeper
        return newest

    def _list(self, folder: Path, *, is_top: bool) -> _Known | None:
        try:
            changed_ns = folder.stat().st_mtime_ns
            known = self._known.get(folder)
            if known is None or known.changed_ns != changed_ns:
                came_at = min(changed_ns / 1e9, time.time())
                known = _Known(changed_ns, came_at, has_files=False)
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.name.startswith("."):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            known.inner.append(Path(entry.path))
                        else:
                            known.has_files = True
                self._known[folder] = known
        except OSError:
            if is_top:
                raise
            return None  # a sub-folder that went away, or that only others may read
        return known


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in OF_THE_SYSTEM


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as a loop of links
        return False
