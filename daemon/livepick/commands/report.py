"""``livepick report``: write a report of a session as one HTML file."""

import os
from pathlib import Path
from typing import Annotated

import typer

from livepick.commands.session_option import SessionOption, named_config
from livepick.config.last_known_good import read_settings
from livepick.config.schema import Config
from livepick.errors import ConfigError, OutputError
from livepick.host.atomic_files import write_atomically
from livepick.host.foreign_files import open_regular
from livepick.ledger.session_config import session_config
from livepick.ledger.session_end import SessionEnd
from livepick.monitoring.problem import config_invalid
from livepick.picking.output_folder import OutputFolder
from livepick.picking.output_owner import Ownership
from livepick.picking.session_memory import SessionMemory
from livepick.web.session_report import collect, to_html

__all__ = ["REPORT_FILE", "report"]

REPORT_FILE = "session_report.html"
"""Name of the report in the output folder, unless another path is given."""

REPORT_MARK = " · session report · livepick</title>".encode()
"""End of the title of every report."""


def report(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration file.")],
    *,
    session: SessionOption = None,
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
    end: Annotated[
        str | None,
        typer.Option(
            metavar="JSON", hidden=True, help="End of the session that the service now records."
        ),
    ] = None,
) -> None:
    """Write a report of a session, while its service runs or afterwards.

    The report is one HTML file that needs no network: times, counts, plots, quality, failures,
    models, training runs and settings. The session is not changed. If the config is invalid, the
    settings that were last valid are used.
    """
    read = read_settings(named_config(config, session))
    settings = session_config(read.config)
    html = to_html(collect(settings, read.text, pictures=pictures, end=_end(end)))
    if output is None:
        place = _write_beside_picks(settings, html)
    else:
        place = output
        _write(place, html)
    typer.echo(f"{place} ({len(html) / 1e6:.1f} MB)")
    if read.fault is not None:
        problem = config_invalid(read.fault)
        raise ConfigError(problem.sentence.rstrip("."), problem.remedy)


def _end(text: str | None) -> SessionEnd | None:
    try:
        return None if text is None else SessionEnd.of_json(text.encode())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--end") from error


def _write_beside_picks(config: Config, html: bytes) -> Path:
    """Write the report to the output folder. Raises OutputError or OccupiedError."""
    ownership = Ownership.for_check(config.session.name, SessionMemory(config.state.directory))
    folder = OutputFolder(config.output.directory, ownership)
    place = folder.path / REPORT_FILE
    if _is_report(place):  # of a version that kept no record of its files
        folder.adopt(place)
    folder.write(place, html)
    return place


def _write(place: Path, html: bytes) -> None:
    """Write the report to a file that the user has named. Raises OutputError."""
    if os.path.lexists(place) and not _is_report(place):
        raise OutputError(
            f"{place} exists, and is not a session report of livepick, so it stays as it is",
            "Choose another file with --output, or delete that one.",
        )
    try:
        write_atomically(place, html)
    except OSError as error:
        raise OutputError(
            f"{place} cannot be written: {error.strerror}",
            "Choose another file with --output, in an existing folder that you can write to.",
        ) from error


def _is_report(place: Path) -> bool:
    """Return True if a file is a report that livepick wrote."""
    try:
        with open_regular(place) as file:
            return REPORT_MARK in file.read(4096)
    except OSError:
        return False
