"""Verdicts of people on single micrographs: excluded from the good ones, or included.

The file ``STATE/decisions/micrographs.json`` is the source of truth. The page and the commands
write it under a lock, whether or not the service runs; it survives the loss of the ledger. The
service reads it when it changes, and the ledger has the verdicts for all lists and queries.

A verdict belongs to the micrograph and not to its path. It stays when the file is compressed or
decompressed in place (``X.mrc`` and ``X.mrc.gz`` are the same micrograph), and when the watched
folder is moved or watched under another path: then the path below the watched folder and the time
of the file are the same as before.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from livepick.config.edit_history import DECISIONS
from livepick.config.reload import FileStamp, file_stamp
from livepick.core.formats.header import printable
from livepick.core.formats.image_names import without_compression
from livepick.core.imaging.quality_limits import QualityVerdict, judge
from livepick.errors import LedgerError, LedgerWriteError
from livepick.host.atomic_files import make_folder, write_atomically
from livepick.host.foreign_files import parse_json, read_bounded
from livepick.host.lock import lock_folder
from livepick.ledger.columns import Columns, ctf_of, quality_of
from livepick.ledger.database import Database
from livepick.ledger.reader import LedgerReader

__all__ = [
    "JudgedFile",
    "KnownVerdicts",
    "PersonVerdict",
    "PersonVerdictFile",
    "PersonVerdicts",
    "decide",
    "overruled",
    "read_person_verdicts",
]

FILE = "micrographs.json"
"""Name of the file."""

FORMAT = 1
"""Format number of the file; raised when its meaning changes."""

MOST_BYTES = 64 << 20
"""Largest file that is read."""

Place = tuple[str, str]
"""Watched folder, and path below it without the suffix of a compression."""

_JUDGED = "select * from micrograph where person_verdict is not null"

Word = Literal["excluded", "included"]


@dataclass(frozen=True, slots=True)
class JudgedFile:
    """File of a micrograph that a person judges."""

    root: str
    """Watched folder."""
    relative: str
    """Path below it."""
    mtime_ns: int

    @property
    def place(self) -> Place:
        """Place of the micrograph, whatever its compression."""
        return self.root, without_compression(self.relative)


@dataclass(frozen=True, slots=True)
class PersonVerdict:
    """Verdict of a person on one micrograph."""

    verdict: Word
    by: str
    """Name of the person."""
    at: float
    """Unix seconds."""
    mtime_ns: int | None = None
    """Time of the file when it was judged; None: not recorded."""

    @property
    def reason(self) -> str:
        """Reason for the verdict in lists, in words."""
        at = time.strftime("%Y-%m-%d %H:%M %z", time.localtime(self.at))
        return f"{self.verdict} by {self.by} at {at}"

    @property
    def judged(self) -> tuple[QualityVerdict, str]:
        """Verdict in lists, with its reason."""
        return ("bad" if self.verdict == "excluded" else "good"), self.reason


class KnownVerdicts:
    """Verdicts of people, found again for a file.

    Parameters
    ----------
    by_place
        The verdicts by the place of their micrograph.
    """

    def __init__(self, by_place: Mapping[Place, PersonVerdict]) -> None:
        self.by_place = by_place
        self._moved = {
            (relative, _seconds(verdict.mtime_ns)): (root, relative)
            for (root, relative), verdict in sorted(by_place.items(), key=lambda x: x[1].at)
            if verdict.mtime_ns is not None and verdict.mtime_ns > 0  # else it was not known
        }

    def place_of(self, file: JudgedFile) -> Place | None:
        """Return the place for which the verdict on a file is recorded; None: there is none.

        It is the file's own place, or that of the same file in another watched folder.
        """
        if file.place in self.by_place:
            return file.place
        return self._moved.get((file.place[1], _seconds(file.mtime_ns)))

    def of(self, file: JudgedFile) -> PersonVerdict | None:
        """Return the verdict on a file; None: there is none."""
        place = self.place_of(file)
        return None if place is None else self.by_place[place]


def _seconds(mtime_ns: int) -> int:
    """Return a file's time in whole seconds: gzip and some file servers keep no more of it."""
    return mtime_ns // 10**9


def read_person_verdicts(state: Path) -> KnownVerdicts:
    """Return the verdicts of people in a state folder.

    Raises
    ------
    LedgerError
        The file is damaged, or cannot be read.
    """
    path = state / DECISIONS / FILE
    try:
        found: dict[str, Any] = parse_json(read_bounded(path, limit_bytes=MOST_BYTES))
        if found["format"] != FORMAT:
            raise ValueError("its format is another one")  # noqa: TRY301 - reported with the others
        return KnownVerdicts(
            {
                (str(each["root"]), without_compression(str(each["relative"]))): PersonVerdict(
                    "excluded" if each["verdict"] == "excluded" else "included",
                    printable(str(each["by"])),
                    float(each["at"]),
                    None if each.get("mtime_ns") is None else int(each["mtime_ns"]),
                )
                for each in sorted(found["micrographs"], key=lambda each: float(each["at"]))
            }
        )
    except FileNotFoundError:
        return KnownVerdicts({})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}",
            "Restore the file from a backup, or remove it to forget these verdicts of people.",
        ) from error


def decide(
    state: Path,
    files: Iterable[JudgedFile],
    verdict: Word | None,
    *,
    by: str,
    clock: Callable[[], float] = time.time,
) -> None:
    """Record the verdict of a person on some micrographs; None withdraws those made before.

    Raises
    ------
    LedgerError
        The file cannot be read; ``LedgerWriteError`` if it cannot be written.
    """
    folder = state / DECISIONS
    try:
        make_folder(folder)
        with lock_folder(folder, wait=True):
            known = read_person_verdicts(state)
            verdicts = dict(known.by_place)
            for file in files:
                place = known.place_of(file)
                if place is not None:
                    verdicts.pop(place, None)
                if verdict is not None:
                    verdicts[file.place] = PersonVerdict(verdict, by, clock(), file.mtime_ns)
            rows = [
                {"root": root, "relative": relative, **asdict(each)}
                for (root, relative), each in verdicts.items()
            ]
            text = json.dumps({"format": FORMAT, "micrographs": rows}, indent=1) + "\n"
            write_atomically(folder / FILE, text.encode())
    except OSError as error:
        raise LedgerWriteError(
            f"{folder / FILE} could not be written: {error.strerror}",
            "Run the command as the service's user, and check the disk of the state folder.",
        ) from error


class PersonVerdictFile:
    """The file, polled by the service.

    Parameters
    ----------
    state
        The state folder.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        self._read: FileStamp = (-1, -1, -1)

    def changed(self) -> KnownVerdicts | None:
        """Return the verdicts if the file has changed since the last call, and at the first one.

        Raises
        ------
        LedgerError
            The file cannot be read; once for each state of the file.
        """
        now = file_stamp(self._state / DECISIONS / FILE)
        if now == self._read:
            return None
        self._read = now
        return read_person_verdicts(self._state)


def overruled(row: Columns, verdict: QualityVerdict, reason: str) -> tuple[QualityVerdict, str]:
    """Return the verdict of a micrograph with its reason: that of a person, if there is one."""
    if row["person_verdict"] is None:
        return verdict, reason
    return PersonVerdict(row["person_verdict"], row["person_name"], row["person_at"]).judged


class PersonVerdicts:
    """Verdicts of people in the ledger; for the thread that writes it."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._known = KnownVerdicts({})

    def use(self, known: KnownVerdicts | None = None) -> list[tuple[str, PersonVerdict | None]]:
        """Bring the ledger up to date with the verdicts.

        Returns the paths below the watched folder of the changed micrographs, with their verdicts.

        Parameters
        ----------
        known
            All verdicts; None: those of the last call, after micrographs have come back.
        """
        if known is not None:
            self._known = known
        changed = []
        with self._database.transaction():
            rows: dict[int, Columns] = {row["id"]: row for row in self._database.rows(_JUDGED)}
            roots = [str(root) for root in LedgerReader(self._database).roots()]
            for name in {name for _, name in self._known.by_place}:
                rows.update((row["id"], row) for row in self._called(name, roots))
            for row in rows.values():
                verdict = self._known.of(_file(row))
                if self._set(row, verdict):
                    changed.append((row["relative"], verdict))
        return changed

    def apply(self, micrograph_id: int) -> None:
        """Give a micrograph the verdict of a person, if there is one; inside a transaction."""
        if not self._known.by_place:
            return
        (row,) = self._database.rows("select * from micrograph where id = ?", micrograph_id)
        verdict = self._known.of(_file(row))
        if verdict is not None:
            self._set(row, verdict)

    def _called(self, name: str, roots: Sequence[str]) -> list[Columns]:
        """Return the micrographs with a path below some watched folder, whatever its compression.

        Each folder is searched by the index of its paths.
        """
        found: list[Columns] = []
        for root in roots:
            rows = self._database.rows(
                "select * from micrograph where root = ? and relative >= ? and relative < ?",
                root,
                name,
                name + "/",  # the character after the dot
            )
            found += [row for row in rows if without_compression(row["relative"]) == name]
        return found

    def _set(self, row: Columns, verdict: PersonVerdict | None) -> bool:
        columns: dict[str, object] = {
            "person_verdict": None if verdict is None else verdict.verdict,
            "person_name": None if verdict is None else verdict.by,
            "person_at": None if verdict is None else verdict.at,
        }
        quality = quality_of(row)
        if quality is not None and row["quality_verdict"] is not None:
            judged = judge(quality, ctf_of(row))
            if verdict is not None:
                judged = verdict.judged
            columns["quality_verdict"], columns["quality_reason"] = judged
        if all(row[name] == value for name, value in columns.items()):
            return False
        columns["changed_at"] = self._clock()
        assignments = ", ".join(f"{name} = ?" for name in columns)
        self._database.change(
            f"update micrograph set {assignments} where id = ?",  # noqa: S608 - constants
            *columns.values(),
            row["id"],
        )
        return True


def _file(row: Columns) -> JudgedFile:
    return JudgedFile(row["root"], row["relative"], row["mtime_ns"])
