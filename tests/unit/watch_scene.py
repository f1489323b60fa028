"""A watched folder for tests, with small micrographs to write into it."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from waiting import until

from livepick.config.sections import Watch
from livepick.core.formats.file_version import FileVersion
from livepick.ingest.watcher import Watcher
from livepick.ledger.inbox import Landed, Message, RootState, SetAside

DEADLINE_SECONDS = 60.0

SIDE_PX = 16


def header(*, depth: int = 1, mode: int = 2) -> bytes:
    """Return the header of a small MRC file."""
    start = bytearray(1024)
    struct.pack_into("<10i", start, 0, SIDE_PX, SIDE_PX, depth, mode, 0, 0, 0, SIDE_PX, SIDE_PX, 1)
    struct.pack_into("<3f", start, 40, SIDE_PX * 1.5, SIDE_PX * 1.5, 1.5)
    start[208:214] = b"MAP \x44\x44"
    return bytes(start)


PIXELS = bytes(range(256)) * (SIDE_PX * SIDE_PX * 4 // 256)


WHOLE = header() + PIXELS


@dataclass
class Scene:
    """A watched folder, and the messages of its watcher."""

    root: Path
    watcher: Watcher
    messages: list[Message] = field(default_factory=list)

    def landed(self) -> list[str]:
        """Return the paths that landed, in order."""
        return [str(m.relative) for m in self.messages if isinstance(m, Landed)]

    def set_aside(self) -> dict[str, str]:
        """Return the reasons of the files that were set aside."""
        return {str(m.relative): m.reason for m in self.messages if isinstance(m, SetAside)}

    def roots(self) -> list[bool]:
        """Return the availability of the folder, message by message."""
        return [m.available for m in self.messages if isinstance(m, RootState)]

    def wait_for(self, *names: str) -> None:
        """Wait until these have landed; assert that each landed once, and nothing else."""
        until(lambda: len(self.messages) > len(names), f"{names}, landed {self.landed()}")
        until(lambda: set(names) <= set(self.landed()), f"{names}, landed {self.landed()}")
        assert sorted(self.landed()) == sorted(names)

    def wait_until_watched(self) -> None:
        """Wait until the watcher has found the folder and scanned it once."""
        until(lambda: self.watcher.health().last_scan_at > 0, "the first scan")


@contextmanager
def watched(
    root: Path, known: dict[tuple[Path, Path], FileVersion] | None = None, **settings: object
) -> Iterator[Scene]:
    """Watch ``root`` with short intervals."""
    messages: list[Message] = []
    config = Watch.model_validate(
        {"directories": [root], "mode": "inotify", "settle_seconds": 0.2, "rescan_seconds": 3600}
        | settings
    )
    by_folder: dict[Path, dict[str, FileVersion]] = {}
    for (folder, relative), version in (known or {}).items():
        by_folder.setdefault(folder, {})[str(relative)] = version
    watcher = Watcher(config, messages.append, known=by_folder)
    watcher.start()
    try:
        yield Scene(root, watcher, messages)
        assert watcher.health().errors == 0
    finally:
        watcher.stop(DEADLINE_SECONDS)
    assert not watcher.is_alive()
