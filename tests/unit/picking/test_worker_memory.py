"""A worker needs little more memory than its libraries and the file, and none for the next file."""

import resource
from pathlib import Path

import mrcfile
import numpy as np

from factories import publish_bundle
from livepick.core.contracts.job import Job
from livepick.core.imaging.joint_detector import joint_graph
from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick.models.general_model import SHIPPED
from livepick.picking.engine import local
from livepick.picking.worker import pick

SIDE_PX = 2048
DIAMETER_ANGSTROM = 180.0
PREPARED_PX = 805
"""Side of a 4096-pixel micrograph of Falcon detectors after the preparation for this particle."""

MOST_BYTES = 280e6


def peak_bytes() -> int:
    """Return the peak memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (one for one in lines if one.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def pick_and_count(job: Job) -> tuple[int, int]:
    """Pick; return the number of picks, and of memory pages that the system had to provide."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    picks = pick(job).picks
    return len(picks), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_a_worker_stays_small_and_uses_its_memory_again(tmp_path: Path) -> None:
    """With the first picker, the peak was 530 MB, and each file took 5,600 new pages."""
    image = np.random.default_rng(1).standard_normal((SIDE_PX, SIDE_PX), dtype=np.float32)
    path = tmp_path / "mic.mrc"
    with mrcfile.new(path, image) as file:
        file.voxel_size = DIAMETER_ANGSTROM / DIAMETER_PX * PREPARED_PX / SIDE_PX
    graph = joint_graph((SHIPPED / "model.onnx").read_bytes(), DIAMETER_PX)
    bundle = publish_bundle(tmp_path / "models", graph, diameter_angstrom=DIAMETER_ANGSTROM)
    job = Job(path, None, bundle)
    engine = local(1)
    try:
        counts = [engine.submit(pick_and_count, job).result() for _ in range(4)]
        most_bytes = engine.submit(peak_bytes).result()
    finally:
        engine.stop()

    assert most_bytes < MOST_BYTES
    assert min(pages for _, pages in counts[2:]) < 1000
