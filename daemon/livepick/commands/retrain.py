"""``livepick retrain``: request another model by editing the config.

There is no other way to request one: the settings in force are those in the file, and a reader of
the file sees why there was another training.
"""

from pathlib import Path
from typing import Annotated

import typer

from livepick.config.yaml_edit import Edit, EditableConfig, set_key
from livepick.config.yaml_loader import parse_config
from livepick.errors import ConfigError

__all__ = ["next_generation", "retrain"]


def retrain(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration file.")],
    *,
    note: Annotated[
        str, typer.Option("--note", metavar="TEXT", help="Reason, added as a comment on the line.")
    ] = "",
) -> None:
    """Train a new model with the same settings: raise training.generation in CONFIG by one.

    A running service applies the edit by itself. The new model replaces the current one if it is
    better (retrain.gate).
    """
    file = EditableConfig.read(config)
    edit = next_generation(file.text, config, note)
    file.write(edit)
    typer.echo(
        f"{config}, line {edit.line}: training.generation is now {edit.value}.\n"
        "A running service applies it within seconds; otherwise the next start does."
    )


def next_generation(text: str, path: Path, note: str = "") -> Edit:
    """Return the text of a config with its next ``training.generation``.

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
    generation = parse_config(text, path).training.generation + 1
    return set_key(text, path, "training.generation", generation, note=note)
