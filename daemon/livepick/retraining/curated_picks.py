"""Manual or curated picks, matched to the session's micrographs by name.

Picks that do not match are never dropped silently: each kind of mismatch has a sentence, which goes
to the log and into the run's specification.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from livepick.core.formats.coordinates import read_sources
from livepick.core.formats.coordinates_search import search_coordinates
from livepick.core.formats.image_names import without_image_suffix
from livepick.core.formats.name_matching import match_names, nearest_name, short_names
from livepick.core.formats.picked_micrograph import TIFF_SUFFIXES
from livepick.core.formats.positions import Positions
from livepick.core.imaging.picks import Picks
from livepick.errors import CoordinatesError, LivepickError
from livepick.ledger.rows import MicrographRow
from livepick.retraining.positions_outside import FEW, MOST_OUTSIDE, Placed, inside, likely_cause

__all__ = ["MANUAL_SCORE", "CuratedPicks", "Matched", "Matches", "micrograph_key", "shortened_list"]

MOST_NAMED = 5
"""Maximum number of names listed in a sentence; the rest are counted."""

MOST_LISTED = 20
"""Maximum number of micrographs that get a sentence of one kind."""

MANUAL_SCORE = 1.0
"""Score of a position given by a person."""


@dataclass(frozen=True, slots=True)
class Matched:
    """A picked micrograph and its coordinates."""

    row: MicrographRow
    picks: Picks
    """Picks inside the image, in the order of the file's scores, each with a score of 1."""

    @property
    def is_tiff(self) -> bool:
        """True if some programs turn the rows of the micrograph over."""
        return self.row.path.suffix.lower() in TIFF_SUFFIXES

    @property
    def height_px(self) -> int:
        """Height of the micrograph."""
        return self.row.shape_px[0] if self.row.shape_px else 0


@dataclass(frozen=True, slots=True)
class Matches:
    """Match of a coordinates file with the micrographs of a session."""

    matched: list[Matched]
    """In the order the micrographs landed."""
    missing: dict[str, str]
    """Micrographs of the file that the session has not picked, or not under a unique name, with
    their short names."""
    without: dict[str, str]
    """Picked micrographs that have no coordinates, with their short names."""
    ambiguous: dict[str, list[str]] = field(default_factory=dict)
    """Micrographs that several names in the file fit equally well, with these names."""
    outside: dict[str, int] = field(default_factory=dict)
    """Number of positions outside each micrograph that has some."""
    doubtful: dict[str, int] = field(default_factory=dict)
    """Number of boxes below crYOLO's threshold in each micrograph that has some."""

    def unmatched(self) -> list[str]:
        """Return sentences that describe what did not match."""
        sentences = []
        if self.missing:
            near = ", ".join(_named_with_nearest(self.missing, self.without))
            sentences.append(f"has coordinates but is not among the picked micrographs: {near}")
        if self.without:
            names = shortened_list(list(self.without.values()))
            sentences.append(f"is picked but has no coordinates: {names}")
        for name, several in list(self.ambiguous.items())[:MOST_LISTED]:
            sentences.append(
                f"{name}: {shortened_list(several)} fit it equally well, and are left out"
            )
        for name, count in list(self.outside.items())[:MOST_LISTED]:
            sentences.append(f"{name}: {count} positions are outside the image, and are left out")
        for name, count in list(self.doubtful.items())[:MOST_LISTED]:
            sentences.append(
                f"{name}: {count} boxes are below crYOLO's threshold, and are left out"
            )
        return sentences


class CuratedPicks:
    """The coordinates at one path, read again when one of its files changes."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._seen: tuple[tuple[Path, int, int], ...] = ()
        self._positions: dict[str, Positions] | LivepickError = {}

    def positions(self) -> dict[str, Positions]:
        """Return the positions of each micrograph by its name; no entry is empty.

        Raises
        ------
        CoordinatesError
            As for ``read_all_positions``, or there are no positions at all.
        """
        try:
            sources = search_coordinates(self.place)
            files = [self.place, *(source.path for source in sources)]
            stats = [(path, path.stat()) for path in files]
        except OSError as error:
            raise CoordinatesError(
                f"{self.place} cannot be read: {error}",
                "Give the service's user permission to read it.",
            ) from error
        seen = tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in stats)
        if seen != self._seen:
            try:
                read = read_sources(sources)
                self._positions = {name: here for name, here in read.items() if len(here)}
            except LivepickError as error:
                self._positions = error
            self._seen = seen
        if isinstance(self._positions, LivepickError):
            raise self._positions
        if not self._positions:
            raise CoordinatesError(
                f"{self.place} contains no positions",
                "Pick some particles, and save the file again.",
            )
        return self._positions

    def match(self, rows: Sequence[MicrographRow]) -> Matches:
        """Match the coordinates with the picked micrographs ``rows``.

        Raises
        ------
        CoordinatesError
            As for ``positions``, too many positions lie outside the images, or each name fits
            several micrographs.
        """
        positions = self.positions()
        ours = {micrograph_key(row): row for row in rows}
        names = match_names(positions, [micrograph_key(row) for row in rows])
        short, their_short = short_names(ours), short_names(positions)
        used = set(names.pairs.values())
        found = Matches(
            [],
            missing={name: their_short[name] for name in sorted(positions) if name not in used},
            without={key: short[key] for key in ours if key not in names.pairs},
            ambiguous={short[key]: several for key, several in names.ambiguous.items()},
        )
        placed: dict[str, Placed] = {}
        for key, row in ours.items():
            if key in names.pairs:
                _add(found, placed, positions[names.pairs[key]], row, short[key])
        self._refuse_other_images(found, placed)
        if found.ambiguous and not found.matched:
            key, several = next(iter(found.ambiguous.items()))
            raise CoordinatesError(
                f"{self.place} has {len(several)} micrographs that may be {key}:"
                f" {shortened_list(several)}",
                "Keep one of them, or name a folder that contains only one.",
            )
        return found

    def _refuse_other_images(self, found: Matches, placed: dict[str, Placed]) -> None:
        """Raise CoordinatesError if too many positions are outside the images."""
        outside = sum(found.outside.values())
        total = outside + sum(len(match.picks) for match in found.matched)
        if outside <= max(FEW, MOST_OUTSIDE * total):
            return
        name, here = next(iter(placed.items()))
        height, width = here.shape_px
        raise CoordinatesError(
            f"{outside} of {total} positions in {self.place} are outside the images; those of"
            f" {name} range from x {here.x_px.min():.0f}, y {here.y_px.min():.0f} to x"
            f" {here.x_px.max():.0f}, y {here.y_px.max():.0f}, in an image of {width} by {height}"
            " pixels",
            likely_cause(list(placed.values())),
        )


def micrograph_key(row: MicrographRow) -> str:
    """Return the name of a micrograph as it is matched: its path without the suffix."""
    return str(without_image_suffix(row.path))


def _add(
    found: Matches, placed: dict[str, Placed], positions: Positions, row: MicrographRow, name: str
) -> None:
    """Add the accepted picks inside a micrograph, and count the others."""
    picks = positions.picks(pixel_size_angstrom=row.pixel_size_angstrom, shape_px=row.shape_px)
    accepted = picks.above(positions.least_score)
    shape_px = row.shape_px or (np.inf, np.inf)
    within = accepted.where(inside(accepted.x_px, accepted.y_px, shape_px))
    score = np.full(len(within), MANUAL_SCORE, dtype=np.float32)
    found.matched.append(Matched(row, Picks(within.x_px, within.y_px, score)))
    if row.shape_px is not None and len(within) < len(accepted):
        found.outside[name] = len(accepted) - len(within)
        placed[name] = Placed(accepted.x_px, accepted.y_px, row.shape_px)
    if len(accepted) < len(picks):
        found.doubtful[name] = len(picks) - len(accepted)


def shortened_list(names: Sequence[str]) -> str:
    """Return a list of names, shortened to fit on a line: ``a, b and 7 more``."""
    shown = ", ".join(names[:MOST_NAMED])
    return f"{shown} and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else shown


def _named_with_nearest(missing: dict[str, str], without: dict[str, str]) -> list[str]:
    """Return the first names, each with the most similar micrograph that has no coordinates."""
    ours = [Path(key).name for key in without]
    told = []
    for name, short in list(missing.items())[:MOST_NAMED]:
        nearest = nearest_name(Path(name).name, ours)
        if nearest == Path(name).name:
            told.append(f"{short} (its name does not tell which micrograph it is)")
        else:
            told.append(short if nearest is None else f"{short} (the nearest is {nearest})")
    if len(missing) > MOST_NAMED:
        told[-1] += f" and {len(missing) - MOST_NAMED} more"
    return told
