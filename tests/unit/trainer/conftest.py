"""A small training run: synthetic micrographs with bright blobs, and seeds for them."""

from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from livepick.config import Particle, Training
from livepick.core.run import RunMicrograph, RunSpec

PIXEL_SIZE_ANGSTROM = 5.0
DIAMETER_ANGSTROM = 100.0  # so that the prepared pixel is the original one
SHAPE_PX = (208, 240)

MakeRun = Callable[..., Path]


def write_micrograph(path: Path, seed: int) -> list[tuple[float, float, float]]:
    """Write dark particles on noise; return their (x, y, score), best first."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(20, 196, 36), np.arange(20, 228, 36), indexing="ij"), -1)
    cells = grid.reshape(-1, 2)
    centres = cells + rng.uniform(-5, 5, size=cells.shape)
    centres = centres[rng.random(len(centres)) < 0.6]
    y, x = np.indices(SHAPE_PX)
    image = rng.normal(0, 1, SHAPE_PX)
    for centre_y, centre_x in centres:
        image -= 2.0 * (np.hypot(y - centre_y, x - centre_x) < 9)
    with mrcfile.new(path, image.astype(np.float32)) as mrc:
        mrc.voxel_size = PIXEL_SIZE_ANGSTROM
    score = np.linspace(0.95, 0.6, len(centres))
    return [(float(cx), float(cy), float(s)) for (cy, cx), s in zip(centres, score, strict=True)]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Make a run folder with its micrographs; keywords go to ``Training``."""

    def make(name: str = "0001", *, micrographs: int = 5, **training: object) -> Path:
        files = tmp_path / "micrographs"
        files.mkdir(exist_ok=True)
        entries = []
        for number in range(micrographs):
            path = files / f"mic_{number:04d}.mrc"
            path.unlink(missing_ok=True)
            entries.append(
                RunMicrograph(
                    path=path,
                    pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
                    held_out=number == 0,
                    seeds=write_micrograph(path, number),
                )
            )
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        RunSpec(
            version=1,
            parent=0,
            fingerprint="f" * 12,
            particle_fingerprint="p" * 12,
            models_directory=tmp_path / f"models-{name}",
            particle=Particle(diameter_angstrom=DIAMETER_ANGSTROM),
            training=Training.model_validate(
                {
                    "epochs": 3,
                    "minibatch_size": 4,
                    "auto_remedy": False,
                    "device": "cpu",
                    "threads": 1,
                }
                | training
            ),
            seed_threshold=0.5,
            micrographs=entries,
        ).write(folder)
        return folder

    return make
