"""Comparison of coordinates files with the true positions, for ``livepick evaluate``."""

from dataclasses import dataclass
from pathlib import Path

from livepick.core.evaluation.matching import Figures, Matches, figures, match
from livepick.core.evaluation.orientation import (
    Compared,
    FlipY,
    Orientation,
    choose_orientation,
    turned_over,
)
from livepick.core.formats.coordinates import read_all_positions
from livepick.core.formats.name_matching import match_names, short_names
from livepick.core.formats.positions import Positions
from livepick.core.imaging.pick_area import PickArea
from livepick.core.imaging.picks import Picks
from livepick.errors import CoordinatesError
from livepick.retraining.positions_outside import FEW, MOST_OUTSIDE, Placed, inside, likely_cause

__all__ = ["Evaluation", "Row", "compare"]


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of one micrograph."""

    micrograph: str
    matches: Matches
    figures: Figures
    without_picks: bool
    """True if there are true positions but no picks file: all particles count as missed."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Result of ``compare``."""

    rows: list[Row]
    pooled: Figures
    not_scored: list[str]
    """Micrographs with picks but without true positions."""

    radius_px: float
    pixel_size_angstrom: float | None
    edge_px: float | None
    """Minimum distance of picks from the edge of the micrograph; None: all particles count."""
    orientation: Orientation
    """Orientation of the true positions."""


def compare(
    picks: Path,
    truth: Path,
    *,
    radius_px: float,
    pixel_size_angstrom: float | None = None,
    edge_px: float | None = None,
    size_px: tuple[int, int] | None = None,
    flip_y: FlipY = "auto",
) -> Evaluation:
    """Compare coordinates files, or folders of them, matched by the micrograph's path and name.

    Two single files of one micrograph each are compared whatever their names are.

    Parameters
    ----------
    picks, truth
        Files or folders.
    radius_px
        Maximum distance of a hit from its true position.
    pixel_size_angstrom
        Pixel size of the micrographs, if it is known.
    edge_px, size_px
        Minimum distance of picks from the edge, and width and height of the micrographs. True
        positions closer to the edge count neither way (``core.evaluation.matching``). The edge
        needs the size.
    flip_y
        Orientation of the true positions, compared with that of the picks. They are turned over
        only if the height of the micrographs is known, from ``size_px`` or from the file.

    Raises
    ------
    CoordinatesError
        A folder or a file cannot be read, several picks files are for one micrograph, no name is
        in both, too many positions are outside the micrographs, or ``flip_y`` is ``yes`` and the
        height is unknown.
    """
    picked, known = read_all_positions(picks), read_all_positions(truth)
    pairs = _pairs(picks, truth, picked, known)
    shape_px = None if size_px is None else (size_px[1], size_px[0])

    def xy(positions: Positions) -> Picks:
        return positions.picks(pixel_size_angstrom=pixel_size_angstrom, shape_px=shape_px)

    truths = {name: xy(positions) for name, positions in known.items()}
    found = {name: xy(picked[pairs[name]]) if name in pairs else Picks.empty() for name in known}
    shapes = {name: shape_px or positions.shape_px for name, positions in known.items()}
    _refuse_other_images(picks, found, shapes)
    _refuse_other_images(truth, truths, shapes)
    heights = {name: shape[0] for name, shape in shapes.items() if shape is not None}
    orientation = _orientation(found, truths, heights, radius_px=radius_px, flip_y=flip_y)
    if orientation.flipped:
        truths = {name: turned_over(truths[name], heights[name]) for name in known}
    area = None
    if edge_px is not None and shape_px is not None:
        area = PickArea.of_image(shape_px, edge_px=edge_px)
    rows = []
    short = short_names([*known, *(set(picked) - set(pairs.values()))])
    for name in sorted(known):
        matches = match(found[name], truths[name], radius_px=radius_px, area=area)
        rows.append(Row(short[name], matches, figures([matches]), name not in pairs))
    return Evaluation(
        rows=rows,
        pooled=figures([row.matches for row in rows]),
        not_scored=sorted(short[name] for name in set(picked) - set(pairs.values())),
        radius_px=radius_px,
        pixel_size_angstrom=pixel_size_angstrom,
        edge_px=edge_px,
        orientation=orientation,
    )


def _pairs(
    picks: Path, truth: Path, picked: dict[str, Positions], known: dict[str, Positions]
) -> dict[str, str]:
    """Return the name in the picks of each micrograph that is in both."""
    if picks.is_file() and truth.is_file() and len(picked) == len(known) == 1:
        return dict(zip(known, picked, strict=True))
    names = match_names(picked, known)
    for name, several in names.ambiguous.items():
        raise CoordinatesError(
            f"{' and '.join(several)} in {picks} are both for the micrograph {name} in {truth}",
            "Keep one of them, or name a folder that contains only one.",
        )
    if picked and known and not names.pairs:
        theirs, ours = (sorted(short_names(one).values())[0] for one in (picked, known))
        raise CoordinatesError(
            f"{picks} and {truth} have no micrograph in common: the first has, for example,"
            f" {theirs}, and the second {ours}",
            "Name coordinates of the same micrographs, under names that fit one micrograph only.",
        )
    return names.pairs


def _refuse_other_images(
    place: Path, positions: dict[str, Picks], shapes: dict[str, tuple[int, int] | None]
) -> None:
    """Raise CoordinatesError if too many positions are outside micrographs of a known shape."""
    placed = [
        Placed(here.x_px, here.y_px, shape)
        for name, here in positions.items()
        if (shape := shapes[name]) is not None
    ]
    total = sum(len(one.x_px) for one in placed)
    within = sum(int(inside(one.x_px, one.y_px, one.shape_px).sum()) for one in placed)
    if total - within > max(FEW, MOST_OUTSIDE * total):
        raise CoordinatesError(
            f"{total - within} of {total} positions in {place} are outside the micrographs",
            likely_cause(placed),
        )


def _orientation(
    found: dict[str, Picks],
    truths: dict[str, Picks],
    heights: dict[str, int],
    *,
    radius_px: float,
    flip_y: FlipY,
) -> Orientation:
    if heights.keys() < truths.keys():
        if flip_y == "yes":
            raise CoordinatesError(
                "The true positions cannot be turned over, because the height of the micrographs is"
                " unknown",
                "Give --size-px WIDTH HEIGHT.",
            )
        return Orientation(flipped=False, sentence="y is as given")
    compared = [Compared(truths[name], found[name], heights[name], radius_px) for name in truths]
    return choose_orientation(compared, flip_y)
