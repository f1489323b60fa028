"""Edits of the config file: one setting gets another value, and the rest of the file stays.

ruamel.yaml makes the edit, because it keeps comments, quotes and anchors. It also changes the
layout of the whole file, so livepick takes only the lines of the edited setting from its output.
If that is not enough, as for an anchor, it takes those of the section, or of the file.

ruamel.yaml reads YAML 1.2 and livepick reads YAML 1.1 (``yes`` is true, ``010`` is 8). Each edited
text is therefore read with livepick's loader, and refused if any other setting has changed.
"""

import io
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from livepick.config.error_messages import KeyPath
from livepick.config.setting_line import indentation, with_own_line
from livepick.config.yaml_loader import parse_config, parse_document, read_text
from livepick.errors import ConfigError
from livepick.host.atomic_files import replace_unchanged

__all__ = ["Edit", "EditableConfig", "Value", "set_key"]

Scalar = bool | int | float | str | None
Value = Scalar | list[Scalar]

_COMMENT = re.compile(r"(?:^|[ \t])#.*")


@dataclass(frozen=True, slots=True)
class Edit:
    """A config in which one setting was edited."""

    key: str
    """The setting, as ``training.epochs``."""

    value: Value
    """Its new value."""

    text: str
    """The whole text."""

    line: int
    """The line of the setting, from 1."""


@dataclass(frozen=True, slots=True)
class EditableConfig:
    """A config file that was read in order to edit it."""

    path: Path
    """The file as the user names it."""

    text: str
    """Its content."""

    _place: Path
    """The file itself, where ``path`` is a link to it."""

    _status: os.stat_result
    """Its owner, group and permissions."""

    @classmethod
    def read(cls, path: Path) -> "EditableConfig":
        """Read a config file.

        Raises
        ------
        ConfigError
            The file cannot be read, or is not text.
        """
        try:
            place = path.resolve(strict=True)
            status = place.stat()
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be read: {error.strerror}", "Name the session's config file."
            ) from error
        return cls(path, read_text(place), place, status)

    def write(self, edit: Edit) -> None:
        """Replace the file by an edited one with the same owner, group and permissions.

        Raises
        ------
        ConfigError
            The file cannot be written, or was edited by someone else since it was read.
        """
        try:
            if not os.access(self._place, os.W_OK):
                raise PermissionError(None, "it is read-only")
            former, data = self.text.encode(), edit.text.encode()
            if not replace_unchanged(self._place, former, data, like=self._status):
                raise ConfigError(
                    f"{self.path} was edited by someone else just now", "Run the command again."
                )
        except OSError as error:
            raise ConfigError(
                f"{self.path} could not be written: {error.strerror}",
                f"Ask someone who may write it, and its folder, to set {edit.key}"
                f" to {json.dumps(edit.value)}.",
            ) from error


def set_key(text: str, path: Path, key: str, value: Value, *, note: str = "") -> Edit:
    """Set one setting, and add its section if it is missing.

    A line that has the setting commented out is switched on; else a new setting becomes the first
    of its section, and a new section the last of the file.

    Parameters
    ----------
    text, path
        Text of a valid config, and its file.
    key, value
        The setting, as ``training.epochs``, and its new value.
    note
        One line of text for a comment behind the setting; appended to an existing comment.

    Raises
    ------
    ConfigError
        The config is not valid before or after the edit, or the setting is written in such a way
        that other settings would change too.
    """
    keys = tuple(key.split("."))
    parse_config(text, path)
    before = parse_document(text, path)
    wanted = _content(_with(before.values, keys, value))
    is_windows = "\r\n" in text and text.count("\n") == text.count("\r\n")
    plain = text.replace("\r\n", "\n") if is_windows else text
    for edited in _edits(plain, keys, value, before.lines):
        row = _row_if_it_means(wanted, edited, keys)
        noted = None if row is None else _with_note(edited, row, note, keys, wanted)
        if row is not None and noted is not None:
            final = noted.replace("\n", "\r\n") if is_windows else noted
            parse_config(final, path)
            return Edit(key, value, final, row + 1)
    line = before.line_of(keys) or 1
    raise ConfigError(
        f"{path}, line {line}: {key} cannot be set without changing other settings or losing a"
        " comment",
        f"Edit the file by hand near line {line}: {key} must be {json.dumps(value)}.",
    )


def _content(values: Mapping[str, Any]) -> str:
    """Return a text to compare by, which differs for ``1``, ``1.0`` and ``true``."""
    return json.dumps(values, sort_keys=True, default=repr)


def _with(values: Mapping[str, Any], keys: KeyPath, value: Value) -> dict[str, Any]:
    """Return a copy with one value set. The other values are not copied."""
    name, *rest = keys
    if not rest:
        return {**values, str(name): value}
    inner = values.get(str(name))
    section = inner if isinstance(inner, dict) else {}
    return {**values, str(name): _with(section, tuple(rest), value)}


def _row_if_it_means(wanted: str, text: str, keys: KeyPath) -> int | None:
    """Return the row of the setting, or None if the text has another content than wanted."""
    try:
        document = parse_document(text, Path())
    except ConfigError:
        return None
    is_right = not document.faults and _content(document.values) == wanted
    return document.lines[keys] - 1 if is_right else None


def _edits(text: str, keys: KeyPath, value: Value, lines: Mapping[KeyPath, int]) -> Iterator[str]:
    """Yield edited texts, the ones that change the fewest lines first.

    None of them is guaranteed to have the intended meaning.
    """
    for draft in (with_own_line(text, keys, lines), text):
        try:
            old = parse_document(draft, Path()).lines
            rows = draft.split("\n")
            indent = len(indentation(rows[old[keys] - 1])) if keys in old else 0
            rendered = _rendered(draft, keys, value, indent)
            new = parse_document(rendered, Path()).lines
        except (ConfigError, YAMLError):  # not valid; another draft may be
            continue
        new_rows = rendered.split("\n")
        for part in (keys[:depth] for depth in range(len(keys), -1, -1)):
            if part in old or not part:
                first, last = _span(part, old, rows)
                new_first, new_last = _span(part, new, new_rows)
                new_part = new_rows[new_first:new_last]
                if _comments(rows[first:last]) == _comments(new_part):
                    yield "\n".join([*rows[:first], *new_part, *rows[last:]])


def _comments(rows: list[str]) -> list[str]:
    """Return all possible comments, to compare: ruamel.yaml loses those inside braces."""
    return sorted(comment.strip() for row in rows for comment in _COMMENT.findall(row))


def _rendered(text: str, keys: KeyPath, value: Value, indent: int) -> str:
    """Return the text as ruamel.yaml writes it, with one value set at an indentation."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = sys.maxsize
    if indent:
        yaml.indent(mapping=indent // (len(keys) - 1))
    document = section = yaml.load(text)
    for name in keys[:-1]:
        if not isinstance(section.get(name), CommentedMap):
            section[name] = CommentedMap()
        section = section[name]
    section[keys[-1]] = _node(value)
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _node(value: Value) -> object:
    """Return a value that ruamel.yaml writes on one line, and livepick's loader reads as it is."""
    if isinstance(value, list):
        sequence = CommentedSeq(map(_node, value))
        sequence.fa.set_flow_style()
        return sequence
    if isinstance(value, str):
        try:
            if parse_document(f"value: {value}", Path()).values == {"value": value}:
                return value
        except ConfigError:
            pass
        return DoubleQuotedScalarString(value)
    return value


def _span(path: KeyPath, lines: Mapping[KeyPath, int], rows: list[str]) -> tuple[int, int]:
    """Return the rows of a key and its value, without the comments that follow: first, one past."""
    if not path:
        return 0, len(rows)
    first = lines[path] - 1
    later = (line - 1 for other, line in lines.items() if other[: len(path)] != path)
    last = min((row for row in later if row > first), default=len(rows))
    while last > first + 1 and rows[last - 1].lstrip()[:1] in ("", "#"):
        last -= 1
    return first, last


def _with_note(text: str, row: int, note: str, keys: KeyPath, wanted: str) -> str | None:
    """Return the text with the note in a comment on a row; None if the row cannot have one."""
    if not note:
        return text
    rows = text.split("\n")
    # The first one extends a comment. Without a comment it changes the value, or is not valid.
    for mark in ("; ", "  # "):
        noted = "\n".join([*rows[:row], f"{rows[row]}{mark}{note}", *rows[row + 1 :]])
        if _row_if_it_means(wanted, noted, keys) == row:
            return noted
    return None
