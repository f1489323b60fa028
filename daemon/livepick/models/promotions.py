"""Which model picks, and which did before: ``models/champion.json``, replaced whole by one rename.

The last entry of its history is the champion; the file itself is the truth, whatever the ledger or
a run folder says. Pointer and history are one file, so that no kill can part them. The service and
the command ``livepick models`` both write it; each takes the lock of the folder for the moment, so
that neither loses the other's entry, and no bundle is removed while it is promoted.
"""

import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from livepick.errors import LedgerWriteError, ModelError
from livepick.host.atomic_files import TEMPORARY_PREFIX, write_atomically

__all__ = [
    "CHAMPION",
    "By",
    "Promotion",
    "alone",
    "extend",
    "read_promotions",
    "trail",
]

CHAMPION = "champion.json"

FORMAT = 1
"""Raised when the meaning of the file changes."""

MOST_KEPT = 200
"""Promotions in the history; older ones are forgotten."""

By = Literal["service", "operator"]


class Promotion(BaseModel):
    """That a model became the champion."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    version: int
    """Of the bundle."""
    at: float
    """Unix seconds."""
    by: By
    """``service`` after a training, ``operator`` by command."""
    why: str
    """A sentence."""
    fingerprint: str
    """``Config.training_fingerprint()`` of the config at that time: what was decided for."""
    session: str = ""
    """Name of the microscope session at that time."""
    rollback: bool = False
    """It took back the promotions since this version picked last."""


_log = logging.getLogger(__name__)

_promotions = TypeAdapter(list[Promotion])


def read_promotions(models: Path) -> list[Promotion]:
    """Return the history in a folder of bundles, the champion last; empty without a file.

    Raises
    ------
    ModelError
        The file is damaged, or another livepick's.
    OSError
        It cannot be read.
    """
    path = models / CHAMPION
    remedy = "Promote a model again: livepick models promote CONFIG N. Earlier entries are lost."
    try:
        entries: dict[str, Any] = json.loads(path.read_bytes())
        number, history = entries["format"], entries["history"]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is damaged, no JSON object with a history", remedy) from error
    if number != FORMAT:
        raise ModelError(f"{path} has format {number!r}, this livepick reads {FORMAT}", remedy)
    try:
        return _promotions.validate_python(history)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, ("history", *fault["loc"])))
        raise ModelError(f"{path} is damaged at {place}: {fault['msg']}", remedy) from error


def extend(models: Path, promotion: Promotion) -> None:
    """Add a promotion to the history, in one rename; to be called by who is ``alone``.

    The service that promotes the champion again for the same settings changes nothing. After a
    damage the history begins anew.

    Raises
    ------
    LedgerWriteError
        The history could not be read or written. A whole one is there all the same: the old one,
        or, if no more than the sync of the folder failed, the new one.
    """
    try:
        history = read_promotions(models)
    except ModelError as error:
        _log.warning("champion: its history begins anew: %s", error)
        history = []
    except OSError as error:  # it may be whole, so it is not replaced
        raise LedgerWriteError(
            f"{error.filename} cannot be read: {error.strerror}",
            "Give the file to the service's user, then promote again.",
        ) from error
    if history and promotion.by == "service":
        last = history[-1]
        if (last.version, last.fingerprint) == (promotion.version, promotion.fingerprint):
            return
    _write(models, [*history, promotion])


def _write(models: Path, promotions: Sequence[Promotion]) -> None:
    history = _promotions.dump_python(list(promotions[-MOST_KEPT:]), mode="json")
    text = json.dumps({"format": FORMAT, "history": history}, indent=1) + "\n"
    try:
        for leftover in models.glob(f"{TEMPORARY_PREFIX}*.tmp"):  # of one that was killed
            leftover.unlink(missing_ok=True)
        write_atomically(models / CHAMPION, text.encode())
    except OSError as error:
        raise LedgerWriteError(
            f"{models / CHAMPION} could not be written: {error.strerror}",
            "A whole model picks all the same. Look at the disk space and the permissions of the"
            " state directory, then promote again.",
        ) from error


def trail(promotions: Sequence[Promotion]) -> list[int]:
    """Return the versions that a rollback walks back along, the present champion last.

    A promotion adds its version at the end. A rollback takes away what came after the version that
    it went back to, so that the next one goes further back, and not to and fro. Like an editor's
    undo: each takes back one promotion, of whatever direction.
    """
    versions: list[int] = []
    for promotion in promotions:
        if promotion.rollback:
            while versions and versions[-1] != promotion.version:
                versions.pop()
        if not versions or versions[-1] != promotion.version:
            versions.append(promotion.version)
    return versions


@contextlib.contextmanager
def alone(models: Path) -> Iterator[None]:
    """Be the only one who changes what is in a folder of bundles; waits for another to end.

    The lock is on the folder itself: it needs no file that belongs to somebody, and the kernel
    frees it however the holder ends.

    Raises
    ------
    ModelError
        There is no such folder.
    LedgerWriteError
        It cannot be opened.
    """
    try:
        descriptor = os.open(models, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ModelError(
            f"there is no folder {models}",
            "Start the service once: it makes the folder and the blob picker.",
        ) from error
    except OSError as error:
        raise LedgerWriteError(
            f"{models} cannot be opened: {error.strerror}",
            "Give its owner, or the service's user, the right to it.",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
