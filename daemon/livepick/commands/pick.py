"""``livepick pick``: pick micrographs with a model, in this process, without a service.

One process picks one file after the other, so the time and memory limits of the service's workers
do not apply here: a file system or a model that hangs is ended by Ctrl-C.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Protocol

import typer

from livepick.commands.micrograph_options import PixelSize, TrustOfHeaders
from livepick.config.sections import (
    LARGEST_ANGSTROM,
    SMALLEST_ANGSTROM,
    Contrast,
    Device,
    Particle,
)
from livepick.core.contracts.bundle import ModelCard, read_card
from livepick.core.contracts.job import Job
from livepick.errors import MicrographError, OccupiedError
from livepick.ledger.output_rows import Visible
from livepick.models.blob_picker import publish_blob_picker
from livepick.models.general_model import SHIPPED, publish_general_picker
from livepick.picking import tasks
from livepick.picking.output_folder import OutputFolder
from livepick.picking.output_owner import Owner, Ownership
from livepick.picking.output_tree import Branches
from livepick.picking.relion_files import RelionFiles

__all__ = ["pick"]

FIRST_PICKERS = ("general", "blob")
"""Pickers that need a diameter and no bundle."""

FEW_OCCUPIED = 0.02
"""Share of the free area that picks occupy, below which a micrograph has hardly any."""

FEW_FRACTION = 0.5
"""Share of micrographs with hardly any picks from which the model does not seem to fit."""


def pick(
    model: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE",
            help="Folder of a model, such as STATE/models/0001; or general, the model that ships"
            " with livepick; or blob. These two need --diameter.",
        ),
    ],
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES...", help="Micrographs, MRC or TIFF.")
    ],
    *,
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the STAR files; created if needed.")
    ],
    pixel_size: PixelSize = None,
    trust: TrustOfHeaders = None,
    device: Annotated[
        Device, typer.Option(help="Device to pick on: a GPU is required, preferred, or not used.")
    ] = "prefer-gpu",
    diameter: Annotated[
        float | None,
        typer.Option(
            metavar="ANGSTROM",
            min=SMALLEST_ANGSTROM,
            max=LARGEST_ANGSTROM,
            help="Longest diameter of the particle; by default the one that the model is for.",
        ),
    ] = None,
    contrast: Annotated[
        Contrast | None,
        typer.Option(help="Contrast of the particles; by default the one that the model is for."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Lowest score of a pick; by default the model's."),
    ] = None,
) -> None:
    """Pick micrographs with a model, and write RELION STAR files.

    The output mirrors the folders of FILES below the one that they have in common. If a file cannot
    be picked, its name and the error are printed, the others are picked, and the exit status is 1.

    A network sees every particle at the same size, so a model of one specimen picks another one if
    --diameter says how large it is; livepick diameter measures it. If most micrographs have hardly
    any picks, that is said on standard error.
    """
    if model in FIRST_PICKERS and diameter is None:
        raise typer.BadParameter(
            f"{model} needs --diameter ANGSTROM; livepick diameter FILES... measures it",
            param_hint="BUNDLE",
        )
    paths = [Path(os.path.abspath(path)) for path in files]  # noqa: PTH100 - links stay links
    root = Path(os.path.commonpath([path.parent for path in paths]))
    folder = OutputFolder(output, Ownership(Owner.of_command("livepick pick")))
    folder.begin()
    star = RelionFiles(folder, Branches([root]))
    written: list[Visible] = []
    occupied: list[float] = []
    failed = 0
    with _bundle(model, diameter, contrast) as bundle, _reporting(len(paths)) as report:
        card = read_card(bundle)
        for path in paths:
            started = time.perf_counter()
            job = Job(
                path=path,
                version=None,
                bundle=bundle,
                device=device,
                pixel_size_angstrom=pixel_size,
                threshold=threshold,
                diameter_angstrom=diameter,
                contrast=contrast,
                trust=trust,
            )
            relative = path.relative_to(root)
            try:
                result = tasks.pick(job)
                entry = Visible.of_result(root, relative, result)
                star.write(root, relative, entry.micrograph(result.picks))
            except (MicrographError, OccupiedError) as error:
                failed += 1
                report.line(f"{relative}: {error}", bad=True)
                continue
            written.append(entry)
            if result.quality.occupied_fraction is not None:
                occupied.append(result.quality.occupied_fraction)
            count = len(result.picks.above(result.threshold))
            seconds = time.perf_counter() - started
            report.line(f"{relative}: {count} particles ({seconds:.1f} s, {result.provider})")
            for note in result.notes:
                report.line(f"{relative}: {note.text}")
    star.write_list(sorted(written, key=lambda entry: entry.relative))
    for obstacle in folder.obstacles:
        typer.echo(f"livepick: {obstacle}", err=True)
    typer.echo(f"{len(written)} of {len(paths)} micrographs picked, coordinates in {output}")
    if (doubt := _misfit(occupied, card, diameter, contrast)) is not None:
        typer.echo(f"livepick: {doubt}", err=True)
    if failed or folder.obstacles:
        raise typer.Exit(1)


@contextmanager
def _bundle(model: str, diameter: float | None, contrast: Contrast | None) -> Iterator[Path]:
    """Yield the folder of a model; that of a first picker exists only for the time."""
    if model not in FIRST_PICKERS or diameter is None:
        yield Path(model).absolute()
        return
    particle = Particle(diameter_angstrom=diameter, contrast=contrast or "dark")
    with tempfile.TemporaryDirectory(prefix="livepick-pick-") as folder:
        if model == "general":
            path, _ = publish_general_picker(Path(folder), particle, 0, shipped=SHIPPED)
        else:
            path, _ = publish_blob_picker(Path(folder), particle, 0)
        yield path


def _misfit(
    occupied: Sequence[float], card: ModelCard, diameter: float | None, contrast: Contrast | None
) -> str | None:
    """Return a sentence if the model does not seem to fit the micrographs; None if it does.

    Parameters
    ----------
    occupied
        Share of the free area that picks occupy, for each micrograph.
    card
        Card of the model.
    diameter, contrast
        Particle as the user gave it.
    """
    few = sum(share < FEW_OCCUPIED for share in occupied)
    if not occupied or few < FEW_FRACTION * len(occupied):
        return None
    begin = f"hardly any particles for the area in {few} of {len(occupied)} micrographs"
    sought = f"{contrast or card.contrast} particles of {diameter or card.diameter_angstrom:g} Å"
    if diameter is None:
        return (
            f"{begin}. The model looked for {sought}, as it was made for: if yours are larger or"
            " smaller, repeat it with --diameter ANGSTROM (livepick diameter FILES... measures it),"
            " and with --contrast if they are the brighter or darker ones"
        )
    return (
        f"{begin}. The model looked for {sought}: compare that with what livepick diameter FILES..."
        " measures, try a lower --threshold, or another model"
    )


class _Report(Protocol):
    def line(self, text: str, *, bad: bool = False) -> None:
        """Report the result of one micrograph."""


class _Lines:
    """Report with one line per micrograph, for a log."""

    def line(self, text: str, *, bad: bool = False) -> None:
        typer.echo(text, err=bad)


@contextmanager
def _reporting(total: int) -> Iterator[_Report]:
    if not sys.stderr.isatty():
        yield _Lines()
        return
    # rich is imported only for a terminal.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("picking", total=total)

        class Bar:
            def line(self, text: str, *, bad: bool = False) -> None:
                progress.console.print(Text(text, style="red" if bad else ""))
                progress.advance(task)

        yield Bar()
