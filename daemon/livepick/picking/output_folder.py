"""A folder that livepick writes to, and in which it touches only what it wrote itself.

Every write and removal goes through ``OutputFolder``:

- **Files of others stay.** A file is replaced or removed only if the folder's record
  (``output_journal``) says that livepick wrote it, with this content. Otherwise OccupiedError says
  what is in the way, and it is kept (``output_obstacles``) until it has gone. A file that already
  has the content to be written counts as livepick's, so a lost record costs nothing.
- **Files that were edited stay**, too: EditedError.
- **Links are not followed** below the folder, whether they are in place of a file or of a folder.
- **The folder has one owner** (``output_owner``). While it belongs to another session, while its
  disk is not mounted, or while a file is in its place, writing raises OutputError and works again
  when that has passed (``output_root``).

This is one file because every method asks the same question: is this file livepick's?
"""

import contextlib
import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from livepick.errors import EditedError, MicrographError, OccupiedError, OutputError
from livepick.host.folder_files import (
    ObstacleError,
    draft,
    is_draft,
    open_below,
    open_file,
    put_in_place,
    status_of,
)
from livepick.picking.output_journal import NONE, Journal, Written, digest_of, digest_of_file
from livepick.picking.output_obstacles import Obstacles
from livepick.picking.output_owner import FOLDER, Ownership
from livepick.picking.output_root import OutputRoot

__all__ = ["OutputFolder"]

_BAD_NAME = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
"""Errors caused by a file name, which a retry does not fix."""

_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)

_REMEDY = "Free disk space, or give the service's user write permission there; livepick retries."


class OutputFolder:
    """A folder that livepick writes to. Thread-safe.

    Parameters
    ----------
    path
        The folder. It is created when the first file is written; it may be a link.
    ownership
        Claim of the session or command that writes here. None: nobody else does, as in a test.
    requires
        A file without which the folder is not written, because its disk is not mounted then: that
        of a RELION project. None: there is none.

    Raises
    ------
    OutputError
        From every method that takes a path: the folder cannot be written for now.
    """

    def __init__(
        self, path: Path, ownership: Ownership | None = None, *, requires: Path | None = None
    ) -> None:
        self.path = path
        self._prefix = f"{path}/"
        self._journal = Journal()
        self._lock = threading.RLock()
        self._root = OutputRoot(
            path, ownership, requires, lock=self._lock, replaced=self._read_record
        )
        self._adopts_until_ns = -1
        self._obstacles = Obstacles()
        self._names: Iterator[str] | None = None

    # ---- files ---------------------------------------------------------------------------------

    def write(self, path: Path, data: bytes) -> bool:
        """Write or replace a file below the folder; create its folder if needed.

        Returns
        -------
        bool
            False if the file had this content already.

        Raises
        ------
        OccupiedError
            Something that livepick did not write is in the way; it is in ``obstacles`` now.
        MicrographError
            The name cannot be used as a file name here.
        """
        return self._write(path, lambda file: _fill(file, data), digest_of(data))

    def write_if_different(self, path: Path, data: bytes) -> bool:
        """Write a file of the session; return True if it was written.

        What is in the way of it is in ``obstacles``, and nothing is written then.
        """
        return self.write_large_if_different(path, lambda file: _fill(file, data))

    def write_large_if_different(self, path: Path, fill: Callable[[BinaryIO], None]) -> bool:
        """Let a function write a large file of the session, as ``write_if_different``."""
        try:
            self._adopt_list(path)
            return self._write(path, fill)
        except EditedError as error:
            # Of such a file there is only one, and it is out of date from now on.
            self._obstacles.note(path, OccupiedError(error.what, error.remedy, error.path))
        except OccupiedError:
            pass
        return False

    def remove(self, path: Path) -> bool:
        """Remove a file, if livepick wrote it and nobody has changed it since.

        Returns
        -------
        bool
            False if there is a file that stays.
        """
        try:
            with self._parent(path, create=False) as (root, folder):
                present = status_of(folder, path.name)
                if present is not None:
                    self._own_digest(folder, path, present)
                    os.unlink(path.name, dir_fd=folder)
                if self._name(path) in self._journal:
                    self._record(root, path, None)
        except OccupiedError:
            self._obstacles.clear(path)  # it is not in the way of anything
            return False
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno not in _BAD_NAME:
                raise _refused(path, error) from error
        self._obstacles.clear(path)
        return True

    def wrote(self, path: Path) -> bool:
        """Return True if livepick wrote a file of this name, according to the record."""
        self._load()
        return self._name(path) in self._journal

    def is_there(self, path: Path) -> bool:
        """Return True if something has this name, a link or not."""
        return os.path.lexists(path)

    def is_due(self, path: Path) -> bool:
        """Return True if a file is not there, or is not known to be livepick's."""
        return not self.wrote(path) or not self.is_there(path)

    def is_own(self, path: Path) -> bool:
        """Return True if a file is there as livepick wrote it; it may be read for that."""
        self._load()
        try:
            with self._parent(path, create=False) as (_, folder):
                present = status_of(folder, path.name)
                return present is not None and bool(self._own_digest(folder, path, present))
        except (OSError, OccupiedError, OutputError):
            return False

    def adopt(self, path: Path) -> None:
        """Record a file of an earlier version of livepick, which kept no record, as livepick's."""
        if self.wrote(path):
            return
        with (
            contextlib.suppress(OSError, OccupiedError),
            self._parent(path, create=False) as (root, folder),
        ):
            present = status_of(folder, path.name)
            if present is not None and stat.S_ISREG(present.st_mode):
                self._record(root, path, _written(NONE, NONE, present))

    def adopt_lists(self) -> None:
        """Take files of the session that were there before this moment for livepick's.

        For a folder of an earlier version, which wrote over all such files.
        """
        self._adopts_until_ns = time.time_ns()

    def _adopt_list(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            if path.lstat().st_mtime_ns <= self._adopts_until_ns:
                self.adopt(path)

    @property
    def has_more(self) -> bool:
        """True if the last call of ``missing`` has not come to the last file."""
        return self._names is not None

    def missing(self, seconds: float, cpu_seconds: float) -> list[Path]:
        """Return files that livepick wrote and that have gone.

        A call takes about so many seconds, or so much time of the processor, and the next one
        continues; it ends at the first find.
        """
        self._load()
        until, cpu_until = time.monotonic() + seconds, time.thread_time() + cpu_seconds
        root = str(self.path)
        self._names = self._names or iter(self._journal)
        for name in self._names:
            if not os.path.lexists(f"{root}/{name}") and name in self._journal:
                return [self.path / name]
            if time.monotonic() > until or time.thread_time() > cpu_until:
                return []
        self._names = None
        return []

    def forget(self, path: Path) -> None:
        """Forget a file that has gone and that nothing writes again."""
        with contextlib.suppress(OSError, OutputError), self._root.opened(create=False) as root:
            self._record(root, path, None)
        self._journal.forget([self._name(path)])

    @property
    def obstacles(self) -> list[OccupiedError]:
        """Obstacles in the way of files, as of the last try to write each."""
        return self._obstacles.errors

    def freed(self) -> list[Path]:
        """Forget the obstacles that have gone or have changed, and return their paths."""
        return self._obstacles.freed()

    def was_lost(self) -> bool:
        """Return True if the folder had to be claimed again since the last call.

        Its files may be gone then.
        """
        was_lost, self._root.was_lost = self._root.was_lost, False
        return was_lost

    def sweep(self) -> int:
        """Remove unfinished files left behind by a killed service; return how many."""
        count = 0
        with contextlib.suppress(OSError, OutputError), self._root.opened(create=False) as root:
            for folder, folders, names, descriptor in os.fwalk(".", dir_fd=root):
                if folder != "." and FOLDER in folders:
                    folders.clear()  # another one of livepick's, which may be in use
                    continue
                for name in filter(is_draft, names):
                    with contextlib.suppress(OSError):
                        os.unlink(name, dir_fd=descriptor)
                        count += 1
        return count

    # ---- the folder itself ---------------------------------------------------------------------

    def begin(self) -> None:
        """Claim the folder, if it is there; read and compact the record.

        Raises
        ------
        NotOwnerError
            It, or a folder above or below it, belongs to another session.
        OutputError
            It cannot be used for now; a later write tries again.
        """
        self._root.refuse_others_around()
        try:
            with (
                self._root.opened(create=False) as root,
                open_below(root, [FOLDER], create=True) as own,
                self._lock,
            ):
                self._journal.load(own)
                self._journal.compact(own)
        except FileNotFoundError:
            return  # the first file creates it
        except OSError as error:
            raise _refused(self.path, error) from error

    def inspect(self) -> None:
        """Check, without writing, that the folder can be this session's. Raises as ``begin``."""
        try:
            self._root.inspect()
        except OSError as error:
            raise _refused(self.path, error) from error

    def obstacle(self, path: Path) -> OccupiedError | None:
        """Return what would be in the way of a file; None if nothing is."""
        try:
            with self._parent(path, create=False) as (_, folder):
                present = status_of(folder, path.name)
                if present is not None:
                    self._own_digest(folder, path, present)
        except OccupiedError as error:
            return error
        except (OSError, OutputError):
            return None
        return None

    def _write(
        self, path: Path, fill: Callable[[BinaryIO], None], digest: str | None = None
    ) -> bool:
        """Let a function write a file; ``digest``: that of what it writes, if it is known."""
        try:
            with self._parent(path) as (root, folder):
                written = self._write_in(root, folder, path, fill, digest)
        except FileExistsError as error:  # it came this moment
            raise self._obstacles.found(path) from error
        except OSError as error:
            if error.errno in _BAD_NAME:
                raise MicrographError(
                    f"{path} cannot be created: {error.strerror}", "Rename the micrograph."
                ) from error
            raise _refused(path, error) from error
        self._obstacles.clear(path)
        return written

    def _write_in(
        self,
        root: int,
        folder: int,
        path: Path,
        fill: Callable[[BinaryIO], None],
        digest: str | None,
    ) -> bool:
        """Write a file in an open folder; return False if it had the content already."""
        with self._draft(root, folder, path) as (temporary, file):
            fill(file)
            file.flush()
            digest = digest or digest_of_file(file)
            present = status_of(folder, path.name)
            former = NONE
            if present is not None:
                if present.st_size == file.tell() and digest == _digest(folder, path.name):
                    self._note_same(root, path, digest, present)
                    return False
                former = self._own_digest(folder, path, present)
            os.fsync(file.fileno())
            self._record(root, path, _written(digest, former, os.fstat(file.fileno())))
            put_in_place(folder, temporary, path.name, new=present is None)
        return True

    @contextlib.contextmanager
    def _draft(self, root: int, folder: int, path: Path) -> Iterator[tuple[str, BinaryIO]]:
        """Open a draft; a sub-folder that alone may not be written is an obstacle."""
        with contextlib.ExitStack() as opened:
            try:
                temporary = opened.enter_context(draft(folder))
            except OSError as error:
                if error.errno not in _NOT_ALLOWED or path.parent == self.path:
                    raise
                with draft(root):  # raises if the whole folder cannot be written
                    pass
                raise self._obstacles.found(
                    path.parent, f"cannot be written: {error.strerror}"
                ) from error
            yield temporary

    def _own_digest(self, folder: int, path: Path, present: os.stat_result) -> str:
        """Return the digest of a file that is there and is livepick's; else raise OccupiedError."""
        if not stat.S_ISREG(present.st_mode):
            raise self._obstacles.found(path)
        found = self._known_digest(folder, path, present)
        if found == NONE and self._refresh():  # another process has written it
            found = self._known_digest(folder, path, present)
        if found != NONE:
            return found
        if self._name(path) in self._journal:
            raise self._obstacles.found(path, "was changed after livepick wrote it", EditedError)
        raise self._obstacles.found(path)

    def _known_digest(self, folder: int, path: Path, present: os.stat_result) -> str:
        """Return the digest of a file that is there, if the record has it; else ``NONE``."""
        written = self._journal.get(self._name(path))
        if written is None:
            return NONE
        if written.is_like(present):
            return written.digest if written.digest != NONE else _digest(folder, path.name)
        found = _digest(folder, path.name)
        return found if found in (written.digest, written.former) else NONE

    def _refresh(self) -> bool:
        with (
            contextlib.suppress(OSError, OutputError),
            self._lock,
            self._root.opened(create=False) as root,
            open_below(root, [FOLDER]) as own,
        ):
            return self._journal.refresh(own)
        return False

    def _note_same(self, root: int, path: Path, digest: str, present: os.stat_result) -> None:
        written = self._journal.get(self._name(path))
        if written is None or not (written.is_like(present) or written.digest == digest):
            self._record(root, path, _written(digest, NONE, present))

    def _read_record(self, root: int) -> None:
        try:
            with open_below(root, [FOLDER]) as own:
                self._journal.load(own)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._no_record(error) from None

    def _record(self, root: int, path: Path, written: Written | None) -> None:
        try:
            with self._lock, open_below(root, [FOLDER], create=True) as own:
                self._journal.append(own, [(self._name(path), written)])
        except OSError as error:
            raise self._no_record(error) from None

    def _no_record(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self.path / FOLDER} cannot be read and written: {error.strerror}",
            "livepick keeps its record of the files that it wrote there: it must be a folder with"
            " files, not links, with space on its disk, that the service's user may write.",
        )

    def _name(self, path: Path) -> str:
        """Return the path below the folder."""
        name = str(path)
        if name.startswith(self._prefix):  # as ``relative_to``, which takes ten times as long
            return name[len(self._prefix) :]
        return str(path.relative_to(self.path))

    def _load(self) -> None:
        """Read the record once; without the folder there is none to read."""
        if not self._root.is_known:
            with contextlib.suppress(OSError, OutputError), self._root.opened(create=False):
                pass

    @contextlib.contextmanager
    def _parent(self, path: Path, *, create: bool = True) -> Iterator[tuple[int, int]]:
        """Open the folder, and below it that of a file."""
        parts = self._name(path).split("/")[:-1]
        with self._root.opened(create=create) as root, contextlib.ExitStack() as opened:
            try:
                folder = opened.enter_context(open_below(root, parts, create=create))
            except ObstacleError as error:
                raise self._obstacles.found(self.path.joinpath(*parts[: error.depth])) from error
            yield root, folder


def _fill(file: BinaryIO, data: bytes) -> None:
    file.write(data)


def _refused(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path} could not be written: {error.strerror}", _REMEDY)


def _written(digest: str, former: str, status: os.stat_result) -> Written:
    return Written(digest, former, status.st_size, status.st_mtime_ns)


def _digest(folder: int, name: str) -> str:
    """Return the digest of a file; ``NONE`` if it cannot be read."""
    try:
        with open_file(folder, name) as file:
            return digest_of_file(file)
    except OSError:
        return NONE
