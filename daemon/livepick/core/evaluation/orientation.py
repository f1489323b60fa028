"""The orientation of given positions: as the rows of the file are stored, or turned over.

Programs that turn the rows of a micrograph over when they read it count ``y`` from the other end.
A coordinates file does not say so. The orientation is chosen by agreement with our own picks of the
same micrographs: about all of the positions agree in the right one, and chance alone in the other.

A position agrees if one of our picks is within a quarter of the particle's diameter, as in
``livepick evaluate``. Within half of it, chance makes too many agree in a crowd: on single frames
of EMPIAR-10146 the counts are 809 and 692, within a quarter 432 and 171, of 1644 positions.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from livepick.core.imaging.picks import Picks

__all__ = ["Compared", "FlipY", "Orientation", "choose_orientation", "turned_over"]

FlipY = Literal["auto", "yes", "no"]
"""``auto``: by agreement with our own picks; ``yes``: turned over; ``no``: as given."""

LEAST_POSITIONS = 10
"""With fewer positions than this, nothing can be said about the orientation."""

LEAST_SHARE = 0.1
LEAST_SIGMAS = 3.0
"""One orientation is better if it has more agreeing positions, by more than this share of all
positions and by more than this many standard deviations of a count."""

LEAST_AGREEING = 0.2
"""If less than this share of the positions agrees in both orientations together, something else
than the orientation is wrong, such as the binning."""

CHUNK = 1024
"""Number of positions that are compared at once, to limit the memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Given positions in a micrograph, beside our own picks."""

    given: Picks
    own: Picks
    height_px: int
    radius_px: float
    """A position agrees if one of our picks is within this distance."""


@dataclass(frozen=True, slots=True)
class Orientation:
    """Orientation of the given positions."""

    flipped: bool
    """True if the positions are to be turned over."""

    sentence: str
    """The choice and its reason, for the log and the report."""


def turned_over(picks: Picks, height_px: int) -> Picks:
    """Return picks with ``y`` counted from the last row of an image of this height."""
    return Picks(picks.x_px, height_px - 1 - picks.y_px, picks.score)


def choose_orientation(micrographs: Iterable[Compared], flip_y: FlipY) -> Orientation:
    """Return the orientation of given positions.

    Parameters
    ----------
    micrographs
        The positions of one person or program, in all micrographs.
    flip_y
        ``auto``: chosen by agreement. If both orientations agree about as well, or there are too
        few positions, they stay as given.
    """
    if flip_y != "auto":
        chosen = "turned over" if flip_y == "yes" else "as given"
        return Orientation(flipped=flip_y == "yes", sentence=f"y is {chosen} (flip_y: {flip_y})")
    total = upright = turned = 0
    for one in micrographs:
        if len(one.own):
            total += len(one.given)
            upright += _agreeing(one.given, one)
            turned += _agreeing(turned_over(one.given, one.height_px), one)
    if total < LEAST_POSITIONS:
        few = f"y is as given: {total} positions are too few to compare with livepick's picks"
        return Orientation(flipped=False, sentence=few)
    clear = max(LEAST_SHARE * total, LEAST_SIGMAS * math.sqrt(upright + turned))
    flipped = turned - upright > clear
    counts = (
        f"{upright} of {total} positions agree with livepick's picks as given, and {turned} if y"
        " is turned over"
    )
    if flipped or upright - turned > clear:
        chosen = "turned over" if flipped else "as given"
        return Orientation(flipped=flipped, sentence=f"y is {chosen}: {counts}")
    unclear = f"y is as given, but may be the wrong way round: {counts}; flip_y decides it"
    if upright + turned < LEAST_AGREEING * total:
        unclear += ". So few agree that the positions may be in binned images, or in others"
    return Orientation(flipped=False, sentence=unclear)


def _agreeing(given: Picks, one: Compared) -> int:
    """Return the number of positions that have one of our picks within the radius."""
    own_x, own_y = one.own.x_px[:, None], one.own.y_px[:, None]
    count = 0
    for start in range(0, len(given), CHUNK):
        x_px, y_px = given.x_px[start : start + CHUNK], given.y_px[start : start + CHUNK]
        nearest_px = np.hypot(own_x - x_px, own_y - y_px).min(axis=0)
        count += int((nearest_px <= one.radius_px).sum())
    return count
