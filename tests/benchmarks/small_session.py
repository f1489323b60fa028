"""A session of small micrographs that trains nothing, its ledger, and what its service answers."""

import json
import sys
import time
import urllib.request
from pathlib import Path

import mrcfile
import numpy as np
import yaml

from livepick.errors import LedgerError
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import Counts

__all__ = [
    "LIVEPICK",
    "MOST_GAP_SECONDS",
    "SIZE_PX",
    "answer",
    "counts",
    "dispatch_gap",
    "land",
    "prepare",
]

LIVEPICK = Path(sys.executable).with_name("livepick")
SIZE_PX = 256

MOST_GAP_SECONDS = 2.0
"""Longest pause of the dispatch loop that is allowed."""

PIXEL_SIZE_ANGSTROM = 4.0
ANSWER_SECONDS = 60.0
"""Longest wait for an answer."""


def prepare(place: Path, name: str, *, rescan_seconds: float | None = None) -> Path:
    """Make the watched folder ``in`` and the config of a session in a folder; return the config."""
    (place / "in").mkdir()
    config = place / "session.yaml"
    settings = {
        "session": {"name": name},
        "watch": {
            "directories": ["in"],
            "settle_seconds": 0.2,
            "rescan_seconds": rescan_seconds,
        },
        "particle": {"diameter_angstrom": 100},
        # They never come, so nothing is trained.
        "bootstrap": {"picks": {"coordinates": "curated"}},
        "picking": {"device": "cpu", "workers": 1},
        "output": {"directory": "out"},
        "state": {"directory": "state"},
        "web": {"listen": "127.0.0.1:0"},
    }
    config.write_text(yaml.safe_dump(settings))
    return config


def land(path: Path, image: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    """Write a micrograph, and rename it into place."""
    draft = path.with_name(f".{path.name}")
    with mrcfile.new(draft, image) as mrc:
        mrc.voxel_size = PIXEL_SIZE_ANGSTROM
    draft.rename(path)


def counts(place: Path) -> Counts:
    """Return the number of micrographs in each state; all 0 while the ledger is being created."""
    try:
        database = Database.read_only(place / "state" / LEDGER)
    except LedgerError:
        return Counts()
    with database:
        return LedgerReader(database).counts()


def answer(place: Path, path: str) -> tuple[float, str]:
    """Return the time to the first byte of the service's answer in seconds, and the answer.

    Raises
    ------
    OSError
        The service does not answer.
    """
    address = (place / "state" / "web.address").read_text().strip()
    began = time.monotonic()
    with urllib.request.urlopen(f"http://{address}{path}", timeout=ANSWER_SECONDS) as found:
        seconds = time.monotonic() - began
        return seconds, found.read().decode()


def dispatch_gap(place: Path) -> float:
    """Return the seconds since the last turn of the dispatch loop. Raises as ``answer``."""
    _, text = answer(place, "/healthz")
    gap: float = json.loads(text)["seconds_since"]["dispatch"]
    return gap
