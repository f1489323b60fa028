"""What the page shows of one micrograph: its picks, drawn, and what another threshold would do."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from livepick.core.imaging.picks import Picks
from livepick.ledger.rows import MicrographRow
from livepick.ledger.writer import ReadLedger
from livepick.monitoring.quality_figures import (
    PICKS_FIGURES,
    FigureText,
    figures_of,
    reasons_of,
)

__all__ = ["STEPS", "Tile", "candidates_json", "tile_of"]

LEAST_RING = 0.012
"""Radius of a ring as a fraction of the micrograph's width: smaller ones would be no rings."""

STEPS = 50
"""Thresholds from 0 to 1 at which the picks of the newest micrographs are counted."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A micrograph with picks, as it is drawn."""

    row: MicrographRow
    height_px: int
    width_px: int
    ring_px: float
    """Radius of the circle around a pick: that of the particle, in pixels of the micrograph."""
    path: str
    """The picks as an SVG path, one vertex each, in pixels of the micrograph."""
    pictures: str
    """What tells pictures of other contents and settings apart, for the browser's cache."""

    @property
    def figures(self) -> tuple[FigureText, ...]:
        """What is known of it; other programs' figures only where they have written some.

        The picks are told beside them.
        """
        return tuple(f for f in figures_of(self.row) if f.name not in PICKS_FIGURES)

    @property
    def why(self) -> str:
        """Why it is not good, as short as it goes; empty if it is."""
        reasons = reasons_of(self.row)
        if not reasons:
            return self.row.quality_reason or ""
        more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
        return f"{reasons[0]}{more}"


def tile_of(row: MicrographRow, ledger: ReadLedger, diameter_angstrom: float) -> Tile | None:
    """Return a micrograph as it is drawn; None without picks."""
    candidates = ledger.candidates(row.id)
    if candidates is None or row.shape_px is None or row.pixel_size_angstrom is None:
        return None
    height_px, width_px = row.shape_px
    radius_px = diameter_angstrom / 2 / row.pixel_size_angstrom
    return Tile(
        row=row,
        height_px=height_px,
        width_px=width_px,
        ring_px=round(max(radius_px, LEAST_RING * width_px), 1),
        path=_path(candidates.above(row.threshold or 0.0)),
        pictures=f"{row.content}-{diameter_angstrom:g}",
    )


def _path(picks: Picks) -> str:
    """Return one vertex a pick; a whole pixel is a fraction of what a screen shows."""
    xy = np.round(np.column_stack([picks.x_px, picks.y_px])).astype(int)
    return "M" + " ".join(f"{x} {y}" for x, y in xy.tolist()) if len(xy) else ""


def candidates_json(
    tile: Tile, ledger: ReadLedger, newest: Sequence[MicrographRow]
) -> dict[str, object]:
    """Return what the full view draws: all candidates, and the newest micrographs' counts.

    Parameters
    ----------
    tile
        The micrograph.
    ledger
        Where its candidates are.
    newest
        The newest micrographs, of which those count that the same model picked.
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
