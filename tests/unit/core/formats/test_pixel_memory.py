"""Memory for pixels is used again, but not by two threads at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mrcfile
import numpy as np

from livepick.core.formats import pixel_memory
from livepick.core.formats.micrograph import read_micrograph
from livepick.core.formats.pixel_memory import PixelMemory


def address(array):
    """Return where an array is in memory."""
    return array.__array_interface__["data"][0]


def test_memory_is_used_again_as_long_as_it_is_large_enough():
    memory = PixelMemory()

    first = memory.take(5000)
    first[:] = 1
    place = address(first)

    assert address(memory.take(3000)) == place
    assert address(memory.take(5000)) == place
    assert len(memory.take(9000)) == 9000
    assert address(memory.take(9000)) == address(memory.take(10))


def test_more_than_the_limit_is_not_kept(monkeypatch):
    monkeypatch.setattr(pixel_memory, "MOST_KEPT_BYTES", 1000)
    memory = PixelMemory()
    kept = memory.take(1000)

    large = memory.take(1001)

    assert len(large) == 1001
    assert not np.shares_memory(large, kept)
    assert np.shares_memory(memory.take(1000), kept)


def test_threads_do_not_share_it():
    memory = PixelMemory()
    own = memory.take(100)
    with ThreadPoolExecutor(1) as other:
        assert not np.shares_memory(other.submit(memory.take, 100).result(), own)


def test_a_smaller_micrograph_after_a_larger_one_has_only_its_own_pixels(tmp_path: Path) -> None:
    """Also one of another type."""
    rng = np.random.default_rng(0)
    images = [
        rng.standard_normal((96, 80)).astype(np.float32),
        rng.integers(0, 100, (50, 61)).astype(np.int16),
    ]
    memory = PixelMemory()
    for number, image in enumerate(images):
        path = tmp_path / f"{number}.mrc"
        with mrcfile.new(path, image) as file:
            file.voxel_size = 1.5
        found = read_micrograph(path, pixel_size_angstrom=None, memory=memory).image
        np.testing.assert_array_equal(found, image)
        assert np.shares_memory(found, memory.take(1))
