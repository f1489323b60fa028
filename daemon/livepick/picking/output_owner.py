"""The owner of an output folder: the one session that writes to it.

``OUT/.livepick/owner.json`` names the session, its state folder and its machine. It is in the
folder itself, so it is found by whatever path, link, mount or machine the folder is reached. The
session knows that it is the owner by the id in its state folder (``session_memory``).

A session whose state folder was deleted and made again at the same place takes over the folder. Any
other way to change the owner is for the operator: delete ``owner.json``.
"""

import contextlib
import dataclasses
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from livepick.errors import NotOwnerError, OutputError
from livepick.host.filesystem import awaited_mount, is_mounted, mount_of
from livepick.host.folder_files import open_below, read_file, write_whole
from livepick.picking.session_memory import MEMORY, SessionMemory

__all__ = ["FOLDER", "OWNER", "Owner", "Ownership"]

FOLDER = ".livepick"
"""Folder below an output folder with livepick's records about it."""

OWNER = "owner.json"

MOST_FOLDERS = 20_000
"""Maximum number of folders in which the search for other sessions looks."""

Found = Literal["ours", "new", "again"]
"""``ours``: the folder has this owner already; ``new``: it has one now; ``again``: likewise, but
it was this owner's before, so its files may be gone."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A session, or a command, that writes to output folders."""

    session: str
    """Its name."""
    id: str
    state: str = ""
    """State folder; empty for a command."""
    host: str = ""
    """Name of the machine; empty for a command."""

    @classmethod
    def of_command(cls, name: str) -> "Owner":
        """Return the owner of the files that a command writes outside of sessions."""
        return cls(name, name)

    def __str__(self) -> str:
        if not self.state:
            return self.session
        return f"session {self.session} (state folder {self.state} on {self.host})"


class Ownership:
    """The claim of a session to an output folder.

    Parameters
    ----------
    owner
        Who claims it.
    memory
        What the session knows about its folders; None for a command.
    is_check
        True if nothing shall be written.
    """

    def __init__(
        self, owner: Owner, memory: SessionMemory | None = None, *, is_check: bool = False
    ) -> None:
        self._is_check = is_check
        self.owner = owner
        self._memory = memory
        self._claimed: set[Path] = set()

    @classmethod
    def of_session(cls, name: str, memory: SessionMemory) -> "Ownership":
        """Return the claim of a session. Raises OSError: its state folder cannot be written."""
        return cls(_session(name, memory.ensure_id(), memory.state), memory)

    @classmethod
    def for_check(cls, name: str, memory: SessionMemory) -> "Ownership":
        """Return the claim of a session that may never have run; nothing is written."""
        owner = _session(name, memory.id or "unborn", memory.state)
        return cls(owner, memory, is_check=True)

    def is_unmounted(self, path: Path) -> bool:
        """Return True if the disk that had the folder is not mounted."""
        try:
            self.refuse_unmounted(path)
        except OutputError:
            return True
        return False

    def refuse_unmounted(self, path: Path) -> None:
        """Raise OutputError if the disk that had the folder is not mounted."""
        if (awaited := awaited_mount(path)) is not None:
            raise OutputError(
                f"{path} is not mounted: /etc/fstab has a mount for {awaited}, and nothing is"
                " mounted there",
                f"Mount it: mount {awaited}; livepick then continues by itself.",
            )
        before = None if self._memory is None else self._memory.mount(path)
        now = mount_of(path)
        if before is None or now is None or now.is_file_system_of(before):
            return
        if not is_mounted(before.point):
            raise OutputError(
                f"{path} is not mounted: it was on {before.source} ({before.kind}), mounted on"
                f" {before.point}",
                f"Mount it; livepick then continues by itself. If {path} shall be on"
                f" {now.point} from now on, delete {self._memory_file()}.",
            )

    def refuse_others(self, folder: int, path: Path) -> Found:
        """Return what becomes of an open output folder; nothing is written.

        Raises
        ------
        NotOwnerError
            It, or a folder above it, belongs to another session.
        OutputError
            Its disk is not mounted, or its owner cannot be read.
        """
        present = read_owner(folder, path)
        if present is not None:
            self._refuse(present, path)
            return "ours" if present == self.owner else "new"
        self.refuse_unmounted(path)
        self._refuse_others_above(path)
        known = self._memory is not None and self._memory.mount(path) is not None
        return "again" if known else "new"

    def _refuse_others_above(self, path: Path) -> None:
        for above in Path(os.path.realpath(path)).parents:
            self._refuse_at(above, path)

    def refuse_others_around(self, path: Path) -> None:
        """Raise NotOwnerError if a folder above or below belongs to another session."""
        self._refuse_others_above(path)
        for below in _folders_below(path):
            if below != path:
                self._refuse_at(below, path)

    def claim(self, folder: int, path: Path) -> Found:
        """Make the owner that of an open output folder, or raise as ``refuse_others``.

        Raises OSError, too: it cannot be written.
        """
        found = self.refuse_others(folder, path)
        self._claimed.add(path)
        if found == "ours" or self._is_check:
            return found
        content = dataclasses.asdict(self.owner) | {
            "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        }
        with open_below(folder, [FOLDER], create=True) as own:
            write_whole(own, OWNER, json.dumps(content, indent=1).encode() + b"\n")
        mount = mount_of(path)
        if self._memory is not None and mount is not None:
            self._memory.remember(path, mount)
        return found

    def _memory_file(self) -> Path:
        return Path(self.owner.state, MEMORY)

    def _refuse_at(self, place: Path, path: Path) -> None:
        """Refuse another session's folder inside or around; those of commands do no harm there."""
        if not self.owner.state:
            return
        with contextlib.suppress(OSError), _opened(place) as folder:
            present = read_owner(folder, place)
            if present is not None and present.state:
                self._refuse(present, place, path)

    def _refuse(self, present: Owner, place: Path, path: Path | None = None) -> None:
        """Raise NotOwnerError unless the owner of a folder is this one, or was its predecessor."""
        mine = self.owner
        if present == mine:
            return
        if place not in self._claimed:  # else somebody has taken it over since
            if present.id == mine.id:
                self._refuse_copy(present, place)
                return  # the state folder was moved
            if present.state and (present.state, present.host) == (mine.state, mine.host):
                return  # its state folder was deleted, and this one is at its place
        where = f"{place} is" if path in {None, place} else f"{path} is inside or around {place},"
        raise NotOwnerError(
            f"{where} the output folder of {present}",
            "Set output.directory to another folder. If that one has ended and shall never write"
            f" here again, delete {place / FOLDER / OWNER}.",
        )

    def _refuse_copy(self, present: Owner, place: Path) -> None:
        """Raise NotOwnerError if the state folder is a copy of one that is still there."""
        mine = self.owner
        if not mine.state or present.host != mine.host or present.state == mine.state:
            return
        if _is_same(present.state, mine.state) or SessionMemory(Path(present.state)).id != mine.id:
            return
        raise NotOwnerError(
            f"{mine.state} is a copy of {present.state}, which has {place} as its output folder",
            f"Delete {mine.state}/{MEMORY} and set output.directory to another folder, or delete"
            f" {present.state} if only the copy shall be used.",
        )


def read_owner(folder: int, path: Path) -> Owner | None:
    """Return the owner of an open folder; None if it has none.

    Raises
    ------
    OutputError
        The file cannot be read, or is damaged.
    """
    where = path / FOLDER / OWNER
    try:
        with open_below(folder, [FOLDER]) as own:
            data = read_file(own, OWNER)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(
            f"{where} cannot be read: {error.strerror}",
            "livepick keeps its records of the output folder there: it must be a file in a folder"
            " that the service's user may read and write.",
        ) from None
    if data is None:
        return None
    try:
        content = json.loads(data)
        names = [field.name for field in dataclasses.fields(Owner)]
        return Owner(**{name: str(content[name]) for name in names})
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise OutputError(
            f"{where} is damaged, so it is not known which session writes to {path}",
            "If no other session does, delete it.",
        ) from error


def _session(name: str, identity: str, state: Path) -> Owner:
    return Owner(name, identity, str(state), socket.gethostname())


def _folders_below(path: Path) -> Iterator[Path]:
    """Yield folders below a path that have records of livepick."""
    for number, (folder, names, _) in enumerate(os.walk(path)):
        if number >= MOST_FOLDERS:
            return
        if FOLDER in names:
            names.remove(FOLDER)
            yield Path(folder)


@contextlib.contextmanager
def _opened(place: Path) -> Iterator[int]:
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_same(one: str, other: str) -> bool:
    with contextlib.suppress(OSError):
        return Path(one).samefile(other)
    return False
