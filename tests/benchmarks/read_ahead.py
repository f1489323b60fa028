"""Measure picking of files that are not in memory, with and without reading ahead.

    python tests/benchmarks/read_ahead.py [--micrographs 12] [--rounds 3] [--limit 0 200]

Micrographs of 4096 x 4096 float32 are picked by one and by two workers, in turns: from memory
(*warm*), from the disk without reading ahead (*alone*), and from the disk with it (*ahead*). Before
each run on the disk the files are dropped from the page cache, and ``fincore`` shows that they are.
As many jobs are in progress as the service has. The table has medians of the rounds; *own* is the
time without that in which the workers could run and had no core (the kernel's ``schedstat``), as on
a machine with other users.

*hidden*: part of the reading from the disk for which no worker waits any more, (alone - ahead) /
(alone - warm) of the times in the stage *read*. The first file of each worker cannot be read ahead.

``--limit`` are speeds of the disk in MB/s; 0: as it is. The others need root and the control group
``blkio`` (version 1), which here holds this benchmark alone.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table
from worker import DIAMETER_ANGSTROM, KINDS, write_micrograph

from livepick.config.sections import Particle
from livepick.core.contracts.job import Job, Result
from livepick.models.general_model import publish_general_picker
from livepick.picking.engine import Engine, local
from livepick.picking.tasks import pick
from livepick.picking.worker_handle import WorkerHandle

CONSOLE = Console(width=130)
GROUP = Path(f"/sys/fs/cgroup/blkio/livepick-read-ahead-{os.getpid()}")
MOST_IN_MEMORY = 0.01
"""Most of a file that may still be in memory when it counts as dropped."""

STATES = ("warm", "alone", "ahead")


@dataclass(frozen=True, slots=True)
class Run:
    """One run, in seconds for each micrograph."""

    wall: float
    own: float
    """The same without the time in which the workers waited for a core."""
    cpu: float
    """CPU time of the workers."""
    read: float
    """Time in the stage *read*, by the clock."""
    other: float
    """Time in the other stages, by the clock."""


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Plain)
    parser.add_argument("--micrographs", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="folder on the disk to measure")
    parser.add_argument("--limit", type=int, nargs="+", default=[0], metavar="MB/S")
    given = parser.parse_args()
    table = Table(title=f"Milliseconds a micrograph ({KINDS[0].name}), medians of {given.rounds}")
    for column in ("disk", "workers", "files", "by the clock", "own", "read", "other", "CPU"):
        table.add_column(column, justify="left" if column in ("disk", "files") else "right")
    table.add_column("hidden", justify="right")
    with tempfile.TemporaryDirectory(prefix="livepick-read-ahead-", dir=given.folder) as name:
        jobs = make_jobs(Path(name), given.micrographs)
        for limit in given.limit:
            with limited(Path(name), limit):
                for workers in (1, 2):
                    runs: dict[str, list[Run]] = defaultdict(list)
                    for _ in range(given.rounds):
                        for state in STATES:
                            runs[state].append(measure(jobs, workers, state))
                            CONSOLE.print(limit or "no limit", workers, state, runs[state][-1])
                    show(table, limit, workers, runs)
    CONSOLE.print(table)
    return 0


def make_jobs(folder: Path, count: int) -> list[Job]:
    """Write different files with the same content, and return their jobs."""
    particle = Particle(diameter_angstrom=DIAMETER_ANGSTROM)
    bundle, _ = publish_general_picker(folder / "models", particle, 1)
    first = write_micrograph(folder / "mic_000.mrc", KINDS[0])
    content = first.read_bytes()
    paths = [first, *(folder / f"mic_{number:03d}.mrc" for number in range(1, count))]
    for path in paths[1:]:
        path.write_bytes(content)
    return [Job(path, None, bundle) for path in paths]


def measure(jobs: Sequence[Job], workers: int, state: str) -> Run:
    """Pick all micrographs, in new workers that have their libraries and the model."""
    with without_reading_ahead() if state == "alone" else _nothing():
        engine = local(workers)
        try:
            for future in [engine.submit(pick, jobs[0]) for _ in range(2 * workers)]:
                future.result()
            if state == "warm":
                for job in jobs:
                    job.path.read_bytes()
            else:
                drop([job.path for job in jobs])
            (cpu_before, delay_before), began = worker_times(), time.monotonic()
            results = pick_all(engine, jobs)
            wall, (cpu, delay) = time.monotonic() - began, worker_times()
        finally:
            engine.stop()
    read = sum(each.seconds.read for each in results)
    other = (each.seconds.preprocess + each.seconds.infer + each.seconds.peaks for each in results)
    own = wall - (delay - delay_before) / workers
    return Run(*(each / len(jobs) for each in (wall, own, cpu - cpu_before, read, sum(other))))


def pick_all(engine: Engine, jobs: Sequence[Job]) -> list[Result]:
    """Pick micrographs, as many at a time as the service gives to its workers."""
    waiting, running, results = list(reversed(jobs)), set[Future[Result]](), []
    while waiting or running:
        while waiting and len(running) < engine.capacity:
            running.add(engine.submit(pick, waiting.pop()))
        done, running = wait(running, return_when=FIRST_COMPLETED)
        results += [future.result() for future in done]
    return results


def worker_times() -> tuple[float, float]:
    """Return the CPU time of the workers, and the time for which they waited for a core."""
    cpu = delay = 0.0
    for process in psutil.Process().children():
        used = process.cpu_times()
        cpu += used.user + used.system
        delay += int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[1]) / 1e9
    return cpu, delay


def drop(paths: Sequence[Path]) -> None:
    """Drop files from the page cache."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    command = ["fincore", "--bytes", "--noheadings", "--output", "RES", *map(str, paths)]
    there = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    for path, in_memory in zip(paths, there, strict=True):
        if int(in_memory) > MOST_IN_MEMORY * path.stat().st_size:
            raise SystemExit(f"{path}: {in_memory} bytes stay in memory; take another --folder")


@contextmanager
def without_reading_ahead() -> Iterator[None]:
    """Let no worker read ahead."""
    original: Callable[..., None] = WorkerHandle.read_ahead
    WorkerHandle.read_ahead = lambda *_: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        WorkerHandle.read_ahead = original  # type: ignore[method-assign]


@contextmanager
def limited(folder: Path, megabytes_per_second: int) -> Iterator[None]:
    """Limit the speed at which this process and those that it starts read from a disk."""
    if not megabytes_per_second:
        yield
        return
    number = folder.stat().st_dev
    line = f"{os.major(number)}:{os.minor(number)} {megabytes_per_second * 1_000_000}"
    try:
        GROUP.mkdir()
        (GROUP / "blkio.throttle.read_bps_device").write_text(line)
        (GROUP / "cgroup.procs").write_text(str(os.getpid()))
    except OSError as error:
        raise SystemExit(f"the disk cannot be limited here: {error}; give --limit 0") from error
    try:
        yield
    finally:
        (GROUP.parent / "cgroup.procs").write_text(str(os.getpid()))
        GROUP.rmdir()


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def show(table: Table, limit: int, workers: int, runs: dict[str, list[Run]]) -> None:
    """Add the medians of some runs to the table."""

    def median(state: str, figure: str) -> float:
        return statistics.median(1000 * float(getattr(run, figure)) for run in runs[state])

    slow = median("alone", "read") - median("warm", "read")
    for state in STATES:
        names = ("wall", "own", "read", "other", "cpu")
        figures = [f"{median(state, name):.0f}" for name in names]
        hidden = (median("alone", "read") - median("ahead", "read")) / slow
        disk = f"{limit} MB/s" if limit else "as it is"
        hidden_cell = f"{100 * hidden:.0f} %" if state == "ahead" else ""
        table.add_row(disk, str(workers), state, *figures, hidden_cell)


class _Plain(argparse.RawDescriptionHelpFormatter):
    """Help formatter that keeps the line breaks of the description."""


if __name__ == "__main__":
    sys.exit(main())
