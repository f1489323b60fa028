"""STAR files: tables of text, as RELION and crYOLO write them."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from livepick.core.formats.text_lines import BadLineError

__all__ = [
    "Table",
    "star_file",
    "star_parts",
    "star_row",
    "star_start",
    "star_tables",
    "star_word",
    "table_start",
]

_VERSION = "# version 30001"
"""Version of the STAR dialect that we write: RELION 3.1 and later."""

MOST_COLUMNS = 200_000
"""Maximum number of columns of a table."""

_WORD = re.compile(
    r"""
    # A quotation mark ends a word only before a blank. The limit keeps bad lines from taking hours.
    "(?P<double>(?:[^"]|"(?=\S)){0,4096}+)"(?!\S)
    |'(?P<single>(?:[^']|'(?=\S)){0,4096}+)'(?!\S)
    |(?P<plain>\S+)
    """,
    re.VERBOSE,
)

_PLAIN_WORD = re.compile(r"(?!data_|save_|loop_|stop_|global_|_)[\w./+-][^\s#]*", re.IGNORECASE)
"""Words that need no quotes, at least if they are of ASCII."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text."""

    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    name: str = ""
    """Name of the block, after ``data_``."""
    lines: list[int] = field(default_factory=list, compare=False)
    """Line of each row in the file it was read from, counted from 1; empty if it is not known."""
    rows_before: int = field(default=0, compare=False)
    """Number of rows of the table before these, if it is read in parts."""
    is_end: bool = field(default=True, compare=False)
    """False if more rows follow in the next part."""

    def column(self, name: str) -> list[str] | None:
        """Return the texts of a column; None if there is no such column or a row lacks it."""
        if name not in self.columns:
            return None
        place = self.columns.index(name)
        return [row[place] for row in self.rows] if all(len(r) > place for r in self.rows) else None

    def records(self) -> Iterator[dict[str, str]]:
        """Yield each row by column name; a short row lacks the last columns."""
        for row in self.rows:
            yield dict(zip(self.columns, row, strict=False))


def star_tables(text: str) -> list[Table]:
    """Return the tables of a short STAR file that have columns."""
    return [table for table in star_parts([text.split("\n")]) if table.columns]


def _words(line: str) -> list[str]:
    # Few lines have quotes or comments, and the particles of a session take millions of lines.
    if '"' not in line and "'" not in line and "#" not in line:
        return line.split()
    words = []
    for found in _WORD.finditer(line):
        if (found["plain"] or "").startswith("#"):
            break
        words.append(found[found.lastgroup or 0])
    return words


def star_parts(blocks: Iterable[list[str]]) -> Iterator[Table]:
    """Yield the tables of a STAR file, each in parts that have about the rows of a block.

    The first part of a table has no ``rows_before``. A table without columns is yielded, too.

    Parameters
    ----------
    blocks
        The lines of the file.

    Raises
    ------
    BadLineError
        A table has too many columns.
    """
    table, in_loop, before = Table(), False, 0
    for block in blocks:
        if table.rows and (in_loop or len(table.rows) > 1):
            yield replace(table, is_end=False)
            rows_before = table.rows_before + len(table.rows)
            table = Table(table.columns, name=table.name, rows_before=rows_before)
        for number, line in enumerate(block, before + 1):
            words = _words(line)
            if not words:
                continue
            keyword = "" if line.lstrip().startswith(('"', "'")) else words[0]
            if keyword.startswith("data_"):
                yield table
                table, in_loop = Table(name=keyword[5:]), False
            elif keyword == "loop_":
                in_loop = True
            elif keyword.startswith("_") and in_loop and not table.rows and not table.rows_before:
                _add_column(table, keyword, number)
            elif keyword.startswith("_") and not in_loop and len(words) == 2:
                _add_column(table, keyword, number)  # a table of one row has one column per line
                table.rows[:] = table.rows[:1] or [[]]
                table.rows[0].append(words[1])
                table.lines[:] = [number]
            else:
                table.rows.append(words)
                table.lines.append(number)
        before += len(block)
    yield table


def _add_column(table: Table, keyword: str, line: int) -> None:
    if len(table.columns) == MOST_COLUMNS:
        raise BadLineError(
            line,
            f"is the name of a column, after {MOST_COLUMNS:,} others",
            "Check whether the file is what its name says.",
        )
    table.columns.append(keyword[1:])


def star_file(
    tables: Iterable[Table], *, comment: str = "", dialect: str | None = _VERSION
) -> bytes:
    """Return a STAR file.

    The words are separated by spaces and otherwise written as they are, so that numbers can be
    padded: see ``star_word`` for the others. The only comment is at the top, because the starfile
    library reads a comment after a block without rows as a row of that block.
    """
    parts = [star_start(comment, dialect)]
    for table in tables:
        parts.append(table_start(table.name, table.columns))
        parts += [star_row(row) for row in table.rows]
    return "".join([*parts, "\n"]).encode()


def star_start(comment: str = "", dialect: str | None = _VERSION) -> str:
    """Return the first lines of a STAR file that is written in parts; an empty line is the last."""
    lines = ["", dialect] if dialect else []
    if comment:
        lines.append(f"# {comment}")
    return "".join(f"{line}\n" for line in lines)


def table_start(name: str, columns: Sequence[str]) -> str:
    """Return the lines before the rows of a table."""
    lines = ["", f"data_{name}", "", "loop_"]
    lines += [f"_{column} #{number}" for number, column in enumerate(columns, 1)]
    return "".join(f"{line}\n" for line in lines)


def star_row(words: Iterable[str]) -> str:
    """Return the line of a row."""
    return f"{' '.join(words)}\n"


def star_word(text: str) -> str:
    """Return text as one word, in double quotes if a reader would take it for something else.

    - RELION 4 and later, gemmi and our own reader end a quoted word at a quote before a blank.
      RELION makes one blank of several, so it does not find a name with two blanks in a row.
    - gemmi reads other characters than those of ASCII only in quotes.
    - RELION 3.1.3 reads words in quotes, and no name with a ``#``, whatever the quotes.
    - The starfile library ends a quoted word at the next quote of either kind. It reads an
      apostrophe as a double quote, and cannot read a file with a name in which a blank follows an
      apostrophe, whatever the quotes.

    Parameters
    ----------
    text
        A word; it contains no double quotes and no line breaks.
    """
    is_plain = _PLAIN_WORD.fullmatch(text) and text.isascii()
    return text if is_plain else f'"{text}"'
