"""Positions that a coordinates file gives for one micrograph, before the micrograph is known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from livepick.core.imaging.picks import Picks
from livepick.errors import CoordinatesError

__all__ = ["Positions", "finite_numbers"]

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Positions:
    """Centres in one micrograph, in the order of the file.

    They follow the convention of ``core.imaging.picks``: pixels of the micrograph, the centre of
    the first pixel at 0, ``y`` in the direction of the rows of the file.
    """

    x_px: Vector
    y_px: Vector
    score: Vector
    """1 for each position where the file has no scores."""

    origin_xy_angstrom: NDArray[np.float64] | None = None
    """Shift, (N, 2), by which a refinement moved the particle's image: its centre is at the
    coordinate minus this (RELION's ``rlnOriginXAngst``)."""

    pixel_size_angstrom: float | None = None
    """Pixel size of the micrograph, if given in the file."""

    shape_px: tuple[int, int] | None = None
    """Height and width of the micrograph, if given in the file."""

    least_score: float = -np.inf
    """Lowest score at which the program that wrote the file counts a position as a particle."""

    def __len__(self) -> int:
        return len(self.x_px)

    def picks(
        self,
        *,
        pixel_size_angstrom: float | None = None,
        shape_px: tuple[int, int] | None = None,
    ) -> Picks:
        """Return picks, best first, at the refined centres where they are known.

        Parameters
        ----------
        pixel_size_angstrom
            Pixel size of the micrograph at hand; None: the one given in the file. Without either,
            centres stay where they were picked.
        shape_px
            Height and width of the micrograph at hand. Positions in a micrograph of another size,
            such as a binned one, are scaled to it.
        """
        x_px, y_px = self.x_px, self.y_px
        if self.shape_px is not None and shape_px is not None:
            x_px = x_px * (shape_px[1] / self.shape_px[1])
            y_px = y_px * (shape_px[0] / self.shape_px[0])
        size_angstrom = pixel_size_angstrom or self.pixel_size_angstrom
        if self.origin_xy_angstrom is not None and size_angstrom is not None:
            x_px = x_px - self.origin_xy_angstrom[:, 0] / size_angstrom
            y_px = y_px - self.origin_xy_angstrom[:, 1] / size_angstrom
        return Picks.sorted(*(a.astype(np.float32) for a in (x_px, y_px, self.score)))


def finite_numbers(place: str, rows: list[list[str]], names: list[str]) -> NDArray[np.float64]:
    """Return rows of text as an array of numbers, (rows, columns).

    Parameters
    ----------
    place
        Name of the file, for the error.
    rows
        The texts of only the wanted columns.
    names
        Names of the columns, for the error.

    Raises
    ------
    CoordinatesError
        A value is not a finite number.
    """
    try:
        numbers = np.array(rows, dtype=np.float64).reshape(len(rows), len(names))
    except ValueError:
        numbers = np.full((len(rows), len(names)), np.nan)
        for i, row in enumerate(rows):
            try:
                numbers[i] = [float(word) for word in row]
            except ValueError as error:
                raise CoordinatesError(
                    f"{place} row {i + 1} is {' '.join(row)!r}: {error}",
                    f"Each row needs a number for each of {', '.join(names)}.",
                ) from error
    if not np.isfinite(numbers).all():
        bad = int(np.flatnonzero(~np.isfinite(numbers).all(axis=1))[0])
        raise CoordinatesError(
            f"{place} row {bad + 1} holds {' '.join(rows[bad])}",
            "Coordinates and scores must be finite numbers.",
        )
    return numbers
