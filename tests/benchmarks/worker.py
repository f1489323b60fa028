"""Measure the CPU time and the memory of picking one micrograph in a worker, on one CPU thread.

    python tests/benchmarks/worker.py [--repeat 7]

The benchmark prints one table: CPU seconds from reading to peaks with quality figures (medians, by
stage and in total), and the peak memory of a worker process, for four kinds of micrograph, for a
network like that of the trainer and for the general model joined with the blob picker (the first
picker), alone and beside two busy loops. The weights of the network are untrained, which takes the
same time and finds more peaks. Quality is not measured here; see ``real_data.py``.

The *floor* is measured in turn with the picks, in the same process. It is the sum of reading the
file into memory that is there already, one cropped Fourier transform of decimated rows, and the
multiplications of the graph (without those by zero) at the rate of matrix products.
"""

import argparse
import functools
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from factories import publish_bundle
from livepick.config.sections import Particle
from livepick.core.contracts.bundle import GRAPH
from livepick.core.contracts.job import Job, StageSeconds
from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick.models.general_model import publish_general_picker
from livepick.picking.engine import local

DIAMETER_ANGSTROM = 180.0
MOST_CPU_SECONDS = 0.25
MOST_WORKER_BYTES = 350e6

STAGES = ("read", "preprocess", "infer", "peaks")

WARM_UPS = 3

ROWS_AT_ONCE = 128

PRODUCT_SIDE = 768
"""Side of the matrices whose product shows the rate of arithmetic."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of micrograph."""

    name: str
    height: int
    width: int
    dtype: str
    pixel_size_angstrom: float

    @property
    def file_bytes(self) -> int:
        """Size of the pixels."""
        return self.height * self.width * np.dtype(self.dtype).itemsize


KINDS = (
    Kind("Falcon, 4096 x 4096 float32", 4096, 4096, "float32", 1.77),
    Kind("the same, float16", 4096, 4096, "float16", 1.77),
    Kind("K3, 5760 x 4092 float32", 4092, 5760, "float32", 1.06),
    Kind("K3 super-resolution, 11520 x 8184 int8", 8184, 11520, "int8", 0.53),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one micrograph, in a worker."""

    cpu_seconds: float
    stages: StageSeconds
    """CPU seconds of each stage."""
    floor_seconds: float
    peak_bytes: int


def main() -> int:
    """Run the benchmark; return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Plain)
    parser.add_argument("--repeat", type=int, default=7, help="number of measurements")
    repeat = parser.parse_args().repeat
    stages = [f"{stage} s" for stage in STAGES]
    table = Table(title=f"CPU seconds and memory of one micrograph, medians of {repeat}")
    for column in ("micrograph", "model", "machine", "CPU s", *stages, "floor s", "MB", "- file"):
        left = column in ("micrograph", "model", "machine")
        table.add_column(column, justify="left" if left else "right")
    limited: list[Cost] = []
    with tempfile.TemporaryDirectory(prefix="livepick-bench-") as name:
        folder = Path(name)
        bundles = {
            "trained": publish_bundle(
                folder / "models", untrained_network(), diameter_angstrom=DIAMETER_ANGSTROM
            ),
            "first picker": publish_general_picker(
                folder / "models", Particle(diameter_angstrom=DIAMETER_ANGSTROM), 2
            )[0],
        }
        for kind in KINDS:
            path = write_micrograph(folder / "micrograph.mrc", kind)
            for model, bundle in bundles.items():
                for busy in (0, 2):
                    with busy_loops(busy):
                        cost = measure(Job(path, None, bundle), kind, repeat)
                    machine = f"beside {busy} busy loops" if busy else "alone"
                    table.add_row(kind.name, model, machine, *cells(cost, kind))
                    if kind == KINDS[0] and not busy:
                        limited.append(cost)
    console = Console(width=150)
    console.print(table)
    worst = max(cost.cpu_seconds for cost in limited), max(cost.peak_bytes for cost in limited)
    kept = worst[0] <= MOST_CPU_SECONDS and worst[1] <= MOST_WORKER_BYTES
    console.print(
        f"{KINDS[0].name}, alone: {worst[0]:.3f} CPU s (limit {MOST_CPU_SECONDS}), "
        f"{worst[1] / 1e6:.0f} MB (limit {MOST_WORKER_BYTES / 1e6:.0f}): "
        + ("kept" if kept else "EXCEEDED")
    )
    return 0 if kept else 1


def cells(cost: Cost, kind: Kind) -> Sequence[str]:
    """Return the cells of a cost in the table."""
    seconds = [cost.cpu_seconds, *(getattr(cost.stages, s) for s in STAGES), cost.floor_seconds]
    sizes = [cost.peak_bytes, cost.peak_bytes - kind.file_bytes]
    return [f"{one:.3f}" for one in seconds] + [f"{one / 1e6:.0f}" for one in sizes]


def measure(job: Job, kind: Kind, repeat: int) -> Cost:
    """Return the median cost in a new worker."""
    engine = local(1)
    try:
        for _ in range(WARM_UPS):  # imports, session, page cache
            engine.submit(timed_pick, job).result()
        peak_bytes = engine.submit(peak_memory).result()
        engine.submit(floor, job, kind).result()
        runs, floors = [], []
        for _ in range(repeat):
            runs.append(engine.submit(timed_pick, job).result())
            floors.append(engine.submit(floor, job, kind).result())
    finally:
        engine.stop()
    stages = [statistics.median(getattr(run[1], stage) for run in runs) for stage in STAGES]
    return Cost(
        cpu_seconds=statistics.median(seconds for seconds, _ in runs),
        stages=StageSeconds(*stages),
        floor_seconds=statistics.median(floors),
        peak_bytes=peak_bytes,
    )


def timed_pick(job: Job) -> tuple[float, StageSeconds]:
    """Pick in a worker process; return its CPU seconds, in total and by stage."""
    from livepick.picking import worker  # noqa: PLC0415 - in the worker, as the service does

    time.perf_counter = time.process_time  # the stages are measured in CPU seconds, too
    before = time.process_time()
    result = worker.pick(job)
    return time.process_time() - before, result.seconds


def peak_memory() -> int:
    """Return the peak memory of a worker process, in bytes.

    It is not that of ``getrusage``, which begins with the memory of the parent.
    """
    status = Path("/proc/self/status").read_text()
    (line,) = (one for one in status.splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def floor(job: Job, kind: Kind) -> float:
    """Return the CPU seconds of what cannot be left out, in a worker process."""
    image = _buffer(kind)
    reading = cpu_seconds(lambda: _read(job.path, image))
    factor = DIAMETER_ANGSTROM / DIAMETER_PX / kind.pixel_size_angstrom
    sides = [2 * round(n / factor / 2) for n in image.shape]
    cropping = cpu_seconds(lambda: _crop(image, sides))
    one = np.ones((PRODUCT_SIDE, PRODUCT_SIDE), dtype=np.float32)
    rate = PRODUCT_SIDE**3 / cpu_seconds(lambda: one @ one)
    return reading + cropping + products(job.bundle, sides[0], sides[1]) / rate


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Return the CPU seconds of a call."""
    before = time.process_time()
    work()
    return time.process_time() - before


@functools.cache
def _buffer(kind: Kind) -> NDArray[Any]:
    return np.zeros((kind.height, kind.width), dtype=kind.dtype)


def _read(path: Path, image: NDArray[Any]) -> None:
    with path.open("rb", buffering=0) as file:
        file.seek(1024)
        for start in range(0, len(image), ROWS_AT_ONCE):
            file.readinto(image[start : start + ROWS_AT_ONCE].reshape(-1).view(np.uint8).data)


def _crop(image: NDArray[Any], sides: list[int]) -> None:
    from scipy import fft  # noqa: PLC0415 - in the worker

    from livepick.core.imaging.decimation import Decimation  # noqa: PLC0415 - in the worker

    decimation = Decimation.of(len(image), sides[0] / 2 / len(image))
    rows = np.zeros((len(image) // decimation.step, sides[1] // 2 + 1), dtype=np.complex64)
    for start in range(0, len(image), ROWS_AT_ONCE):
        block = image[start : start + ROWS_AT_ONCE + 2 * decimation.reach].astype(np.float32)
        part = fft.rfft(decimation.decimated(block), axis=1)[:, : sides[1] // 2 + 1]
        first = start // decimation.step
        rows[first : first + len(part)] = part[: len(rows) - first]
    spectrum = fft.fft(rows, axis=0, overwrite_x=True)[: sides[0]]
    fft.irfft2(spectrum, s=sides, overwrite_x=True)


@functools.cache
def products(bundle: Path, height: int, width: int) -> int:
    """Return the number of multiplications of a graph's convolutions, but for those by zero."""
    import onnx  # noqa: PLC0415 - in the worker

    model = onnx.load(bundle / GRAPH)
    sides = [-(-n // 16) * 16 for n in (height, width)]
    given = [one for one in model.graph.input if one.name == "image"]
    del model.graph.input[:]
    model.graph.input.extend(given)
    for number, side in enumerate(sides, start=2):
        model.graph.input[0].type.tensor_type.shape.dim[number].dim_value = side
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    shapes = {
        one.name: [dim.dim_value for dim in one.type.tensor_type.shape.dim]
        for one in onnx.shape_inference.infer_shapes(model, data_prop=True).graph.value_info
    }
    weights = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    total = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            batch, _, rows, columns = shapes[node.output[0]]
            total += batch * rows * columns * int(np.count_nonzero(weights[node.input[1]]))
    return total


def write_micrograph(path: Path, kind: Kind) -> Path:
    """Write noise with dark discs."""
    rng = np.random.default_rng(1)
    image = rng.standard_normal((kind.height, kind.width), dtype=np.float32)
    radius = int(DIAMETER_ANGSTROM / kind.pixel_size_angstrom / 2)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = (np.hypot(y, x) < radius).astype(np.float32) * np.float32(0.4)
    most = min(image.shape) - radius - 1
    for cy, cx in rng.integers(radius, most, size=(400, 2)):
        image[cy - radius : cy + radius + 1, cx - radius : cx + radius + 1] -= disc
    if np.dtype(kind.dtype).kind == "i":
        image *= 6
        image += 20
        np.rint(image, out=image)
    with mrcfile.new(path, image.astype(kind.dtype), overwrite=True) as mrc:
        mrc.voxel_size = kind.pixel_size_angstrom
    return path


def untrained_network() -> bytes:
    """Return the graph of an untrained network with the trainer's architecture."""
    # Import torch in this process only; the workers are new processes.
    from livepick_trainer.learning.export_onnx import to_onnx  # noqa: PLC0415
    from livepick_trainer.learning.network import make_network  # noqa: PLC0415

    return to_onnx(make_network(seed=1).eval())


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Keep ``count`` processes busy during a measurement."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=spin, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join()


def spin() -> None:
    """Use one core until the process is terminated."""
    while True:
        sum(range(10_000))


class _Plain(argparse.RawDescriptionHelpFormatter):
    """Help formatter that keeps the line breaks of the description."""


if __name__ == "__main__":
    sys.exit(main())
