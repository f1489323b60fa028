"""View of one micrograph: its picks as a drawing, and the effect of another threshold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from livepick.core.imaging.picks import Picks
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import MicrographRow
from livepick.monitoring.quality_figures import (
    PICKS_FIGURES,
    FigureText,
    figures_of,
    reasons_of,
)

__all__ = ["STEPS", "Tile", "candidates_json", "path_of", "ring_px", "tile_of"]

LEAST_RING = 0.012
"""Minimum radius of a ring, as a fraction of the micrograph's width. A smaller ring would not be
recognizable as a ring."""

STEPS = 50
"""Number of steps between thresholds 0 and 1 at which the newest micrographs' picks are counted."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A micrograph with picks, as drawn on the page."""

    row: MicrographRow
    height_px: int
    width_px: int
    ring_px: float
    """Radius of the circle around a pick, in pixels of the micrograph: the particle's radius."""
    path: str
    """Picks as an SVG path with one vertex per pick, in pixels of the micrograph."""
    pictures: str
    """Key for the browser's cache that changes with the content and the settings."""

    @property
    def figures(self) -> tuple[FigureText, ...]:
        """Known figures, including those that other programs have written.

        The figures of the picks are left out, because they are shown separately.
        """
        return tuple(f for f in figures_of(self.row) if f.name not in PICKS_FIGURES)

    @property
    def why(self) -> str:
        """Short reason why the micrograph is not good; empty if it is."""
        reasons = reasons_of(self.row)
        if not reasons:
            return self.row.quality_reason or ""
        more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
        return f"{reasons[0]}{more}"


def tile_of(row: MicrographRow, ledger: LedgerReader, diameter_angstrom: float) -> Tile | None:
    """Return a micrograph as drawn on the page; None without picks."""
    candidates = ledger.candidates(row.id)
    if candidates is None or row.shape_px is None or row.pixel_size_angstrom is None:
        return None
    height_px, width_px = row.shape_px
    picks = candidates.above(row.threshold or 0.0)
    return Tile(
        row=row,
        height_px=height_px,
        width_px=width_px,
        ring_px=ring_px(diameter_angstrom, row.pixel_size_angstrom, width_px),
        path=path_of(np.column_stack([picks.x_px, picks.y_px])),
        pictures=f"{row.content}-{diameter_angstrom:g}",
    )


def ring_px(diameter_angstrom: float, pixel_size_angstrom: float, width_px: int) -> float:
    """Return the radius of the circle around a pick, in pixels of the micrograph."""
    return round(max(diameter_angstrom / 2 / pixel_size_angstrom, LEAST_RING * width_px), 1)


def path_of(positions: ArrayLike) -> str:
    """Return an SVG path with one vertex per position, ``(x, y)``; empty without any.

    Positions are rounded to pixels: finer than a screen shows.
    """
    xy = np.round(np.asarray(positions, dtype=float).reshape(-1, 2)).astype(int)
    return "M" + " ".join(f"{x} {y}" for x, y in xy.tolist()) if len(xy) else ""


def candidates_json(
    tile: Tile, ledger: LedgerReader, newest: Sequence[MicrographRow]
) -> dict[str, object]:
    """Return the data of the full view: all candidates, and the newest micrographs' pick counts.

    Parameters
    ----------
    tile
        The micrograph.
    ledger
        Ledger that holds its candidates.
    newest
        The newest micrographs. Only those picked by the same model count.
    """
    candidates = ledger.candidates(tile.row.id) or Picks.from_bytes(b"")
    alike = [row for row in newest if row.model_version == tile.row.model_version]
    scores = [p.score for row in alike if (p := ledger.candidates(row.id)) is not None]
    together = np.sort(np.concatenate(scores)) if scores else np.empty(0, dtype=np.float32)
    thresholds = np.arange(STEPS + 1, dtype=np.float32) / STEPS
    counts = len(together) - np.searchsorted(together, thresholds, side="left")
    table = np.column_stack([candidates.x_px, candidates.y_px, candidates.score]).astype(float)
    return {
        "threshold": tile.row.threshold,
        "ring_px": tile.ring_px,
        "candidates": [[round(x, 1), round(y, 1), round(s, 4)] for x, y, s in table.tolist()],
        "newest": {
            "micrographs": len(scores),
            "picks": [round(count / max(len(scores), 1), 1) for count in counts.tolist()],
        },
    }
