"""``livepick end``: end a session by editing its config, or reopen it."""

import getpass
import os
from pathlib import Path
from typing import Annotated

import typer

from livepick.commands.session_option import SessionOption, named_config
from livepick.config.schema import WrittenConfig
from livepick.config.session_end_edit import end_session, reopen_session
from livepick.config.yaml_edit import EditableConfig
from livepick.config.yaml_loader import parse_config
from livepick.ledger.session_end import read_session_end, remove_session_end

__all__ = ["end"]

MOST_NAME = 60
"""Maximum number of characters of a person's name; session.ended_by is limited."""


def end(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration file.")],
    session: Annotated[
        str | None,
        typer.Argument(
            metavar="[SESSION]", help="Name of the session, if CONFIG is that of an instrument."
        ),
    ] = None,
    *,
    named: SessionOption = None,
    undo: Annotated[bool, typer.Option("--undo", help="Reopen the session instead.")] = False,
) -> None:
    """End a session: set session.ended in CONFIG to true.

    A running service picks what has landed, finishes a training in progress, writes the closing
    report, releases its workers, and stays up with its page. Micrographs that land later are
    counted, not picked, until --undo.
    """
    config = named_config(config, session or named)
    file = EditableConfig.read(config)
    present = parse_config(file.text, config)
    if undo:
        _undo(file, present)
        return
    if present.session.ended:
        typer.echo(f"{config}: session.ended is true already.")
        return
    edit = end_session(file.text, config, _user())
    file.write(edit)
    typer.echo(
        f"{config}, line {edit.line}: session.ended is now true.\n"
        "A running service applies it within seconds; otherwise the next start does. To reopen the"
        f" session: livepick end --undo {config}"
    )


def _undo(file: EditableConfig, present: WrittenConfig) -> None:
    over = read_session_end(present.state.directory, present.session.name)
    if not present.session.ended and over is None:
        typer.echo(f"{present.session.name} is not over; nothing to undo.")
        return
    if present.session.ended:
        edit = reopen_session(file.text, file.path)
        file.write(edit)
        typer.echo(f"{file.path}, line {edit.line}: session.ended is now false.")
    if over is not None and over.reason == "idle":  # no setting says it
        remove_session_end(present.state.directory)
    typer.echo("A running service goes on within seconds; otherwise the next start does.")


def _user() -> str:
    """Return the name of the user who called the command, also through sudo, and the command."""
    try:
        name = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in a container
        return "a person, by livepick end"
    return f"{name[:MOST_NAME]}, by livepick end"
