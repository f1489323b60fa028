r"""Lines of a text file that another program wrote, read in blocks.

A file of particles may be larger than the memory that a reader should take. Its lines are read,
converted and dropped, block by block. Lines end at ``\n``, ``\r\n`` or ``\r``, and not
at the other characters of ``str.splitlines``, which a name may contain.
"""

import codecs
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol, Self

from livepick.host.foreign_files import open_regular, too_long

__all__ = ["MOST_LINE_CHARACTERS", "BadLineError", "Lines", "TextFile", "TextLines", "text_of"]

BLOCK_BYTES = 1 << 18
"""Bytes that are read at once."""

MOST_LINE_CHARACTERS = 1 << 20
"""Longest line that is read, unless the caller gives another limit."""

_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")

AS_TEXT = "Save the file as UTF-8 text."


class BadLineError(ValueError):
    """A line that cannot be read; ``remedy`` says what to do."""

    def __init__(self, line: int, why: str, remedy: str) -> None:
        super().__init__(f"line {line} {why}")
        self.remedy = remedy


class Lines(Protocol):
    """Lines in blocks, which can be read more than once."""

    @property
    def size_bytes(self) -> int:
        """Size of the file; 0 before it is read."""
        ...

    def __iter__(self) -> Iterator[list[str]]:
        """Yield blocks of lines, without their ends."""
        ...


class TextLines:
    """The lines of a text in memory."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.size_bytes = len(text)

    def __iter__(self) -> Iterator[list[str]]:
        """Yield the lines, as one block."""
        yield self._text.split("\n")


class TextFile:
    """The lines of a file of UTF-8 text, or of UTF-16 with a byte-order mark.

    Iterating raises ``OSError`` if the file cannot be read, is not a regular file or is too long,
    and ``BadLineError`` if a line is too long or is not text.

    Parameters
    ----------
    path
        The file.
    limit_bytes
        Largest size that is read.
    line_characters
        Length of the longest line that is read.
    """

    def __init__(
        self, path: Path, *, limit_bytes: int, line_characters: int = MOST_LINE_CHARACTERS
    ) -> None:
        self.path = path
        self.size_bytes = 0
        self._limit_bytes = limit_bytes
        self._line_characters = line_characters

    def __iter__(self) -> Iterator[list[str]]:
        """Yield the lines of about ``BLOCK_BYTES`` at once."""
        block, begun, number = list[str](), "", 1
        for text in self._texts():
            if "\0" in text:
                line = number + text.count("\n", 0, text.index("\0"))
                raise BadLineError(
                    line,
                    "has a NUL character: the file is not text, or is UTF-16 without a byte-order"
                    " mark",
                    AS_TEXT,
                )
            *lines, begun = (begun + text).split("\n")
            number += len(lines)
            if len(begun) > self._line_characters:
                raise BadLineError(
                    number,
                    f"has more than {self._line_characters:,} characters",
                    "Check whether the file is what its name says.",
                )
            if lines and block:
                yield block
            block = lines or block
        yield [*block, begun]

    def _texts(self) -> Iterator[str]:
        r"""Yield the text in parts, with ``\n`` at the end of each line."""
        with open_regular(self.path) as file:
            self.size_bytes = os.fstat(file.fileno()).st_size
            position, number = 0, 1
            decoder: _Decoder | None = None
            while True:
                data = file.read(BLOCK_BYTES) if self.size_bytes <= self._limit_bytes else b""
                if max(position + len(data), self.size_bytes) > self._limit_bytes:
                    raise too_long(self.path, self._limit_bytes)
                decoder = decoder or _Decoder.of(data)
                text = decoder.decode(data, position, number)
                position, number = position + len(data), number + text.count("\n")
                if text:
                    yield text
                if not data:
                    return


class _Decoder:
    """Decodes text in parts, and names the line and the place of what is not text."""

    def __init__(self, code: str) -> None:
        self._bytes = codecs.getincrementaldecoder(code)()
        self._text = io.IncrementalNewlineDecoder(self._bytes, translate=True)

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return the decoder for a file that begins like this."""
        return cls("utf-16" if data.startswith(_BYTE_ORDER_MARKS) else "utf-8-sig")

    def decode(self, data: bytes, position: int, number: int) -> str:
        """Return the text of the next part, which begins at a position and in a line of the file.

        Raises
        ------
        BadLineError
            The part is not text.
        """
        held = len(self._bytes.getstate()[0])
        try:
            return self._text.decode(data, final=not data)
        except UnicodeDecodeError as error:
            line = number + error.object.count(b"\n", 0, error.start)
            at = position - held + error.start
            raise BadLineError(
                line,
                f"cannot be read: '{error.encoding}' codec can't decode byte"
                f" 0x{error.object[error.start]:02x} in position {at}: {error.reason}",
                AS_TEXT,
            ) from error


def text_of(lines: Iterable[list[str]]) -> str:
    """Return the text of lines."""
    return "\n".join("\n".join(block) for block in lines)
