"""Recording of the files that the watcher reports, in the ledger."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from livepick.config.alert_thresholds import SESSION_SECONDS
from livepick.errors import MicrographError
from livepick.ledger.inbox import Landed, SetAside
from livepick.ledger.rows import Arrival, Failure
from livepick.ledger.writer import LedgerWriter
from livepick.picking.instruments import Instruments
from livepick.picking.output_sync import Outputs

__all__ = ["take_arrivals"]

_log = logging.getLogger(__name__)


def take_arrivals(
    batch: Sequence[Landed | SetAside],
    *,
    ledger: LedgerWriter,
    outputs: Outputs,
    instruments: Instruments,
) -> None:
    """Record arrivals in one commit, then count them.

    Raises
    ------
    LedgerWriteError
        Writing to the ledger failed; nothing was recorded or counted.
    """
    with ledger.database.transaction():
        outcomes = [_record(message, ledger) for message in batch]
        collected = _collected(
            (
                message
                for message, (arrival, failure) in zip(batch, outcomes, strict=True)
                if failure is None and arrival in (Arrival.NEW, Arrival.CHANGED)
            ),
            ledger,
        )
    for message, (arrival, failure) in zip(batch, outcomes, strict=True):
        if arrival is Arrival.KNOWN:
            continue
        if arrival is Arrival.CHANGED:
            instruments.superseded()
        if failure is None:
            if arrival is not Arrival.AGAIN:
                instruments.landed(message.landed_at, collected=message in collected)
            _log.debug("%s: %s", message.relative, arrival.value)
        else:
            sentence = f"{failure.error}. {failure.remedy}".rstrip()
            _log.warning("%s: failed: %s", _printable(message.relative), sentence)
            if arrival is Arrival.KEPT:
                instruments.repick_failed(failure.reason, "ingest")
            else:
                instruments.failed(failure.reason, "ingest")
            outputs.reconcile(message.root, Path(_printable(message.relative)))


def _record(message: Landed | SetAside, ledger: LedgerWriter) -> tuple[Arrival, Failure | None]:
    """Record one arrival.

    Returns
    -------
    tuple
        Classification by the ledger, and the failure if it cannot be picked.
    """
    root, relative = message.root, message.relative
    failure = _name_failure(relative)
    if failure is not None:
        relative = Path(_printable(relative))
    elif isinstance(message, SetAside):
        failure = Failure(message.reason, message.error, message.remedy)
    elif (twin := ledger.reader.namesake(root, relative, same_image=False)) is not None:
        failure = Failure(
            MicrographError.reason,
            f"{relative} would have the same coordinates file as {twin}",
            "Rename one of them, or leave one out with watch.exclude.",
        )
    if failure is None:
        return ledger.arrivals.landed(root, relative, message.version, message.landed_at), None
    arrival = ledger.arrivals.set_aside(root, relative, message.version, message.landed_at, failure)
    return arrival, failure


def _collected(
    landed: Iterable[Landed | SetAside], ledger: LedgerWriter
) -> frozenset[Landed | SetAside]:
    """Record and return the micrographs that show that data collection is in progress.

    Files found by the first listing may be years old, so they count only if the session is
    continuing: then they landed while the service was down.
    """
    last = max(ledger.reader.last_collected(), default=float("-inf"))
    collected = frozenset(
        message
        for message in landed
        if not (isinstance(message, Landed) and message.at_start)
        or message.landed_at - last < SESSION_SECONDS
    )
    if collected:
        ledger.arrivals.collected(sorted(message.landed_at for message in collected))
    return collected


def _name_failure(relative: Path) -> Failure | None:
    """Return why a micrograph of this name cannot be picked, or None."""
    if str(relative).isprintable():
        return None
    return Failure(
        MicrographError.reason,
        f"{_printable(relative)} has a character that cannot be written to a coordinates file",
        "Rename it: no line breaks, and UTF-8.",
    )


def _printable(relative: Path) -> str:
    """Return a name with unprintable characters and undecodable bytes escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in str(relative)
    )
