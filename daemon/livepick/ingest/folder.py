"""One watched folder: its files, and which of them are new.

The ledger identifies a micrograph by its path below the folder and its content version; a folder
sends each version once. A micrograph is never deleted because its file cannot be seen: a share that
is not mounted looks like an empty or missing folder.

Scans, events and checks of unsettled files are in one class because they share what is known of
each file.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from livepick.config.sections import Watch
from livepick.core.formats.file_version import FileVersion
from livepick.core.formats.header import printable
from livepick.core.formats.micrograph import read_header
from livepick.errors import HeaderError, MicrographError, MovieStackError, UnreadableFileError
from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.ingest.folder_availability import FolderAvailability
from livepick.ingest.left_out_names import is_left_out_folder
from livepick.ingest.presets import Rules
from livepick.ingest.scan import Found, Scan, examine_file
from livepick.ingest.settle import Outcome, Settler
from livepick.ingest.skipped import SkippedView
from livepick.ledger.inbox import FilesSkipped, Landed, Message, SetAside
from livepick.ledger.session_rows import SkippedFiles

__all__ = ["Folder"]

AT_ONCE = 200
"""New files that are taken in before those that are due are checked."""

_log = logging.getLogger(__name__)


class Folder:
    """A watched folder and its unsettled files. Used only by the watching thread.

    Attributes
    ----------
    availability
        Whether the folder can be read, and its file system.
    scans
        Number of complete scans.
    unannounced
        Number of new files in the last scan that no event had reported.
    skipped
        Files that look like micrographs and were left out at the last scan.
    excluded
        Number of those that were left out by the rules for names.
    oversized
        Number of micrographs longer than their header says; they are picked all the same.
    """

    def __init__(
        self,
        root: Path,
        watch: Watch,
        rules: Rules,
        *,
        known: Mapping[str, FileVersion],
        movies: Collection[str] = (),
        skip: frozenset[str],
        send: Callable[[Message], None],
        clock: Callable[[], float],
        unexpected: UnexpectedErrors | None = None,
    ) -> None:
        self._unexpected = unexpected or UnexpectedErrors()
        self.root = root
        self.availability = FolderAvailability(root, watch, send)
        self.scans = self.unannounced = self.excluded = self.oversized = 0
        self.skipped: tuple[SkippedFiles, ...] = ()
        self._watch = watch
        self._rules = rules
        self._skip = skip
        self._send = send
        self._clock = clock
        self._seen = dict(known)
        self._at_start: set[str] = set()
        """Files that were in the first listing and are not settled yet."""

        self._missing: set[str] = set()
        """Files that were seen before and are missing now. They are sent again if they return,
        because a job that found them gone has failed."""

        self._movies = set(movies)
        """Files that turned out to have several images: no file beside them is their product."""

        self._stacks: set[str] = set()
        """Files named ``.mrcs`` among them; they are counted instead of reported one by one."""
        self._settler = Settler(
            settle_seconds=self.availability.settle_seconds,
            incomplete_timeout_seconds=watch.incomplete_timeout_seconds,
            check=self._check,
        )

    @property
    def watching(self) -> int:
        """Number of files that are not settled yet."""
        return self._settler.watching

    def next_due(self) -> float:
        """Return the time of the next check of a file, on the monotonic clock."""
        return self._settler.next_due()

    def check_available(self) -> bool:
        """Check the folder and its file system; return True if the folder is available."""
        is_available = self.availability.check(had_files=bool(self._seen))
        self._settler.settle_seconds = self.availability.settle_seconds
        return is_available

    def scan(self, between: Callable[[], bool]) -> None:
        """List all files and process the new ones.

        ``between`` is called after each folder, and after some new files: thousands may have come
        at once, and the first are due soon. If it returns False the scan is aborted.
        """
        if not self.check_available():
            return
        scan = self._new_scan()
        unannounced = taken = 0
        missing, missing_before = set(self._seen), set(self._missing)
        try:
            for finds in scan:
                for found in finds:
                    if found.relative in self._stacks:
                        scan.skipped.add("stack", found.relative)
                    if found.blocked is not None and self._is_waiting(found.relative):
                        scan.skipped.add("waiting", found.relative, self._rules.sidecar_words)
                    missing.discard(found.relative)
                    if self._is_as_before(found):
                        continue
                    with self._unexpected.passing_over("watch", self._name(found.relative)):
                        unannounced += self._take_in(found, first_listing=self.scans == 0)
                    taken += 1
                    if taken % AT_ONCE == 0 and not between():
                        return
                if not between():
                    return
        except OSError as error:
            self.availability.unavailable(error.strerror or str(error))
            return
        self._missing = missing | (self._missing - missing_before)
        self.scans += 1
        self.unannounced = unannounced if self.scans > 1 else 0
        self._report(scan)

    def examine(self, relative: str, *, closed: bool) -> None:
        """Check one path that an event reported; ``closed``: its writer has finished."""
        found = self._examined(relative)
        if found is not None:
            self._take_in(found)
            if closed and not self._rules.may_give_way(relative.rpartition("/")[2]):
                self._settler.closed(relative)
        for sibling in self._rules.images_beside(relative):
            if sibling in self._settler:
                self.examine(sibling, closed=False)

    def examine_below(self, relative: str, between: Callable[[], bool]) -> None:
        """Check all files in a folder that an event reported; ``between`` as in ``scan``."""
        if any(map(is_left_out_folder, relative.split("/"))):
            return
        scan = self._new_scan(relative)
        try:
            for finds in scan:
                for number, found in enumerate(finds, 1):
                    if number % AT_ONCE == 0 and not between():
                        return
                    with self._unexpected.passing_over("watch", self._name(found.relative)):
                        self._take_in(found)
        except OSError as error:
            _log.debug("%s: not listed: %s", printable(self.root / relative), error)

    def not_found(self, relative: str, *, gone: bool) -> None:
        """Check the folder, in which a worker could not read a file.

        ``gone``: the file was not there; it is sent again when it is.
        """
        if self.check_available() and gone and relative in self._seen:
            self._missing.add(relative)

    def reexamine(self) -> None:
        """Check again the unsettled files that are due."""
        for relative in self._settler.due(self._clock()):
            try:
                found = self._examined(relative)
                if found is None:
                    self._settler.forget(relative)
                    self._at_start.discard(relative)
                else:
                    self._take_in(found)
            except Exception as error:  # noqa: BLE001 - the next scan finds the file again
                self._unexpected.passed_over("watch", self._name(relative), error)
                self._settler.forget(relative)

    def _new_scan(self, below: str = "") -> Scan:
        return Scan(
            self.root, self._rules, self._watch.follow_symlinks, self._skip, below, self._movies
        )

    def _examined(self, relative: str) -> Found | None:
        try:
            return examine_file(
                self.root,
                relative,
                self._rules,
                follow_symlinks=self._watch.follow_symlinks,
                movies=self._movies,
            )
        except OSError as error:  # missing or unreachable: a later scan finds it if it returns
            if relative in self._seen:
                self._missing.add(relative)
            _log.debug("%s: not found: %s", printable(relative), error)
            return None

    def _version(self, found: Found) -> FileVersion:
        """Return the version by which a file is known."""
        version = found.version
        if self.availability.system.stable_inodes:
            return version
        return FileVersion(version.size_bytes, version.mtime_ns, 0)

    def _is_as_before(self, found: Found) -> bool:
        """Return True if there is nothing to do for a file: in a long session, for nearly all."""
        relative = found.relative
        return (
            self._seen.get(relative) == self._version(found)
            and relative not in self._missing
            and relative not in self._settler
        )

    def _is_waiting(self, relative: str) -> bool:
        """Return True if a file was neither taken nor set aside."""
        return relative not in self._seen and not self._settler.is_set_aside(relative)

    def _take_in(self, found: Found, *, first_listing: bool = False) -> bool:
        """Process one observation of a file; return True if the file, or its content, is new."""
        relative, version = found.relative, self._version(found)
        waited_for = relative in self._settler
        if not waited_for and self._seen.get(relative) == version:
            if relative not in self._missing:
                return False
            self._missing.discard(relative)
        if first_listing and not waited_for:
            self._at_start.add(relative)
        blocked = None if found.blocked is None else f"{printable(relative)}: {found.blocked}"
        outcome = self._settler.observe(
            relative, version, blocked, now=self._clock(), wall=time.time()
        )
        if outcome is not None:
            self._settled(relative, outcome)
        return not waited_for

    def _settled(self, relative: str, outcome: Outcome) -> None:
        at_start = relative in self._at_start
        self._at_start.discard(relative)
        self._movies.discard(relative)
        self._stacks.discard(relative)
        if isinstance(outcome.error, MovieStackError):
            self._movies.add(relative)
            if relative.lower().endswith(".mrcs"):
                self._stacks.add(relative)
        if outcome.error is None:
            self.oversized += outcome.version.size_bytes > outcome.needed_bytes
            self._send(
                Landed(self.root, Path(relative), outcome.version, outcome.landed_at, at_start)
            )
        elif relative not in self._stacks:
            _log.debug("%s: set aside: %s", printable(relative), outcome.error)
            self._send(
                SetAside(
                    self.root,
                    Path(relative),
                    outcome.version,
                    outcome.error.reason,
                    outcome.error.what,
                    outcome.error.remedy,
                    outcome.landed_at,
                )
            )
        self._seen[relative] = outcome.version

    def _check(self, relative: str) -> int:
        path = self.root / relative
        try:
            return read_header(path, follow_symlinks=self._watch.follow_symlinks).needed_bytes
        except MicrographError:
            raise
        except Exception as error:
            self._unexpected.passed_over("watch", self._name(relative), error)
            kind = UnreadableFileError if isinstance(error, OSError) else HeaderError
            raise kind(
                f"{printable(path)}: {type(error).__name__}: {printable(str(error))}",
                "livepick did not expect this of a file: please report it with the log lines.",
            ) from error

    def _name(self, relative: str) -> str:
        return printable(self.root / relative)

    def _report(self, scan: Scan) -> None:
        """Keep what the scan has left out; log once what an operator may not expect."""
        for relative, error in self._settler.not_complete():
            is_readable = not isinstance(error, UnreadableFileError)
            scan.skipped.add("incomplete" if is_readable else "unreadable", relative)
        known_kinds = {files.kind for files in self.skipped}
        skipped = scan.skipped.files()
        for files in skipped:
            view = SkippedView.of(files)
            if view.is_suspicious and files.kind not in known_kinds:
                _log.warning("%s: left out: %s. %s", printable(self.root), view.words, view.remedy)
        if scan.excluded and not self.excluded and not self._seen and not self._settler.watching:
            _log.warning(
                "%s: all %d image files are excluded by preset %s; set watch.include",
                printable(self.root),
                scan.excluded,
                self._watch.preset,
            )
        self.excluded = scan.excluded
        if skipped != self.skipped or self.scans == 1:
            self._send(FilesSkipped(self.root, skipped))
        self.skipped = skipped
