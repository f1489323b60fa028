"""View of what a new model changes: figures, and micrographs with the picks of both models."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from livepick.config.schema import Config
from livepick.core.contracts.before_and_after import BeforeAndAfter, ModelPicks, PicksExample
from livepick.core.contracts.held_out_labels import Position
from livepick.core.formats.file_version import FileVersion
from livepick.ledger.page_queries import PageQueries
from livepick.web.micrograph_view import path_of, ring_px

__all__ = ["BeforeAndAfterView", "DrawnExample", "DrawnPicks", "view_before_and_after"]


@dataclass(frozen=True, slots=True)
class DrawnPicks:
    """Picks of one model, as SVG paths with one vertex for each pick."""

    shared: str
    """Picks near one of the other model."""
    only: str
    """Picks that the other model does not have."""
    count: int
    only_count: int

    @classmethod
    def of(cls, shared: Sequence[Position], only: Sequence[Position]) -> Self:
        """Return picks as they are drawn."""
        return cls(path_of(shared), path_of(only), len(shared) + len(only), len(only))


@dataclass(frozen=True, slots=True)
class DrawnExample:
    """A micrograph with the picks of both models."""

    id: int
    """Number in the ledger."""
    name: str
    width_px: int
    height_px: int
    ring_px: float
    """Radius of a circle, in pixels of the micrograph."""
    pictures: str
    """Key for the browser's cache."""
    before: DrawnPicks
    """Picks of the model before."""
    after: DrawnPicks
    """Picks of the new model."""


@dataclass(frozen=True, slots=True)
class BeforeAndAfterView:
    """Changes by a new model."""

    candidate: ModelPicks
    current: ModelPicks
    micrographs: int
    """Number of held-out micrographs that both models picked."""
    examples: tuple[DrawnExample, ...]
    gone: int
    """Number of examples whose micrograph has been replaced or is not in the ledger any more."""


def view_before_and_after(
    run: Path, config: Config, queries: PageQueries
) -> BeforeAndAfterView | None:
    """Return what the model of a run changes; None if the gate has kept nothing about it."""
    kept = BeforeAndAfter.read(run)
    if kept is None:
        return None
    examples = [_drawn(example, config, queries) for example in kept.examples]
    drawn = tuple(example for example in examples if example is not None)
    return BeforeAndAfterView(
        kept.candidate, kept.current, kept.micrographs, drawn, len(examples) - len(drawn)
    )


def _drawn(example: PicksExample, config: Config, queries: PageQueries) -> DrawnExample | None:
    row = queries.at(example.path)
    if row is None or row.shape_px is None or row.pixel_size_angstrom is None:
        return None
    if not _is_same(example.version, row.version):
        return None
    height_px, width_px = row.shape_px
    diameter_angstrom = config.particle.diameter_angstrom
    return DrawnExample(
        id=row.id,
        name=row.relative.name,
        width_px=width_px,
        height_px=height_px,
        ring_px=ring_px(diameter_angstrom, row.pixel_size_angstrom, width_px),
        pictures=f"{row.content}-{diameter_angstrom:g}",
        before=DrawnPicks.of(example.current_shared, example.current_only),
        after=DrawnPicks.of(example.candidate_shared, example.candidate_only),
    )


def _is_same(picked: FileVersion | None, present: FileVersion) -> bool:
    """Return True if a micrograph still has the content that was picked."""
    return picked is None or picked in (present, dataclasses.replace(present, inode=0))
