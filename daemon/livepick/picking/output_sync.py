"""Synchronization of the output folder with the ledger, also after a kill or on a full disk.

The coordinates of a micrograph are written before the ledger records *picked*, so a kill between
the two only means that they are written again. Other differences are repaired in the background:
missing files are rewritten from the candidates in the ledger, files of failed micrographs are
removed. The session's list and tables are regenerated from the ledger when it has changed; as they
grow with the session, this is done in threads of their own (``background_write``). All files are
written again if those in the folder may have another form: they are of an earlier version of
livepick, or the formats or their settings were others. After that, the files at places that the
micrographs had before another folder was watched are removed.

Files that somebody deletes are noticed within a minute or two (``output_losses``), and then all
files are checked (``file_check``). A file that livepick did not write is never touched
(``output_folder``): its micrograph counts as picked, because the picks are in the ledger, and they
are written when the other file has gone.

This is one file because the order of these steps matters: see ``Outputs.sync``.

If writing to the folder fails, it is retried every ``RETRY_SECONDS``; the service continues.
"""

import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from livepick.core.contracts.job import Result
from livepick.core.formats.header import printable
from livepick.errors import MicrographError, OccupiedError, OutputError
from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.ledger.output_rows import Visible
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import Claim
from livepick.picking.background_write import BackgroundWrite
from livepick.picking.export import Export, SessionTable
from livepick.picking.file_check import BATCH, FileCheck
from livepick.picking.output_folder import OutputFolder
from livepick.picking.output_losses import OutputLosses

__all__ = ["Outputs"]

RETRY_SECONDS = 30.0
"""Time between tries while writing to the output folder fails."""

LIST_SECONDS = 10.0
"""Shortest interval between writes of the session's list, which programs read."""

TABLE_SECONDS = 60.0
"""Shortest interval between writes of the tables of figures: they are longer, and people read
them."""

_log = logging.getLogger(__name__)


class Outputs:
    """The coordinates files of the session, in all formats.

    Parameters
    ----------
    exports
        The formats to write.
    ledger
        Source of the expected contents.
    failed
        Called when writing to the folder fails.
    diameter_angstrom
        Function that returns the diameter of the particle.
    rechecks
        Functions that return True if files that should exist may be other ones than before: picks
        have become final, or RELION has given other names to micrographs.
    tables
        Files about the session as a whole.
    rewritten
        Called when all files have been written again. None: it is enough to write missing ones.
    former
        The formats as they were at the last start, if the micrographs had other places then.
    lists
        Ledger as read by the threads that write the list and the tables, on a connection of its
        own, so that they do not hold up the dispatch thread. None: ``ledger``.
    unexpected
        Counts the unexpected errors that are passed over.
    folders
        Folders that are written, besides those of the formats.
    adopts_before
        Time, in unix seconds, before which the files were written by a version that kept no record
        of them. None: all are recorded.
    """

    def __init__(
        self,
        exports: Sequence[Export],
        ledger: LedgerReader,
        failed: Callable[[], None],
        *,
        diameter_angstrom: Callable[[], float],
        rechecks: Sequence[Callable[[], bool]] = (),
        tables: Sequence[SessionTable] = (),
        rewritten: Callable[[], None] | None = None,
        former: Sequence[Export] = (),
        lists: LedgerReader | None = None,
        unexpected: UnexpectedErrors | None = None,
        folders: Sequence[OutputFolder] = (),
        adopts_before: float | None = None,
    ) -> None:
        self._folders = list(dict.fromkeys([*folders, *(export.folder for export in exports)]))
        self._losses = OutputLosses(self._folders)
        self._adopts_before = adopts_before
        self._not_adopted: set[int] = set()
        """Micrographs whose files that version has not written."""
        self._unexpected = unexpected or UnexpectedErrors()
        self._rewritten = rewritten
        self._former = former
        self._diameter_angstrom = diameter_angstrom
        self._rechecks = rechecks
        self._tables = tables
        self._exports = exports
        self._ledger = ledger
        self._lists = lists or ledger
        self._list = BackgroundWrite("lists", self._write_lists, lambda: LIST_SECONDS)
        self._table = BackgroundWrite("tables", self._write_tables, lambda: TABLE_SECONDS)
        self._failed = failed
        self._retry_at = float("-inf")
        self.fault: OutputError | None = None
        """Reason why the last write failed; None if it succeeded."""
        self._doubtful: dict[tuple[Path, Path], None] = {}
        self._check = FileCheck(ledger)
        self.is_finishing = False
        """True while a stop waits for the list and the tables."""
        self.is_recovering = False
        """True while picks are read back from the folder: nothing in it is removed, and lists stay
        as they are."""

    @property
    def down(self) -> bool:
        """True if the last write failed: submit only one micrograph at a time."""
        return self.fault is not None

    @property
    def waiting(self) -> bool:
        """True while the retry delay is running."""
        return self.fault is not None and time.monotonic() < self._retry_at

    def begin(self) -> None:
        """Remove unfinished files, and schedule a check of all files against the ledger."""
        for folder in self._folders:
            if count := folder.sweep():
                _log.info("output: %d unfinished files removed", count)
            if self._adopts_before is not None:
                folder.adopt_lists()
        if self._adopts_before is not None:
            self._not_adopted = {
                number for number, _ in self._ledger.picked_since(self._adopts_before)
            }
        self._check.begin()
        if self._rewritten is not None and (count := self._ledger.picked_count()):
            _log.info(
                "output: the coordinates of %d micrographs are written again if they differ,"
                " because those in the folder are of an earlier version or of other settings",
                count,
            )
        self._doubtful.update(dict.fromkeys(self._ledger.failed_places()))
        # A service that was killed may have written picks that it has not recorded.
        self._doubtful.update(dict.fromkeys(self._ledger.interrupted()))

    def write(self, claim: Claim, result: Result) -> None:
        """Write the picks of a micrograph, except where a file of somebody else is in the way.

        Raises
        ------
        OutputError
            Writing to the folder failed; a later try may succeed.
        MicrographError
            This micrograph cannot have a file.
        """
        entry = Visible.of_result(claim.root, claim.relative, result)
        micrograph = entry.micrograph(result.picks, self._diameter_angstrom())
        for export in self._exports:
            try:
                if claim.repick:
                    self._adopt(export, entry, claim.id)
                export.write(claim.root, claim.relative, micrograph)
            except OccupiedError as error:
                _log.warning("%s: coordinates not written: %s", claim.relative, error)
        self._not_adopted.add(claim.id)
        self._doubtful.pop((claim.root, claim.relative), None)
        self._schedule_lists()
        self._record_success()

    def recovered(self) -> None:
        """Compare all files with the ledger: it has the picks that were in the folder."""
        self._check.begin()
        self._schedule_lists()

    def reconcile(self, root: Path, relative: Path) -> None:
        """Make the files of a micrograph agree with the ledger, soon.

        Call it for a micrograph that failed, and for one whose picks were perhaps written without
        being recorded. If it has picks in the ledger, they are written again; otherwise its files
        are removed.
        """
        self._doubtful[root, relative] = None
        self._schedule_lists()

    @property
    def main_folder(self) -> OutputFolder:
        """The output folder, which has the tables."""
        return self._folders[0]

    @property
    def exports(self) -> Sequence[Export]:
        """The formats."""
        return self._exports

    def files(self, root: Path, relative: Path) -> dict[str, Path]:
        """Return the coordinates files of a micrograph that livepick wrote, by format."""
        found = {}
        for export in self._exports:
            path = export.place(root, relative)
            if not export.folder.is_due(path):
                found[export.name] = path
        return found

    @property
    def obstacles(self) -> list[OccupiedError]:
        """Obstacles in the way of files; callable from any thread."""
        return [error for folder in self._folders for error in folder.obstacles]

    def figures_changed(self) -> None:
        """Schedule a rewrite of the tables after figures in the ledger changed."""
        self._table.changed()

    def verdicts_changed(self) -> None:
        """Write lists and tables soon, after a person has changed verdicts in the ledger."""
        self._list.changed_by_person()
        self._table.changed_by_person()

    def write_failed(self, error: OutputError) -> None:
        """Record that writing to the folder failed, and start the retry delay."""
        if not self.down:
            _log.error("output: %s", error)
        self.fault = error
        self._retry_at = time.monotonic() + RETRY_SECONDS
        self._failed()

    def _record_success(self) -> None:
        """Record that writing succeeded."""
        if self.down:
            _log.info("output: writing works again")
            self.fault = None

    def finish(self) -> None:
        """Write everything that has changed, at a stop. Raises LedgerError as ``sync``."""
        self.is_finishing = True
        try:
            self.sync(now=True)
        finally:
            self.is_finishing = False

    def sync(self, *, now: bool = False) -> None:
        """Repair some files, and have the list and the tables written if they are due.

        Parameters
        ----------
        now
            True to ignore intervals, and to return when all is written.

        Raises
        ------
        LedgerError
            The ledger cannot be read.
        """
        if self.waiting and not now:
            return
        try:
            if self._losses.found(is_checking=self._check.is_running):
                self._check.begin()
                self._schedule_lists()
            self._check_again()
            self._restore()
            if self.is_recovering:
                return
            self._resolve_doubtful()
            # A list that names a file before it is written would make RELION skip the micrograph.
            if now or not self._check.is_running:
                self._bring_up_to_date(self._list, now=now)
            self._end_rewriting()
            self._bring_up_to_date(self._table, now=now)
        except OutputError as error:
            self.write_failed(error)

    def _bring_up_to_date(self, write: BackgroundWrite, *, now: bool) -> None:
        if now:
            write.finish()
        if now or write.turn():
            self._record_success()

    def _write_lists(self) -> None:
        """Write the session's list in each format; called in a thread of its own."""
        for export in self._exports:
            export.write_list(self._lists.visible())

    def _write_tables(self) -> None:
        """Write the tables; called in a thread of its own."""
        for table in self._tables:
            table.write(self._lists)

    def _schedule_lists(self) -> None:
        self._list.changed()
        self._table.changed()

    @property
    def busy(self) -> bool:
        """True if there are files left to check and the retry delay is not running."""
        return self._check.is_running and not self.waiting

    def _check_again(self) -> None:
        """Schedule a check of all files if other ones than before should exist."""
        if any(due() for due in self._rechecks):
            self._check.begin()
            self._schedule_lists()

    def _restore(self) -> None:
        for entry in self._check.batch():
            with self._unexpected.passing_over("output", printable(entry.relative)):
                self._write_due(entry, [one for one in self._exports if self._is_due(one, entry)])

    def _end_rewriting(self) -> None:
        """Remove the files at former places once all others are written and listed."""
        if self._rewritten is None or not self._list.written_as_of >= self._check.ended_at:
            return
        if self._former:
            visible = list(self._ledger.visible())
            kept = _places(self._exports, visible)
            for path, folder in _places(self._former, visible).items():
                if path not in kept:
                    if self._adopts_before is not None:
                        folder.adopt(path)
                    folder.remove(path)
            _log.info("output: the coordinates are at new places; those at the old are removed")
        self._rewritten()
        self._rewritten = None

    def _write_due(self, entry: Visible, due: Sequence[Export]) -> None:
        """Write the coordinates of a micrograph in the formats that are due."""
        candidates = self._ledger.candidates(entry.id) if due else None
        if candidates is None:
            return
        micrograph = entry.micrograph(candidates, self._diameter_angstrom())
        for export in due:
            try:
                self._adopt(export, entry, entry.id)
                export.write(entry.root, entry.relative, micrograph)
            except (MicrographError, OccupiedError) as error:
                # A format added later has a longer file name, or a file is in the way.
                _log.warning("%s", error)
        _log.info("%s: coordinates written from the ledger", entry.relative)
        self._record_success()

    def _adopt(self, export: Export, entry: Visible, number: int) -> None:
        """Take the file of a micrograph for livepick's if a version without records wrote it."""
        if self._adopts_before is not None and number not in self._not_adopted:
            export.folder.adopt(export.place(entry.root, entry.relative))

    def _is_due(self, export: Export, entry: Visible) -> bool:
        try:
            return self._rewritten is not None or export.is_missing(entry)
        except MicrographError as error:  # a format cannot have a file of such a name
            _log.warning("%s", error)
            return False

    def _resolve_doubtful(self) -> None:
        for root, relative in list(itertools.islice(self._doubtful, BATCH)):
            with self._unexpected.passing_over("output", printable(relative)):
                self._resolve(root, relative)
            del self._doubtful[root, relative]

    def _resolve(self, root: Path, relative: Path) -> None:
        entry = self._ledger.visible_at(root, relative)
        if entry is not None:
            self._write_due(entry, self._exports)
        # A file with that name may now belong to another micrograph.
        elif self._ledger.namesake(root, relative) is None:
            # Without a place it cannot have a file, so there is none to remove.
            with contextlib.suppress(MicrographError):
                for export in self._exports:
                    export.remove(root, relative)


def _places(exports: Iterable[Export], entries: Iterable[Visible]) -> dict[Path, OutputFolder]:
    """Return the paths of the coordinates files of some micrographs in some formats."""
    places: dict[Path, OutputFolder] = {}
    for entry in entries:
        with contextlib.suppress(MicrographError):
            places |= {
                export.place(entry.root, entry.relative): export.folder for export in exports
            }
    return places
