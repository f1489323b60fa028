"""Recovery of picks from the output folder, after the ledger was lost.

``micrographs.csv`` names the micrographs with the figures of each, and their coordinates files have
the positions and scores. A micrograph keeps its picks if its coordinates file is as livepick wrote
it, agrees with the table, and is not older than the micrograph. Candidates below the threshold are
in no file, and most formats have rounded positions: so the micrographs are queued to be picked
again, behind all others, and keep the picks from their files until then. All other micrographs are
picked anew when the watcher reports them.

The files are read in a thread of its own, because they may be many and far away.
"""

import csv
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from livepick.core.formats.csv_coordinates import read_csv
from livepick.core.formats.file_version import FileVersion
from livepick.core.formats.micrograph import read_header
from livepick.core.formats.picked_micrograph import TIFF_SUFFIXES
from livepick.core.formats.positions import Positions
from livepick.core.formats.relion_star import read_star
from livepick.core.formats.text_lines import Lines, TextLines
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality import CtfFigures, Quality
from livepick.core.imaging.quality_limits import VERDICTS
from livepick.errors import CoordinatesError, LivepickError
from livepick.host.foreign_files import errors_of_file, read_bounded
from livepick.ledger.columns import CTF_FIGURES, QUALITY_FIGURES
from livepick.ledger.inbox import Message, Recovered, RecoveryEnded
from livepick.ledger.rows import RecoveredPicks
from livepick.picking.export import Export
from livepick.picking.micrograph_table import CSV
from livepick.picking.output_folder import OutputFolder

__all__ = ["PicksRecovery"]

AT_ONCE = 50
"""Micrographs in one message."""

MOST_WAITING = 4
"""Maximum number of messages that wait for the dispatch loop."""

MOST_BYTES = 64 << 20
"""Coordinates files that are longer are not read."""

_log = logging.getLogger(__name__)

_Row = Mapping[str, str]


class _Form(NamedTuple):
    """A format that positions and scores can be read from."""

    read: Callable[[Path, Lines], Mapping[str | None, Positions]]
    is_turned: bool
    """True if the rows of a TIFF are turned over in it."""


def _table_rows(folder: OutputFolder) -> list[_Row]:
    """Return the rows of the table of micrographs; empty if there is none of livepick's."""
    path = folder.path / CSV
    try:
        if not folder.is_own(path):
            return []
        with path.open(newline="", errors="surrogateescape") as file:
            return list(csv.DictReader(file))
    except (OSError, csv.Error) as error:
        _log.warning("%s: not readable: %s", path, error)
        return []


class PicksRecovery:
    """Sends the picks that are in the output folder to the dispatch loop.

    Parameters
    ----------
    folder
        The output folder.
    roots
        Watched folders.
    exports
        Formats of the coordinates files.
    flip_tiff
        True if the format ``star`` has the rows of TIFFs turned over.
    pixel_size_angstrom
        Pixel size from the config. None: read from the header of each micrograph.
    has_stable_inodes
        Function that returns True if files of a watched folder keep their inode numbers.
    send
        Receives each message.
    """

    def __init__(
        self,
        folder: OutputFolder,
        *,
        roots: Sequence[Path],
        exports: Sequence[Export],
        flip_tiff: bool,
        pixel_size_angstrom: float | None,
        has_stable_inodes: Callable[[Path], bool],
        send: Callable[[Message], None],
    ) -> None:
        self._folder = folder
        self._roots = sorted(roots, key=lambda root: len(root.parts), reverse=True)
        forms = {
            "csv": _Form(read_csv, is_turned=False),  # unrounded, so it comes first
            "relion": _Form(read_star, is_turned=True),
            "star": _Form(read_star, is_turned=flip_tiff),
        }
        by_name = {export.name: export for export in exports}
        self._sources = [(by_name[name], form) for name, form in forms.items() if name in by_name]
        self._pixel_size_angstrom = pixel_size_angstrom
        self._has_stable_inodes = has_stable_inodes
        self._send = send
        self._slots = threading.Semaphore(MOST_WAITING)
        self._usual: Counter[tuple[tuple[int, int], float]] = Counter()
        self._stop = threading.Event()

    def stop(self) -> None:
        """Ask ``run`` to return; the next start begins the recovery again."""
        self._stop.set()
        self._slots.release()

    def run(self) -> None:
        """Read the files and send what is in them; the last message is ``RecoveryEnded``."""
        rows = _table_rows(self._folder)
        batch: list[RecoveredPicks] = []
        kept = 0
        for found in self._found(rows):
            if self._stop.is_set():
                return
            batch.append(found)
            kept += 1
            if len(batch) == AT_ONCE:
                self._pass_on(batch)
                batch = []
        if self._stop.is_set():
            return
        if batch:
            self._pass_on(batch)
        self._send(RecoveryEnded(kept, len(rows) - kept))

    def _pass_on(self, batch: Sequence[RecoveredPicks]) -> None:
        self._slots.acquire()
        self._send(Recovered(tuple(batch), self._slots.release))

    def _found(self, rows: Iterable[_Row]) -> Iterator[RecoveredPicks]:
        """Yield the micrographs that keep their picks; those whose file is gone come last."""
        gone: list[_Row] = []
        for row in rows:
            if (found := self._try(row, gone.append)) is not None:
                yield found
        for row in gone:
            if (found := self._try(row)) is not None:
                yield found

    def _try(self, row: _Row, gone: Callable[[_Row], None] | None = None) -> RecoveredPicks | None:
        """Return a micrograph with its picks; None if it has to be picked anew.

        ``gone`` receives a row whose micrograph is not there. None: it need not be there.
        """
        try:
            place = self._place(Path(row["micrograph"]))
            return None if place is None else self._recovered(row, *place, is_gone=gone is None)
        except FileNotFoundError:
            if gone is not None:
                gone(row)
        except (LookupError, ValueError, TypeError, OSError, LivepickError) as error:
            _log.debug("%s: not recovered: %s", row.get("micrograph"), error)
        return None

    def _place(self, micrograph: Path) -> tuple[Path, Path] | None:
        """Return the watched folder of a micrograph, and its path below."""
        for root in self._roots:
            if micrograph.is_relative_to(root):
                return root, micrograph.relative_to(root)
        return None

    def _recovered(
        self, row: _Row, root: Path, relative: Path, *, is_gone: bool = False
    ) -> RecoveredPicks | None:
        """Return a micrograph with the picks in its files; None if no file can be used.

        It is long because a recovered micrograph has many fields.

        Raises
        ------
        FileNotFoundError
            The micrograph is not there.
        """
        version, changed_at = None, 0.0
        if is_gone:
            shape_px, pixel_size_angstrom = self._usual.most_common(1)[0][0]
        else:
            status = (root / relative).stat()
            version = FileVersion.of(status)
            if not self._has_stable_inodes(root):
                version = FileVersion(version.size_bytes, version.mtime_ns, 0)
            changed_at = max(status.st_mtime, status.st_ctime)
            header = read_header(root / relative)
            shape_px = header.shape_px
            pixel_size_angstrom = self._pixel_size_angstrom or header.header_pixel_size_angstrom
            self._usual[shape_px, pixel_size_angstrom] += 1
        pick_count, model_version = int(row["pick_count"]), int(row["model_version"])
        for export, form in self._sources:
            path = export.place(root, relative)
            if not export.folder.is_own(path):
                continue
            picked_at = path.stat().st_mtime
            picks = _read(path, form, relative, shape_px[0])
            if picks is None or len(picks) != pick_count or picked_at < changed_at:
                continue
            threshold = float(row["threshold"])
            return RecoveredPicks(
                root,
                relative,
                version,
                picked_at,
                picks,
                min([threshold, *picks.score[-1:].tolist()]),
                model_version,
                row["model_kind"],
                shape_px,
                pixel_size_angstrom,
                Quality(*(_number(row[name]) for name in QUALITY_FIGURES)),  # type: ignore[arg-type]
                _ctf_of(row),
                next(word for word in VERDICTS if word == row["quality_verdict"]),
                row["quality_reason"],
                "fitted" if row.get("ctf_source") == "fitted" else "program",
            )
        return None


def _read(path: Path, form: _Form, relative: Path, height_px: int) -> Picks | None:
    """Return the picks in a coordinates file; None if it has others than of one micrograph."""
    try:
        with errors_of_file(path, CoordinatesError, ""):
            text = read_bounded(path, limit_bytes=MOST_BYTES).decode(errors="surrogateescape")
            found = form.read(path, TextLines(text))
    except CoordinatesError as error:
        _log.debug("%s", error)
        return None
    if len(found) > 1:
        return None
    picks = next(iter(found.values())).picks() if found else Picks.empty()
    if form.is_turned and relative.suffix.lower() in TIFF_SUFFIXES:
        picks = Picks(picks.x_px, height_px - 1 - picks.y_px, picks.score)
    return picks


def _number(text: str) -> float | None:
    return float(text) if text else None


def _ctf_of(row: _Row) -> CtfFigures | None:
    values = [_number(row.get(name) or "") for name in CTF_FIGURES]
    known = [value for value in values if value is not None]
    return CtfFigures(*known) if len(known) == len(CTF_FIGURES) else None
