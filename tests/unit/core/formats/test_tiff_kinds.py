"""Kinds of TIFF files that programs write: all are read alike, or refused before decoding."""

import importlib.util
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from livepick.core.formats import tiff_limits
from livepick.core.formats.micrograph import read_header, read_micrograph
from livepick.errors import (
    ContentError,
    HeaderError,
    IncompleteFileError,
    MicrographError,
    PixelSizeError,
)

pytest.importorskip("imagecodecs")

HEIGHT, WIDTH = 96, 128
NOISE = np.random.default_rng(7).normal(size=(HEIGHT, WIDTH))


def grey(dtype: str) -> NDArray[Any]:
    return (100 + 10 * NOISE).astype(dtype)


def image_of(path: Path) -> NDArray[Any]:
    return read_micrograph(path, pixel_size_angstrom=1.0).image


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("parts", [{}, {"rowsperstrip": 7}, {"tile": (32, 48)}])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd", "lzma", "packbits"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "f4", "f2", "u4"])
def test_compressions_parts_and_types(
    tmp_path: Path,
    dtype: str,
    compression: str | None,
    parts: dict[str, Any],
    order: Literal["<", ">"],
) -> None:
    for predictor in (False, True):
        if predictor and (compression in (None, "packbits") or dtype == "f2"):
            continue
        path = tmp_path / f"mic{predictor}.tif"
        tifffile.imwrite(
            path,
            grey(dtype),
            byteorder=order,
            compression=compression,
            predictor=predictor,
            **parts,
        )
        micrograph = read_micrograph(path, pixel_size_angstrom=1.0)
        np.testing.assert_array_equal(micrograph.image, grey(dtype))
        assert not micrograph.notes


def test_packed_12_bit_integers(tmp_path: Path) -> None:
    path = tmp_path / "mic.tif"
    tifffile.imwrite(path, np.zeros((HEIGHT, WIDTH), np.uint16), rowsperstrip=HEIGHT)
    whole = bytearray(path.read_bytes())
    values = grey("u2").ravel().astype(np.uint32)
    pairs = (values[0::2] << 12) | values[1::2]
    packed = b"".join(int(pair).to_bytes(3, "big") for pair in pairs)
    with tifffile.TiffFile(path) as file:
        tags = file.pages[0].tags
        bits, counts, offset = tags[258], tags[279], tags[273].value[0]
    struct.pack_into("<H", whole, bits.valueoffset, 12)
    struct.pack_into("<I", whole, counts.valueoffset, len(packed))
    path.write_bytes(bytes(whole[:offset]) + packed)
    np.testing.assert_array_equal(image_of(path), grey("u2"))


def test_a_jpeg_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mic.tif"
    tifffile.imwrite(path, grey("u1"), compression="jpeg", compressionargs={"level": 99})
    assert np.abs(image_of(path).astype(int) - grey("u1")).max() < 8


def without_sample_format(path: Path) -> None:
    """Rename the tag to a private one."""
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].tags[339].offset
    whole = bytearray(path.read_bytes())
    struct.pack_into("<H", whole, place, 40000)
    path.write_bytes(whole)


@pytest.mark.parametrize("dtype", ["i1", "i2"])
def test_without_a_sample_format_the_pixels_tell_the_sign(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "mic.tif"
    signed = np.rint(10 * NOISE).astype(dtype)
    tifffile.imwrite(path, signed)
    without_sample_format(path)
    micrograph = read_micrograph(path, pixel_size_angstrom=1.0)
    np.testing.assert_array_equal(micrograph.image, signed)
    assert [note.kind for note in micrograph.notes] == ["read_as_signed"]


@pytest.mark.parametrize(
    ("options", "angstrom"),
    [
        ({"resolution": (1e8 / 1.5, 1e8 / 1.5), "resolutionunit": "CENTIMETER"}, 1.5),
        ({"resolution": (72, 72), "resolutionunit": "CENTIMETER"}, None),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
        ({"resolution": (1e8, 1e8), "resolutionunit": "INCH"}, None),
        ({"resolution": (1e8, 1e8), "resolutionunit": "NONE"}, None),
        ({"imagej": True, "resolution": (10 / 1.5, 10 / 1.5), "metadata": {"unit": "nm"}}, 1.5),
        ({"imagej": True, "resolution": (1 / 1.5, 1 / 1.5), "metadata": {"unit": "A"}}, 1.5),
        ({"imagej": True, "resolution": (1e4 / 1.5,) * 2, "metadata": {"unit": "um"}}, 1.5),
        ({"imagej": True, "resolution": (1.0, 1.0), "metadata": {"unit": "pixel"}}, None),
    ],
)
def test_the_pixel_size_of_tags_is_used_if_nothing_is_configured(
    tmp_path: Path, options: dict[str, Any], angstrom: float | None
) -> None:
    path = tmp_path / "mic.tif"
    tifffile.imwrite(path, grey("f4"), **options)
    if angstrom is None:
        with pytest.raises(PixelSizeError):
            read_micrograph(path, pixel_size_angstrom=None)
    else:
        micrograph = read_micrograph(path, pixel_size_angstrom=None)
        assert micrograph.pixel_size_angstrom == pytest.approx(angstrom, rel=1e-3)
        other = read_micrograph(path, pixel_size_angstrom=1.0)
        assert other.pixel_size_angstrom == 1.0  # as before there was a pixel size in tags
        assert [note.kind for note in other.notes] == ["pixel_size"]


# --- sizes ------------------------------------------------------------------------------------


def refused(path: Path, kind: type[MicrographError], match: str) -> None:
    """Check that a file is refused, and that next to nothing is allocated for it."""
    tracemalloc.start()
    try:
        for attempt in (read_header, image_of):
            with pytest.raises(kind, match=match):
                attempt(path)
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(path, np.zeros((8192, 8192), np.float32), compression=compression)
    refused(path, ContentError, "MiB are compressed to")


def changed(path: Path, tag: int, value: int) -> None:
    with tifffile.TiffFile(path) as file:
        found = file.pages[0].tags[tag]
    whole = bytearray(path.read_bytes())
    struct.pack_into("<H" if found.dtype == 3 else "<I", whole, found.valueoffset, value)
    path.write_bytes(whole)


def test_a_gigantic_image_or_tile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mic.tif"
    tifffile.imwrite(path, grey("f4"), tile=(32, 48), compression="zlib", bigtiff=True)
    for tag, value, match in (
        (256, 2**31 - 16, "pixels of 4 bytes"),
        (322, 2**31 - 16, "mic|322"),
        (323, 2**31 - 16, "mic|323"),
    ):
        broken = tmp_path / f"{tag}.tif"
        broken.write_bytes(path.read_bytes())
        changed(broken, tag, value)
        refused(broken, MicrographError, match)


def test_a_strip_that_holds_more_than_its_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's deflate knows no limit, and a JPEG has a size of its own."""
    path = tmp_path / "mic.tif"
    packed = zlib.compress(bytes(2**28))
    tifffile.imwrite(
        path,
        iter([packed]),
        shape=(512, 512),
        dtype=np.float32,
        compression="zlib",
        rowsperstrip=512,
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    tracemalloc.start()
    try:
        with pytest.raises(HeaderError, match="holds"):
            image_of(path)
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()
    tifffile.imwrite(path, grey("u1"), compression="jpeg", rowsperstrip=HEIGHT)
    whole = path.read_bytes()
    place = whole.index(b"\xff\xc0") + 5
    path.write_bytes(whole[:place] + struct.pack(">2H", 65500, 65500) + whole[place + 4 :])
    with pytest.raises(HeaderError, match="holds 4290250000"):
        image_of(path)


def test_a_compression_with_a_size_of_its_own_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "mic.tif"
    tifffile.imwrite(path, grey("u1"), compression="jpeg2000")
    with pytest.raises(HeaderError, match="JPEG"):
        read_header(path)


@pytest.mark.parametrize("strips", [1, 64])
def test_decoding_takes_the_pixels_and_little_more(tmp_path: Path, strips: int) -> None:
    noise = np.random.default_rng(1).integers(0, 200, (4096, 2048), np.uint8)
    path = tmp_path / "mic.tif"
    tifffile.imwrite(path, noise, compression="zlib", rowsperstrip=4096 // strips)
    stored = path.stat().st_size
    tracemalloc.start()
    try:
        np.testing.assert_array_equal(image_of(path)[::100], noise[::100])
        assert tracemalloc.get_traced_memory()[1] < noise.nbytes + stored + 10 * 2**20
    finally:
        tracemalloc.stop()
    assert tiff_limits.READ_BYTES < 2**26


@pytest.mark.parametrize(
    ("tag", "count"), [(273, 10**8), (279, 10**8), (270, 10**9), (50839, 10**9)]
)
@pytest.mark.parametrize("big", [False, True])
def test_a_directory_with_huge_values_is_refused_before_they_are_read(
    tmp_path: Path, tag: int, count: int, *, big: bool
) -> None:
    """The watcher reads directories in the main process."""
    entry, number, offset = ("<HHQQ", "<Q", 16) if big else ("<HHII", "<H", 8)
    head = b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) if big else b"II*\0" + struct.pack("<I", 8)
    entries = [(256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, 32), (tag, 4, count, 4096)]
    table = b"".join(struct.pack(entry, *one) for one in sorted(entries))
    path = tmp_path / "mic.tif"
    with path.open("wb") as file:
        file.write(head + struct.pack(number, len(entries)) + table + bytes(8))
        file.truncate(2**33)  # a file with holes
    assert len(head) == offset
    refused(path, HeaderError, f"tag {tag}.*{count} values")


def test_a_directory_that_is_cut_off_is_incomplete(tmp_path: Path) -> None:
    path = tmp_path / "mic.tif"
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, 20) + bytes(100))
    with pytest.raises(IncompleteFileError, match="ends within its TIFF directory"):
        read_header(path)
