"""``livepick retrain``: request another model by editing the config.

There is no other way to request one: the settings in force are those in the file, and a reader of
the file sees why there was another training.
"""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from livepick.commands.session_option import SessionOption, named_config
from livepick.config.class_decisions import withdrawn_decisions
from livepick.config.yaml_edit import Edit, EditableConfig, set_key
from livepick.config.yaml_loader import parse_config
from livepick.errors import ConfigError, LedgerError, TrainerError
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.reader import LedgerReader
from livepick.ledger.session_end import waits_for_reopening
from livepick.ledger.session_rows import RunRow, run_in_progress

__all__ = ["next_generation", "retrain"]


def retrain(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration file.")],
    *,
    session: SessionOption = None,
    note: Annotated[
        str, typer.Option("--note", metavar="TEXT", help="Reason, added as a comment on the line.")
    ] = "",
    yes: Annotated[
        bool, typer.Option("--yes", help="End a training in progress without a question.")
    ] = False,
) -> None:
    """Train a new model with the same settings: raise training.generation in CONFIG by one.

    A running service applies the edit by itself. The new model replaces the current one if it is
    better (retrain.gate). A training in progress would end: then the command asks first.
    """
    config = named_config(config, session)
    file = EditableConfig.read(config)
    edit = next_generation(file.text, config, note)
    written = parse_config(file.text, config)
    run = _running(written.state.directory)
    if run is not None and not yes:
        _ask(run)
    file.write(edit)
    typer.echo(
        f"{config}, line {edit.line}: training.generation is now {edit.value}.\n"
        "A running service applies it within seconds; otherwise the next start does."
    )
    if withdrawn_decisions(written):
        typer.echo(
            "Your decisions on the 2D classes (bootstrap.classes) were removed: the particles are"
            " sorted into new classes."
        )
    if waits := waits_for_reopening(written.state.directory, written.session.name):
        typer.echo(waits)


def _running(state: Path) -> RunRow | None:
    """Return the training run in progress; None if there is none, or no ledger that tells."""
    try:
        with Database.read_only(state / LEDGER) as database:
            return run_in_progress(LedgerReader(database).runs())
    except LedgerError:
        return None


def _ask(run: RunRow) -> None:
    """Ask for consent to end the training in progress; exit without it."""
    since = time.strftime("%Y-%m-%d %H:%M %z", time.localtime(run.started_at))
    sentence = (
        f"Training run {run.version:04d} is in progress since {since}. Another training ends it,"
        " and what it has learned so far is not used."
    )
    if not sys.stdin.isatty():
        raise TrainerError(sentence, "Wait for its end, or end it: livepick retrain --yes CONFIG")
    typer.echo(sentence)
    if not typer.confirm("End it?"):
        raise typer.Exit(1)


def next_generation(text: str, path: Path, note: str = "") -> Edit:
    """Return the text of a config with its next ``training.generation``.

    Decisions on 2D classes are withdrawn, because the particles are sorted into new ones.

    Parameters
    ----------
    text, path
        Text of a config, and its file.
    note
        Comment for the end of the line, appended to an existing comment.

    Raises
    ------
    ConfigError
        The config is not valid, the note cannot be printed, or the setting cannot be edited alone.
    """
    note = " ".join(note.split())
    if not note.isprintable():
        raise ConfigError("the note contains a character that cannot be printed", "Leave it out.")
    config = parse_config(text, path)
    for key, value in withdrawn_decisions(config).items():
        text = set_key(text, path, key, value).text
    generation = config.training.generation + 1
    return set_key(text, path, "training.generation", generation, note=note)
