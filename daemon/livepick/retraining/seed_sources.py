"""Sources of the seeds for a run, and what is still missing.

``collect`` is called repeatedly. It returns immediately, either with the seeds or with the reason
why there are none yet: too few micrographs, too few that are suitable for training, too few picks,
or a problem that somebody must fix. It never delays picking.
"""

import dataclasses
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from livepick.config.schema import Config
from livepick.core.contracts.bundle import ModelCard
from livepick.core.contracts.run import RunMicrograph, SeedsFrom
from livepick.core.formats.image_names import uncompressed_path
from livepick.core.imaging.picks import Picks
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import MicrographRow
from livepick.retraining.holdout_split import is_suitable_for_training

__all__ = [
    "MicrographOrder",
    "SeedSource",
    "Seeds",
    "SeedsFromEither",
    "SeedsFromLedger",
    "Tally",
    "WaitReason",
    "least_picks",
    "seeds_by",
    "wait_for_micrographs",
    "with_seeds",
]

LEAST_PICKS = 10
"""Lowest number of picks to train on, whatever ``bootstrap.minimum_picks`` says."""


TOO_LITTLE = ("quality", "picks")
"""Kinds of waiting for micrographs with more picks, where there are enough micrographs."""


@dataclass(frozen=True, slots=True)
class Seeds:
    """Seeds that are enough to train on."""

    micrographs: list[RunMicrograph]
    """Micrographs with their seeds; none of them is held out yet."""
    seeds_from: SeedsFrom
    threshold: float
    parent: int | None
    """Version of the session's bundle that made the seeds."""
    unmatched: list[str] = field(default_factory=list)
    orientation: list[str] = field(default_factory=list)
    """Sentences that say which way up a person's positions are."""


@dataclass(frozen=True, slots=True)
class WaitReason:
    """Why there are no seeds yet."""

    sentence: str
    kind: Literal[
        "collecting", "quality", "picks", "held out", "waiting", "at work", "particle", "trouble"
    ]
    """Category. ``trouble``: an operator must act; ``collecting``: the session has just begun;
    ``at work``: the next call may find more without another micrograph; ``particle``: its size is
    not certain yet."""


class SeedSource(Protocol):
    """A source of seeds."""

    def collect(self, held_out: Collection[Path]) -> Seeds | WaitReason:
        """Return seeds, or the reason why there are none yet.

        Parameters
        ----------
        held_out
            Micrographs that no run may train on.
        """
        ...


class MicrographOrder:
    """The order in which a run considers the picked micrographs.

    The first run takes them as they landed, to begin early. A later run takes them from the whole
    session, starting with those that earlier runs are judged by. A run that is due because the
    micrographs have changed takes the latest. Micrographs picked later do not change the choice of
    these two.

    Parameters
    ----------
    ledger
        Ledger of the session.
    kind
        One of the three orders.
    """

    def __init__(
        self, ledger: LedgerReader, kind: Literal["landed", "spread", "latest"] = "landed"
    ) -> None:
        self._ledger = ledger
        self._kind = kind
        self._chosen: list[int] | None = None

    def rows(self, held_out: Collection[Path]) -> Iterator[MicrographRow]:
        """Yield the picked micrographs in this order."""
        if self._kind == "landed":
            yield from self._ledger.picked_rows()
            return
        if self._chosen is None:
            self._chosen = self._choose(held_out)
        for number in self._chosen:
            row = self._ledger.get(number)
            if row is not None and row.state == "picked":
                yield row

    def _choose(self, held_out: Collection[Path]) -> list[int]:
        places = self._ledger.picked_places()
        if self._kind == "latest":
            return [number for number, _ in reversed(places)]
        judging = [number for number, path in places if uncompressed_path(path) in held_out]
        others = [number for number, path in places if uncompressed_path(path) not in held_out]
        bits = max(len(others) - 1, 0).bit_length()
        spread = (int(f"{i:0{bits}b}"[::-1], 2) if bits else 0 for i in range(1 << bits))
        return judging + [others[i] for i in spread if i < len(others)]


class Tally:
    """Counts micrographs one after another until there are enough."""

    def __init__(
        self, config: Config, held_out: Collection[Path], *, wanted: int | None = None
    ) -> None:
        self.wanted = wanted or config.bootstrap.micrographs
        self._least = least_picks(config)
        self._held_out = held_out
        self.fit: list[MicrographRow] = []
        self.picks = 0
        self._unfit = 0
        self._free = 0

    def take(self, row: MicrographRow, picks: int, masked_fraction: float) -> bool:
        """Count a micrograph; return True if it is suitable for training."""
        fit = is_suitable_for_training(masked_fraction=masked_fraction, picks=picks)
        if fit:
            self.fit.append(row)
            self.picks += picks
            self._free += uncompressed_path(row.path) not in self._held_out
        else:
            self._unfit += 1
        return fit

    @property
    def is_enough(self) -> bool:
        """True if nothing is missing."""
        return self.missing() is None

    def missing(self) -> WaitReason | None:
        """Return what is still missing; None if nothing is."""
        fit = len(self.fit)
        if fit < self.wanted:
            return WaitReason(
                f"Training waits: {fit} of {fit + self._unfit} micrographs are suitable for"
                f" training, and {self.wanted} are needed; the others are mostly masked or have no"
                " picks.",
                "quality" if self._unfit else "collecting",
            )
        if self.picks < self._least:
            return WaitReason(
                f"Training waits for more micrographs: {fit} have {self.picks} picks, and"
                f" {self._least} are needed.",
                "picks",
            )
        if not self._free:
            return WaitReason(
                f"Training waits for more micrographs: all {fit} were held out by earlier runs to"
                " evaluate models, and none is left to train on.",
                "held out",
            )
        return None


def least_picks(config: Config) -> int:
    """Return the number of picks that training waits for."""
    return max(config.bootstrap.minimum_picks, LEAST_PICKS)


def wait_for_micrographs(config: Config, ledger: LedgerReader) -> WaitReason | None:
    """Return ``WaitReason`` until ``bootstrap.micrographs`` are picked, then None."""
    picked, wanted = ledger.counts().picked, config.bootstrap.micrographs
    if picked >= wanted:
        return None
    return WaitReason(
        f"Training starts when {wanted} micrographs are picked; {picked} are picked.",
        "collecting",
    )


def with_seeds(row: MicrographRow, picks: Picks) -> RunMicrograph:
    """Return a picked micrograph with its seeds, in the form that a run stores."""
    if row.pixel_size_angstrom is None:
        raise ValueError(f"{row.path} is not picked")
    columns = (picks.x_px.tolist(), picks.y_px.tolist(), picks.score.tolist())
    return RunMicrograph(
        path=row.path,
        pixel_size_angstrom=row.pixel_size_angstrom,
        held_out=False,
        seeds=list(zip(*columns, strict=True)),
        version=dataclasses.replace(row.version, inode=0),
    )


def seeds_by(card: ModelCard) -> SeedsFrom:
    """Return the source of seeds that a model of this session has made."""
    return "model" if card.kind == "trained" else card.kind


class SeedsFromLedger:
    """Seeds from the ledger: the session's own picks by the model in use.

    Parameters
    ----------
    card
        Card of that model.
    """

    def __init__(
        self, config: Config, ledger: LedgerReader, card: ModelCard, order: MicrographOrder
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._card = card
        self._order = order
        self._counts: dict[tuple[int, int, int | None], int] = {}

    def collect(self, held_out: Collection[Path]) -> Seeds | WaitReason:
        """Return the first micrographs that are suitable for training, once there are enough."""
        if (early := wait_for_micrographs(self._config, self._ledger)) is not None:
            return early
        version, threshold = self._card.version, self._card.threshold
        tally = Tally(self._config, held_out)
        for row in self._order.rows(held_out):
            if row.model_version != version:
                continue
            tally.take(row, self._count(row, threshold), row.masked_fraction)
            if tally.is_enough:
                break
        if (missing := tally.missing()) is not None:
            return missing
        candidates = [(row, self._ledger.candidates(row.id)) for row in tally.fit]
        return Seeds(
            [with_seeds(row, picks) for row, picks in candidates if picks is not None],
            seeds_from=seeds_by(self._card),
            threshold=threshold,
            parent=version,
        )

    def _count(self, row: MicrographRow, threshold: float) -> int:
        """Return a micrograph's number of picks; its many candidates are read only once."""
        key = (row.id, row.content, row.model_version)
        if key not in self._counts:
            candidates = self._ledger.candidates(row.id)
            self._counts[key] = len(candidates.above(threshold)) if candidates is not None else 0
        return self._counts[key]


class SeedsFromEither:
    """Seeds from the general model or, where it finds too little to learn from, the blob picker.

    In micrographs of very low signal the network alone finds next to nothing (1 pick in 5 single
    frames of EMPIAR-10146), and a session would wait for ever. The graph of the general model
    leaves such a micrograph to the blob picker (``core.imaging.joint_detector``), but not one in
    which the network sees a little more than its decoys. The blob picker's many candidates, of
    which a third are particles, are enough for the trainer to make a template from.

    Parameters
    ----------
    general, blob
        Sources of their seeds.
    """

    def __init__(self, general: SeedSource, blob: SeedSource) -> None:
        self._general = general
        self._blob = blob

    def collect(self, held_out: Collection[Path]) -> Seeds | WaitReason:
        """Return seeds of the first of both that has enough, or the reason to wait."""
        found = self._general.collect(held_out)
        if isinstance(found, WaitReason) and found.kind in TOO_LITTLE:
            return self._blob.collect(held_out)
        return found
