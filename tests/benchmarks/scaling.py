"""Measure how picking scales: the service, one and two workers, and many workers by simulation.

    python tests/benchmarks/scaling.py [--micrographs 600] [--dask] [--data FOLDER] [--rounds 3]

Service: CPU time of the main process for each micrograph, with workers that return a ready result
at once (``stub_service.py``), first with all files there at once, then with 20,000 an hour. The
page is loaded and ``/metrics`` is scraped meanwhile. With ``--dask`` the workers are those of a
Dask cluster on this machine, and the CPU time of its scheduler is shown too.

Workers: micrographs are picked by a pool of one and of two workers, and by one and two processes
that share nothing but the machine, in turns. The latter show what the machine itself allows: two
hyperthreads of one core are not two cores. On a machine with other users the time in which a worker
could run and had no core is taken out (the kernel's ``schedstat``): what is left is its computing,
and its waits for jobs and files. ``--data`` has MRC files; else one is simulated.

Simulation: the same costs with up to 32 workers, by events: a file system of a given rate that
serves one read after another, the workers, and the one dispatch thread. What it predicts for one
and two workers is compared with the measurement.

This is one file because each part feeds the next one. The exit status is 1 if the service takes
more CPU time than its limit, or the pool gets less than 0.85 of what the machine allows.
"""

import argparse
import heapq
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import yaml
from rich.console import Console
from rich.table import Table
from small_session import answer, counts, land, prepare
from stub_service import CPU_FILE
from worker import DIAMETER_ANGSTROM, write_micrograph
from worker import KINDS as IMAGES

from livepick.config.sections import Particle
from livepick.core.contracts.job import Job
from livepick.models.general_model import publish_general_picker
from livepick.picking.engine import local
from livepick.picking.tasks import pick
from running_program import running

CONSOLE = Console(width=130)
HERE = Path(__file__).parent
SERVICE = HERE / "stub_service.py"
IMPORTABLE = {"PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}"}
"""Environment in which workers can import the stub."""

PER_HOUR = 20_000
"""Micrographs an hour of a fast microscope with beam shift, or of several."""

WARM_UP = 50
MOST_CPU_MS = 2.0
LEAST_EFFICIENCY = 0.85
SIDE_PX = 64
"""Side of the files whose picking is not real."""

LIMIT_SECONDS = 900.0
ASK_SECONDS = 5.0
"""Time between two loads of the page; every third time ``/metrics`` is scraped."""

IDLE_SECONDS = 15.0

PER_WORKER = 8
"""Micrographs that each worker picks in a round."""

LOOPS: list[float] = []
"""CPU seconds of all loops that measured the machine."""

IN_PARTS = {
    "dispatch": "ledger, output, jobs",
    "workers": "channels of the workers",
    "cluster": "connection to the cluster",
    "watch": "arrivals",
    "web": "page and metrics",
    "lists": "lists and tables",
    "tables": "lists and tables",
    "page": "page and metrics",
}
"""Parts of the service by thread; the others watch for things that happen seldom."""


def main() -> int:
    """Run all parts; return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Plain)
    parser.add_argument("--micrographs", type=int, default=600)
    parser.add_argument("--dask", action="store_true", help="measure the engine dask, too")
    parser.add_argument("--data", type=Path, help="folder with MRC files to pick")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    engines = ["local", "dask"] if given.dask else ["local"]
    for _ in range(50):
        _loop()
    costs = [
        service_cost(given.micrographs, engine=engine, per_hour=per_hour)
        for engine in engines
        for per_hour in (None, PER_HOUR)
    ]
    _show_service(costs)
    with tempfile.TemporaryDirectory(prefix="livepick-scaling-") as name:
        runs = worker_runs(Path(name), given.data, given.rounds)
    efficiency = _show_workers(runs)
    _show_simulation(costs, runs)
    kept = costs[0].cpu_ms <= MOST_CPU_MS and efficiency >= LEAST_EFFICIENCY
    CONSOLE.print("kept" if kept else "BROKEN")
    return 0 if kept else 1


# ---- the service --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServiceCost:
    """Cost of the service for each micrograph."""

    engine: str
    per_hour: int | None
    """Rate of arrival; None: all at once."""
    cpu_ms: float
    """CPU time of the main process."""
    parts_ms: dict[str, float]
    """The same by part."""
    idle_ms: float
    """CPU time of the main process in the same time when no micrograph comes."""
    wall_ms: float
    """Time between two micrographs."""
    own_ms: float
    """The same without the time for which the dispatch thread could run and had no core."""
    scheduler_ms: float
    """CPU time of Dask's scheduler."""
    slowness: float
    """CPU time of a fixed loop meanwhile, by the shortest ever: neighbours make both slower."""


def service_cost(count: int, *, engine: str, per_hour: int | None) -> ServiceCost:
    """Run the service on ``count`` micrographs whose results are ready."""
    with tempfile.TemporaryDirectory(prefix="livepick-scaling-") as name, ExitStack() as ending:
        place = Path(name)
        config = prepare(place, "scaling")
        settings = yaml.safe_load(config.read_text())
        settings["picking"]["workers"] = 2
        scheduler = None
        if engine == "dask":
            scheduler = ending.enter_context(_cluster(place))
            del settings["picking"]["workers"]
            settings["engine"] = {"kind": "dask", "scheduler_file": str(place / "scheduler.json")}
        config.write_text(yaml.safe_dump(settings))
        command = [sys.executable, SERVICE, config]
        service = ending.enter_context(running(place / "log", command, environment=IMPORTABLE))
        _until(lambda: ": ready" in (place / "log").read_text(), place)
        source = place / "source.mrc"
        land(source, np.random.default_rng(0).normal(size=(SIDE_PX, SIDE_PX)).astype(np.float32))
        _land_links(source, place / "in", range(WARM_UP), None)
        _until(lambda: counts(place).picked == WARM_UP, place)
        time.sleep(2.0)
        loops = ending.enter_context(_asking(place))
        idle_before = _cpu(place)[0]
        time.sleep(IDLE_SECONDS)
        before, began = _cpu(place), time.monotonic()
        idle_share = (before[0] - idle_before) / IDLE_SECONDS
        scheduler_before = _cpu_seconds(scheduler)
        _land_links(source, place / "in", range(WARM_UP, WARM_UP + count), per_hour)
        _until(lambda: counts(place).picked == WARM_UP + count, place)
        wall_seconds = time.monotonic() - began
        time.sleep(1.5)  # the report is written twice a second
        after = _cpu(place)
        assert service.poll() is None
        parts: dict[str, float] = defaultdict(float)
        for thread, seconds in after[1].items():
            used_ms = 1000 * (seconds - before[1].get(thread, 0.0)) / count
            parts[IN_PARTS.get(thread, "all others")] += used_ms
        return ServiceCost(
            engine,
            per_hour,
            1000 * (after[0] - before[0]) / count,
            dict(parts),
            1000 * idle_share * wall_seconds / count,
            1000 * wall_seconds / count,
            1000 * (wall_seconds - after[2] + before[2]) / count,
            1000 * (_cpu_seconds(scheduler) - scheduler_before) / count,
            statistics.median(loops) / min(LOOPS),
        )


@contextmanager
def _cluster(place: Path) -> Iterator[int]:
    """Run a Dask cluster with two workers; yield the process id of its scheduler."""
    programs, file = Path(sys.executable).parent, place / "scheduler.json"
    scheduler = [
        *(programs / "dask", "scheduler", "--host", "tcp://127.0.0.1", "--port", "0"),
        *("--scheduler-file", file, "--no-dashboard", "--dashboard-address", "127.0.0.1:0"),
    ]
    worker = [
        *(programs / "livepick", "worker", "--scheduler-file", file),
        *("--device", "cpu", "--workers", "2"),
    ]
    with running(place / "scheduler.log", scheduler, environment=IMPORTABLE) as process:
        _until(file.exists, place)
        with running(place / "worker.log", worker, environment=IMPORTABLE):
            yield process.pid


def _cpu_seconds(pid: int | None) -> float:
    if pid is None:
        return 0.0
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)


def _cpu(place: Path) -> tuple[float, dict[str, float], float]:
    """Return CPU seconds, in all and by thread, and the delay of the dispatch thread."""
    report = json.loads((place / CPU_FILE).read_text())
    return report["all"], report["threads"], report["delay"]


def _land_links(source: Path, folder: Path, numbers: range, per_hour: int | None) -> None:
    began = time.monotonic()
    for number in numbers:
        (folder / f"mic_{number:06d}.mrc").hardlink_to(source)
        if per_hour is not None:
            due = began + (number - numbers.start) * 3600 / per_hour
            time.sleep(max(0.0, due - time.monotonic()))


def _until(condition: Callable[[], bool], place: Path) -> None:
    give_up = time.monotonic() + LIMIT_SECONDS
    while not condition():
        if time.monotonic() > give_up:
            logs = "\n".join(path.read_text()[-2000:] for path in place.glob("*log"))
            raise SystemExit(f"waited in vain:\n{logs}")
        time.sleep(0.25)


@contextmanager
def _asking(place: Path) -> Iterator[list[float]]:
    """Load the page and scrape the metrics until the end of the block; measure the machine."""
    stop = threading.Event()
    loops = [_loop()]

    def ask() -> None:
        number = 0
        while not stop.wait(ASK_SECONDS):
            loops.extend(_loop() for _ in range(3))
            answer(place, "/")
            number += 1
            if number % 3 == 0:
                answer(place, "/metrics")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield loops
    finally:
        stop.set()
        thread.join()


def _loop() -> float:
    """Return the CPU time of a fixed loop."""
    began = time.thread_time()
    sum(number * number for number in range(100_000))
    LOOPS.append(time.thread_time() - began)
    return LOOPS[-1]


def _show_service(costs: Sequence[ServiceCost]) -> None:
    table = Table(title=f"CPU of the main process, ms per micrograph (limit {MOST_CPU_MS:g})")
    table.add_column("part")
    for cost in costs:
        rate = "all at once" if cost.per_hour is None else f"{cost.per_hour:,} an hour"
        table.add_column(f"{cost.engine}, {rate}", justify="right")
    for part in sorted({part for cost in costs for part in cost.parts_ms}):
        table.add_row(part, *(f"{cost.parts_ms.get(part, 0.0):.2f}" for cost in costs))
    table.add_row("together", *(f"{cost.cpu_ms:.2f}" for cost in costs))
    table.add_row("the same when idle", *(f"{cost.idle_ms:.2f}" for cost in costs))
    table.add_row("Dask's scheduler", *(f"{cost.scheduler_ms:.2f}" for cost in costs))
    table.add_row("time, by the clock", *(f"{cost.wall_ms:.1f}" for cost in costs))
    table.add_row("without waits for a core", *(f"{cost.own_ms:.1f}" for cost in costs))
    table.add_row("slowness of the machine", *(f"{cost.slowness:.2f}" for cost in costs))
    CONSOLE.print(table)


# ---- one and two workers ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Picked:
    """One micrograph, picked by one thread; all in seconds."""

    worker: int
    """Process id."""
    begun: tuple[float, float, float]
    """Clock, time on a core, and time waiting for a core, at its begin."""
    ended: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Run:
    """Picking by some workers: ``pool``, or ``alone``, which are processes without a pool."""

    kind: str
    workers: int
    per_second: float
    """Micrographs, by the clock."""
    per_own_second: float
    """The same without the time in which the workers waited for a core."""
    cpu_seconds: float
    """CPU time of a worker for each micrograph."""

    @classmethod
    def of(cls, kind: str, done: Sequence[Picked]) -> "Run":
        """Return the run in which these micrographs were picked."""
        by_worker: dict[int, list[Picked]] = defaultdict(list)
        for one in done:
            by_worker[one.worker].append(one)
        own_rate = cpu_seconds = 0.0
        for jobs in by_worker.values():
            first, last = min(one.begun for one in jobs), max(one.ended for one in jobs)
            clock, cpu, delay = (b - a for a, b in zip(first, last, strict=True))
            own_rate += len(jobs) / (clock - delay)
            cpu_seconds += cpu
        clock = max(one.ended for one in done)[0] - min(one.begun for one in done)[0]
        workers = len(by_worker)
        return cls(kind, workers, len(done) / clock, own_rate, cpu_seconds / len(done))


def worker_runs(folder: Path, data: Path | None, rounds: int) -> list[Run]:
    """Pick the same micrographs by pools and by processes that share nothing, in turns."""
    paths = sorted(data.glob("*.mrc")) if data else []
    paths = paths or [write_micrograph(folder / "noise.mrc", IMAGES[0])]
    particle = Particle(diameter_angstrom=DIAMETER_ANGSTROM)
    bundle, _ = publish_general_picker(folder / "models", particle, 1)
    jobs = [Job(path, None, bundle) for path in paths]
    CONSOLE.print(f"{len(jobs)} micrographs of {jobs[0].path.stat().st_size / 1e6:.0f} MB")
    runs = []
    for _ in range(rounds):
        for workers in (1, 2):
            runs.append(_pool_run(jobs, workers))
            runs.append(_alone_run(jobs, workers))
    return runs


def timed_pick(job: Job) -> Picked:
    """Pick a micrograph, and return the times."""
    begun = _times()
    pick(job)
    return Picked(os.getpid(), begun, _times())


def _times() -> tuple[float, float, float]:
    on_core_ns, waiting_ns, _ = Path("/proc/thread-self/schedstat").read_text().split()
    return time.monotonic(), int(on_core_ns) / 1e9, int(waiting_ns) / 1e9


def _pool_run(jobs: Sequence[Job], workers: int) -> Run:
    engine = local(workers)
    try:
        for future in [engine.submit(timed_pick, jobs[0]) for _ in range(2 * workers)]:
            future.result()  # imports, session, page cache
        count = PER_WORKER * workers
        futures = [engine.submit(timed_pick, jobs[n % len(jobs)]) for n in range(count)]
        return Run.of("pool", [future.result() for future in futures])
    finally:
        engine.stop()


def _alone_run(jobs: Sequence[Job], workers: int) -> Run:
    context = multiprocessing.get_context("spawn")
    results, start = context.Queue(), context.Event()
    processes = [
        context.Process(target=_pick_alone, args=(jobs, start, results)) for _ in range(workers)
    ]
    for process in processes:
        process.start()
    for _ in processes:
        results.get()  # warm
    start.set()
    done = [one for _ in processes for one in results.get()]
    for process in processes:
        process.join()
    return Run.of("alone", done)


def _pick_alone(jobs, start, results) -> None:  # type: ignore[no-untyped-def]
    for _ in range(2):
        timed_pick(jobs[0])
    results.put(None)
    start.wait()
    results.put([timed_pick(jobs[n % len(jobs)]) for n in range(PER_WORKER)])


def median(runs: Sequence[Run], kind: str, workers: int, figure: str) -> float:
    """Return the median of a figure over the rounds."""
    values = [
        float(getattr(run, figure)) for run in runs if (run.kind, run.workers) == (kind, workers)
    ]
    return statistics.median(values)


def _efficiency(runs: Sequence[Run], kind: str, figure: str) -> float:
    """Return the throughput of two workers, as a share of twice that of one."""
    return median(runs, kind, 2, figure) / (2 * median(runs, kind, 1, figure))


def _show_workers(runs: Sequence[Run]) -> float:
    """Print the throughput; return that of two workers as a share of what the machine allows."""
    table = Table(title="One and two workers, medians of the rounds; efficiency: of 2 / (2 x of 1)")
    columns = ("", "1, per s", "2, per s", "efficiency", "1, own", "2, own", "efficiency")
    for column in (*columns, "1, CPU s", "2, CPU s", "1 / 2"):
        table.add_column(column, justify="right" if column else "left")
    for kind, name in (("pool", "pool of livepick"), ("alone", "processes that share nothing")):
        cells = []
        for figure in ("per_second", "per_own_second"):
            one, two = (median(runs, kind, n, figure) for n in (1, 2))
            efficiency = _efficiency(runs, kind, figure)
            cells += [f"{one:.2f}", f"{two:.2f}", f"{efficiency:.2f}"]
        one, two = (median(runs, kind, n, "cpu_seconds") for n in (1, 2))
        table.add_row(name, *cells, f"{one:.3f}", f"{two:.3f}", f"{one / two:.2f}")
    CONSOLE.print(table)
    CONSOLE.print(
        "own: without the time in which a worker could run and had no core. 1 / 2: CPU time of one"
        " worker / of each of two"
    )
    pool, alone = (_efficiency(runs, kind, "per_own_second") for kind in ("pool", "alone"))
    share = pool / alone
    CONSOLE.print(
        f"own efficiency of the pool / of processes that share nothing: {share:.2f},"
        f" {LEAST_EFFICIENCY} at least"
    )
    return share


# ---- many workers -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of one micrograph, in seconds."""

    read: float
    """At the file system, which serves one read after another."""
    compute: float
    """In a worker, after reading."""
    coordinate: float
    """In the dispatch thread: job, output, ledger."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of a simulated session."""

    per_hour: float
    busy: dict[str, float]
    """Share of the time in which each part was busy."""
    longest_seconds: float
    """Longest time from arrival to recorded picks."""

    @property
    def ceiling(self) -> str:
        """Part that is busiest."""
        return max(self.busy, key=self.busy.__getitem__)


def simulate(
    costs: Costs, *, workers: int, count: int, per_hour: float | None, seed: int = 0
) -> Outcome:
    """Simulate a session, event by event.

    A worker takes the next micrograph when it is free (two are prepared for each), reads it, which
    waits for the reads of others, and computes; then the dispatch thread records it, one after
    another. ``per_hour``: rate of random arrivals; None: all are there at the start.
    """
    random = np.random.default_rng(seed)
    gaps = np.zeros(count) if per_hour is None else random.exponential(3600 / per_hour, count)
    arrivals = np.cumsum(gaps).tolist()
    varied = (costs.compute * random.uniform(0.9, 1.1, count)).tolist()
    free = [(0.0, number) for number in range(workers)]
    disk_free = 0.0
    done: list[tuple[float, int]] = []
    for number in range(count):
        at, worker = heapq.heappop(free)
        begins = max(at, arrivals[number], disk_free)
        disk_free = begins + costs.read
        ends = disk_free + varied[number]
        heapq.heappush(free, (ends, worker))
        heapq.heappush(done, (ends, number))
    recorded_at = longest = 0.0
    while done:
        ended, number = heapq.heappop(done)
        recorded_at = max(recorded_at, ended) + costs.coordinate
        longest = max(longest, recorded_at - arrivals[number])
    busy = {
        "file system": count * costs.read / recorded_at,
        "workers": count * (costs.read + costs.compute) / (workers * recorded_at),
        "dispatch thread": count * costs.coordinate / recorded_at,
    }
    return Outcome(count / recorded_at * 3600, busy, longest)


KINDS = {"4096²": 4096 * 4096, "K3": 5760 * 4092}
"""Pixels of micrographs of float32."""

WORKERS = (1, 2, 4, 8, 16, 32)

RATES = (0.3e9, 1e9, 3e9)
"""Rates of a file system, in bytes per second: a network of 2.5, 10 and 25 Gbit/s."""


def _show_simulation(costs: Sequence[ServiceCost], runs: Sequence[Run]) -> None:
    coordinate = costs[0].own_ms / 1000
    compute = median(runs, "alone", 1, "cpu_seconds")
    CONSOLE.print(
        f"Input of the simulation, as measured: {compute:.3f} s in a worker for each 4096², in"
        f" proportion to the pixels; {1000 * coordinate:.1f} ms of the dispatch thread with its"
        f" waits for the disk ({costs[0].cpu_ms:.2f} ms CPU)"
    )
    for cost in costs:
        if cost.per_hour is None:
            used = {"dispatch thread": cost.own_ms, "CPU of the service": cost.cpu_ms}
            if cost.scheduler_ms:
                used["Dask's scheduler"] = cost.scheduler_ms
            ceilings = (f"{name} {3.6e6 / ms:,.0f}" for name, ms in used.items())
            CONSOLE.print(f"{cost.engine}: ceilings an hour, each alone: {', '.join(ceilings)}")
    for workers in (1, 2):
        alone = workers / median(runs, "alone", workers, "per_own_second")
        of_one = Costs(0, alone, coordinate)
        predicted = simulate(of_one, workers=workers, count=1000, per_hour=None)
        found = median(runs, "pool", workers, "per_own_second") * 3600
        CONSOLE.print(
            f"{workers} worker(s): simulated {predicted.per_hour:,.0f} an hour, measured"
            f" {found:,.0f} ({found / predicted.per_hour - 1:+.0%})"
        )
    table = Table(title=f"Simulated: micrographs an hour by workers; and a session of {PER_HOUR:,}")
    table.add_column("micrographs, file system")
    for workers in WORKERS:
        table.add_column(str(workers), justify="right")
    table.add_column("ceiling")
    for column in ("workers needed", "dispatch busy", "longest delay, s"):
        table.add_column(column, justify="right")
    for name, pixels in KINDS.items():
        for rate in RATES:
            one = Costs(4 * pixels / rate, compute * pixels / 4096**2, coordinate)
            most = [simulate(one, workers=n, count=5000, per_hour=None) for n in WORKERS]
            enough = next(
                (n for n, at in zip(WORKERS, most, strict=True) if at.per_hour > 1.1 * PER_HOUR), 0
            )
            session = ["none is enough", "", ""]
            if enough:
                live = simulate(one, workers=enough, count=PER_HOUR, per_hour=PER_HOUR)
                session = [str(enough), f"{live.busy['dispatch thread']:.0%}"]
                session.append(f"{live.longest_seconds:.1f}")
            rates = [f"{one.per_hour:,.0f}" for one in most]
            table.add_row(f"{name}, {rate / 1e9:g} GB/s", *rates, most[-1].ceiling, *session)
    CONSOLE.print(table)


class _Plain(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keep the line breaks of the description."""


if __name__ == "__main__":
    sys.exit(main())
