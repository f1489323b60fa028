"""Compressed MRC files."""

import bz2
import gzip
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path, PurePath

import mrcfile
import numpy as np
import pytest

from livepick.core.formats.ctf_files import find_ctfs
from livepick.core.formats.image_names import image_stem, without_image_suffix
from livepick.core.formats.micrograph import read_header, read_micrograph
from livepick.core.formats.name_matching import listed_name, match_names
from livepick.errors import ContentError, HeaderError, IncompleteFileError, MovieStackError

IMAGE = np.random.default_rng(5).normal(size=(48, 64)).astype(np.float32)
PACK = {".gz": gzip.compress, ".bz2": bz2.compress}


def plain(folder: Path, image: np.ndarray = IMAGE) -> bytes:
    path = folder / "plain.mrc"
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(image)
        file.voxel_size = 1.5
    return path.read_bytes()


@pytest.fixture(params=sorted(PACK))
def suffix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_compressed_micrograph_reads_as_the_plain_one(tmp_path: Path, suffix: str) -> None:
    """Detected by its content, whatever its name."""
    for name in (f"X.mrc{suffix}", "X.mrc"):
        (tmp_path / name).write_bytes(PACK[suffix](plain(tmp_path)))
        micrograph = read_micrograph(tmp_path / name, pixel_size_angstrom=None)
        np.testing.assert_array_equal(micrograph.image, IMAGE)
        assert micrograph.pixel_size_angstrom == pytest.approx(1.5)


def test_a_file_by_mrcfile_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"X.mrc{suffix}"
    compression = {".gz": "gzip", ".bz2": "bzip2"}[suffix]
    with mrcfile.new(path, compression=compression) as file:
        file.set_data(IMAGE)
    np.testing.assert_array_equal(read_micrograph(path, pixel_size_angstrom=1).image, IMAGE)


def bgzip(data: bytes) -> bytes:
    """Return the data as bgzip writes them: in many parts with their lengths, and an empty one."""
    parts = []
    for start in [*range(0, len(data), 5000), len(data)]:
        deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        piece = data[start : start + 5000]
        body = deflate.compress(piece) + deflate.flush()
        head = b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff\x06\0BC\x02\0"
        end = struct.pack("<II", zlib.crc32(piece), len(piece))
        parts.append(head + struct.pack("<H", len(body) + 25) + body + end)
    return b"".join(parts)


def in_parts(data: bytes, pack: Callable[[bytes], bytes]) -> bytes:
    return b"".join(pack(data[start : start + 5000]) for start in range(0, len(data), 5000))


WAYS = {
    "bgzip": bgzip,
    "gzip in parts": lambda data: in_parts(data, gzip.compress),
    "gzip with an empty part": lambda data: gzip.compress(data) + gzip.compress(b""),
    "gzip and zeros": lambda data: gzip.compress(data) + bytes(512),
    "gzip and two zeros": lambda data: gzip.compress(data) + bytes(2),
    "gzip in parts and zeros": lambda data: in_parts(data, gzip.compress) + bytes(10240),
    "bzip2 in parts": lambda data: in_parts(data, bz2.compress),
    "bzip2 with an empty part": lambda data: bz2.compress(data) + bz2.compress(b""),
    "bzip2 and zeros": lambda data: bz2.compress(data) + bytes(10240),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_file_of_several_parts_or_with_zeros_after_it_is_read(tmp_path: Path, way: str) -> None:
    """As bgzip, pbzip2, parallel programs, ``cat`` and tapes write them; cut files still wait."""
    path = tmp_path / "X.mrc.gz"
    packed = WAYS[way](plain(tmp_path))
    path.write_bytes(packed)
    assert read_header(path).shape_px == (48, 64)
    np.testing.assert_array_equal(read_micrograph(path, pixel_size_angstrom=None).image, IMAGE)

    for length in np.linspace(5, len(packed.rstrip(b"\0")) * 0.9, 40, dtype=int):
        for end in (b"", bytes(4096)):
            path.write_bytes(packed[:length] + end)
            with pytest.raises(IncompleteFileError):
                read_header(path)


def test_every_cut_file_is_incomplete(tmp_path: Path, suffix: str) -> None:
    """It is found by the cheap check of the header alone, without decompressing the pixels."""
    path = tmp_path / f"X.mrc{suffix}"
    packed = PACK[suffix](plain(tmp_path))
    for length in [*range(1, 40), *np.linspace(40, len(packed) - 1, 60, dtype=int)]:
        path.write_bytes(packed[:length])
        with pytest.raises((IncompleteFileError, HeaderError)) as caught:
            read_header(path)
        assert length < 5 or isinstance(caught.value, IncompleteFileError), length


def test_presized_files_are_incomplete(tmp_path: Path, suffix: str) -> None:
    """SMB copies have their final length before their content."""
    path = tmp_path / f"X.mrc{suffix}"
    packed = PACK[suffix](plain(tmp_path))
    path.write_bytes(packed[:2000] + bytes(len(packed) - 2000))
    with pytest.raises(IncompleteFileError):
        read_header(path)


def test_damage_inside_is_found_by_the_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"X.mrc{suffix}"
    packed = bytearray(PACK[suffix](plain(tmp_path)))
    for place in range(len(packed) // 4, len(packed) - 16, len(packed) // 40):
        damaged = packed.copy()
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        with pytest.raises((HeaderError, IncompleteFileError)):
            read_micrograph(path, pixel_size_angstrom=None)


def test_no_more_is_decompressed_than_the_header_says(tmp_path: Path, suffix: str) -> None:
    """A file that decompresses to gigabytes costs no more than its micrograph."""
    path = tmp_path / f"X.mrc{suffix}"
    path.write_bytes(PACK[suffix](plain(tmp_path) + bytes(2**26)))
    tracemalloc.start()
    try:
        if suffix == ".gz":
            with pytest.raises(IncompleteFileError):
                read_micrograph(path, pixel_size_angstrom=None)
        else:
            read_micrograph(path, pixel_size_angstrom=None)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_a_bomb_is_refused_before_it_is_decompressed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"X.mrc{suffix}"
    path.write_bytes(PACK[suffix](plain(tmp_path, np.zeros((4096, 4096), np.float32))))
    tracemalloc.start()
    try:
        for read in (read_header, lambda path: read_micrograph(path, pixel_size_angstrom=None)):
            with pytest.raises(ContentError, match="MiB are compressed to"):
                read(path)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_what_is_compressed_must_be_one_micrograph(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"X.mrc{suffix}"
    path.write_bytes(PACK[suffix](plain(tmp_path, np.zeros((3, 8, 8), np.float32))))
    with pytest.raises(MovieStackError, match="3 sections"):
        read_header(path)
    path.write_bytes(PACK[suffix](bytes(4096)))
    with pytest.raises(HeaderError, match="compressed before it had a header"):
        read_header(path)
    path.write_bytes(PACK[suffix](b"II*\0" + bytes(4096)))
    with pytest.raises(HeaderError, match="compressed TIFF"):
        read_header(path)


def test_stems_have_no_trace_of_the_compression(tmp_path: Path, suffix: str) -> None:
    name = f"May.02.mrc{suffix}"
    assert image_stem(PurePath("a") / name) == "May.02"
    assert image_stem(PurePath(name.upper())) == "MAY.02"
    assert without_image_suffix(PurePath("a") / name) == PurePath("a/May.02")
    assert image_stem(PurePath("May.gz")) == "May"
    assert listed_name(f"a/{name}") == "a/May.02"
    assert match_names(["a/May.02"], ["a/May.02"]).pairs
    (tmp_path / "May.02.txt").write_text(
        "# Output from CTFFind version 4.1.14, run on 2025-12-28 18:56:33\n"
        "# Pixel size: 1.400 Angstroms ; acceleration voltage: 200.0 keV ; spherical aberration:"
        " 1.40 mm ; amplitude contrast: 0.10\n"
        "1.000000 10864.138672 10575.676758 78.283111 0.523599 0.131144 4.0\n"
    )
    found, _ = find_ctfs(None, [tmp_path / name])
    assert list(found) == [tmp_path / name]
