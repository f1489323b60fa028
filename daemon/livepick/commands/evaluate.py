"""``livepick evaluate``: compare picks with the true positions."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from livepick.commands.coordinates_comparison import Evaluation, compare
from livepick.core.evaluation.matching import Figures
from livepick.core.evaluation.orientation import FlipY

__all__ = ["evaluate"]

NARROW = 84
"""Width of the table without the names, in characters."""

ANGSTROM_FIGURES = ("localisation_mean_px", "localisation_median_px")


def evaluate(
    picks: Annotated[
        Path,
        typer.Argument(
            help="Coordinates file in a format that livepick writes, a folder of them, or RELION's"
            " list autopick.star."
        ),
    ],
    truth: Annotated[Path, typer.Argument(help="True positions, in the same form.")],
    *,
    diameter_angstrom: Annotated[
        float | None,
        typer.Option(min=1, help="Diameter; a hit is at most a quarter of it away."),
    ] = None,
    pixel_size: Annotated[
        float | None, typer.Option(min=0.1, max=20, help="Angstrom per pixel of the micrographs.")
    ] = None,
    radius_angstrom: Annotated[
        float | None,
        typer.Option(min=0.1, help="Maximum distance of a hit."),
    ] = None,
    radius_px: Annotated[
        float | None,
        typer.Option(min=0.1, help="Maximum distance in pixels."),
    ] = None,
    edge_px: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Minimum distance of picks from the edge (particle.edge_fraction times the"
            " diameter). True positions closer to the edge, or within the radius of a hit of that"
            " limit, are not counted. Needs --size-px.",
        ),
    ] = None,
    size_px: Annotated[
        tuple[int, int] | None,
        typer.Option(
            metavar="WIDTH HEIGHT",
            help="Width and height of all micrographs. With it, files with more than one position"
            " in twenty outside are refused.",
        ),
    ] = None,
    flip_y: Annotated[
        FlipY,
        typer.Option(
            help="Direction of y in the true positions: no (as in the picks), yes (turned over, as"
            " in programs that turn a TIFF over), or auto (whichever agrees better). Needs"
            " --size-px, except for cs files."
        ),
    ] = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of tables.")
    ] = False,
) -> None:
    """Compare picks with the true positions.

    Micrographs are matched by path and, failing that, by name. Picks and true positions are matched
    one to one, the best pick first, within half the particle's radius by default. If a micrograph
    has no picks file, all its particles count as missed. Picks without true positions are listed
    and not scored. livepick leaves out particles that are cut by the edge (particle.edge_fraction);
    with --edge-px and --size-px they are not counted. For an average precision over the whole
    curve, give all candidates (picking.threshold: 0).
    """
    within = _radius_px(diameter_angstrom, pixel_size, radius_angstrom, radius_px)
    if edge_px is not None and size_px is None:
        raise typer.BadParameter("--edge-px needs --size-px")
    if size_px is not None and min(size_px) < 1:
        raise typer.BadParameter(f"--size-px is {size_px[0]} {size_px[1]}; both must be 1 or more")
    result = compare(
        picks,
        truth,
        radius_px=within,
        pixel_size_angstrom=pixel_size,
        edge_px=edge_px,
        size_px=size_px,
        flip_y=flip_y,
    )
    if as_json:
        typer.echo(json.dumps(_as_json(result), indent=1))
    else:
        _print(result)


def _radius_px(
    diameter_angstrom: float | None,
    pixel_size: float | None,
    radius_angstrom: float | None,
    radius_px: float | None,
) -> float:
    given = [diameter_angstrom, radius_angstrom, radius_px]
    if sum(value is not None for value in given) != 1:
        raise typer.BadParameter(
            "give the maximum distance of a hit by one of --diameter-angstrom,"
            " --radius-angstrom (both with --pixel-size) and --radius-px"
        )
    if radius_px is not None:
        return radius_px
    if pixel_size is None:
        raise typer.BadParameter("a distance in angstrom needs --pixel-size too")
    if radius_angstrom is not None:
        return radius_angstrom / pixel_size
    return (diameter_angstrom or 0) / 4 / pixel_size


def _as_json(result: Evaluation) -> dict[str, Any]:
    return {
        "radius_px": result.radius_px,
        "pixel_size_angstrom": result.pixel_size_angstrom,
        "edge_px": result.edge_px,
        "flipped_y": result.orientation.flipped,
        "orientation": result.orientation.sentence,
        "pooled": _figures_json(result.pooled, result.pixel_size_angstrom),
        "micrographs": {
            row.micrograph: {
                **_figures_json(row.figures, result.pixel_size_angstrom),
                "without_picks": row.without_picks,
            }
            for row in result.rows
        },
        "not_scored": result.not_scored,
    }


def _figures_json(found: Figures, pixel_size_angstrom: float | None) -> dict[str, Any]:
    """Return the figures by name; undefined ones are None, because JSON has no NaN."""
    values = dataclasses.asdict(found)
    for name in ANGSTROM_FIGURES:
        angstrom = name.replace("_px", "_angstrom")
        values[angstrom] = (
            math.nan if pixel_size_angstrom is None else (values[name] * pixel_size_angstrom)
        )
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in values.items()
    }


def _print(result: Evaluation) -> None:
    console = Console()
    if not console.is_terminal:  # a file has no width limit, and names must not be cut
        console.width = NARROW + max(len(row.micrograph) for row in result.rows)
    unit = "px" if result.pixel_size_angstrom is None else "Å"
    scale = result.pixel_size_angstrom or 1.0
    title = f"One-to-one matches within {result.radius_px * scale:.1f} {unit}"
    if result.edge_px is not None:
        title += f", of picks at least {result.edge_px * scale:.1f} {unit} from the edge"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("micrograph", overflow="fold", min_width=10)
    for heading in ("picks", "truths", "AP", "F1", "P", "R", "score", "P@N", unit):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in result.rows:
        name = f"{row.micrograph} (no picks)" if row.without_picks else row.micrograph
        table.add_row(name, *_cells(row.figures, scale))
    table.add_section()
    table.add_row("pooled", *_cells(result.pooled, scale), style="bold")
    console.print(table)
    console.print(
        "AP: average precision; F1, P(recision), R(ecall): at the score of the best F1;"
        " P@N: precision of as many picks as there are truths;"
        f" {unit}: mean distance of the hits",
        highlight=False,
    )
    console.print(f"True positions: {result.orientation.sentence}", highlight=False)
    if result.not_scored:
        names = ", ".join(result.not_scored)
        console.print(f"Not scored, because there are no true positions: {names}", highlight=False)


def _cells(found: Figures, scale: float) -> list[str]:
    ratios = (
        found.average_precision,
        found.best_f1,
        found.precision,
        found.recall,
        found.threshold,
        found.precision_at_count,
    )
    error = found.localisation_mean_px * scale
    return [
        str(found.picks),
        str(found.truths),
        *("-" if math.isnan(value) else f"{value:.3f}" for value in ratios),
        "-" if math.isnan(error) else f"{error:.1f}",
    ]
