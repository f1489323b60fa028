"""Measure the cost of picking one 4096 x 4096 float32 micrograph in a worker, on one CPU thread.

    python tests/benchmarks/worker.py [--repeat 7]

The benchmark prints CPU seconds from reading to peaks (medians, by stage and in total) for the blob
picker, for the general model (both are first pickers), and for a network like that of the trainer,
alone and beside two busy loops. It also prints
the peak memory of a worker process. The weights of the network are untrained, which takes the same
time and finds more peaks. Quality is not measured here; see ``real_data.py``.
"""

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mrcfile
import numpy as np
from rich.console import Console
from rich.table import Table

from factories import publish_blob, publish_bundle
from livepick.config.sections import Particle
from livepick.core.contracts.job import Job, Result
from livepick.models.general_model import publish_general_picker
from livepick.picking.engine import local
from livepick.picking.worker import pick

SIZE_PX = 4096
PIXEL_SIZE_ANGSTROM = 1.77
DIAMETER_ANGSTROM = 180.0
MOST_CPU_SECONDS = 0.5
MOST_WORKER_BYTES = 700e6

STAGES = ("read", "preprocess", "infer", "peaks")


def main() -> int:
    """Run the benchmark; return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Plain)
    parser.add_argument(
        "--repeat", type=int, default=7, help="number of measurements after one warm-up"
    )
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory(prefix="livepick-bench-") as name:
        folder = Path(name)
        path = write_micrograph(folder / "micrograph.mrc")
        bundles = {
            "blob": publish_blob(folder / "models", diameter_angstrom=DIAMETER_ANGSTROM),
            "general": publish_general_picker(
                folder / "models", Particle(diameter_angstrom=DIAMETER_ANGSTROM), 2
            )[0],
            "trained": publish_bundle(
                folder / "models", untrained_network(), diameter_angstrom=DIAMETER_ANGSTROM
            ),
        }
        table = Table(title=f"{SIZE_PX} x {SIZE_PX} float32, medians of {repeat}")
        for column in ("model", "machine", "CPU s", *(f"{s} (wall s)" for s in STAGES), "MB"):
            table.add_column(column, justify="right")
        worst = (0.0, 0.0)
        for kind, bundle in bundles.items():
            for busy in (0, 2):
                with busy_loops(busy):
                    cpu, stages, peak_bytes = measure(Job(path, None, bundle), repeat)
                beside = f"beside {busy} busy loops" if busy else "alone"
                figures = [f"{cpu:.3f}", *(f"{s:.3f}" for s in stages), f"{peak_bytes / 1e6:.0f}"]
                table.add_row(kind, beside, *figures)
                if kind == "trained" and not busy:
                    worst = (cpu, peak_bytes)
    console = Console(width=140)
    console.print(table)
    kept = worst[0] <= MOST_CPU_SECONDS and worst[1] <= MOST_WORKER_BYTES
    console.print(
        f"trained, alone: {worst[0]:.3f} CPU s (limit {MOST_CPU_SECONDS}), "
        f"{worst[1] / 1e6:.0f} MB (limit {MOST_WORKER_BYTES / 1e6:.0f}): "
        + ("kept" if kept else "EXCEEDED")
    )
    return 0 if kept else 1


def measure(job: Job, repeat: int) -> tuple[float, list[float], int]:
    """Return median CPU seconds, median seconds per stage, and peak bytes of a new worker."""
    engine = local(1)
    try:
        engine.submit(timed_pick, job).result()  # imports, session, page cache
        runs = [engine.submit(timed_pick, job).result() for _ in range(repeat)]
    finally:
        engine.stop()
    cpu = statistics.median(seconds for seconds, _, _ in runs)
    stages = [statistics.median(getattr(r.seconds, s) for _, r, _ in runs) for s in STAGES]
    return cpu, stages, max(peak for _, _, peak in runs)


def timed_pick(job: Job) -> tuple[float, Result, int]:
    """Pick in a worker process; return its CPU seconds, the result, and its peak memory."""
    before = time.process_time()
    result = pick(job)
    seconds = time.process_time() - before
    return seconds, result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def write_micrograph(path: Path) -> Path:
    """Write noise with dark discs, in the image size of a Falcon detector."""
    rng = np.random.default_rng(1)
    image = rng.standard_normal((SIZE_PX, SIZE_PX), dtype=np.float32)
    radius = int(DIAMETER_ANGSTROM / PIXEL_SIZE_ANGSTROM / 2)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = (np.hypot(y, x) < radius).astype(np.float32) * np.float32(0.4)
    for cy, cx in rng.integers(radius, SIZE_PX - radius - 1, size=(400, 2)):
        image[cy - radius : cy + radius + 1, cx - radius : cx + radius + 1] -= disc
    with mrcfile.new(path, image) as mrc:
        mrc.voxel_size = PIXEL_SIZE_ANGSTROM
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
