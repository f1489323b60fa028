"""What tests share: small MRC files, and a small simulated session."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import mrcfile
import numpy as np
import pytest

from livepick.simulate.acquisition import Pace, Plan, acquire
from livepick.simulate.field import Junk, Session
from livepick.simulate.species import specimen


class WriteMrc(Protocol):
    """Writes an MRC file with bright Gaussian blobs at given ``(y, x)`` centres."""

    def __call__(
        self,
        name: str = "mic_0001.mrc",
        *,
        shape: tuple[int, int] = (128, 192),
        centres: tuple[tuple[float, float], ...] = (),
        pixel_size_angstrom: float = 1.5,
        dtype: str = "float32",
    ) -> Path: ...


@dataclass(frozen=True, slots=True)
class SimulatedSession:
    """A session on disk."""

    micrographs: list[Path]
    truth: Path
    """Folder of one STAR a micrograph, ``NAME_truth.star``."""

    pixel_size_angstrom: float
    diameter_angstrom: float


@pytest.fixture
def write_mrc(tmp_path: Path) -> WriteMrc:
    """Return a writer of MRC files into ``tmp_path``, by mrcfile itself."""

    def write(
        name: str = "mic_0001.mrc",
        *,
        shape: tuple[int, int] = (128, 192),
        centres: tuple[tuple[float, float], ...] = (),
        pixel_size_angstrom: float = 1.5,
        dtype: str = "float32",
    ) -> Path:
        y, x = np.indices(shape)
        image = np.zeros(shape, dtype=np.float32)
        for cy, cx in centres:
            image += 100 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 50)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with mrcfile.new(path, image.astype(dtype), overwrite=True) as mrc:
            mrc.voxel_size = pixel_size_angstrom
        return path

    return write


@pytest.fixture(scope="session")
def simulated_session(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSession:
    """Return four micrographs of 512 by 384 pixels, easy ones with a little junk; read only."""
    place = tmp_path_factory.mktemp("simulated")
    session = Session(
        shape_px=(384, 512),
        pixel_size_angstrom=4.0,
        signal_to_noise=0.5,
        junk=Junk(carbon_probability=0, empty_probability=0),
        seed=7,
    )
    plan = Plan(
        session=session,
        output=place / "micrographs",
        truth=place / "truth",
        micrographs=4,
        every_seconds=0,
        write_seconds=0,
    )
    found: list[Path] = []
    acquire(plan, Pace(0), lambda path, _: found.append(path))
    return SimulatedSession(
        found, plan.truth, session.pixel_size_angstrom, specimen(session.species).diameter_angstrom
    )
