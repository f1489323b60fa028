"""A line of its own for a setting of the config file, before ``yaml_edit`` sets its value.

A line that has the setting commented out is switched on, as people do with ``config.example.yaml``.
Comments are not YAML, so these lines are found by their text.
"""

import re
from collections.abc import Mapping

from livepick.config.error_messages import KeyPath

__all__ = ["indentation", "with_own_line"]

_KEY = re.compile(r"(?P<indent>[ \t]*)(?P<hash>#[ \t]?)?(?P<name>\w+)[ \t]*:(?P<rest>.*)")
"""A line with a key, or with one that is commented out."""

_SECTION_REST = re.compile(r"[ \t]*(#.*)?")
_SETTING_REST = re.compile(r"[ \t]*[^\s#]*[ \t]*(#.*)?")


def with_own_line(text: str, keys: KeyPath, lines: Mapping[KeyPath, int]) -> str:
    """Return the text with a line for the setting, and for its section, where they are missing.

    A new setting is the first of its section, a new section the last of the file. The result is
    not valid YAML if the section is in braces.

    Parameters
    ----------
    text, lines
        The text, and the line of each of its keys, from 1.
    keys
        Path of the setting.
    """
    rows = text.split("\n")
    below = 0
    outer = -1
    for depth, name in enumerate(keys, 1):
        part = keys[:depth]
        if part in lines:
            below = lines[part]
        else:
            siblings = [line for other, line in lines.items() if other[:-1] == part[:-1]]
            indent = indentation(rows[min(siblings) - 1]) if siblings else None
            is_section = depth < len(keys)
            row = _commented_out(rows, below, outer, str(name), is_section=is_section)
            if row is not None:
                space = indentation(rows[row]) if indent is None else indent
                rows[row] = space + rows[row].lstrip("# \t")
            else:
                row = below if depth > 1 else _new_last_row(rows)
                space = " " * (outer + 2) if indent is None else indent
                rows.insert(row, f"{space}{name}:")
            below = row + 1
        outer = len(indentation(rows[below - 1]))
    return "\n".join(rows)


def _new_last_row(rows: list[str]) -> int:
    """Append a blank line, and return the row below it. The text ends with a line break then."""
    rows += [""] if rows[-1] == "" else ["", ""]
    return len(rows) - 1


def _commented_out(
    rows: list[str], start: int, outer: int, name: str, *, is_section: bool
) -> int | None:
    """Return the row in which a key of a section is commented out, or None.

    Parameters
    ----------
    rows, start
        The rows of the text, and the first one in the section.
    outer
        Indentation of the section's own key; -1 for the whole file.
    name, is_section
        The key, and True if it must have nothing on its line but a comment.
    """
    for number, row in enumerate(rows[start:], start):
        match = _KEY.match(row)
        if match is None:
            continue
        if len(match["indent"]) <= outer:
            return None
        rest = _SECTION_REST if is_section else _SETTING_REST
        is_here = outer >= 0 or not match["indent"]
        if is_here and match["hash"] and match["name"] == name and rest.fullmatch(match["rest"]):
            return number
    return None


def indentation(row: str) -> str:
    """Return the blanks at the beginning of a row."""
    return row[: len(row) - len(row.lstrip(" \t"))]
