"""An output folder itself: opened, created if it is not there, and claimed for its owner.

While it belongs to another session, while its disk is not mounted, or while a file is in its place,
opening it raises OutputError, and works again when that has passed. Nothing is kept open, so that
its disk can be unmounted at any time.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from livepick.errors import OutputError
from livepick.host.atomic_files import fsync_folder
from livepick.picking.output_owner import Ownership

__all__ = ["OutputRoot"]

OWNER_SECONDS = 2.0
"""Time between two looks at the owner while files are written."""


class OutputRoot:
    """An output folder itself. Thread-safe.

    Parameters
    ----------
    path
        The folder; it may be a link.
    ownership
        Claim of the session or command that writes here. None: nobody else does, as in a test.
    requires
        A file without which the folder is not opened. None: there is none.
    lock
        Held while the folder is claimed and ``replaced`` is called.
    replaced
        Called with the open folder when it is another one than before, or the first one.
    """

    def __init__(
        self,
        path: Path,
        ownership: Ownership | None,
        requires: Path | None,
        *,
        lock: threading.RLock,
        replaced: Callable[[int], None],
    ) -> None:
        self.path = path
        self._ownership = ownership
        self._requires = requires
        self._lock = lock
        self._replaced = replaced
        self._verified: tuple[int, int] | None = None
        self._verified_at = float("-inf")
        self.was_lost = False
        """True if the folder had to be claimed again, so its files may be gone; the reader resets
        it."""

    @property
    def is_known(self) -> bool:
        """True once the folder was opened."""
        return self._verified is not None

    def refuse_others_around(self) -> None:
        """Raise NotOwnerError if the folder of another session is above or below."""
        if self._ownership is not None:
            self._ownership.refuse_others_around(self.path)

    def inspect(self) -> None:
        """Check, without writing, that the folder can be this session's.

        Raises
        ------
        NotOwnerError
            It, or a folder above or below it, belongs to another session.
        OutputError
            It cannot be used for now.
        OSError
            It cannot be read.
        """
        self.refuse_others_around()
        if self._ownership is not None:
            self._ownership.refuse_unmounted(self.path)
        try:
            with self.opened(create=False):
                pass
        except FileNotFoundError:
            if found := _in_place_of(self.path):
                raise self._misplaced(found) from None

    @contextlib.contextmanager
    def opened(self, *, create: bool = True) -> Iterator[int]:
        """Open the folder, and make sure from time to time that it is this session's.

        Raises
        ------
        FileNotFoundError
            It is not there, and ``create`` is False.
        OutputError
            It cannot be used for now.
        OSError
            It cannot be read or written.
        """
        if self._requires is not None and not self._requires.is_file():
            raise OutputError(
                f"{self._requires} is not there, so it is not a RELION project, or its disk is not"
                " mounted",
                "Mount its disk; livepick then continues by itself. If the project is another one,"
                " set output.relion.project.",
            )
        descriptor = self._open(create=create)
        try:
            self._verify(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self, *, create: bool) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            try:
                return os.open(self.path, flags)
            except FileNotFoundError:
                if not create:
                    raise
                if self._ownership is not None:
                    self._ownership.refuse_unmounted(self.path)
                _make_folders(self.path)
                return os.open(self.path, flags)
        except (NotADirectoryError, FileNotFoundError) as error:
            if isinstance(error, FileNotFoundError) and not create:
                raise
            raise self._misplaced(_in_place_of(self.path) or str(self.path)) from None

    def _misplaced(self, found: str) -> OutputError:
        return OutputError(
            f"{found} is in the way of the output folder {self.path}",
            "Move it away, or set output.directory to another folder; livepick then creates the"
            " folder and continues by itself.",
        )

    def _verify(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        identity = status.st_dev, status.st_ino
        is_other = identity != self._verified
        if not is_other and time.monotonic() - self._verified_at < OWNER_SECONDS:
            return
        with self._lock:
            if (
                self._ownership is not None
                and self._ownership.claim(descriptor, self.path) == "again"
            ):
                self.was_lost = True
            if is_other:
                self._replaced(descriptor)
            self._verified, self._verified_at = identity, time.monotonic()


def _in_place_of(path: Path) -> str:
    """Return what is where a folder or its parent belongs; empty if there is nothing."""
    for place in (*reversed(path.parents), path):
        if os.path.lexists(place) and not place.is_dir():
            return f"{place}, {'a link to nothing' if place.is_symlink() else 'a file'},"
    return ""


def _make_folders(folder: Path) -> None:
    """Create a folder and its parents, synced to disk so that they survive a power cut."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    fsync_folder(folder.parent)
