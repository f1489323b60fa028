"""Writing of the deployed files, so that none which somebody has edited is replaced."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from livepick import __version__
from livepick.deployment.filled_files import FilledFile
from livepick.errors import LivepickError
from livepick.host.atomic_files import write_atomically

__all__ = ["RECORD", "kept_options", "write_files"]

RECORD = ".livepick-deploy.json"
"""File with the options, for the next call, and the digests of what was written, by which an
edited file is known."""

Options = dict[str, str | list[str]]
"""Options by their names."""


def write_files(
    folder: Path, files: Mapping[str, FilledFile], options: Options, *, force: bool
) -> None:
    """Write all files into a folder, or none, and keep the options that they were filled by.

    Raises
    ------
    LivepickError
        A file there was edited, or is not ours, and ``force`` is not set; or one cannot be written.
    """
    if not force and (edited := _edited(folder, files)):
        named = ", ".join(edited[:5]) + (f" and {len(edited) - 5} more" if edited[5:] else "")
        raise LivepickError(
            f"{folder} has files that were edited, or that livepick did not write: {named}",
            "Nothing was written. Give another folder and compare (diff -r), or --force to replace"
            " them.",
        )
    try:
        for name, file in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, file.text.encode())
            if file.is_program:
                path.chmod(path.stat().st_mode | 0o111)
        digests = {name: _digest(file.text.encode()) for name, file in sorted(files.items())}
        record = {"livepick": __version__, "options": options, "sha256": digests}
        write_atomically(folder / RECORD, f"{json.dumps(record, indent=1)}\n".encode())
    except OSError as error:
        raise LivepickError(
            f"{error.filename or folder} cannot be written: {error.strerror}",
            "Name a folder that you may write, or run the command as root.",
        ) from error


def _edited(folder: Path, files: Mapping[str, FilledFile]) -> list[str]:
    """Return the files whose content is neither the new one nor the one written before."""
    written = _written(folder)
    edited = []
    for name, file in files.items():
        path = folder / name
        try:
            found = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            edited.append(name)
            continue
        if found != file.text.encode() and _digest(found) != written.get(name):
            edited.append(name)
    return edited


def _written(folder: Path) -> dict[str, str]:
    return {name: str(digest) for name, digest in _record(folder, "sha256").items()}


def kept_options(folder: Path) -> Options:
    """Return the options of the last call; none if there was none, or its record is damaged."""
    options: Options = {}
    for name, value in _record(folder, "options").items():
        if isinstance(value, str):
            options[name] = value
        elif isinstance(value, list):
            options[name] = [str(one) for one in value]
    return options


def _record(folder: Path, part: str) -> dict[str, object]:
    try:
        found = json.loads((folder / RECORD).read_bytes())[part]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
