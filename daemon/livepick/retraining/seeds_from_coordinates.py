"""Manual or curated picks as seeds: what is waited for, and which way up they are."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from livepick.config.schema import Config
from livepick.core.evaluation.orientation import Compared, choose_orientation, turned_over
from livepick.core.formats.name_matching import short_names
from livepick.core.formats.positions import Positions
from livepick.core.imaging.picks import Picks
from livepick.errors import CoordinatesError
from livepick.ledger.reader import LedgerReader
from livepick.retraining.curated_picks import (
    MANUAL_SCORE,
    CuratedPicks,
    Matched,
    Matches,
    shortened_list,
)
from livepick.retraining.holdout_split import LEAST_MICROGRAPHS
from livepick.retraining.seed_sources import (
    Seeds,
    Tally,
    WaitReason,
    least_picks,
    with_seeds,
)

__all__ = ["SeedsFromCoordinates", "refuse_too_few"]


def refuse_too_few(config: Config, place: Path, positions: Mapping[str, Positions]) -> None:
    """Raise CoordinatesError if the coordinates at ``place`` can never be enough to train on."""
    count, picks = len(positions), sum(len(here) for here in positions.values())
    if count < LEAST_MICROGRAPHS:
        raise CoordinatesError(
            f"{place} has coordinates for {count} micrograph{'s' if count > 1 else ''}"
            f" ({shortened_list(sorted(short_names(positions).values()))}), and training needs"
            f" {LEAST_MICROGRAPHS}, because one is held out to evaluate the model",
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
            matches = self._curated.match(list(self._ledger.picked_rows()))
        except CoordinatesError as error:
            return WaitReason(f"Training cannot start: {error}", "trouble")
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
            if (waiting := self._waiting(tally, matches)) is not None:
                return waiting
        fit = {row.id for row in tally.fit}
        chosen, orientation = self._oriented([m for m in matches.matched if m.row.id in fit])
        return Seeds(
            [with_seeds(match.row, match.picks) for match in chosen],
            seeds_from="coordinates",
            threshold=MANUAL_SCORE / 2,
            parent=None,
            unmatched=matches.unmatched(),
            orientation=orientation,
        )

    def _oriented(self, matched: Sequence[Matched]) -> tuple[list[Matched], list[str]]:
        """Return the micrographs with their picks the right way up, and what was chosen.

        TIFF micrographs are judged apart from the others, since most programs turn only them over.
        """
        flipped: dict[bool, bool] = {}
        sentences = []
        for tiff in sorted({match.is_tiff for match in matched}):
            group = [match for match in matched if match.is_tiff == tiff]
            chosen = choose_orientation(map(self._compared, group), self._config.bootstrap.flip_y)
            flipped[tiff] = chosen.flipped
            sentences.append(f"{'TIFF' if tiff else 'MRC'} micrographs: {chosen.sentence}")
        return [
            dataclasses.replace(match, picks=turned_over(match.picks, match.height_px))
            if flipped[match.is_tiff]
            else match
            for match in matched
        ], sentences

    def _compared(self, match: Matched) -> Compared:
        """Return the given picks of a micrograph beside those of the model that picked it."""
        row = match.row
        candidates = self._ledger.candidates(row.id)
        own = Picks.empty() if candidates is None else candidates.above(row.threshold or 0.0)
        radius_px = self._config.particle.diameter_angstrom / 4 / (row.pixel_size_angstrom or 1.0)
        return Compared(match.picks, own, match.height_px, radius_px)

    def _waiting(self, tally: Tally, matches: Matches) -> WaitReason | None:
        """Return the reason to wait; None if training can begin with what there is."""
        place, counts = self._curated.place, self._ledger.counts()
        idle = not (counts.queued or counts.picking or counts.stale)
        complete = not matches.missing or (
            idle and counts.picked >= self._config.bootstrap.micrographs
        )
        if not matches.matched and complete:
            theirs = shortened_list(sorted(short_names(self._curated.positions()).values()))
            ours = shortened_list(list(matches.without.values()))
            return WaitReason(
                f"Training cannot start: {place} is for other micrographs: it has {theirs}, and the"
                f" session has {ours}. Name a file for this session, or set bootstrap.picks: blob.",
                "trouble",
            )
        if not complete:
            return WaitReason(
                f"Training waits for micrographs that {place} has coordinates for:"
                f" {len(matches.matched)} are picked, {len(matches.missing)} are not"
                f" ({shortened_list(list(matches.missing.values()))}).",
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
