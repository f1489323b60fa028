"""``livepick classes``: make class averages of the newest picks now.

The ledger is only read, and the work is done in a temporary folder, so the command works with or
without the service, and for a user who may not write to the state folder. The service's own class
averages stay as they are.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from livepick.classes.class_order import make_order
from livepick.classes.session_classes import COMMAND
from livepick.commands.session_option import SessionOption, named_config
from livepick.config.last_known_good import read_settings
from livepick.config.schema import Config
from livepick.core.contracts.class_averages import (
    CLASSES,
    LEAST_PARTICLES,
    PICTURE,
    RESULT,
    ClassesOrder,
    ClassesResult,
)
from livepick.errors import LedgerError, OutputError, TrainerError
from livepick.host.atomic_files import write_atomically
from livepick.host.foreign_files import open_regular
from livepick.host.processors import usable_processors
from livepick.host.trainer_packages import missing_packages
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.reader import LedgerReader
from livepick.ledger.session_config import session_config
from livepick.ledger.session_rows import ClassAveragesRow
from livepick.monitoring.class_status import (
    ClassesStatus,
    classes_sentence,
    noise_sentence,
    view_hint,
)
from livepick.retraining.trainer_process import TrainerProcess, last_log_lines

__all__ = ["PICTURE_FILE", "classes"]

PICTURE_FILE = "class_averages.png"
"""Name of the picture in the current folder, unless another path is given."""

MARK = b"livepick class averages"
"""Text in every such picture."""

MARK_BYTES = 4096
"""Bytes at the beginning of a picture that have the text."""

MOST_THREADS = 2

POLL_SECONDS = 0.2


def classes(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration file.")],
    *,
    session: SessionOption = None,
    output: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Path of the picture."),
    ] = Path(PICTURE_FILE),
) -> None:
    """Make 2D class averages of the newest picks of a session now, as a PNG picture.

    This takes about half a minute of a processor core, with low priority. It works while the
    service runs, and afterwards; the session is not changed. If the config is invalid, the settings
    that were last valid are used.
    """
    settings = session_config(read_settings(named_config(config, session)).config)
    _refuse_other_file(output)
    if missing := missing_packages():
        raise TrainerError(
            f"class averages need {', '.join(missing)}, which is not installed",
            "Install the trainer: pip install 'livepick[trainer]'.",
        )
    with tempfile.TemporaryDirectory(prefix="livepick-") as temporary:
        folder = Path(temporary) / CLASSES / "now"
        folder.mkdir(parents=True)
        order = _order(settings)
        order.write(folder)
        typer.echo(f"{order.particles:,} picks of {len(order.micrographs)} micrographs", err=True)
        result = _make(folder)
        _write(output, (folder / RESULT / PICTURE).read_bytes())
    row = ClassAveragesRow.of(0, order, result)
    for sentence in (classes_sentence(ClassesStatus(row)), noise_sentence(row), view_hint(row)):
        if sentence:
            typer.echo(sentence)
    for one in result.left_out:
        typer.echo(f"left out: {one}")
    typer.echo(output)


def _order(config: Config) -> ClassesOrder:
    """Return the order for the newest picks. Raises LedgerError or TrainerError."""
    path = config.state.directory / LEDGER
    if not path.is_file():
        raise LedgerError(f"there is no ledger {path}", "Start livepick run on this config.")
    threads = min(MOST_THREADS, usable_processors())
    with Database.read_only(path) as database:
        order = make_order(config, LedgerReader(database), threads=threads)
    if order is None or order.particles < LEAST_PARTICLES:
        count = 0 if order is None else order.particles
        raise TrainerError(
            f"the newest micrographs have {count} picks, and class averages need {LEAST_PARTICLES}",
            "Wait for more micrographs.",
        )
    return order


def _make(folder: Path) -> ClassesResult:
    """Run the program on a folder, with low priority. Raises TrainerError."""
    process = TrainerProcess.start_or_adopt(folder, COMMAND, threads=MOST_THREADS)
    try:
        while (ended := process.poll()) is None:
            time.sleep(POLL_SECONDS)
    finally:
        process.end()
    if ended.exit_status != 0:
        what, remedy = ([""] * 2 + last_log_lines(folder, 2, most_bytes=4096))[-2:]
        raise TrainerError(what or f"the program ended with {ended.exit_status}", remedy)
    return ClassesResult.read(folder)


def _refuse_other_file(place: Path) -> None:
    """Raise OutputError if a file is there that is not such a picture."""
    if not os.path.lexists(place):
        return
    try:
        with open_regular(place) as file:
            if MARK in file.read(MARK_BYTES):
                return
    except OSError:
        pass
    raise OutputError(
        f"{place} exists, and is not a picture of class averages by livepick, so it stays as it is",
        "Choose another file with --output, or delete that one.",
    )


def _write(place: Path, picture: bytes) -> None:
    try:
        write_atomically(place, picture)
    except OSError as error:
        raise OutputError(
            f"{place} cannot be written: {error.strerror}",
            "Choose another file with --output, in an existing folder that you can write to.",
        ) from error
