"""Check and measure picking on the GPUs of this machine, in less than eight minutes.

    python tests/device/gpu.py [--devices 0,1] [--rows "IO binding,+ graphs"] [--provider cpu]

It needs livepick with onnxruntime-gpu and nothing else; it simulates its own micrographs. It prints
one table with a row for each way to use a GPU (``engine.cuda``):

- throughput, from files to picks, and the time of the network alone;
- memory of the GPU (all programs, beyond what was used before) and of the worker processes;
- parity with the CPU: the largest difference of a score, and the picks that the other does not have
  within 0.1 px of the micrograph. Picks whose score is nearer to the threshold than that difference
  are left out, as rounding decides about them.

It also checks that each GPU is really used, and that ``picking.device: require-gpu`` refuses to
pick where CUDA is hidden. The status is 0 if all is well, 1 if a check failed, and 3 if there is no
GPU. ``--provider cpu`` runs the same code on the CPU; its figures say nothing about a GPU.
"""

import argparse
import dataclasses
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from livepick.config.engine_section import CudaSettings
from livepick.config.sections import Particle
from livepick.core.contracts.job import CPU, CUDA, Job, Result
from livepick.core.formats.micrograph import read_micrograph
from livepick.errors import LivepickError, ProviderError
from livepick.host.gpus import nvml
from livepick.host.memory import process_bytes
from livepick.host.processors import usable_processors
from livepick.models.general_model import publish_general_picker
from livepick.picking import tasks
from livepick.picking.gpu_pins import GpuPin, pins
from livepick.picking.job_limits import JobLimits
from livepick.picking.worker_pool import WorkerPool
from livepick.simulate.acquisition import Pace, Plan, acquire
from livepick.simulate.field import Session

NO_GPU = 3
"""Status if there is no GPU."""

DIAMETER_ANGSTROM = 130.0
"""Diameter of the simulated particle."""

SESSION = Session(species="apoferritin", shape_px=(4096, 4096), pixel_size_angstrom=0.9)

MOST_DISTANCE_PX = 0.1

MOST_DIFFERENCE = {False: 0.05, True: 0.001}
"""Largest difference of a score, by ``full_precision``."""

WARM_UP = 6
"""Jobs for each worker before the measurement: the first runs with a size are compared."""

LAST_START_SECONDS = 360.0
"""Time after which no further row is begun; it is listed as left out."""

MOST_SECONDS = 450.0
"""Time after which jobs are no longer waited for, and the row has failed."""

SAMPLE_SECONDS = 0.05

ROWS = {
    "ordinary runs": CudaSettings(io_binding=False),
    "IO binding": CudaSettings(),
    "+ pinned": CudaSettings(pinned=True),
    "+ graphs": CudaSettings(graphs=True),
    "+ pinned + graphs": CudaSettings(pinned=True, graphs=True),
    "exhaustive search": CudaSettings(convolution_search="exhaustive"),
    "full precision": CudaSettings(full_precision=True),
    "2 in flight": CudaSettings(in_flight=2),
    "2 in flight + graphs": CudaSettings(in_flight=2, graphs=True),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """A row of the table."""

    per_second: float
    infer_seconds: float
    host_bytes: int
    device_bytes: int | None
    largest_difference: float
    unequal_picks: int
    picks: int
    fault: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all checks; return the status."""
    given = _parse(arguments)
    console = Console(width=150)
    on_gpu = given.provider == "cuda"
    try:
        devices = pins(given.devices)
    except ProviderError as error:
        console.print(f"There is no such GPU: {error}", soft_wrap=True)
        return NO_GPU
    started = time.monotonic()
    until = started + MOST_SECONDS
    with tempfile.TemporaryDirectory(prefix="livepick-gpu-") as name:
        folder = Path(name)
        particle = Particle(diameter_angstrom=DIAMETER_ANGSTROM)
        bundle, card = publish_general_picker(folder / "models", particle, 1)
        faults = _unusable(devices, bundle, until) if on_gpu else {}
        if len(faults) == len(devices) and on_gpu:
            reason = next(iter(faults.values()))
            console.print(f"There is no GPU that onnxruntime can use: {reason}", soft_wrap=True)
            return NO_GPU
        paths = _micrographs(folder, given.size, given.micrographs, until)
        job = Job(paths[0], None, bundle, device="cpu", diameter_angstrom=DIAMETER_ANGSTROM)
        jobs = [dataclasses.replace(job, path=path) for path in paths]
        table = _table(given)
        usable = [device for device in devices if device.name not in faults]
        failed = [f"{device}: {fault}" for device, fault in faults.items()]
        failed += _fill(table, jobs, usable, given, started)
        failed += _refusal(bundle, until)
    console.print(table)
    for fault in failed:
        console.print(f"FAILED: {fault}", soft_wrap=True)
    seconds = time.monotonic() - started
    outcome = f"{len(failed)} checks failed" if failed else "all checks passed"
    console.print(
        f"{outcome} in {seconds:.0f} s"
        f" ({card.kind} model, {given.micrographs} micrographs of {given.size} x {given.size})"
    )
    return 1 if failed else 0


def _fill(
    table: Table,
    jobs: Sequence[Job],
    devices: Sequence[GpuPin],
    given: argparse.Namespace,
    started: float,
) -> list[str]:
    """Measure the rows of the table; return what failed."""
    on_gpu = given.provider == "cuda"
    until = started + MOST_SECONDS
    expected = _on_cpu(jobs, until)
    jobs = [dataclasses.replace(job, device="require-gpu" if on_gpu else "cpu") for job in jobs]
    failed = []
    for title, settings, on in _plan(devices):
        if given.rows and title not in given.rows:
            continue
        if time.monotonic() - started > LAST_START_SECONDS:
            table.add_row(title, "left out, no time")
            continue
        try:
            row = _measure(jobs, expected, settings, on, on_gpu=on_gpu, until=until)
        except Exception as error:  # noqa: BLE001 - the other rows may work
            failed.append(f"{title}: {str(error) or 'out of time'}")
            table.add_row(title, "failed")
        else:
            table.add_row(title, *_cells(row))
            failed += _shortcomings(title, row, settings)
    return failed


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--provider", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--devices",
        default=[0],
        type=lambda text: [int(number) for number in text.split(",")],
        help="GPUs, as in engine.devices (0)",
    )
    parser.add_argument(
        "--rows", type=lambda text: text.split(","), help="only these rows of the table"
    )
    parser.add_argument("--micrographs", type=int, default=8, help="different ones (8)")
    parser.add_argument("--size", type=int, default=4096, help="side of a micrograph in px (4096)")
    given = parser.parse_args(arguments)
    known = [title for title, *_ in _plan([GpuPin(each, "") for each in given.devices])]
    for title in given.rows or ():
        if title not in known:
            parser.error(f"there is no row {title!r}; there are: {', '.join(known)}")
    return given


def _plan(devices: Sequence[GpuPin]) -> Iterator[tuple[str, CudaSettings, Sequence[GpuPin]]]:
    """Yield the title, the settings and the GPUs of each row."""
    first = devices[:1]
    for title, settings in ROWS.items():
        yield title, settings, first
    for device in devices[1:]:
        yield f"IO binding on GPU {device.index}", CudaSettings(), [device]
    if len(devices) > 1:
        yield f"all {len(devices)} GPUs", CudaSettings(), devices


@contextmanager
def _pool(
    workers: int, devices: Sequence[GpuPin] = (), cuda: CudaSettings | None = None
) -> Iterator[WorkerPool]:
    pool = WorkerPool(workers, JobLimits(workers), devices=devices, cuda=cuda)
    try:
        yield pool
    finally:
        pool.shutdown()


def _unusable(devices: Sequence[GpuPin], bundle: Path, until: float) -> dict[str, str]:
    """Return why GPUs cannot be used, by their names."""
    faults = {}
    for device in devices:
        try:
            provider = _provider(device, bundle, until)
        except (LivepickError, TimeoutError) as error:
            faults[device.name] = str(error) or "it does not answer"
        else:
            if provider != CUDA:
                faults[device.name] = f"onnxruntime uses {provider}"
    return faults


def _provider(device: GpuPin, bundle: Path, until: float) -> str:
    """Run a model on a GPU that is required, in a worker; return the provider."""
    with _pool(1, [device]) as pool:
        asked: Future[str] = pool.submit_to(
            device, JobLimits(1).limits(), tasks.probe, bundle, "require-gpu"
        )
        return asked.result(max(1.0, until - time.monotonic()))


def _micrographs(folder: Path, size_px: int, count: int, until: float) -> list[Path]:
    """Simulate micrographs, on all processors: each takes ten seconds."""
    with _pool(min(count, usable_processors())) as pool:
        made = [pool.submit(simulate, folder, size_px, number) for number in range(1, count + 1)]
        return _results(made, until)


# ---- in the worker processes ---------------------------------------------------------------------


def simulate(folder: Path, size_px: int, number: int) -> Path:
    """Write one micrograph; return its path."""
    plan = Plan(
        session=dataclasses.replace(SESSION, shape_px=(size_px, size_px)),
        output=folder / "micrographs",
        truth=folder / "truth",
        micrographs=1,
        every_seconds=0,
        write_seconds=0,
        first=number,
    )
    paths: list[Path] = []
    acquire(plan, Pace(0), lambda path, _: paths.append(path))
    return paths[0]


def pick(job: Job) -> Result:
    """Pick a micrograph as the service does."""
    _bind_on_cpu(job)
    return tasks.pick(job)


def scores(job: Job) -> NDArray[np.float32]:
    """Return the scores of a micrograph."""
    from livepick.picking import onnx_session, worker  # noqa: PLC0415 - only a worker loads these

    _bind_on_cpu(job)
    model = onnx_session.loaded_model(job.bundle, job.device)
    micrograph = read_micrograph(job.path, pixel_size_angstrom=None)
    prepared = worker._prepared(micrograph, job, model.card)
    return onnx_session.score_map(model, prepared.image, prepared.mask)


def binding_fault(job: Job) -> str:
    """Return why IO binding has been switched off in this process; empty: it works, or is off."""
    from livepick.picking import onnx_session  # noqa: PLC0415 - see above

    bound = onnx_session.loaded_model(job.bundle, job.device).bound
    return "" if bound is None else bound.fault


def _bind_on_cpu(job: Job) -> None:
    """Use IO binding on the CPU too, where the service does not."""
    from livepick.picking import onnx_session  # noqa: PLC0415 - see above
    from livepick.picking.cuda_settings import cuda_settings  # noqa: PLC0415
    from livepick.picking.onnx_cuda import BoundSession  # noqa: PLC0415

    settings = cuda_settings()
    model = onnx_session.loaded_model(job.bundle, job.device)
    if model.provider == CPU and settings.io_binding and model.bound is None:
        bound = BoundSession(model.session, settings, "cpu")
        onnx_session._kept[job.bundle, job.device] = dataclasses.replace(model, bound=bound)


# ---- measuring -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Expected:
    """Result of a micrograph on the CPU."""

    result: Result
    scores: NDArray[np.float32]


def _on_cpu(jobs: Sequence[Job], until: float) -> list[Expected]:
    with _pool(1, cuda=CudaSettings(io_binding=False)) as pool:
        picked = [pool.submit(tasks.pick, job) for job in jobs]
        scored = [pool.submit(scores, job) for job in jobs]
        return [
            Expected(result, score)
            for result, score in zip(_results(picked, until), _results(scored, until), strict=True)
        ]


def _measure(
    jobs: Sequence[Job],
    expected: Sequence[Expected],
    settings: CudaSettings,
    devices: Sequence[GpuPin],
    *,
    on_gpu: bool,
    until: float,
) -> Measured:
    count = max(1, len(devices)) * settings.in_flight
    before = [_device_bytes(device) for device in devices] if on_gpu else []
    with _pool(count, devices if on_gpu else (), settings) as pool:
        # Long enough that every worker gets some, and has prepared its GPU.
        warm_up = [pool.submit(pick, jobs[n % len(jobs)]) for n in range(WARM_UP * count)]
        _results(warm_up, until)
        began = time.monotonic()
        rounds = max(1, 2 * count // len(jobs))
        picked = [pool.submit(pick, job) for job in [*jobs] * rounds]
        host_bytes, device_bytes = _watch(pool, picked, devices if on_gpu else (), until)
        results = _results(picked, until)
        seconds = time.monotonic() - began
        scored = _results([pool.submit(scores, job) for job in jobs], until)
        switched_off = _results(
            [pool.submit(binding_fault, jobs[0]) for _ in range(2 * count)], until
        )
    wanted = CUDA if on_gpu else CPU
    elsewhere = {result.provider for result in results} - {wanted}
    difference = max(
        float(np.abs(score - each.scores).max())
        for score, each in zip(scored, expected, strict=True)
    )
    pairs = list(zip(results[: len(jobs)], expected, strict=True))
    fault = next((each for each in switched_off if each), "")
    return Measured(
        per_second=len(results) / seconds,
        infer_seconds=statistics.median(result.seconds.infer for result in results),
        host_bytes=host_bytes,
        device_bytes=_growth(before, device_bytes),
        largest_difference=difference,
        unequal_picks=sum(_unequal(result, each.result, difference) for result, each in pairs),
        picks=sum(len(each.result.picks.above(each.result.threshold)) for _, each in pairs),
        fault=f"picked on {', '.join(elsewhere)}" if elsewhere else fault,
    )


def _results(futures: Sequence[Future[Any]], until: float) -> list[Any]:
    return [future.result(max(0.0, until - time.monotonic())) for future in futures]


def _watch(
    pool: WorkerPool, futures: Sequence[Future[Any]], devices: Sequence[GpuPin], until: float
) -> tuple[int, list[int | None]]:
    """Wait for jobs; return the largest memory of the workers together, and of each GPU."""
    host = 0
    on_device: list[list[int]] = [[] for _ in devices]
    pending: Sequence[Future[Any]] = futures
    while pending and time.monotonic() < until:
        host = max(host, sum(map(process_bytes, pool.pids())))
        for device, found in zip(devices, on_device, strict=True):
            if (used := _device_bytes(device)) is not None:
                found.append(used)
        pending = list(wait(pending, timeout=SAMPLE_SECONDS).not_done)
    return host, [max(found, default=None) for found in on_device]


def _device_bytes(device: GpuPin) -> int | None:
    """Return the memory in use on a GPU; None without the driver's Python library."""
    library = nvml()
    if library is None:
        return None
    try:
        library.nvmlInit()
        if device.visible.isdigit():
            handle = library.nvmlDeviceGetHandleByIndex(int(device.visible))
        else:
            handle = library.nvmlDeviceGetHandleByUUID(device.visible)
        return int(library.nvmlDeviceGetMemoryInfo(handle).used)
    except library.NVMLError:
        return None


def _growth(before: Sequence[int | None], after: Sequence[int | None]) -> int | None:
    known = [b - a for a, b in zip(before, after, strict=False) if a is not None and b is not None]
    return sum(known) if known else None


def _unequal(result: Result, expected: Result, difference: float) -> int:
    """Return the number of picks, of either list, that the other list does not have."""
    sure = expected.threshold + 2 * difference
    perhaps = expected.threshold - 2 * difference
    return sum(
        _without_partner(one.picks.above(sure), other.picks.above(perhaps))
        for one, other in ((result, expected), (expected, result))
    )


def _without_partner(picks: Any, others: Any) -> int:
    if not len(others):
        return len(picks)
    distances = np.hypot(
        picks.x_px[:, None] - others.x_px[None], picks.y_px[:, None] - others.y_px[None]
    )
    return int((distances.min(axis=1) > MOST_DISTANCE_PX).sum())


# ---- the report ----------------------------------------------------------------------------------


def _table(given: argparse.Namespace) -> Table:
    where = "the CPU: says nothing about a GPU" if given.provider == "cpu" else "the GPU"
    table = Table(title=f"livepick on {where}")
    for column in (
        "engine.cuda",
        "micrographs/s",
        "network (ms)",
        "workers (MB)",
        "GPU (MB)",
        "largest difference",
        "unequal picks",
    ):
        table.add_column(column, justify="left" if column == "engine.cuda" else "right")
    return table


def _cells(row: Measured) -> list[str]:
    return [
        f"{row.per_second:.2f}",
        f"{row.infer_seconds * 1e3:.1f}",
        f"{row.host_bytes / 1e6:.0f}",
        "-" if row.device_bytes is None else f"{row.device_bytes / 1e6:.0f}",
        f"{row.largest_difference:.2g}",
        f"{row.unequal_picks} of {row.picks}",
    ]


def _shortcomings(title: str, row: Measured, settings: CudaSettings) -> list[str]:
    """Return what is wrong with a row."""
    most = MOST_DIFFERENCE[settings.full_precision]
    checks: dict[str, Callable[[], bool]] = {
        row.fault: lambda: bool(row.fault),
        f"scores differ by {row.largest_difference:.2g} (limit {most:g})": lambda: (
            not row.largest_difference <= most
        ),
        f"{row.unequal_picks} picks differ by more than {MOST_DISTANCE_PX} px": lambda: (
            row.unequal_picks > 0
        ),
        "no micrograph has picks, so nothing was compared": lambda: row.picks == 0,
    }
    return [f"{title}: {fault}" for fault, holds in checks.items() if holds()]


def _refusal(bundle: Path, until: float) -> list[str]:
    """Return what is wrong if CUDA is hidden from a worker: it must refuse to pick."""
    try:
        provider = _provider(GpuPin(0, "-1"), bundle, until)
    except ProviderError:
        return []
    except (LivepickError, TimeoutError) as error:
        return [f"require-gpu without CUDA: {error!r} instead of a refusal"]
    return [f"require-gpu without CUDA: picks on {provider} instead of refusing"]


if __name__ == "__main__":
    sys.exit(main())
