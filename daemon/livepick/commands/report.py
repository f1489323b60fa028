"""``livepick report``: write a report of a session as one HTML file."""

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
        typer.Option(
            metavar="FILE", help=f"Path of the report; by default {REPORT_FILE} next to the picks."
        ),
    ] = None,
    pictures: Annotated[
        bool,
        typer.Option(
            help="Draw the twelve best and worst micrographs, which means reading each file."
        ),
    ] = True,
) -> None:
    """Write a report of a session, while its service runs or afterwards.

    The report is one HTML file that needs no network: times, counts, plots, quality, failures,
    models, training runs and settings. The session is not changed. If the config is invalid, the
    settings that were last valid are used.
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
            "Choose another file with --output, in an existing folder that you can write to.",
        ) from error
    typer.echo(f"{place} ({len(html) / 1e6:.1f} MB)")
    if read.fault is not None:
        problem = config_invalid(read.fault)
        raise ConfigError(problem.sentence.rstrip("."), problem.remedy)
