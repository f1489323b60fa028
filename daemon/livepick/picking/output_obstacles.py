"""Obstacles in an output folder: files, folders and links of others in the way of livepick's."""

import contextlib
import stat
import threading
from pathlib import Path

from livepick.errors import OccupiedError

__all__ = ["Obstacles"]


class Obstacles:
    """Obstacles in the way of files, as of the last try to write each. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[Path, tuple[OccupiedError, object]] = {}

    @property
    def errors(self) -> list[OccupiedError]:
        """The error of each obstacle."""
        with self._lock:
            return [error for error, _ in self._seen.values()]

    def found(
        self, path: Path, what: str = "", kind: type[OccupiedError] = OccupiedError
    ) -> OccupiedError:
        """Note what is in the way, and return the error.

        Parameters
        ----------
        path
            The obstacle.
        what
            What is the matter with it, as the rest of a sentence. Empty: it is not livepick's.
        kind
            Class of the error.
        """
        what = what or f"is {_kind_of(path)} that livepick did not write"
        error = kind(
            f"{path} {what}, so it stays as it is",
            "Move or delete it if it is not wanted; livepick then writes its own by itself.",
            str(path),
        )
        self.note(path, error)
        return error

    def note(self, path: Path, error: OccupiedError) -> None:
        """Note what is in the way."""
        with self._lock:
            self._seen[path] = error, _look(path)

    def clear(self, path: Path) -> None:
        """Forget what was in the way."""
        with self._lock:
            self._seen.pop(path, None)

    def freed(self) -> list[Path]:
        """Forget the obstacles that have gone or have changed, and return their paths."""
        with self._lock:
            gone = [path for path, (_, seen) in self._seen.items() if _look(path) != seen]
            for path in gone:
                del self._seen[path]
        return gone


def _look(path: Path) -> object:
    """Return what shows that something has gone, or has changed."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _kind_of(path: Path) -> str:
    with contextlib.suppress(OSError):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            return "a link"
        if stat.S_ISDIR(mode):
            return "a folder"
    return "a file"
