"""MRC files, and what holds for all micrographs: changes, special files."""

import math
import os
import struct
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from numpy.typing import NDArray

from livepick.core.formats import mrc as mrc_format
from livepick.core.formats.file_version import FileVersion
from livepick.core.formats.header import Note, printable
from livepick.core.formats.micrograph import read_header, read_micrograph
from livepick.errors import (
    ChangedFileError,
    HeaderError,
    IncompleteFileError,
    MicrographError,
    MovieStackError,
    PixelSizeError,
    UnreadableFileError,
    VanishedFileError,
)

HEIGHT, WIDTH = 6, 10
IMAGE = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}


def mrc(
    *,
    order: str = "<",
    stamp: bytes | None = None,
    shape: tuple[int, int, int] = (1, HEIGHT, WIDTH),
    mode: int = 2,
    extended: bytes = b"",
    extended_bytes: int | None = None,
    cell_angstrom: tuple[float, float] = (1.5 * WIDTH, 1.5 * HEIGHT),
    magic: bytes = b"MAP ",
) -> bytes:
    """Return an MRC file with ``IMAGE`` in it, correct except for what is given."""
    depth, height, width = shape
    start = bytearray(1024)
    struct.pack_into(f"{order}4i", start, 0, width, height, depth, mode)
    struct.pack_into(f"{order}3i", start, 28, width, height, depth)
    struct.pack_into(f"{order}3f", start, 40, *cell_angstrom, 1.0)
    length = len(extended) if extended_bytes is None else extended_bytes
    struct.pack_into(f"{order}i", start, 92, length)
    start[208:212] = magic
    usual = b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0"
    start[212:216] = usual if stamp is None else stamp
    return bytes(start) + extended + IMAGE.astype(order + MODES.get(mode, "f4")).tobytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mic.mrc"


def refusal(path: Path) -> MicrographError:
    """Return the error that reading the header raises."""
    with pytest.raises(MicrographError) as caught:
        read_header(path)
    assert path.name in caught.value.what
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", sorted(MODES))
def test_every_mode_in_either_byte_order(path: Path, mode: int, order: str) -> None:
    path.write_bytes(mrc(mode=mode, order=order))
    micrograph = read_micrograph(path, pixel_size_angstrom=None)
    assert micrograph.image.dtype == np.dtype(order + MODES[mode])
    np.testing.assert_array_equal(micrograph.image, IMAGE)
    assert micrograph.pixel_size_angstrom == pytest.approx(1.5)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("stamp", [b"\0\0\0\0", b"\x11\x11\0\0", b"\x44\x41\0\0", b"DA\x11\x11"])
def test_the_image_sides_override_a_wrong_machine_stamp(
    path: Path, stamp: bytes, order: str
) -> None:
    path.write_bytes(mrc(order=order, stamp=stamp))
    np.testing.assert_array_equal(read_micrograph(path, pixel_size_angstrom=None).image, IMAGE)


def test_mode_0_is_signed(path: Path) -> None:
    path.write_bytes(mrc(mode=0)[:-1] + b"\xff")
    assert read_micrograph(path, pixel_size_angstrom=None).image[-1, -1] == -1


def test_an_extended_header_and_surplus_bytes_are_skipped(path: Path) -> None:
    path.write_bytes(mrc(extended=b"FEI1" * 1000) + b"surplus")
    header = read_header(path)
    assert (header.data_offset, header.needed_bytes) == (5024, path.stat().st_size - 7)
    np.testing.assert_array_equal(read_micrograph(path, pixel_size_angstrom=None).image, IMAGE)


def test_file_written_by_mrcfile_reads_the_same(path: Path) -> None:
    with mrcfile.new(path) as file:
        file.set_data(IMAGE.astype("f4"))
        file.voxel_size = 0.83
    micrograph = read_micrograph(path, pixel_size_angstrom=None)
    np.testing.assert_array_equal(micrograph.image, IMAGE)
    assert micrograph.pixel_size_angstrom == pytest.approx(0.83)


@pytest.mark.parametrize("mode", [3, 4, 5, 16, 101, 7, -1])
def test_unsupported_modes_are_refused_by_number(path: Path, mode: int) -> None:
    path.write_bytes(mrc(mode=mode))
    error = refusal(path)
    assert isinstance(error, HeaderError)
    assert f"mode {mode}" in error.what


@pytest.mark.parametrize("mode", [2, 101])
def test_a_stack_says_that_it_looks_like_a_movie(path: Path, mode: int) -> None:
    path.write_bytes(mrc(shape=(40, HEIGHT, WIDTH), mode=mode))
    error = refusal(path)
    assert isinstance(error, MovieStackError)
    assert "40" in error.what
    assert "movie" in error.what


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(5000),
        bytes(1024) + IMAGE.astype("f4").tobytes(),
        mrc()[:1],
        mrc()[:1000],
        mrc()[:1024],
        mrc()[:-1],
        mrc(extended_bytes=1000),
    ],
)
def test_file_that_is_not_written_yet_is_incomplete_and_retryable(
    path: Path, content: bytes
) -> None:
    path.write_bytes(content)
    error = refusal(path)
    assert isinstance(error, IncompleteFileError)
    assert error.retryable


@pytest.mark.parametrize(
    "content",
    [
        b"garbage!" * 1000,
        mrc(magic=b"\0\0\0\0"),  # without MAP and too small to be certain
        mrc(shape=(0, HEIGHT, WIDTH)),
        mrc(shape=(-1, HEIGHT, WIDTH)),
        mrc(shape=(1, -6, 10)),
        mrc(shape=(1, 40000, 10)),
        mrc(shape=(1, 2**31 - 1, 2**31 - 1)),
        mrc(shape=(1, 32768, 32768)),
        mrc(extended_bytes=2_000_000_000),
        mrc(extended_bytes=-1),
    ],
)
def test_a_header_out_of_bounds_is_refused_before_anything_is_allocated(
    path: Path, content: bytes
) -> None:
    path.write_bytes(content)
    assert isinstance(refusal(path), HeaderError)


# --- the file ---------------------------------------------------------------------------------


def test_content_of_another_version_is_refused(path: Path) -> None:
    path.write_bytes(mrc())
    version = FileVersion.of(path.stat())
    read_micrograph(path, pixel_size_angstrom=None, version=version)
    os.utime(path, ns=(0, version.mtime_ns + 1))
    with pytest.raises(ChangedFileError):
        read_micrograph(path, pixel_size_angstrom=None, version=version)


def test_a_change_during_the_read_is_noticed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(mrc())
    read = mrc_format.read

    def slow(*args: Any) -> tuple[NDArray[Any], tuple[Note, ...]]:
        with path.open("ab") as file:
            file.write(b"more")
        return read(*args)

    monkeypatch.setattr(mrc_format, "read", slow)
    with pytest.raises(ChangedFileError):
        read_micrograph(path, pixel_size_angstrom=None)


def test_an_inode_of_zero_is_not_compared(path: Path) -> None:
    path.write_bytes(mrc())
    status = path.stat()
    version = FileVersion(status.st_size, status.st_mtime_ns, 0)
    read_micrograph(path, pixel_size_angstrom=None, version=version)
    assert not FileVersion(status.st_size, status.st_mtime_ns, 1).describes(status)


def test_special_files_are_refused_without_blocking(tmp_path: Path) -> None:
    (tmp_path / "folder.mrc").mkdir()
    os.mkfifo(tmp_path / "pipe.mrc")
    (tmp_path / "zero.mrc").symlink_to("/dev/zero")
    (tmp_path / "link.mrc").symlink_to(tmp_path / "nothing.mrc")
    assert isinstance(refusal(tmp_path / "pipe.mrc"), HeaderError)
    assert isinstance(refusal(tmp_path / "zero.mrc"), HeaderError)
    assert isinstance(refusal(tmp_path / "folder.mrc"), MicrographError)
    assert isinstance(refusal(tmp_path / "link.mrc"), VanishedFileError)
    with pytest.raises(UnreadableFileError, match="follow_symlinks"):
        read_header(tmp_path / "zero.mrc", follow_symlinks=False)


def test_error_about_an_undecodable_name_can_be_stored(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff l\xe9.mrc")
    path.write_bytes(b"garbage!" * 1000)
    with pytest.raises(HeaderError) as caught:
        read_header(path)
    assert str(caught.value).encode()
    assert printable(path).endswith(r"\xff l\xe9.mrc")
    assert printable("any other surrogate \ud800") == r"any other surrogate \ud800"


def test_wrong_pixel_size_does_not_make_a_file_incomplete(path: Path) -> None:
    """The file is complete; the worker refuses the pixel size."""
    path.write_bytes(mrc(cell_angstrom=(0, 0)))
    assert read_header(path).header_pixel_size_angstrom == 0
    with pytest.raises(PixelSizeError):
        read_micrograph(path, pixel_size_angstrom=None)
    path.write_bytes(mrc(cell_angstrom=(math.nan, 1)))
    assert math.isnan(read_header(path).header_pixel_size_angstrom)
