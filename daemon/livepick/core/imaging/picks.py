"""Picks, and the coordinate convention.

A pick is ``(x, y, score)``. ``x`` and ``y`` are in pixels of the *original* micrograph, and the
centre of the first pixel of the file is at (0, 0). ``x`` increases along a row, and ``y`` with the
rows in the order of the file, whichever way a viewer draws them. ``score`` is in [0, 1]. RELION's
coordinates are the same; cryoSPARC's fractions and EMAN's box corners exist only in the writers of
those formats (``livepick.export``).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Picks"]

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Picks:
    """The picks of one micrograph, best first. Three float32 arrays of shape (N,)."""

    x_px: FloatArray
    """Positions along a row of the original micrograph."""

    y_px: FloatArray
    """Positions across the rows of the original micrograph."""

    score: FloatArray
    """Scores, calibrated to [0, 1]; higher is more likely a particle."""

    def __post_init__(self) -> None:
        if not self.x_px.shape == self.y_px.shape == self.score.shape == (len(self.score),):
            shapes = (self.x_px.shape, self.y_px.shape, self.score.shape)
            raise ValueError(f"x, y and score must be three vectors of one length, not {shapes}")

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def empty(cls) -> Self:
        """Return an empty set of picks, which is a valid result."""
        return cls(*(np.zeros(0, dtype=np.float32) for _ in range(3)))

    @classmethod
    def sorted(cls, x_px: FloatArray, y_px: FloatArray, score: FloatArray) -> Self:
        """Return these picks, best first; ties keep their order."""
        order = np.argsort(-score, kind="stable")
        return cls(*(a[order].astype(np.float32) for a in (x_px, y_px, score)))

    def above(self, threshold: float) -> Self:
        """Return the picks with at least this score."""
        return self.where(self.score >= threshold)

    def count_above(self, threshold: float) -> int:
        """Return the number of picks with at least this score."""
        return int(np.count_nonzero(self.score >= threshold))

    def where(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> Self:
        """Return some of the picks, selected by a mask or by indices."""
        return type(self)(self.x_px[keep], self.y_px[keep], self.score[keep])

    def to_bytes(self) -> bytes:
        """Return the picks as an (N, 3) little-endian float32 table, for the ledger."""
        table = np.column_stack([self.x_px, self.y_px, self.score])
        return table.astype("<f4").tobytes()

    @classmethod
    def from_bytes(cls, blob: bytes) -> Self:
        """Return the picks that ``to_bytes`` stored."""
        table = np.frombuffer(blob, dtype="<f4").astype(np.float32).reshape(-1, 3)
        return cls(table[:, 0].copy(), table[:, 1].copy(), table[:, 2].copy())
