"""``livepick pick``: pick micrographs with a model, in this process, without a service.

One process picks one file after the other, so the time and memory limits of the service's workers
do not apply here: a file system or a model that hangs is ended by Ctrl-C.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Protocol

import typer

from livepick.config.sections import Device, Trust
from livepick.core.contracts.job import Job
from livepick.errors import MicrographError, OccupiedError
from livepick.ledger.output_rows import Visible
from livepick.picking import tasks
from livepick.picking.output_folder import OutputFolder
from livepick.picking.output_owner import Owner, Ownership
from livepick.picking.output_tree import Branches
from livepick.picking.relion_files import RelionFiles

__all__ = ["pick"]


def pick(
    bundle: Annotated[
        Path,
        typer.Argument(metavar="BUNDLE", help="Folder of a model, such as STATE/models/0001."),
    ],
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES...", help="Micrographs, MRC or TIFF.")
    ],
    *,
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the STAR files; created if needed.")
    ],
    pixel_size: Annotated[
        float | None,
        typer.Option(metavar="ANGSTROM", help="Pixel size; by default from the headers."),
    ] = None,
    trust: Annotated[
        Trust | None,
        typer.Option(help="What counts if a header has another pixel size; by default an error."),
    ] = None,
    device: Annotated[
        Device, typer.Option(help="Device to pick on: a GPU is required, preferred, or not used.")
    ] = "prefer-gpu",
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Lowest score of a pick; by default the model's."),
    ] = None,
) -> None:
    """Pick micrographs with a model, and write RELION STAR files.

    The output mirrors the folders of FILES below the one that they have in common. If a file cannot
    be picked, its name and the error are printed, the others are picked, and the exit status is 1.
    """
    paths = [Path(os.path.abspath(path)) for path in files]  # noqa: PTH100 - links stay links
    root = Path(os.path.commonpath([path.parent for path in paths]))
    folder = OutputFolder(output, Ownership(Owner.of_command("livepick pick")))
    folder.begin()
    star = RelionFiles(folder, Branches([root]))
    written: list[Visible] = []
    failed = 0
    with _reporting(len(paths)) as report:
        for path in paths:
            started = time.perf_counter()
            job = Job(path, None, bundle.absolute(), device, pixel_size, threshold, trust=trust)
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
            count = len(result.picks.above(result.threshold))
            seconds = time.perf_counter() - started
            report.line(f"{relative}: {count} particles ({seconds:.1f} s, {result.provider})")
            for note in result.notes:
                report.line(f"{relative}: {note.text}")
    star.write_list(sorted(written, key=lambda entry: entry.relative))
    for obstacle in folder.obstacles:
        typer.echo(f"livepick: {obstacle}", err=True)
    typer.echo(f"{len(written)} of {len(paths)} micrographs picked, coordinates in {output}")
    if failed or folder.obstacles:
        raise typer.Exit(1)


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
