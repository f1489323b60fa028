"""Manual or curated picks, matched to the session's micrographs by name.

Picks that do not match are never dropped silently: each kind of mismatch has a sentence, which goes
to the log and into the run's specification.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from livepick.config.schema import Config
from livepick.core.formats.coordinates import read_all_positions, search_coordinates
from livepick.core.formats.name_matching import match_names
from livepick.core.formats.positions import Positions
from livepick.core.imaging.picks import Picks
from livepick.errors import CoordinatesError, LivepickError
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import MicrographRow
from livepick.retraining.holdout_split import LEAST_MICROGRAPHS
from livepick.retraining.seed_sources import (
    Seeds,
    Tally,
    WaitReason,
    least_picks,
    with_seeds,
)

__all__ = ["CuratedPicks", "Matched", "SeedsFromCoordinates", "refuse_too_few", "shortened_list"]

MOST_NAMED = 5
"""Maximum number of names listed in a sentence; the rest are counted."""

MOST_OUTSIDE = 0.5
"""If more than this fraction of its positions is off the images, a file is for other micrographs.
"""

MANUAL_SCORE = 1.0
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


class CuratedPicks:
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
                f"{self.place} cannot be read: {error}",
                "Give the service's user permission to read it.",
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
                f"{self.place} contains no positions",
                "Pick some particles, and save the file again.",
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
            *_sentence("has coordinates but is not among the picked micrographs", missing),
            *_sentence("is picked but has no coordinates", without),
            *(
                f"{stem}: {count} positions are outside the image, and are left out"
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
            f"most positions in {self.place} are outside the images ({sum(outside.values())} of"
            f" them); those of {stem} range from x {here.x_px.min():.0f}, y {here.y_px.min():.0f}"
            f" to x {here.x_px.max():.0f}, y {here.y_px.max():.0f}, in an image of {width} by"
            f" {height} pixels",
            "Give coordinates in pixels of the micrographs that livepick watches, not of binned or"
            " unbinned ones.",
        )


def refuse_too_few(config: Config, place: Path, positions: Mapping[str, Positions]) -> None:
    """Raise CoordinatesError if the coordinates at ``place`` can never be enough to train on."""
    count, picks = len(positions), sum(len(here) for here in positions.values())
    if count < LEAST_MICROGRAPHS:
        raise CoordinatesError(
            f"{place} has coordinates for {count} micrograph{'s' if count > 1 else ''}"
            f" ({shortened_list(sorted(positions))}), and training needs {LEAST_MICROGRAPHS},"
            " because one is held out to evaluate the model",
            "Pick particles in more micrographs.",
        )
    wanted = least_picks(config)
    if picks < wanted:
        raise CoordinatesError(
            f"{place} has {picks} particles in total, and {wanted} are needed"
            " (bootstrap.minimum_picks)",
            "Pick more particles, or start with bootstrap.picks: blob.",
        )


class SeedsFromCoordinates:
    """Seeds that a person made or curated; all of them are accepted."""

    def __init__(self, config: Config, ledger: LedgerReader, place: Path) -> None:
        self._config = config
        self._ledger = ledger
        self._curated = CuratedPicks(place)

    def collect(self, held_out: Collection[Path]) -> Seeds | WaitReason:
        """Return the picked micrographs that have coordinates, whichever model picked them.

        It does not wait for more than ``bootstrap.micrographs`` of them, nor for any of bad
        quality. Once the session has picked that many micrographs and none is in progress, it also
        does not wait for micrographs that are not in the session.
        """
        try:
            positions = self._curated.positions()
            refuse_too_few(self._config, self._curated.place, positions)
            rows = list(self._ledger.picked_rows())
            matches = self._curated.match(rows)
        except CoordinatesError as error:
            return WaitReason(f"Training cannot start: {error}", "trouble")
        picks = {match.row.id: match.picks for match in matches.matched}
        tally = Tally(
            self._config,
            held_out,
            wanted=min(self._config.bootstrap.micrographs, len(positions)),
        )
        for match in matches.matched:
            tally.take(match.row, len(match.picks), match.row.masked_fraction)
            if tally.is_enough:
                break
        else:
            if (waiting := self._waiting(tally, matches, rows)) is not None:
                return waiting
        return Seeds(
            [with_seeds(row, picks[row.id]) for row in tally.fit],
            seeds_from="coordinates",
            threshold=MANUAL_SCORE / 2,
            parent=None,
            unmatched=matches.unmatched,
        )

    def _waiting(
        self, tally: Tally, matches: Matches, rows: Sequence[MicrographRow]
    ) -> WaitReason | None:
        """Return the reason to wait; None if training can begin with what there is."""
        place, counts = self._curated.place, self._ledger.counts()
        idle = not (counts.queued or counts.picking or counts.stale)
        complete = not matches.missing or (
            idle and counts.picked >= self._config.bootstrap.micrographs
        )
        if not matches.matched and complete:
            theirs = shortened_list(sorted(self._curated.positions()))
            ours = shortened_list([row.path.stem for row in rows])
            return WaitReason(
                f"Training cannot start: {place} is for other micrographs: it has {theirs}, and the"
                f" session has {ours}. Name a file for this session, or set bootstrap.picks: blob.",
                "trouble",
            )
        if not complete:
            return WaitReason(
                f"Training waits for micrographs that {place} has coordinates for:"
                f" {len(matches.matched)} are picked, {len(matches.missing)} are not"
                f" ({shortened_list(matches.missing)}).",
                "waiting",
            )
        if len(tally.fit) < LEAST_MICROGRAPHS:
            return WaitReason(
                f"Training waits: of {len(matches.matched)} picked micrographs that {place} has"
                f" coordinates for, {len(tally.fit)} are suitable for training, and"
                f" {LEAST_MICROGRAPHS} are needed; the others are mostly masked, or have no"
                " particle inside the image.",
                "quality",
            )
        tally.wanted = min(tally.wanted, len(tally.fit))
        return tally.missing()


def _in_micrograph(positions: Positions, row: MicrographRow) -> tuple[Picks, int, int]:
    """Return the accepted picks inside the image, the number outside, and the number doubtful."""
    picks = positions.picks(pixel_size_angstrom=row.pixel_size_angstrom, shape_px=row.shape_px)
    accepted = picks.above(positions.least_score)
    height, width = row.shape_px or (np.inf, np.inf)
    # A pixel extends half a pixel to either side of its centre.
    inside = (accepted.x_px >= -0.5) & (accepted.x_px <= width - 0.5)
    inside &= (accepted.y_px >= -0.5) & (accepted.y_px <= height - 0.5)
    count = int(inside.sum())
    found = Picks(
        accepted.x_px[inside], accepted.y_px[inside], np.full(count, MANUAL_SCORE, dtype=np.float32)
    )
    return found, len(accepted) - count, len(picks) - len(accepted)


def shortened_list(names: Sequence[str]) -> str:
    """Return a list of names, shortened to fit on a line: ``a, b and 7 more``."""
    shown = ", ".join(names[:MOST_NAMED])
    return f"{shown} and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else shown


def _sentence(what: str, names: Sequence[str]) -> list[str]:
    return [f"{what}: {shortened_list(names)}"] if names else []


def _first(counts: dict[str, int]) -> Iterable[tuple[str, int]]:
    return list(counts.items())[: 4 * MOST_NAMED]
