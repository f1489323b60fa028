"""Manual or curated picks, matched to the session's micrographs by name.

Picks that do not match are never dropped silently: each kind of mismatch has a sentence, which goes
to the log and into the run's order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from livepick.core.formats.coordinates import read_all_positions, search_coordinates
from livepick.core.formats.name_matching import match_names
from livepick.core.formats.positions import Positions
from livepick.core.imaging.picks import Picks
from livepick.errors import CoordinatesError, LivepickError
from livepick.ledger.rows import MicrographRow

__all__ = ["Curated", "Matched", "named"]

MOST_NAMED = 5
"""Maximum number of names listed in a sentence; the rest are counted."""

MOST_OUTSIDE = 0.5
"""If more than this fraction of its positions is off the images, a file is for other micrographs.
"""

BELIEVED = 1.0
"""Score of a position given by a person."""


@dataclass(frozen=True, slots=True)
class Matched:
    """A picked micrograph and its coordinates."""

    row: MicrographRow
    picks: Picks
    """Picks inside the image, in the order of the file's scores, each with a score of 1."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Match of a coordinates file with the micrographs of a session."""

    matched: list[Matched]
    """In the order the micrographs landed."""
    missing: list[str]
    """Micrographs of the file that the session has not picked, or not under a unique name."""
    unmatched: list[str] = field(default_factory=list)
    """Sentences that describe what did not match."""


class Curated:
    """The coordinates at one path, read again when one of its files changes."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._seen: tuple[tuple[Path, int, int], ...] = ()
        self._positions: dict[str, Positions] | LivepickError = {}

    def positions(self) -> dict[str, Positions]:
        """Return the positions of each micrograph by its stem; no entry is empty.

        Raises
        ------
        CoordinatesError
            As for ``read_all_positions``, or there are no positions at all.
        """
        try:
            files = search_coordinates(self.place)
            stats = [(path, path.stat()) for path in files]
        except OSError as error:
            raise CoordinatesError(
                f"{self.place} cannot be read: {error}", "Give the service's user the rights to."
            ) from error
        seen = tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in stats)
        if seen != self._seen:
            try:
                self._positions = read_all_positions(self.place)
            except LivepickError as error:
                self._positions = error
            self._seen = seen
        if isinstance(self._positions, LivepickError):
            raise self._positions
        if not self._positions:
            raise CoordinatesError(
                f"{self.place} holds no positions", "Pick some particles, and save the file again."
            )
        return self._positions

    def match(self, rows: Sequence[MicrographRow]) -> Matches:
        """Match the coordinates with the picked micrographs ``rows``.

        Raises
        ------
        CoordinatesError
            As for ``positions``, or most positions lie off the images.
        """
        positions = self.positions()
        ours = {row.path.stem: row for row in rows}
        pairs = match_names(positions, [row.path.stem for row in rows])
        matched: list[Matched] = []
        outside: dict[str, int] = {}
        doubtful: dict[str, int] = {}
        for stem, row in ours.items():
            if stem in pairs:
                found, off, unsure = _in_micrograph(positions[pairs[stem]], row)
                matched.append(Matched(row, found))
                outside |= {stem: off} if off else {}
                doubtful |= {stem: unsure} if unsure else {}
        inside = sum(len(match.picks) for match in matched)
        if sum(outside.values()) > MOST_OUTSIDE * (inside + sum(outside.values())):
            raise self._of_other_images(positions, ours, pairs, outside)
        missing = sorted(set(positions) - set(pairs.values()))
        without = [stem for stem in ours if stem not in pairs]
        unmatched = [
            *_sentence("has coordinates and is not among the picked micrographs", missing),
            *_sentence("is picked and has no coordinates", without),
            *(
                f"{stem}: {count} positions lie off the image, and are left out"
                for stem, count in _first(outside)
            ),
            *(
                f"{stem}: {count} boxes are below crYOLO's threshold, and are left out"
                for stem, count in _first(doubtful)
            ),
        ]
        return Matches(matched, missing, unmatched)

    def _of_other_images(
        self,
        positions: dict[str, Positions],
        ours: dict[str, MicrographRow],
        pairs: dict[str, str],
        outside: dict[str, int],
    ) -> CoordinatesError:
        stem = next(iter(outside))
        here, row = positions[pairs[stem]], ours[stem]
        height, width = row.shape_px or (0, 0)
        return CoordinatesError(
            f"most positions of {self.place} lie off the images: {sum(outside.values())} do, and"
            f" those of {stem} reach x {here.x_px.max():.0f}, y {here.y_px.max():.0f} from"
            f" x {here.x_px.min():.0f}, y {here.y_px.min():.0f} in {width} by {height} pixels",
            "Give coordinates in pixels of the micrographs that livepick watches, not of binned or"
            " unbinned ones.",
        )


def _in_micrograph(positions: Positions, row: MicrographRow) -> tuple[Picks, int, int]:
    """Return the accepted picks inside the image, the number outside, and the number doubtful."""
    picks = positions.picks(pixel_size_angstrom=row.pixel_size_angstrom, shape_px=row.shape_px)
    believed = picks.above(positions.least_score)
    height, width = row.shape_px or (np.inf, np.inf)
    # A pixel extends half a pixel to either side of its centre.
    inside = (believed.x_px >= -0.5) & (believed.x_px <= width - 0.5)
    inside &= (believed.y_px >= -0.5) & (believed.y_px <= height - 0.5)
    count = int(inside.sum())
    found = Picks(
        believed.x_px[inside], believed.y_px[inside], np.full(count, BELIEVED, dtype=np.float32)
    )
    return found, len(believed) - count, len(picks) - len(believed)


def named(names: Sequence[str]) -> str:
    """Return a list of names, shortened to fit on a line: ``a, b and 7 more``."""
    shown = ", ".join(names[:MOST_NAMED])
    return f"{shown} and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else shown


def _sentence(what: str, names: Sequence[str]) -> list[str]:
    return [f"{what}: {named(names)}"] if names else []


def _first(counts: dict[str, int]) -> Iterable[tuple[str, int]]:
    return list(counts.items())[: 4 * MOST_NAMED]
