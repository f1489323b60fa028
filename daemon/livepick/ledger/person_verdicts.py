"""Verdicts of people on single micrographs: excluded from the good ones, or included.

The file ``STATE/decisions/micrographs.json`` is the source of truth. The page and the commands
write it under a lock, whether or not the service runs; it survives the loss of the ledger. The
service reads it when it changes, and the ledger has the verdicts for all lists and queries.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from livepick.config.edit_history import DECISIONS
from livepick.config.reload import FileStamp, file_stamp
from livepick.core.formats.header import printable
from livepick.core.imaging.quality_limits import QualityVerdict, judge
from livepick.errors import LedgerError, LedgerWriteError
from livepick.host.atomic_files import write_atomically
from livepick.host.foreign_files import parse_json, read_bounded
from livepick.host.lock import lock_folder
from livepick.ledger.columns import Columns, ctf_of, quality_of
from livepick.ledger.database import Database

__all__ = [
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
"""Watched folder, and path below it."""

Word = Literal["excluded", "included"]


@dataclass(frozen=True, slots=True)
class PersonVerdict:
    """Verdict of a person on one micrograph."""

    verdict: Word
    by: str
    """Name of the person."""
    at: float
    """Unix seconds."""

    @property
    def reason(self) -> str:
        """Reason for the verdict in lists, in words."""
        at = time.strftime("%Y-%m-%d %H:%M %z", time.localtime(self.at))
        return f"{self.verdict} by {self.by} at {at}"

    @property
    def judged(self) -> tuple[QualityVerdict, str]:
        """Verdict in lists, with its reason."""
        return ("bad" if self.verdict == "excluded" else "good"), self.reason


def read_person_verdicts(state: Path) -> dict[Place, PersonVerdict]:
    """Return the verdicts of people in a state folder, by the place of the micrograph.

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
        return {
            (str(each["root"]), str(each["relative"])): PersonVerdict(
                "excluded" if each["verdict"] == "excluded" else "included",
                printable(str(each["by"])),
                float(each["at"]),
            )
            for each in found["micrographs"]
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LedgerError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}",
            "Restore the file from a backup, or remove it to forget these verdicts of people.",
        ) from error


def decide(
    state: Path,
    places: Iterable[Place],
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
        folder.mkdir(exist_ok=True)
        with lock_folder(folder, wait=True):
            verdicts = read_person_verdicts(state)
            for place in places:
                verdicts.pop(place, None)
                if verdict is not None:
                    verdicts[place] = PersonVerdict(verdict, by, clock())
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

    def changed(self) -> dict[Place, PersonVerdict] | None:
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
        self._verdicts: Mapping[Place, PersonVerdict] = {}

    def use(self, verdicts: Mapping[Place, PersonVerdict] | None = None) -> list[str]:
        """Bring the ledger up to date with the verdicts, and return the changed micrographs.

        Parameters
        ----------
        verdicts
            All verdicts; None: those of the last call, after micrographs have come back.
        """
        if verdicts is not None:
            self._verdicts = dict(verdicts)
        changed = []
        with self._database.transaction():
            for row in self._database.rows(
                "select * from micrograph where person_verdict is not null"
            ):
                if (row["root"], row["relative"]) not in self._verdicts:
                    self._set(row, None)
                    changed.append(row["relative"])
            changed += [place[1] for place in self._verdicts if self.apply(*place)]
        return changed

    def apply(self, root: str, relative: str) -> bool:
        """Give a micrograph the verdict of a person, if there is one; inside a transaction.

        Returns True if that changed something.
        """
        verdict = self._verdicts.get((root, relative))
        if verdict is None:
            return False
        rows = self._database.rows(
            "select * from micrograph where root = ? and relative = ?", root, relative
        )
        return bool(rows) and self._set(rows[0], verdict)

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
