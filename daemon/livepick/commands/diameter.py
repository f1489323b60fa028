"""``livepick diameter``: measure the particle's diameter and contrast, without the service."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any

import typer

from livepick.commands.micrograph_options import PixelSize, TrustOfHeaders
from livepick.config.sections import LARGEST_ANGSTROM, SMALLEST_ANGSTROM, Contrast
from livepick.core.contracts.particle_measurement import (
    DEFAULT_BOUNDS_ANGSTROM,
    ExamplesJob,
    ParticleEvidence,
    ParticleGuess,
    ParticleJob,
    ParticleVerdict,
)
from livepick.errors import MicrographError, ModelError, OutputError
from livepick.host.atomic_files import write_atomically
from livepick.host.processors import usable_processors
from livepick.models.general_model import SHIPPED, read_general_card
from livepick.particle import tasks
from livepick.particle.decide import decide
from livepick.picking import engine

__all__ = ["diameter"]

PICTURED = 3
"""Number of micrographs of which pictures are written."""


def diameter(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES...", help="Micrographs, MRC or TIFF; ten do.")
    ],
    *,
    pixel_size: PixelSize = None,
    trust: TrustOfHeaders = None,
    between: Annotated[
        tuple[float, float],
        typer.Option(metavar="LOW HIGH", help="Smallest and largest diameter, in angstrom."),
    ] = DEFAULT_BOUNDS_ANGSTROM,
    contrast: Annotated[
        Contrast | None,
        typer.Option(help="Contrast of the particles, if it is known; by default it is measured."),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for pictures of particles in circles of the diameter; created if needed.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of text.")
    ] = False,
) -> None:
    """Measure the particle's diameter and contrast in some micrographs.

    The longest diameter is meant, as in particle.diameter_angstrom. If two diameters explain the
    micrographs about equally well, both are printed; look at the pictures, and choose. The exit
    status is 1 if the micrographs do not show particles, or if a file could not be measured.
    """
    if not SMALLEST_ANGSTROM <= between[0] < between[1] <= LARGEST_ANGSTROM:
        raise typer.BadParameter(
            f"--between needs two diameters, {SMALLEST_ANGSTROM:g} to {LARGEST_ANGSTROM:g}, the"
            " smaller one first"
        )
    bundle = _general_model()
    jobs = [
        ParticleJob(
            Path(os.path.abspath(path)),  # noqa: PTH100 - links stay links
            bundle=bundle,
            pixel_size_angstrom=pixel_size,
            trust=trust,
            bounds_angstrom=between,
        )
        for path in files
    ]
    workers = engine.local(min(len(jobs), usable_processors()))
    try:
        measured = _measured(workers, jobs, between, contrast, quiet=as_json)
        evidence = [one.evidence for one in measured if one.evidence is not None]
        verdict = decide(evidence, bounds_angstrom=between, contrast=contrast)
        written = []
        guesses = tuple(one for one in (verdict.best, verdict.second) if one is not None)
        if pictures is not None and guesses:
            written = _draw(workers, measured, guesses, pictures)
    finally:
        workers.stop()
    if as_json:
        typer.echo(json.dumps(_as_json(verdict, measured, written), indent=1))
    else:
        _print(verdict, written, has_model=bundle is not None)
    if verdict.best is None or len(evidence) < len(jobs):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Measured:
    """Result for one micrograph."""

    job: ParticleJob
    evidence: ParticleEvidence | None
    verdict: ParticleVerdict | None
    """Verdict about this micrograph alone."""
    error: str | None = None


def _general_model() -> Path | None:
    """Return the folder of the general model; None if this livepick was built without one."""
    try:
        read_general_card()
    except ModelError:
        if SHIPPED.is_dir():
            raise
        return None
    return SHIPPED


def _measured(
    workers: engine.Engine,
    jobs: Sequence[ParticleJob],
    between: tuple[float, float],
    contrast: Contrast | None,
    *,
    quiet: bool,
) -> list[_Measured]:
    """Measure each micrograph, and print a line for it."""
    futures = [workers.submit(tasks.measure, job) for job in jobs]
    measured = []
    for job, future in zip(jobs, futures, strict=True):
        try:
            evidence = future.result()
        except MicrographError as error:
            one = _Measured(job, None, None, str(error))
        else:
            alone = decide([evidence], bounds_angstrom=between, contrast=contrast)
            one = _Measured(job, evidence, alone)
        measured.append(one)
        if not quiet:
            typer.echo(_line(one), err=one.error is not None)
    return measured


def _line(one: _Measured) -> str:
    name = one.job.path.name
    if one.verdict is None:
        return f"{name}: {one.error}"
    if one.verdict.best is None:
        return f"{name}: no particles seen"
    second = "" if one.verdict.second is None else f", or {one.verdict.second.words}"
    return f"{name}: {one.verdict.best.words}{second}"


def _draw(
    workers: engine.Engine,
    measured: Sequence[_Measured],
    guesses: tuple[ParticleGuess, ...],
    folder: Path,
) -> list[Path]:
    """Write pictures of the micrographs that agree best with the first guess; return the paths."""
    apart = [
        (abs(math.log(one.verdict.best.diameter_angstrom / guesses[0].diameter_angstrom)), one.job)
        for one in measured
        if one.verdict is not None and one.verdict.best is not None
    ]
    apart.sort(key=itemgetter(0))
    jobs = [ExamplesJob(job, guesses) for _, job in apart[:PICTURED]]
    futures = [workers.submit(tasks.example_circles, job) for job in jobs]
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for job, future in zip(jobs, futures, strict=True):
            for guess, picture in zip(guesses, future.result(), strict=True):
                name = f"{job.particle.path.stem}_{guess.diameter_angstrom:.0f}A_{guess.contrast}"
                write_atomically(folder / f"{name}.png", picture)
                written.append(folder / f"{name}.png")
    except OSError as error:
        raise OutputError(
            f"{folder}: pictures cannot be written: {error.strerror}",
            "Give another folder to --pictures.",
        ) from error
    return written


def _print(verdict: ParticleVerdict, written: Sequence[Path], *, has_model: bool) -> None:
    typer.echo()
    if not verdict.micrographs:
        typer.echo("No diameter: no file could be measured.")
    elif verdict.best is None:
        typer.echo(
            f"No diameter: {verdict.sentence}.\n"
            "  Check the pixel size, and give micrographs with more particles or more defocus; or"
            " measure a particle by hand."
        )
    elif verdict.second is not None:
        typer.echo(
            f"Is it {verdict.sentence}.\n"
            "  Choose by the pictures that --pictures DIR writes, or give a range with --between."
        )
    else:
        word = "Diameter" if verdict.is_settled else "Best guess"
        typer.echo(f"{word}: {verdict.sentence}")
    for path in written:
        typer.echo(f"  {path}")
    if not has_model:
        typer.echo("  (There is no general model: measured with discs alone.)")


def _as_json(
    verdict: ParticleVerdict, measured: Sequence[_Measured], written: Sequence[Path]
) -> dict[str, Any]:
    return {
        **_guess_json(verdict.best),
        "second": None if verdict.second is None else _guess_json(verdict.second),
        "confidence": verdict.confidence,
        "is_settled": verdict.is_settled,
        "micrographs": [
            {
                "path": str(one.job.path),
                **_guess_json(None if one.verdict is None else one.verdict.best),
                "error": one.error,
            }
            for one in measured
        ],
        "pictures": [str(path) for path in written],
        "figures": [list(pair) for pair in verdict.figures],
    }


def _guess_json(guess: ParticleGuess | None) -> dict[str, Any]:
    return {
        "diameter_angstrom": None if guess is None else round(guess.diameter_angstrom, 1),
        "contrast": None if guess is None else guess.contrast,
    }
