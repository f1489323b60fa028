"""TIFF files: complete, damaged, unsupported, and not written yet."""

import struct
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import tifffile

from livepick.core.formats.micrograph import read_header, read_micrograph
from livepick.errors import (
    HeaderError,
    IncompleteFileError,
    MicrographError,
    MovieStackError,
    PixelSizeError,
)

HEIGHT, WIDTH = 6, 10


IMAGE = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)


def refusal(path: Path) -> MicrographError:
    """Return the error that reading the header raises."""
    with pytest.raises(MicrographError) as caught:
        read_header(path)
    assert path.name in caught.value.what
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "f4"])
def test_tiff_of_one_page(
    tmp_path: Path, dtype: str, compression: str | None, *, big: bool, order: Literal["<", ">"]
) -> None:
    path = tmp_path / "mic.tif"
    tifffile.imwrite(
        path,
        IMAGE.astype(dtype),
        byteorder=order,
        bigtiff=big,
        compression=compression,
        rowsperstrip=2,
        resolution=(1e8, 1e8),
    )
    header = read_header(path)
    assert (header.kind, header.shape_px) == ("tiff", (HEIGHT, WIDTH))
    assert header.header_pixel_size_angstrom == 0
    micrograph = read_micrograph(path, pixel_size_angstrom=2.0)
    np.testing.assert_array_equal(micrograph.image, IMAGE)
    assert micrograph.pixel_size_angstrom == 2.0
    with pytest.raises(PixelSizeError):
        read_micrograph(path, pixel_size_angstrom=None)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_truncated_tiff_is_incomplete_at_any_length(
    tmp_path: Path, compression: str | None
) -> None:
    path = tmp_path / "mic.tif"
    noise = np.random.default_rng(1).integers(0, 255, (40, 40), np.uint8)
    tifffile.imwrite(path, noise, compression=compression, rowsperstrip=8)
    whole = path.read_bytes()
    needed = read_header(path).needed_bytes
    for length in (1, 7, 9, 100, needed // 2, needed - 1):
        path.write_bytes(whole[:length])
        with pytest.raises((IncompleteFileError, HeaderError)) as caught:
            read_header(path)
        if length > 600:
            assert isinstance(caught.value, IncompleteFileError)


def test_a_tiff_whose_directory_is_not_written_yet_is_incomplete(tmp_path: Path) -> None:
    """Libtiff writes the offset of the directory last."""
    path = tmp_path / "mic.tif"
    path.write_bytes(b"II*\0\0\0\0\0" + bytes(5000))
    assert isinstance(refusal(path), IncompleteFileError)


@pytest.mark.parametrize("imagej", [False, True])
def test_a_tiff_of_several_pages_looks_like_a_movie(tmp_path: Path, *, imagej: bool) -> None:
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, np.zeros((5, 40, 40), np.uint8), imagej=imagej, photometric="minisblack")
    assert isinstance(refusal(path), MovieStackError)


def test_unsupported_and_damaged_tiffs_are_refused(tmp_path: Path) -> None:
    colour, damaged = tmp_path / "colour.tif", tmp_path / "damaged.tif"
    tifffile.imwrite(colour, np.zeros((40, 40, 3), np.uint8), photometric="rgb")
    assert isinstance(refusal(colour), HeaderError)
    rng = np.random.default_rng(1)
    for _ in range(50):
        damaged.write_bytes(b"II*\0" + struct.pack("<I", 8) + b"\x0a\0" + rng.bytes(2000))
        with pytest.raises((HeaderError, IncompleteFileError, MovieStackError)):
            read_header(damaged)


def test_error_names_missing_decoders(tmp_path: Path) -> None:
    """Only LZW needs imagecodecs, which is not installed by default."""
    pytest.importorskip("imagecodecs")
    path = tmp_path / "lzw.tif"
    tifffile.imwrite(path, IMAGE.astype("u2"), compression="lzw")
    code = (
        "import sys; sys.modules['imagecodecs'] = None\n"
        "from pathlib import Path\n"
        "from livepick.core.formats.micrograph import read_micrograph\n"
        f"read_micrograph(Path({str(path)!r}), pixel_size_angstrom=1.0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "HeaderError" in done.stderr
    assert "livepick[tiff]" in done.stderr


def test_tifffile_is_imported_only_for_the_first_tiff() -> None:
    code = (
        "import livepick.ingest.watcher, sys; print({'tifffile', 'onnxruntime'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
