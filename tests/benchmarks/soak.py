"""Soak test with 2,000 small micrographs: constant memory, and a ledger that matches the files.

    python tests/benchmarks/soak.py [--micrographs 2000]

Micrographs arrive as fast as they are picked, so that a few are always waiting. Memory is measured
during the run. Its median in the last quarter of the micrographs must be within 5 % of that in the
second quarter, both for resident and for private memory (not shared with other processes). So must
the number of descriptors, and the dispatch loop must never pause for more than two seconds.

With few micrographs, such as 100, the script is only tried: the processes are still starting, and
their memory is not constant yet.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from small_session import LIVEPICK, MOST_GAP_SECONDS, SIZE_PX, counts, dispatch_gap, land, prepare

CONSOLE = Console(width=100)
DRAWINGS = 16
"""Number of different images; each file gets one of them, with its own grey level."""

AHEAD = 60
"""Maximum number of waiting micrographs."""

LEAST_SAMPLES = 16
"""Samples of a session, however short it is, so that each quarter has some."""

MOST_MORE_DESCRIPTORS = 5

SAMPLE_SECONDS = 1.0
LIMIT_SECONDS = 3000.0
MOST_GROWTH = 0.05
MOST_MAIN_BYTES = 200e6
MOST_WORKER_BYTES = 700e6


@dataclass(slots=True)
class Memory:
    """Memory of one kind of process, in bytes, with the number of picked micrographs."""

    picked: list[int] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    private: list[int] = field(default_factory=list)

    def add(self, picked: int, *processes: psutil.Process) -> None:
        """Add the memory of the largest of some processes, if there are any."""
        try:
            sizes = [process.memory_full_info() for process in processes]
        except psutil.NoSuchProcess:  # a process ended in the meantime
            return
        if sizes:
            largest = max(sizes, key=lambda size: size.rss)
            self.picked.append(picked)
            self.resident.append(largest.rss)
            self.private.append(largest.uss)

    def quarter(self, values: list[int], number: int, count: int) -> float:
        """Return the median of some values in one quarter (1 to 4) of ``count`` micrographs."""
        low, high = (count * n / 4 for n in (number - 1, number))
        return statistics.median(
            b for p, b in zip(self.picked, values, strict=True) if low < p <= high
        )


@dataclass(slots=True)
class Loop:
    """Pauses of the dispatch loop, and descriptors of the main process."""

    gaps: list[float] = field(default_factory=list)
    """Seconds since the last turn, at each sample."""
    descriptors: list[int] = field(default_factory=list)

    def add(self, place: Path, main: psutil.Process) -> None:
        """Add a sample, if the service answers."""
        try:
            self.gaps.append(dispatch_gap(place))
            self.descriptors.append(main.num_fds())
        except OSError:  # it is starting
            return

    def show(self) -> bool:
        """Print the samples; return True if they are within the limits."""
        quarter = len(self.descriptors) // 4
        second, last = (
            statistics.median(self.descriptors[n * quarter : (n + 1) * quarter]) for n in (1, 3)
        )
        CONSOLE.print(
            f"descriptors of main: {second:.0f} in the 2nd quarter, {last:.0f} in the 4th;"
            f" longest pause of the dispatch loop: {max(self.gaps):.1f} s"
        )
        return max(self.gaps) <= MOST_GAP_SECONDS and last - second <= MOST_MORE_DESCRIPTORS


def main() -> int:
    """Run the soak test; return 1 if it fails."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--micrographs", type=int, default=2000)
    count: int = parser.parse_args().micrographs
    if count < 100:
        parser.error("--micrographs is 100 or more")
    with tempfile.TemporaryDirectory(prefix="livepick-soak-") as name:
        place = Path(name)
        config = prepare(place, "soak", rescan_seconds=2)
        with (place / "log").open("wb") as log:
            service = subprocess.Popen([LIVEPICK, "run", config], stderr=log)
        try:
            memories, loop, seconds = _soak(place, service, count)
        finally:
            service.terminate()
            service.wait(20)
        kept = _show(memories, count) and loop.show()
        CONSOLE.print(f"{count} micrographs in {seconds:.0f} s, {count / seconds:.1f} per second")
        return 0 if _agree(place, count) and kept else 1


def _soak(
    place: Path, service: subprocess.Popen[bytes], count: int
) -> tuple[dict[str, Memory], Loop, float]:
    """Feed the service until everything is picked; return samples and the seconds it took."""
    drawings = _drawings()
    memories = {"main": Memory(), "worker": Memory()}
    loop, main = Loop(), psutil.Process(service.pid)
    ahead = min(AHEAD, count // LEAST_SAMPLES)  # no more are picked between two samples
    written = picked = 0
    started = sampled_at = time.monotonic()
    while picked < count:
        if service.poll() is not None or time.monotonic() - started > LIMIT_SECONDS:
            raise SystemExit(
                f"ended at {picked} micrographs:\n{(place / 'log').read_text()[-2000:]}"
            )
        while written < min(count, picked + ahead):
            written += 1
            image = drawings[written % DRAWINGS] + np.float32(written)
            land(place / "in" / f"mic_{written:05d}.mrc", image)
        time.sleep(max(0.0, sampled_at + SAMPLE_SECONDS - time.monotonic()))
        sampled_at = time.monotonic()
        picked = counts(place).picked
        memories["main"].add(picked, main)
        loop.add(place, main)
        below = main.children(recursive=True)
        memories["worker"].add(picked, *(p for p in below if _is_worker(p)))
    return memories, loop, time.monotonic() - started


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def _drawings() -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    rng = np.random.default_rng(5)
    y, x = np.indices((SIZE_PX, SIZE_PX))
    drawings = []
    for _ in range(DRAWINGS):
        image = rng.standard_normal((SIZE_PX, SIZE_PX), dtype=np.float32)
        for cy, cx in rng.uniform(15, SIZE_PX - 15, size=(12, 2)):
            image -= np.float32(1.5) * (np.hypot(y - cy, x - cx) < 12)
        drawings.append(image)
    return drawings


def _show(memories: dict[str, Memory], count: int) -> bool:
    limits = {"main": MOST_MAIN_BYTES, "worker": MOST_WORKER_BYTES}
    table = Table(title="Memory, MB")
    for column in ("process", "2nd quarter", "4th quarter", "change", "most", "limit", ""):
        table.add_column(column, justify="right")
    kept = True
    for name, memory in memories.items():
        for kind, values in (("", memory.resident), (", private", memory.private)):
            second, last = (memory.quarter(values, n, count) for n in (2, 4))
            change, most = last / second - 1, max(values)
            good = abs(change) <= MOST_GROWTH and most <= limits[name]
            kept = kept and good
            figures = [f"{b / 1e6:.1f}" for b in (second, last)]
            table.add_row(
                name + kind,
                *figures,
                f"{change:+.1%}",
                f"{most / 1e6:.1f}",
                f"{limits[name] / 1e6:.0f}",
                "kept" if good else "BROKEN",
            )
    CONSOLE.print(table)
    return kept


def _agree(place: Path, count: int) -> bool:
    """Return True if ledger, coordinate files and session list contain the same micrographs."""
    inputs = {path.stem for path in (place / "in").iterdir()}
    outputs = {
        path.name.removesuffix("_autopick.star") for path in (place / "out").glob("*_autopick.star")
    }
    listed = (place / "out" / "autopick.star").read_text().count("_autopick.star")
    found = {"files": len(outputs), "lines of the list": listed, "ledger": counts(place).picked}
    CONSOLE.print(", ".join(f"{name}: {number}" for name, number in found.items()))
    same = inputs == outputs and set(found.values()) == {count}
    if not same:
        CONSOLE.print(f"BROKEN: {count} micrographs landed")
    return same


if __name__ == "__main__":
    sys.exit(main())
