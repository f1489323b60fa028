"""Ways in which real software writes a micrograph to disk, one write at a time.

``inplace``      header first, data appended under the final name (SerialEM, RELION, Warp)
``header-last``  data first, after 1024 bytes of zeros that the header replaces last (MotionCor)
``presized``     full size at once, content later (Windows copies, ``mrcfile.new_mmap``)
``rename``       written under another name, renamed when complete (careful copies)
``rsync``        written as ``.NAME.XXXXXX``, renamed, with the *source's* older modification time
``mc2``          RELION's wrapper of MotionCor2: ``X.mrc`` is first the sum without dose
                 weighting, then moved aside for ``X_DW.mrc``; ``X.star`` comes last
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal

__all__ = ["MODES", "Pause", "Stopped", "WriteMode", "deliver"]

WriteMode = Literal["inplace", "header-last", "presized", "rename", "rsync", "mc2"]
MODES: Final[tuple[WriteMode, ...]] = (
    "inplace",
    "header-last",
    "presized",
    "rename",
    "rsync",
    "mc2",
)

HEADER_BYTES = 1024
CHUNKS = 16
RSYNC_AGE_SECONDS = 3600

Pause = Callable[[float], None]
"""Function that waits for a number of seconds, or raises ``Stopped``."""


class Stopped(Exception):  # noqa: N818 - not an error: the acquisition was asked to end
    """The acquisition was stopped before its end."""


def deliver(
    path: Path,
    content: bytes,
    mode: WriteMode,
    *,
    seconds: float,
    pause: Pause,
    undose: bytes = b"",
) -> None:
    """Write ``content`` to ``path`` in a given mode.

    Parameters
    ----------
    path
        Final name of the micrograph.
    content
        Content of the whole file.
    seconds
        Duration of the writing, all steps together.
    pause
        Function that waits between the steps. If it raises an exception, the delivery ends and
        the half-written file is deleted.
    undose
        For ``mc2``: the sum without dose weighting, which is written first.
    """
    draft = _draft(path, mode)
    step = seconds / CHUNKS
    try:
        if mode == "mc2":
            _header_last(path, undose, step / 2, pause)
            _header_last(draft, content, step / 2, pause)
            _relion_takes_over(path, draft)
        else:
            _write(draft, content, mode, step, pause)
        if mode in ("rename", "rsync"):
            draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise


def _draft(path: Path, mode: WriteMode) -> Path:
    """Return the name under which a micrograph is written first."""
    match mode:
        case "inplace" | "header-last" | "presized":
            return path
        case "rename":
            return path.with_name(path.name + ".part")
        case "rsync":
            return path.with_name(f".{path.name}.{_six_letters(path.name)}")
        case "mc2":
            return path.with_name(f"{path.stem}_DW.mrc")


def _write(draft: Path, content: bytes, mode: WriteMode, step: float, pause: Pause) -> None:
    match mode:
        case "header-last":
            _header_last(draft, content, step, pause)
        case "presized":
            with draft.open("wb") as file:
                file.truncate(len(content))
                _spread(file.write, content, step, pause)
        case _:
            _append(draft, content, step, pause)
    if mode == "rsync":
        long_ago = time.time() - RSYNC_AGE_SECONDS
        os.utime(draft, (long_ago, long_ago))


def _relion_takes_over(path: Path, weighted: Path) -> None:
    path.replace(path.with_name(f"{path.stem}_noDW.mrc"))
    weighted.replace(path)
    star = f"data_general\n\n_rlnMicrographName {path.name}\n_rlnMicrographStartFrame 1\n"
    path.with_suffix(".star").write_text(star)


def _append(path: Path, content: bytes, step: float, pause: Pause) -> None:
    with path.open("wb") as file:
        _spread(file.write, content, step, pause)


def _header_last(path: Path, content: bytes, step: float, pause: Pause) -> None:
    with path.open("wb") as file:
        file.seek(HEADER_BYTES)
        _spread(file.write, content[HEADER_BYTES:], step, pause)
        file.flush()
        file.seek(0)
        file.write(content[:HEADER_BYTES])


def _spread(write: Callable[[bytes], int], content: bytes, step: float, pause: Pause) -> None:
    for piece in _pieces(content):
        write(piece)
        pause(step)


def _pieces(content: bytes) -> Iterator[bytes]:
    size = -(-len(content) // CHUNKS)
    for start in range(0, len(content), size):
        yield content[start : start + size]


def _six_letters(name: str) -> str:
    """Return an rsync-like suffix for a temporary file, always the same for the same name."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    number = int.from_bytes(name.encode(), "little") % len(letters) ** 6
    return "".join(letters[number // len(letters) ** i % len(letters)] for i in range(6))
