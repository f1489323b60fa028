"""Reading and preparing a micrograph takes its file's bytes, and less than a float32 copy."""

import tracemalloc
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from livepick.core.formats.micrograph import read_micrograph
from livepick.core.imaging.preprocess import prepare
from livepick.core.imaging.quality_measurement import measure_quality

SHAPE = (3072, 3072)


@pytest.mark.parametrize(("dtype", "sparse"), [("i1", True), ("u1", False), ("f4", False)])
def test_the_peak_is_below_source_and_float_image(
    tmp_path: Path, dtype: str, *, sparse: bool
) -> None:
    """Sparse counts took eight bytes a pixel and more: 9.3 GiB for 1 GiB of int8."""
    rng = np.random.default_rng(1)
    image = rng.poisson(0.3, SHAPE) if sparse else rng.normal(128, 20, SHAPE).clip(0, 255)
    path = tmp_path / "mic.mrc"
    stored = image.astype(dtype) if dtype != "i1" else (image - 128 * (not sparse)).astype("i1")
    with mrcfile.new(path, stored.view("i1") if dtype == "u1" else stored) as file:
        file.voxel_size = 1.5
    del image
    tracemalloc.start()
    try:
        micrograph = read_micrograph(path, pixel_size_angstrom=None)
        prepared = prepare(
            micrograph.image, pixel_size_angstrom=1.5, diameter_angstrom=200, contrast="dark"
        )
        measure_quality(micrograph.image, prepared, pixel_size_angstrom=1.5)
        most = stored.nbytes + 4 * stored.size
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
