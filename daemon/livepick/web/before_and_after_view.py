"""View of what a new model changes: figures, and micrographs with the picks of both models."""

from dataclasses import dataclass
from pathlib import Path

from livepick.config.schema import Config
from livepick.core.contracts.before_and_after import (
    BeforeAndAfter,
    ModelPicks,
    PicksExample,
)
from livepick.ledger.page_queries import PageQueries
from livepick.web.micrograph_view import path_of, ring_px

__all__ = ["BeforeAndAfterView", "DrawnExample", "view_before_and_after"]


@dataclass(frozen=True, slots=True)
class DrawnExample:
    """A micrograph with the picks of both models, as SVG paths with one vertex for each pick."""

    id: int
    """Number in the ledger."""
    name: str
    width_px: int
    height_px: int
    ring_px: float
    """Radius of a circle, in pixels of the micrograph."""
    pictures: str
    """Key for the browser's cache."""
    both: str
    """Picks that both models have."""
    candidate_only: str
    current_only: str
    shared: int
    """Number of picks that both have."""
    gained: int
    """Number of picks that only the new model has."""
    lost: int
    """Number of picks that only the model before has."""


@dataclass(frozen=True, slots=True)
class BeforeAndAfterView:
    """What a new model changes."""

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
    if example.version is not None and example.version != row.version:
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
        both=path_of(example.both),
        candidate_only=path_of(example.candidate_only),
        current_only=path_of(example.current_only),
        shared=len(example.both),
        gained=len(example.candidate_only),
        lost=len(example.current_only),
    )
