"""Files that another program or a person wrote: anything may be in them, or in their place.

``read_bounded`` reads a file whose size is limited, and never waits for a pipe or a device.
``errors_of_file`` is the border of a reader: whatever goes wrong inside becomes an error of that
file. ``parse_json`` raises one kind of error for whatever is not JSON.
"""

import contextlib
import errno
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from livepick.errors import LivepickError

__all__ = ["errors_of_file", "is_file", "open_regular", "parse_json", "read_bounded", "too_long"]

AT_ONCE_BYTES = 1 << 16
"""Bytes that are read at once of a file that is longer than the system says."""

MOST_WHAT = 4000
"""Maximum number of characters of an error, which may quote what is in the file."""

MOST_SHOWN = 200
"""Maximum number of characters of another library's error text."""


def is_file(path: Path) -> bool:
    """Return True if a path leads to a regular file; False also if that cannot be found out."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # such as a name that is too long
        return False


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading; a pipe, a socket or a device is refused at once.

    Raises
    ------
    OSError
        The file cannot be opened, or is not a regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except UnicodeEncodeError as error:
        raise OSError(errno.EINVAL, "its name is not valid text", str(path)) from error
    except ValueError as error:
        raise OSError(errno.EINVAL, "its name has a NUL character", str(path)) from error
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        yield file


def read_bounded(path: Path, *, limit_bytes: int) -> bytes:
    """Return the content of a regular file.

    Raises
    ------
    OSError
        The file cannot be read, is not a regular file, or is longer than ``limit_bytes``.
    """
    with open_regular(path) as file:
        size_bytes = os.fstat(file.fileno()).st_size  # some file systems say 0
        if size_bytes <= limit_bytes:
            data = file.read(size_bytes)  # not up to the limit: Python makes room for all of it
            while len(data) <= limit_bytes and (more := file.read(AT_ONCE_BYTES)):
                data += more
            if len(data) <= limit_bytes:
                return data
    raise too_long(path, limit_bytes)


def too_long(path: Path, limit_bytes: int) -> OSError:
    """Return the error for a file that is longer than a limit."""
    limit = f"{limit_bytes >> 20} MiB" if limit_bytes >> 20 else f"{limit_bytes >> 10} KiB"
    return OSError(errno.EFBIG, f"it is longer than {limit}, the limit for such files", str(path))


def parse_json(data: bytes | str) -> Any:
    """Return the value of a JSON text.

    Raises
    ------
    ValueError
        The text is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


@contextlib.contextmanager
def errors_of_file(path: Path, kind: type[LivepickError], remedy: str) -> Iterator[None]:
    """Raise ``kind`` for whatever goes wrong in the block; a ``LivepickError`` stays, if not long.

    Parameters
    ----------
    path
        The file that the block reads.
    kind
        Type of the error to raise.
    remedy
        What a user can do about any fault of the file.
    """
    name = str(path).encode("utf-8", "backslashreplace").decode()
    try:
        yield
    except LivepickError as error:
        if len(error.what) <= MOST_WHAT:
            raise
        raise type(error)(f"{error.what[:MOST_WHAT]} ...", error.remedy) from error
    except OSError as error:
        raise kind(f"{name} cannot be read: {error.strerror or error}", remedy) from error
    except RecursionError as error:
        raise kind(f"{name} cannot be read: it is nested too deeply", remedy) from error
    except MemoryError as error:
        raise kind(f"{name} cannot be read: it needs too much memory", remedy) from error
    except Exception as error:
        text = " ".join(str(error).split()).encode("utf-8", "backslashreplace").decode()
        what = f"{type(error).__name__}: {text}".rstrip(": ")[:MOST_SHOWN]
        raise kind(f"{name} cannot be read: {what}", remedy) from error
