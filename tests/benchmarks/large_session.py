"""Measure a service on a ledger of 100,000 micrographs, or in a burst of 30,000 files.

    python tests/benchmarks/large_session.py [--rows 100000] [--seconds 120]
    python tests/benchmarks/large_session.py --burst 30000 [--bad 0.9] [--seconds 180]
    python tests/benchmarks/large_session.py --changed 30000 [--seconds 60]

The first makes a ledger with this many picked micrographs, whose files are in the watched folder,
and starts the service on it. While it runs, a new micrograph lands every second, and the page,
``/metrics`` and ``livepick status`` are called again and again. The table has the time until the
service is ready, the longest pause of the dispatch loop, memory, descriptors and CPU time of the
main process, the time to the first byte of the answers, and the time that new micrographs wait.

The second renames a folder with this many files into the watched one. A part of them can be bad.
The table has the time of the first picks and how many there are after each third of the time.

The third makes a ledger as the first does. All files have new content at once, and after that time
all files are deleted at once, while half of them wait to be picked; then a new one lands every
second. The table has the pauses of the dispatch loop in each part, and how many were picked.

The exit status is 1 if a limit is exceeded.
"""

import argparse
import contextlib
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import psutil
from page import made_up
from rich.console import Console
from rich.table import Table
from small_session import LIVEPICK, MOST_GAP_SECONDS, SIZE_PX, answer, dispatch_gap, land, prepare

from livepick.config.yaml_loader import load_config
from livepick.core.formats.file_version import FileVersion
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.session_config import session_config
from livepick.ledger.writer import LedgerWriter
from livepick.picking.exports import make_outputs

CONSOLE = Console(width=110)
MOST_LINKS = 50_000
"""Hard links to one file; ext4 allows 65,000."""

MOST_READY_SECONDS = 20.0
"""Time until the service is ready: Python, workers and the first scan take most of it."""
MOST_PAGE_SECONDS = 0.2
MOST_SCRAPE_SECONDS = 0.2
MOST_MAIN_BYTES = 500e6


@dataclass(slots=True)
class Samples:
    """Values that are measured again and again."""

    gaps: list[float] = field(default_factory=list)
    """Seconds since the last turn of the dispatch loop."""
    resident: list[int] = field(default_factory=list)
    private: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    page: list[float] = field(default_factory=list)
    scrape: list[float] = field(default_factory=list)
    status: list[float] = field(default_factory=list)


def main() -> int:
    """Run a benchmark; return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Plain)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--burst", type=int, help="measure a burst of this many files instead")
    parser.add_argument("--changed", type=int, help="change and delete this many files instead")
    parser.add_argument("--bad", type=float, default=0.0, help="fraction of bad files in it")
    parser.add_argument("--seconds", type=float, default=120.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="livepick-large-") as name:
        place = Path(name)
        prepare(place, "large", rescan_seconds=5 if given.changed and not given.burst else None)
        if given.burst:
            return _burst(place, given.burst, given.bad, given.seconds)
        if given.changed:
            return _changed(place, given.changed, given.seconds)
        return _large(place, given.rows, given.seconds)


# --- a large ledger ------------------------------------------------------------------------------


def _large(place: Path, rows: int, seconds: float) -> int:
    began = time.monotonic()
    with mock.patch("os.fsync"):  # it would take most of the time
        _fill(place, rows)
    CONSOLE.print(f"a ledger of {rows} micrographs made in {time.monotonic() - began:.0f} s")
    samples = Samples()
    with _service(place) as (process, ready_seconds):
        before = process.cpu_times()
        began = time.monotonic()
        stop = threading.Event()
        threads = [
            threading.Thread(target=_sample, args=(place, process, samples, stop)),
            threading.Thread(target=_ask, args=(place, samples, stop)),
        ]
        for thread in threads:
            thread.start()
        landed = 0
        while time.monotonic() - began < seconds:
            landed += 1
            _land(place / "in" / f"new_{landed:05d}.mrc", landed)
            time.sleep(1.0)
        waits = _waits(place, landed)
        stop.set()
        for thread in threads:
            thread.join()
        after = process.cpu_times()
        busy = (after.user + after.system - before.user - before.system) / seconds
        stopping = time.monotonic()
        process.terminate()
        process.wait(60)
        stop_seconds = time.monotonic() - stopping
    listed = _listed(place)
    table = Table(title=f"{rows} micrographs, then one a second for {seconds:.0f} s")
    for column in ("what", "median", "most", "limit", ""):
        table.add_column(column, justify="left" if column == "what" else "right")
    kept = [
        _row(table, "start to ready, s", [ready_seconds], MOST_READY_SECONDS),
        _row(table, "pause of the dispatch loop, s", samples.gaps, MOST_GAP_SECONDS),
        _row(table, "page, first byte, s", samples.page, MOST_PAGE_SECONDS),
        _row(table, "/metrics, first byte, s", samples.scrape, MOST_SCRAPE_SECONDS),
        _row(table, "livepick status, s", samples.status),
        _row(table, "landing to picks, s", waits),
        _row(
            table, "memory of main, MB", [b / 1e6 for b in samples.resident], MOST_MAIN_BYTES / 1e6
        ),
        _row(table, "of it private, MB", [b / 1e6 for b in samples.private]),
        _row(table, "descriptors", samples.descriptors),
        _row(table, "CPU of main, share of one core", [busy]),
        _row(table, "stop, s", [stop_seconds]),
    ]
    CONSOLE.print(table)
    picked = rows + len(waits)
    CONSOLE.print(f"{picked} picked, {listed} in the list after the stop")
    return 0 if all(kept) and listed == picked else 1


def _row(
    table: Table, what: str, values: list[float] | list[int], limit: float | None = None
) -> bool:
    if not values:
        table.add_row(what, "-", "-", "", "NOT MEASURED")
        return False
    kept = limit is None or max(values) <= limit
    table.add_row(
        what,
        f"{statistics.median(values):.3g}",
        f"{max(values):.3g}",
        "" if limit is None else f"{limit:g}",
        "" if limit is None else "kept" if kept else "BROKEN",
    )
    return kept


def _fill(place: Path, rows: int) -> None:
    config = session_config(load_config(place / "session.yaml"))
    random = np.random.default_rng(0)
    now = time.time()
    source = place / "source.mrc"
    with Database.writable(place / "state" / LEDGER) as database:
        ledger = LedgerWriter(database)
        ledger.session.begin("large")
        outputs = make_outputs(
            lambda: config, ledger, roots=config.watch.directories, failed=lambda: None
        )
        for start in range(0, rows, 1000):
            with database.transaction():
                for number in range(start, min(rows, start + 1000)):
                    if number % MOST_LINKS == 0:
                        source.unlink(missing_ok=True)
                        _land(source, number)
                    relative = Path(
                        f"GridSquare_{number // 500:04d}", f"FoilHole_12345_{number:06d}.mrc"
                    )
                    path = place / "in" / relative
                    path.parent.mkdir(exist_ok=True)
                    os.link(source, path)
                    version = FileVersion.of(path.stat())
                    landed_at = now - 20.0 * (rows - number)
                    ledger.arrivals.landed(place / "in", relative, version, landed_at)
                    (claim,) = ledger.claim(1)
                    result = made_up(random, version=0)
                    outputs.write(claim, result)
                    ledger.picked(claim, result)
        outputs.sync(now=True)


def _waits(place: Path, landed: int) -> list[float]:
    """Return the seconds from landing to picks of the new micrographs, when all are picked."""
    give_up = time.monotonic() + 120
    sql = (
        "select picked_at - landed_at from micrograph where relative like 'new_%' and picked_at > 0"
    )
    while True:
        with contextlib.closing(_ledger(place)) as connection:
            waits = [row[0] for row in connection.execute(sql)]
        if len(waits) == landed or time.monotonic() > give_up:
            return waits
        time.sleep(0.5)


def _listed(place: Path) -> int:
    text = (place / "out" / "autopick.star").read_text()
    return len(set(re.findall(r"\S+_autopick\.star", text)))


# --- a burst -------------------------------------------------------------------------------------


def _burst(place: Path, files: int, bad: float, seconds: float) -> int:
    sources = []
    for number in range(files):
        if number % MOST_LINKS == 0:
            sources = [place / f"good_{number}.mrc", place / f"bad_{number}.mrc"]
            _land(sources[0], number)
            sources[1].write_bytes(b"\xa5" * 5000)
        path = place / "burst" / f"mic_{number:06d}.mrc"
        path.parent.mkdir(exist_ok=True)
        is_bad = int((number + 1) * bad) > int(number * bad)
        os.link(sources[is_bad], path)
    picked: list[tuple[float, int, int]] = []
    with _service(place) as (process, _):
        began = time.monotonic()
        (place / "burst").rename(place / "in" / "burst")
        while (now := time.monotonic() - began) < seconds:
            with contextlib.closing(_ledger(place)) as connection:
                counts = dict(
                    connection.execute("select state, count(*) from micrograph group by state")
                )
            picked.append((now, counts.get("picked", 0), counts.get("failed", 0)))
            time.sleep(0.25)
        process.terminate()
        process.wait(60)
    first = next((at for at, count, _ in picked if count), seconds)
    table = Table(title=f"{files} files at once, {bad:.0%} of them bad")
    for column in ("after, s", "picked", "refused"):
        table.add_column(column, justify="right")
    for third in (1, 2, 3):
        row = [one for one in picked if one[0] <= seconds * third / 3][-1]
        table.add_row(f"{row[0]:.0f}", str(row[1]), str(row[2]))
    CONSOLE.print(table)
    CONSOLE.print(f"the first picks came after {first:.1f} s")
    pauses = [at for (at, a, _), (_, b, _) in zip(picked, picked[8:], strict=False) if a == b > 0]
    good = files - int(files * bad)
    idle = [at for at in pauses if picked[-1][1] < good]
    CONSOLE.print(f"{len(idle)} samples without picks in the two seconds before")
    return 0 if first < seconds / 3 else 1


# --- content changes and deletions ---------------------------------------------------------------


def _changed(place: Path, rows: int, seconds: float) -> int:
    with mock.patch("os.fsync"):
        _fill(place, rows)
    files = list((place / "in").rglob("*.mrc"))
    table = Table(title=f"{rows} files changed at once, then deleted at once")
    for column in ("what", "median", "most", "limit", ""):
        table.add_column(column, justify="left" if column == "what" else "right")
    with _service(place) as (process, _):
        time.sleep(10.0)
        kept = []
        for what in ("changed", "deleted"):
            samples, stop = Samples(), threading.Event()
            thread = threading.Thread(target=_sample, args=(place, process, samples, stop))
            thread.start()
            began = time.time()
            for path in {path.stat().st_ino: path for path in files}.values():
                os.utime(path)  # its hard links have the same time
            if what == "deleted":
                for path in files:
                    path.unlink()
            first = None
            while time.time() - began < seconds:
                if first is None and _picked_since(place, began):
                    first = time.time() - began
                time.sleep(0.25)
            stop.set()
            thread.join()
            kept.append(_row(table, f"pause when {what}, s", samples.gaps, MOST_GAP_SECONDS))
            if what == "changed":
                _row(table, "first picks of new content, s", [] if first is None else [first])
            count = _picked_since(place, began)
            _row(table, f"picked in {seconds:.0f} s when {what}", [count])
        for number in range(10):
            _land(place / "in" / f"new_{number:05d}.mrc", number)
            time.sleep(1.0)
        waits = _waits(place, 10)
        _row(table, "landing to picks after that, s", waits)
        with contextlib.closing(_ledger(place)) as connection:
            counts = connection.execute("select state, count(*) from micrograph group by state")
            CONSOLE.print(dict(counts.fetchall()))
        process.terminate()
        process.wait(60)
    CONSOLE.print(table)
    return 0 if all(kept) else 1


def _picked_since(place: Path, began: float) -> int:
    with contextlib.closing(_ledger(place)) as connection:
        sql = "select count(*) from micrograph where picked_at > ?"
        return int(connection.execute(sql, (began,)).fetchone()[0])


# --- the service and what it answers -------------------------------------------------------------


@contextlib.contextmanager
def _service(place: Path) -> Iterator[tuple[psutil.Process, float]]:
    began = time.monotonic()
    log = place / "log"
    with log.open("wb") as file:
        running = subprocess.Popen([LIVEPICK, "run", place / "session.yaml"], stderr=file)
    try:
        while ": ready" not in log.read_text():
            if running.poll() is not None or time.monotonic() - began > 600:
                raise SystemExit(f"no start:\n{log.read_text()[-3000:]}")
            time.sleep(0.02)
        yield psutil.Process(running.pid), time.monotonic() - began
    finally:
        if running.poll() is None:
            running.kill()
        running.wait()


def _sample(place: Path, process: psutil.Process, samples: Samples, stop: threading.Event) -> None:
    """Measure the pauses of the dispatch loop, memory and descriptors until stopped."""
    number = 0
    while not stop.wait(0.1):
        samples.gaps.append(dispatch_gap(place))
        number += 1
        if number % 10 == 0:
            memory = process.memory_full_info()
            samples.resident.append(memory.rss)
            samples.private.append(memory.uss)
            samples.descriptors.append(process.num_fds())


def _ask(place: Path, samples: Samples, stop: threading.Event) -> None:
    """Call page, metrics and status until stopped."""
    while not stop.wait(3.0):
        samples.page.append(answer(place, "/")[0])
        samples.scrape.append(answer(place, "/metrics")[0])
        if len(samples.page) % 5 == 1:
            began = time.monotonic()
            subprocess.run(
                [LIVEPICK, "status", place / "session.yaml"], capture_output=True, check=True
            )
            samples.status.append(time.monotonic() - began)


def _ledger(place: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{place}/state/{LEDGER}?mode=ro", uri=True, timeout=30)


def _land(path: Path, number: int) -> None:
    random = np.random.default_rng(number)
    land(path, random.normal(number, 1, (SIZE_PX, SIZE_PX)).astype(np.float32))


class _Plain(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keep the line breaks of the description."""


if __name__ == "__main__":
    sys.exit(main())
