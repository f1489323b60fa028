"""Decimation of an image's rows before a Fourier transform that keeps only low frequencies.

Fewer rows are then transformed. Frequencies that decimation would fold onto the kept ones are first
removed by a short filter. All its zeros are put there, at the zeros of a Chebyshev polynomial of
the cosine of the frequency, which is the strongest attenuation for a filter of that length (Dolph
1946, *Proc. IRE* 34, 335). Nothing is asked of the filter elsewhere: the kept frequencies are
divided by its response, which is known, so that they are the same as without decimation.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Decimation"]

STEPS = (8, 4, 2)

LARGEST_KEPT = 0.25
"""Largest kept frequency after decimation, in cycles per row; the filter is short up to here."""

ATTENUATION = 1e-5
"""Largest response where frequencies are folded onto the kept ones."""

ROWS_AT_ONCE = 4
"""Rows of one matrix product. Its matrix is a band, so that more rows would be more zeros."""


@dataclass(frozen=True, slots=True, eq=False)
class Decimation:
    """Filter and step of a decimation."""

    step: int
    """Rows that become one; 1: all rows are kept, and nothing is filtered."""

    zeros: NDArray[np.float64]
    """Cosines of the angular frequencies where the filter has its zeros; each may be twofold."""

    @classmethod
    def of(cls, height: int, kept: float) -> "Decimation":
        """Return the decimation for an image of which only low frequencies are kept.

        Parameters
        ----------
        height
            Number of rows; the step divides it.
        kept
            Highest kept frequency along the columns, in cycles per row.
        """
        for step in STEPS:
            if height % step == 0 and height > 8 * step and kept * step <= LARGEST_KEPT:
                break
        else:
            return cls(1, np.empty(0))
        highest = math.cos(2 * math.pi * (1 / step - kept))  # zeros between -1 and this cosine
        edge = (2 * math.cos(2 * math.pi * kept) + 1 - highest) / (1 + highest)
        count = math.ceil(math.acosh(1 / ATTENUATION) / math.acosh(edge))
        nodes = np.cos(np.pi * (np.arange(count) + 0.5) / count)
        return cls(step, (nodes * (1 + highest) + highest - 1) / 2)

    @property
    def reach(self) -> int:
        """Number of rows before and after a row that the filter uses."""
        return len(self.zeros)

    def response(self, frequency: NDArray[Any]) -> NDArray[np.float64]:
        """Return the response of filter and decimation at frequencies in cycles per row."""
        cosine = np.cos(2 * np.pi * np.asarray(frequency, dtype=np.float64))
        parts = (cosine[..., None] - self.zeros) / (1 - self.zeros)
        return np.asarray(parts.prod(axis=-1)) / self.step

    def decimated(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return filtered rows, one for each ``step`` rows.

        Parameters
        ----------
        rows
            ``[y, x]``, with ``reach`` rows before the first result and after the last.
        """
        if self.step == 1:
            return rows
        taps = np.ones(1)
        for zero in self.zeros:
            taps = np.convolve(taps, np.array([0.5, -zero, 0.5]) / (1 - zero))
        count = (len(rows) - len(taps)) // self.step + 1
        results = np.empty((count, rows.shape[1]), dtype=np.float32)
        band = np.zeros((ROWS_AT_ONCE, len(taps) + self.step * (ROWS_AT_ONCE - 1)), np.float32)
        for number, row in enumerate(band):
            row[self.step * number :][: len(taps)] = taps
        for first in range(0, count, ROWS_AT_ONCE):
            part = rows[self.step * first :][: band.shape[1]]
            some = band[: count - first, : len(part)]
            np.matmul(some, part, out=results[first : first + len(some)])
        return results
