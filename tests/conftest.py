"""Small MRC files for tests."""

from pathlib import Path
from typing import Protocol

import mrcfile
import numpy as np
import pytest


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
