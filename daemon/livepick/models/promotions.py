"""Promotion history: ``models/champion.json``, replaced as a whole by one rename.

Its last entry is the model promoted last. The file is the source of truth, whatever the ledger or a
run folder says. Pointer and history are in one file, so that a kill cannot make them disagree. The
service and the command ``livepick models`` both write it. Each locks the folder of bundles while it
does, so that neither loses the other's entry and no bundle is removed while it is being promoted.
"""

import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from livepick.errors import LedgerWriteError, ModelError
from livepick.host.atomic_files import TEMPORARY_PREFIX, write_atomically
from livepick.host.foreign_files import parse_json, read_bounded
from livepick.host.lock import lock_folder

__all__ = [
    "PROMOTIONS_FILE",
    "By",
    "Promotion",
    "append_promotion",
    "lock_models",
    "read_promotions",
    "rollback_trail",
]

PROMOTIONS_FILE = "champion.json"
"""Name of the file in the folder of bundles."""

FORMAT = 1
"""Format number of the file; raised when its meaning changes."""

MOST_BYTES = 4 << 20
"""Largest file that is read."""

MOST_SHOWN = 100
"""Maximum number of characters of a wrong value in an error."""

MOST_KEPT = 200
"""Maximum number of promotions in the history; older ones are dropped."""

By = Literal["service", "operator"]


class Promotion(BaseModel):
    """One entry of the history: a model became the current one."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    version: int
    """Version of the bundle."""
    at: float
    """Unix seconds."""
    by: By
    """``service`` after a training run, ``operator`` by command."""
    why: str
    """Reason, as one sentence."""
    fingerprint: str
    """``Config.training_fingerprint()`` of the config that the decision was made for."""
    session: str = ""
    """Name of the microscope session at that time."""
    rollback: bool = False
    """True if this undid the promotions made since this version was last in use."""


_log = logging.getLogger(__name__)

_promotions = TypeAdapter(list[Promotion])


def read_promotions(models: Path) -> list[Promotion]:
    """Return the history in a folder of bundles, the latest last; empty if there is no file.

    Raises
    ------
    ModelError
        The file is damaged, or was written by another version of livepick.
    OSError
        The file cannot be read.
    """
    path = models / PROMOTIONS_FILE
    remedy = (
        "Promote a model again: livepick models promote CONFIG N. Earlier entries will be lost."
    )
    try:
        entries: dict[str, Any] = parse_json(read_bounded(path, limit_bytes=MOST_BYTES))
        number, history = entries["format"], entries["history"]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} is damaged: it is not a JSON object with a history", remedy
        ) from error
    if number != FORMAT:
        raise ModelError(
            f"{path} has format {_short(number)}, this livepick reads {FORMAT}", remedy
        )
    try:
        return _promotions.validate_python(history)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, ("history", *fault["loc"])))
        raise ModelError(f"{path} is damaged at {place}: {_short(fault['msg'])}", remedy) from error


def _short(value: object) -> str:
    return (value if isinstance(value, str) else repr(value))[:MOST_SHOWN]


def append_promotion(models: Path, promotion: Promotion) -> None:
    """Add a promotion to the history with one rename; the caller holds ``lock_models``.

    If the service promotes the current model again for the same settings, nothing changes. If
    the history is damaged, a new one is started.

    Raises
    ------
    LedgerWriteError
        The history could not be read or written. The file is still complete: it is the old one,
        or the new one if only the sync of the folder failed.
    """
    try:
        history = read_promotions(models)
    except ModelError as error:
        _log.warning("models: the promotion history starts again: %s", error)
        history = []
    except OSError as error:  # it may be intact, so it is not replaced
        raise LedgerWriteError(
            f"{error.filename} cannot be read: {error.strerror}",
            "Give the service's user access to the file, then promote again.",
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
        for leftover in models.glob(f"{TEMPORARY_PREFIX}*.tmp"):  # left by a killed process
            leftover.unlink(missing_ok=True)
        write_atomically(models / PROMOTIONS_FILE, text.encode())
    except OSError as error:
        raise LedgerWriteError(
            f"{models / PROMOTIONS_FILE} could not be written: {error.strerror}",
            "Picking continues. Check the disk space and the permissions of the state directory,"
            " then promote again.",
        ) from error


def rollback_trail(promotions: Sequence[Promotion]) -> list[int]:
    """Return the versions that rollbacks step back through, the current one last.

    A promotion appends its version. A rollback removes everything after the version that it
    returned to, so that the next rollback goes further back instead of alternating between two
    versions. It works like an editor's undo: each rollback undoes one promotion, whether that was
    to a newer or an older version.
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
def lock_models(models: Path) -> Iterator[None]:
    """Hold an exclusive lock on a folder of bundles; wait while another process holds it.

    Raises
    ------
    ModelError
        The folder does not exist.
    LedgerWriteError
        The folder cannot be opened.
    """
    try:
        lock = lock_folder(models, wait=True)
    except FileNotFoundError as error:
        raise ModelError(
            f"there is no folder {models}",
            "Start the service once: it makes the folder and the blob picker.",
        ) from error
    except OSError as error:
        raise LedgerWriteError(
            f"{models} cannot be opened: {error.strerror}",
            "Run the command as the service's user, or give your user access to the folder.",
        ) from error
    with lock:
        yield
