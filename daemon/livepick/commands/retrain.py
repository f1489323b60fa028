"""``livepick retrain``: request another model by editing the config.

There is no other way to request one: the settings in force are those in the file, and a reader of
the file sees why there was another training. The line is edited in place, so that comments and
layout are kept. The edited text is parsed as a whole before it is written, and must differ in this
one setting only.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from livepick.config.yaml_loader import parse_config, read_text, value_spans
from livepick.errors import ConfigError
from livepick.host.atomic_files import write_atomically

__all__ = ["raise_generation", "retrain"]

_COMMENTED_SECTION = re.compile(r"(?m)^#[ \t]?(training:[ \t]*(#[^\n]*)?\r?)$")
_COMMENTED_GENERATION = re.compile(r"(?m)^([ \t]+)#[ \t]*generation:([ \t]*[^\s#]+)?")


def retrain(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration file.")],
    *,
    note: Annotated[
        str, typer.Option("--note", metavar="TEXT", help="Why: a comment at the line's end.")
    ] = "",
) -> None:
    """Train a new model with the same settings: raise training.generation in CONFIG by one.

    A running service takes the edit up by itself. The new model picks if it is better than the
    present one (retrain.gate).
    """
    try:
        place = config.resolve(strict=True)  # keep a link as a link
        before = place.stat()
    except OSError as error:
        raise ConfigError(
            f"{config} cannot be read: {error.strerror}", "Name the session's config file."
        ) from error
    generation, line, edited = raise_generation(read_text(place), config, note)
    try:
        if not os.access(place, os.W_OK):
            raise PermissionError(None, "it is read-only")
        now = place.stat()
        if (now.st_ino, now.st_mtime_ns) != (before.st_ino, before.st_mtime_ns):
            raise ConfigError(f"{config} was edited in this moment", "Give the command again.")
        write_atomically(place, edited.encode(), like=before)
    except OSError as error:
        raise ConfigError(
            f"{config} could not be written: {error.strerror}",
            f"Ask who may write it, and its folder, to set training.generation: {generation}.",
        ) from error
    typer.echo(
        f"{config}, line {line}: training.generation is {generation} now.\n"
        "A running service takes it up by itself within seconds; else the next start does."
    )


def raise_generation(text: str, path: Path, note: str = "") -> tuple[int, int, str]:
    """Return the new generation, its line number, and the edited text.

    Parameters
    ----------
    text, path
        Text of a config, and its file.
    note
        Comment for the end of the line, appended to an existing comment.

    Raises
    ------
    ConfigError
        The text is invalid already, or no safe place for the setting was found.
    """
    note = " ".join(note.split())
    if not note.isprintable():
        raise ConfigError("the note has a character that cannot be printed", "Leave it out.")
    present = parse_config(text, path)
    generation = present.training.generation + 1
    training = present.training.model_copy(update={"generation": generation})
    wanted = present.model_copy(update={"training": training})
    for edited, place in _edits(text, generation):
        noted = _with_note(edited, place, note)
        try:
            if parse_config(noted, path) == wanted:
                return generation, noted.count("\n", 0, place) + 1, noted
        except ConfigError:  # this edit is not valid; another may be
            continue
    raise ConfigError(
        f"{path} has training.generation at no place that can be edited safely",
        f"Set training.generation to {generation} by hand.",
    )


def _edits(text: str, generation: int) -> Iterator[tuple[str, int]]:
    """Yield edited texts, each with the position of the setting, the tidiest first.

    None of them is guaranteed to have the intended meaning.
    """
    spans = value_spans(text)
    if ("training", "generation") in spans:
        start, end = spans["training", "generation"]
        yield f"{text[:start]}{generation}{text[end:]}", start
    elif ("training",) in spans:
        yield from _within_section(text, spans["training",], generation)
    else:
        commented = _COMMENTED_SECTION.search(text)
        if commented:
            yield from _edits(
                f"{text[: commented.start()]}{commented[1]}{text[commented.end() :]}", generation
            )
        yield _with_section(text, spans[()], generation)


def _within_section(text: str, span: tuple[int, int], generation: int) -> Iterator[tuple[str, int]]:
    """Yield edited texts for a section ``training`` that has no generation."""
    start, end = span
    value = text[start:end]
    if value.startswith("{"):
        comma = ", " if value[1:-1].strip() else ""
        yield f"{text[: start + 1]}generation: {generation}{comma}{text[start + 1 :]}", start + 1
        return
    indent = "  "
    if ":" in value:
        indent = text[text.rfind("\n", 0, start) + 1 : start]
    else:  # nothing, or null
        text = text[:start] + text[end:]
    keys = list(re.finditer(r"(?m)^[ \t]*[\"']?training[\"']?[ \t]*:", text[: start + 1]))
    if not keys:
        return
    below = _line_end(text, keys[-1].end())
    commented = _COMMENTED_GENERATION.search(text, below)
    if commented:
        space = indent if ":" in value else commented[1]
        head = f"{text[: commented.start()]}{space}"
        yield f"{head}generation: {generation}{text[commented.end() :]}", len(head)
    head = f"{text[:below]}{_line_break(text)}{indent}"
    yield f"{head}generation: {generation}{text[below:]}", len(head)


def _with_section(text: str, root: tuple[int, int], generation: int) -> tuple[str, int]:
    """Return a text with an added section ``training``, and the position of the setting."""
    start, _ = root
    if text[start] == "{":
        head = f"{text[: start + 1]}training: {{generation: "
        return f"{head}{generation}}}, {text[start + 1 :]}", len(head)
    end = _line_break(text)
    gap = end if text.endswith("\n") else end * 2
    head = f"{text}{gap}training:{end}  "
    return f"{head}generation: {generation}{end}", len(head)


def _with_note(text: str, place: int, note: str) -> str:
    if not note:
        return text
    end = _line_end(text, place)
    has_comment = re.search(r"[ \t]#", text[place:end]) is not None
    return f"{text[:end]}{'; ' if has_comment else '  # '}{note}{text[end:]}"


def _line_end(text: str, place: int) -> int:
    """Return the end of the line that contains ``place``, before its line break."""
    end = text.find("\n", place)
    end = len(text) if end < 0 else end
    return end - 1 if text[place:end].endswith("\r") else end


def _line_break(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
