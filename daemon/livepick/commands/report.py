"""``livepick report``: write a session as one HTML file, to store next to its data."""

from pathlib import Path
from typing import Annotated

import typer

from livepick.config.last_known_good import read_settings
from livepick.errors import ConfigError, OutputError
from livepick.host.atomic_files import write_atomically
from livepick.monitoring.problem import config_invalid
from livepick.web.session_report import collect, to_html

__all__ = ["REPORT_FILE", "report"]

REPORT_FILE = "session_report.html"
"""Name of the report in the output folder, unless another path is given."""


def report(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration file.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"Where it goes; else {REPORT_FILE} beside the picks."),
    ] = None,
    pictures: Annotated[
        bool,
        typer.Option(
            help="Draw the best and the worst micrographs; each of the twelve is read whole."
        ),
    ] = True,
) -> None:
    """Write a report of a session, while the service runs or after.

    One HTML file with all that it shows inside, to be read without a network: times, counts,
    plots, quality, failures, models, trainings and settings. The session is left as it is.
    If the config has a fault, it is of the settings that were last in force.
    """
    read = read_settings(config)
    html = to_html(collect(read.config, read.text, pictures=pictures))
    place = read.config.output.directory / REPORT_FILE if output is None else output
    try:
        if output is None:
            place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, html)
    except OSError as error:
        raise OutputError(
            f"{place} cannot be written: {error.strerror}",
            "Name another file with --output, in a folder that is there and takes files.",
        ) from error
    typer.echo(f"{place} ({len(html) / 1e6:.1f} MB)")
    if read.fault is not None:
        problem = config_invalid(read.fault)
        raise ConfigError(problem.sentence.rstrip("."), problem.remedy)
