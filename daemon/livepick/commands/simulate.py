"""``livepick simulate OUT``."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from livepick.commands.durations import parse_duration
from livepick.simulate.acquisition import Pace, Plan, acquire
from livepick.simulate.delivery import MODES, WriteMode
from livepick.simulate.exposure import Simulated
from livepick.simulate.field import Junk, Session
from livepick.simulate.species import SPECIES

__all__ = ["parse_size", "simulate"]


def parse_size(text: str) -> tuple[int, int]:
    """Return height and width in pixels from ``1024`` (a square) or ``5760x4092`` (width first)."""
    found = re.fullmatch(r"([0-9]+)(?:x([0-9]+))?", text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a size; write it like 1024 or 5760x4092")
    width, height = int(found[1]), int(found[2] or found[1])
    if not (128 <= width <= 16384 and 128 <= height <= 16384):
        raise typer.BadParameter(f"{text!r} is outside 128 to 16384 pixels")
    return height, width


def simulate(
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder to write the micrographs to.")
    ],
    *,
    micrographs: Annotated[
        int, typer.Option(min=0, help="Number of micrographs; 0: until stopped.")
    ] = 30,
    every: Annotated[
        str, typer.Option(help="Time between two micrographs, like 2s or 500ms.")
    ] = "2s",
    write: Annotated[
        str, typer.Option(help=f"Way in which a file is written: {', '.join(MODES)}.")
    ] = ("inplace"),
    write_seconds: Annotated[
        float, typer.Option(min=0, help="Duration of writing one file.")
    ] = 0.3,
    species: Annotated[str, typer.Option(help=f"Molecule: {', '.join(SPECIES)}.")] = (
        "apoferritin"
    ),
    seed: Annotated[
        int, typer.Option(min=0, help="Random seed; the same seed gives the same session.")
    ] = 1,
    first: Annotated[int, typer.Option(min=0, help="Number of the first micrograph.")] = 1,
    size: Annotated[str, typer.Option(help="Size in pixels: 1024, or WIDTHxHEIGHT.")] = "1024",
    pixel_size: Annotated[float, typer.Option(min=0.3, max=10, help="Angstrom per pixel.")] = 2.0,
    particles_per_micrograph: Annotated[
        float | None, typer.Option(min=0, help="Mean number; by default, a third of the area.")
    ] = None,
    snr: Annotated[
        float,
        typer.Option(
            min=0.001, max=10, help="Variance of the particles divided by that of the noise."
        ),
    ] = 0.08,
    defocus: Annotated[
        tuple[float, float], typer.Option(help="Range of the underfocus, in micrometres.")
    ] = (0.8, 2.5),
    clean: Annotated[
        bool,
        typer.Option(
            "--clean", help="Leave out contamination, carbon, aggregates and empty fields."
        ),
    ] = False,
    dead_border: Annotated[
        int, typer.Option(min=0, max=1000, help="Width of a border of repeated rows, in pixels.")
    ] = 0,
    half: Annotated[bool, typer.Option("--float16", help="Write MRC mode 12, like Warp.")] = False,
    truth: Annotated[
        Path | None, typer.Option(help="Folder for the true positions; by default OUT-truth.")
    ] = None,
) -> None:
    """Simulate a microscope: write micrographs with known particles to a folder.

    The true positions of each micrograph are written as a RELION STAR file to a folder next to
    OUT, so that a service does not treat them as part of the acquisition. Ctrl-C or SIGTERM stops
    it cleanly: no half-written file is left.
    """
    if write not in MODES:
        raise typer.BadParameter(f"--write is {write!r}, but must be one of {', '.join(MODES)}")
    if species not in SPECIES:
        raise typer.BadParameter(
            f"--species is {species!r}, but must be one of {', '.join(SPECIES)}"
        )
    shape = parse_size(size)
    if not 0 < defocus[0] <= defocus[1] <= 20:
        raise typer.BadParameter(
            f"--defocus {defocus[0]:g} {defocus[1]:g} is not a range within 20 µm"
        )
    if 4 * dead_border >= min(shape):
        raise typer.BadParameter(f"--dead-border {dead_border} leaves too little of {size} pixels")
    session = Session(
        species=species,
        shape_px=shape,
        pixel_size_angstrom=pixel_size,
        particles_per_micrograph=particles_per_micrograph,
        signal_to_noise=snr,
        defocus_angstrom=(1e4 * defocus[0], 1e4 * defocus[1]),
        junk=Junk.none() if clean else Junk(),
        dead_border_px=dead_border,
        seed=seed,
    )
    mode: WriteMode = next(name for name in MODES if name == write)
    plan = Plan(
        session=session,
        output=output,
        truth=_truth_folder(output, truth),
        micrographs=micrographs or None,
        every_seconds=parse_duration(every),
        write_seconds=write_seconds,
        mode=mode,
        first=first,
        half=half,
    )
    _acquire(plan)


def _truth_folder(output: Path, truth: Path | None) -> Path:
    place = truth if truth is not None else output.parent / f"{output.resolve().name}-truth"
    if place.resolve().is_relative_to(output.resolve()):
        raise typer.BadParameter(
            f"--truth {place} lies inside {output}, where a service would see it;"
            " choose a folder next to it"
        )
    return place


def _acquire(plan: Plan) -> None:
    console = Console()
    started = time.monotonic()
    pace = Pace(plan.every_seconds)
    console.print(
        f"{plan.session.species} at {plan.session.pixel_size_angstrom:g} Å per pixel,"
        f" written {plan.mode}; truth in {plan.truth}",
        highlight=False,
        soft_wrap=True,
    )
    with _stops(pace), _reporter(console, plan.micrographs) as report:
        done = acquire(plan, pace, report)
    wanted = "" if plan.micrographs in {None, done} else f" of {plan.micrographs}"
    console.print(
        f"{done}{wanted} micrographs in {time.monotonic() - started:.0f} s", highlight=False
    )


@contextmanager
def _stops(pace: Pace) -> Iterator[None]:
    """Make Ctrl-C and SIGTERM end the acquisition at its next wait."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        pace.stop()

    before = [(s, signal.signal(s, stop)) for s in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextmanager
def _reporter(console: Console, total: int | None) -> Iterator[Callable[[Path, Simulated], None]]:
    """Show a progress bar on a terminal, and otherwise one plain line per micrograph."""
    if not console.is_terminal:

        def tell(path: Path, simulated: Simulated) -> None:
            console.print(f"{path.name}: {simulated.note}", highlight=False, soft_wrap=True)

        yield tell
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("acquiring", total=total, note="")

        def advance(path: Path, simulated: Simulated) -> None:
            progress.update(task, advance=1, note=f"{path.name}: {simulated.note}")

        yield advance
