"""Files whose header is ambiguous or partly wrong: read as the evidence says, with a note."""

import bz2
import gzip
import struct
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from numpy.typing import NDArray

from livepick.core.formats.header import NoteKind
from livepick.core.formats.micrograph import Micrograph, read_header, read_micrograph
from livepick.errors import HeaderError, IncompleteFileError, PixelSizeError

HEIGHT, WIDTH = 96, 128
NOISE = np.random.default_rng(7).normal(size=(HEIGHT, WIDTH))
IMOD_STAMP = 1146047817
MODES = {"i1": 0, "i2": 1, "f4": 2, "u2": 6, "f2": 12}


def grey(middle: float, sigma: float, dtype: str) -> NDArray[Any]:
    limits = np.iinfo(dtype)
    return np.clip(np.rint(middle + sigma * NOISE), limits.min, limits.max).astype(dtype)


def write(
    path: Path,
    image: NDArray[Any],
    *,
    mode: int,
    order: str = "<",
    statistics: tuple[float, float, float] = (0, -1, -2),
    imod_flags: int | None = None,
    fields: dict[int, tuple[str, Any]] | None = None,
    after: bytes = b"",
) -> Path:
    """Write an MRC file by hand: the pixels as they are, with a header that may not fit them."""
    height, width = image.shape
    start = bytearray(1024)
    struct.pack_into(f"{order}4i", start, 0, width, height, 1, mode)
    struct.pack_into(f"{order}3i", start, 28, width, height, 1)
    struct.pack_into(f"{order}3f", start, 40, 1.5 * width, 1.5 * height, 1.5)
    struct.pack_into(f"{order}3i", start, 64, 1, 2, 3)
    struct.pack_into(f"{order}3f", start, 76, *statistics)
    if imod_flags is not None:
        struct.pack_into(f"{order}2i", start, 152, IMOD_STAMP, imod_flags)
    start[208:216] = b"MAP " + (b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0")
    for place, (code, value) in (fields or {}).items():
        if code == "raw":
            start[place : place + len(value)] = value
        else:
            struct.pack_into(f"{order}{code}", start, place, value)
    path.write_bytes(bytes(start) + image.tobytes() + after)
    return path


def kinds(micrograph: Micrograph) -> set[NoteKind]:
    return {note.kind for note in micrograph.notes}


def read(path: Path, pixel_size_angstrom: float | None = None) -> Micrograph:
    return read_micrograph(path, pixel_size_angstrom=pixel_size_angstrom)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mic.mrc"


# --- sign -------------------------------------------------------------------------------------

UNSIGNED = grey(130, 20, "u1")
SIGNED = grey(0, 20, "i1")
UNSIGNED_RANGE = (float(UNSIGNED.min()), float(UNSIGNED.max()), float(UNSIGNED.mean()))
SIGNED_RANGE = (float(SIGNED.min()), float(SIGNED.max()), float(SIGNED.mean()))
AS_SIGNED_RANGE = (
    float(UNSIGNED.view("i1").min()),
    float(UNSIGNED.view("i1").max()),
    float(UNSIGNED.view("i1").mean()),
)


@pytest.mark.parametrize(
    ("statistics", "imod_flags"),
    [
        (UNSIGNED_RANGE, None),
        (UNSIGNED_RANGE, 0),
        ((0, -1, -2), 0),
        ((0, -1, -2), 1),  # the flag is wrong
        ((0, -1, -2), None),
        ((0.0, 255.0, 128.0), None),
        (AS_SIGNED_RANGE, None),  # computed by a library that read them as signed
        (AS_SIGNED_RANGE, 0),
    ],
)
def test_unsigned_bytes_in_mode_0_are_read_as_unsigned(
    path: Path, statistics: tuple[float, float, float], imod_flags: int | None
) -> None:
    """Read as signed, 0 to 2 % of the picks were right."""
    write(path, UNSIGNED, mode=0, statistics=statistics, imod_flags=imod_flags)
    micrograph = read(path)
    np.testing.assert_array_equal(micrograph.image, UNSIGNED)
    assert kinds(micrograph) == {"read_as_unsigned"}
    assert "because" in micrograph.notes[0].text


@pytest.mark.parametrize(
    ("statistics", "imod_flags"),
    [
        (SIGNED_RANGE, None),
        (SIGNED_RANGE, 1),
        (SIGNED_RANGE, 0),  # the flag is wrong
        ((0, -1, -2), None),
        ((0, -1, -2), 0),
        ((-3.5, 900.0, 0.0), None),  # of the floats that were converted
    ],
)
def test_signed_bytes_in_mode_0_stay_signed(
    path: Path, statistics: tuple[float, float, float], imod_flags: int | None
) -> None:
    write(path, SIGNED, mode=0, statistics=statistics, imod_flags=imod_flags)
    micrograph = read(path)
    np.testing.assert_array_equal(micrograph.image, SIGNED)
    assert not micrograph.notes


@pytest.mark.parametrize("sigma", [1.5, 5])
def test_a_range_of_another_reader_does_not_tear_few_signed_counts_apart(
    path: Path, sigma: float
) -> None:
    """A program that knows only unsigned bytes wrote its range of 0 to 255 to the header."""
    signed = grey(0, sigma, "i1")
    write(path, signed, mode=0, statistics=(0.0, 255.0, 126.0))
    micrograph = read(path)
    np.testing.assert_array_equal(micrograph.image, signed)
    assert not micrograph.notes


def test_the_range_decides_about_a_few_bright_pixels(path: Path) -> None:
    unsigned = grey(3, 1, "u1")
    unsigned[5::9, 7::9] = 250
    statistics = (0.0, 250.0, float(unsigned.mean()))
    micrograph = read(write(path, unsigned, mode=0, statistics=statistics))
    np.testing.assert_array_equal(micrograph.image, unsigned)


def test_where_the_pixels_do_not_tell_the_flag_decides(path: Path) -> None:
    few = np.zeros((HEIGHT, WIDTH), np.uint8)
    few[::2, ::3] = 60
    few[1::7, ::5] = 200
    write(path, few, mode=0, imod_flags=0)
    np.testing.assert_array_equal(read(path).image, few)
    write(path, few, mode=0, imod_flags=1)
    np.testing.assert_array_equal(read(path).image, few.view("i1"))
    write(path, few, mode=0)
    np.testing.assert_array_equal(read(path).image, few.view("i1"))
    write(path, few, mode=0, statistics=(0, 220, 30))  # no signed byte is 220
    np.testing.assert_array_equal(read(path).image, few)


def test_saturated_bytes_are_read_right(path: Path) -> None:
    """Clipped grey values pile up at the ends of the range, beside the other reading's cut."""
    unsigned, signed = grey(128, 80, "u1"), grey(0, 80, "i1")
    assert (unsigned == 255).mean() > 0.03
    np.testing.assert_array_equal(read(write(path, unsigned, mode=0)).image, unsigned)
    np.testing.assert_array_equal(read(write(path, signed, mode=0)).image, signed)


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_integers_of_the_other_sign(path: Path, order: str) -> None:
    unsigned, signed = grey(32000, 3000, "u2"), grey(5, 300, "i2")
    write(path, unsigned.astype(f"{order}u2"), mode=1, order=order)
    micrograph = read(path)
    np.testing.assert_array_equal(micrograph.image, unsigned)
    assert kinds(micrograph) == {"read_as_unsigned"}
    write(path, signed.astype(f"{order}i2"), mode=6, order=order)
    micrograph = read(path)
    np.testing.assert_array_equal(micrograph.image, signed)
    assert kinds(micrograph) == {"read_as_signed"}


def test_counts_with_hot_pixels_stay_unsigned(path: Path) -> None:
    counts = grey(100, 10, "u2")
    counts[5::20, 7::30] = 65535
    micrograph = read(write(path, counts, mode=6))
    np.testing.assert_array_equal(micrograph.image, counts)
    assert not micrograph.notes


@pytest.mark.parametrize("dtype", sorted(MODES))
def test_an_ordinary_file_has_no_notes(path: Path, dtype: str) -> None:
    image = (100 + 20 * NOISE).clip(-127, 127).astype(dtype)
    with mrcfile.new(path, image) as file:
        file.voxel_size = 1.5
    micrograph = read(path)
    np.testing.assert_array_equal(micrograph.image, image)
    assert micrograph.image.dtype == dtype
    assert not micrograph.notes


# --- byte order -------------------------------------------------------------------------------


def test_floats_in_another_byte_order_than_the_header(path: Path) -> None:
    image = (1000 + 100 * NOISE).astype(">f4")
    micrograph = read(write(path, image, mode=2))
    np.testing.assert_array_equal(micrograph.image, image)
    assert kinds(micrograph) == {"byte_order"}


def test_integers_in_another_byte_order_are_known_by_the_statistics(path: Path) -> None:
    image = grey(1000, 100, "i2").astype(">i2")
    statistics = (float(image.min()), float(image.max()), float(image.mean()))
    micrograph = read(write(path, image, mode=1, statistics=statistics))
    np.testing.assert_array_equal(micrograph.image, image)
    assert kinds(micrograph) == {"byte_order"}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("mode", "middle", "sigma"),
    [(1, 0, 30), (1, 0, 300), (1, 0, 3000), (1, 1000, 40), (6, 40000, 3000), (6, 500, 100)],
)
def test_integers_in_another_byte_order_are_known_by_their_bytes(
    path: Path, order: str, mode: int, middle: float, sigma: float
) -> None:
    dtype = {1: "i2", 6: "u2"}[mode]
    image = grey(middle, sigma, dtype).astype(f"{'<' if order == '>' else '>'}{dtype}")
    micrograph = read(write(path, image, mode=mode, order=order))
    np.testing.assert_array_equal(micrograph.image, image)
    assert kinds(micrograph) == {"byte_order"}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("middle", "sigma", "factor"),
    [
        *((120, 30, 256), (120, 30, 257), (120, 30, 255), (120, 70, 256), (2000, 400, 16)),
        *((2000, 700, 16), (9000, 1000, 4), (16000, 3000, 2), (3, 1, 100), (20000, 9000, 1)),
        *((255, 4, 1), (3, 1, 1), (0, 1, 1), (500, 100, 1)),
    ],
)
def test_shifted_and_scaled_integers_keep_their_byte_order(
    path: Path, order: str, middle: float, sigma: float, factor: int
) -> None:
    """Cameras of 8 to 15 bits, shifted to the left or multiplied."""
    image = (grey(middle, sigma, "u2").clip(0, 65535 // factor) * factor).astype(f"{order}u2")
    micrograph = read(write(path, image, mode=6, order=order))
    np.testing.assert_array_equal(micrograph.image, image)
    assert not micrograph.notes


def test_a_wrong_machine_stamp_is_noted(path: Path) -> None:
    image = NOISE.astype("f4")
    micrograph = read(write(path, image, mode=2, fields={212: ("raw", b"\x11\x11")}))
    np.testing.assert_array_equal(micrograph.image, image)
    assert kinds(micrograph) == {"byte_order"}


# --- structure --------------------------------------------------------------------------------


@pytest.mark.parametrize("magic", [bytes(4), b"    ", b"\x20AP\0"])
def test_a_header_without_map_is_read_if_it_is_sane(path: Path, magic: bytes) -> None:
    """Leginon writes such files, as in EMPIAR-10025."""
    image = NOISE.astype("f4")
    write(path, image, mode=2, fields={208: ("raw", magic)})
    assert read_header(path).notes
    micrograph = read(path)
    np.testing.assert_array_equal(micrograph.image, image)
    assert kinds(micrograph) == {"no_map_word"}


@pytest.mark.parametrize(
    "fields",
    [
        {0: ("i", 5)},
        {4: ("i", 70000)},
        {12: ("i", 9)},
        {28: ("i", -1)},
        {40: ("f", float("nan"))},
        {64: ("i", 77)},
    ],
)
def test_without_map_an_odd_header_is_not_an_mrc_file(
    path: Path, fields: dict[int, tuple[str, Any]]
) -> None:
    write(path, NOISE.astype("f4"), mode=2, fields={208: ("raw", bytes(4)), **fields})
    with pytest.raises(HeaderError, match="MAP"):
        read(path)


def test_without_map_a_short_file_is_incomplete(path: Path) -> None:
    write(path, NOISE.astype("f4"), mode=2, fields={208: ("raw", bytes(4))})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(IncompleteFileError):
        read(path)


def test_no_sections_and_a_negative_extended_header_are_corrected_by_the_length(
    path: Path,
) -> None:
    image = NOISE.astype("f4")
    for fields in ({8: ("i", 0)}, {92: ("i", -80)}, {8: ("i", 0), 92: ("i", -1)}):
        write(path, image, mode=2, fields=fields)
        micrograph = read(path)
        np.testing.assert_array_equal(micrograph.image, image)
        assert kinds(micrograph) == {"header_corrected"}
        write(path, image, mode=2, fields=fields, after=b"more")
        with pytest.raises(HeaderError):
            read(path)


@pytest.mark.parametrize(
    "fields",
    [
        {88: ("i", 401)},  # a stack of volumes, of mz = 1
        {88: ("i", 401), 36: ("i", 0)},
        {88: ("i", 1)},
        {104: ("raw", b"FEI1")},
        {64: ("i", 2), 68: ("i", 1)},
        {64: ("i", 0), 68: ("i", 0), 72: ("i", 0)},
    ],
)
def test_fields_that_do_not_change_an_image_are_ignored(
    path: Path, fields: dict[int, tuple[str, Any]]
) -> None:
    image = NOISE.astype("f4")
    write(path, image, mode=2, fields=fields, after=b"trailing")
    np.testing.assert_array_equal(read(path).image, image)


@pytest.mark.parametrize(
    ("after", "words"),
    [(b"abc", "3 bytes longer"), (bytes(8 * HEIGHT * WIDTH), "as long as 2 more images")],
)
def test_what_follows_the_image_is_noted(path: Path, after: bytes, words: str) -> None:
    micrograph = read(write(path, NOISE.astype("f4"), mode=2, after=after))
    np.testing.assert_array_equal(micrograph.image, NOISE.astype("f4"))
    assert kinds(micrograph) == {"surplus_bytes"}
    assert words in micrograph.notes[0].text


@pytest.mark.parametrize("kind", [b"FEI1", b"FEI2", b"SERI", b"AGAR", b"CCP4", b"MRCO", bytes(4)])
def test_any_extended_header_is_skipped(path: Path, kind: bytes) -> None:
    image = NOISE.astype("f4")
    write(path, image, mode=2, fields={92: ("i", 1600), 104: ("raw", kind)})
    whole = path.read_bytes()
    path.write_bytes(whole[:1024] + b"\xff" * 1600 + whole[1024:])
    np.testing.assert_array_equal(read(path).image, image)


def test_a_file_without_the_extended_header_that_it_says_is_incomplete_and_says_so(
    path: Path,
) -> None:
    """It may still be written; if not, the operator knows what to correct."""
    write(path, NOISE.astype("f4"), mode=2, fields={92: ("i", 1600)})
    with pytest.raises(IncompleteFileError, match="correct the 1600 bytes of the extended header"):
        read(path)


# --- pixel size -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (0.0026, 0.0026),
        (1.5, 0.0),
        (1.5, 3.0),
        (float("nan"), float("nan")),
        (-1.5, -1.5),
        (0.083, 0.083),  # nanometres
        (1e10, 1e10),
    ],
)
def test_an_impossible_pixel_size_counts_as_unset(path: Path, x: float, y: float) -> None:
    fields = {40: ("f", x * WIDTH), 44: ("f", y * HEIGHT)}
    write(path, NOISE.astype("f4"), mode=2, fields=fields)
    micrograph = read(path, 0.83)
    assert micrograph.pixel_size_angstrom == 0.83
    assert kinds(micrograph) == {"pixel_size"}
    with pytest.raises(PixelSizeError, match="impossible"):
        read(path)


def test_trust_decides_between_header_and_config(path: Path) -> None:
    write(path, NOISE.astype("f4"), mode=2)
    with pytest.raises(PixelSizeError, match=r"1\.5 Å in the header.*micrograph\.trust: config"):
        read(path, 0.83)
    by_config = read_micrograph(path, pixel_size_angstrom=0.83, trust="config")
    by_header = read_micrograph(path, pixel_size_angstrom=0.83, trust="header")
    assert (by_config.pixel_size_angstrom, by_header.pixel_size_angstrom) == (0.83, 1.5)
    assert kinds(by_config) == kinds(by_header) == {"pixel_size"}
    write(path, NOISE.astype("f4"), mode=2, fields={40: ("f", 0.0), 44: ("f", 0.0)})
    only = read_micrograph(path, pixel_size_angstrom=0.83, trust="header")
    assert only.pixel_size_angstrom == 0.83


@pytest.mark.parametrize("grid", [0, 1, 7_000_000])
def test_a_wrong_grid_is_replaced_by_the_sides(path: Path, grid: int) -> None:
    fields = {28: ("i", grid), 32: ("i", grid), 36: ("i", 0)}
    micrograph = read(write(path, NOISE.astype("f4"), mode=2, fields=fields))
    assert micrograph.pixel_size_angstrom == pytest.approx(1.5)
    assert kinds(micrograph) == {"header_corrected"}


# --- an extended header that is not stated ----------------------------------------------------


def record(count: int) -> bytes:
    """Return what an extended header has: short numbers, a name, doubles, and zeros."""
    start = struct.pack("<3i", 768, 1, 511) + b"TITAN52334".ljust(16, b"\0")
    return (start + struct.pack("<6d", 43000.5, 1e-6, 3e5, -2e-6, 0.1, 9.0)).ljust(count, b"\0")


def picture(dtype: str) -> NDArray[Any]:
    """Return an image of grey values with slow changes, as a micrograph has."""
    y, x = np.mgrid[:512, :640]
    noise = np.random.default_rng(3).normal(size=y.shape)
    image = 60 + 12 * noise + 5 * np.sin(x / 40) * np.cos(y / 60)
    return image.astype("f4") if dtype == "f4" else np.rint(image).astype(dtype)


def insert(path: Path, extended: bytes) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:1024] + extended + whole[1024:])


@pytest.mark.parametrize("with_range", [False, True])
@pytest.mark.parametrize("count", [88, 1024, 131072])
@pytest.mark.parametrize("dtype", ["i1", "i2", "f4"])
def test_an_extended_header_that_is_not_stated_is_skipped(
    path: Path, dtype: str, count: int, with_range: bool
) -> None:
    """Read at byte 1024, all picks would be shifted. The same bytes at the end stay there."""
    image = picture(dtype)
    mean = float(image.mean(dtype="f8"))
    given = (float(image.min()), float(image.max()), mean) if with_range else (0, -1, -2)
    write(path, image, mode=MODES[dtype], statistics=given)
    insert(path, record(count))
    micrograph = read(path)
    np.testing.assert_array_equal(micrograph.image, image)
    assert kinds(micrograph) == {"header_corrected"}
    assert f"0 bytes; read with one of {count}, because" in micrograph.notes[0].text

    write(path, image, mode=MODES[dtype], statistics=given, after=record(count))
    micrograph = read(path)
    np.testing.assert_array_equal(micrograph.image, image)
    assert kinds(micrograph) == {"surplus_bytes"}


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_it_is_skipped_in_a_compressed_file_too(path: Path, compress: Any) -> None:
    image = picture("i2")
    write(path, image, mode=1)
    insert(path, record(1024))
    path.write_bytes(compress(path.read_bytes()))
    np.testing.assert_array_equal(read(path).image, image)


def test_an_extended_header_that_is_longer_than_stated_is_skipped(path: Path) -> None:
    image = picture("f4")
    write(path, image, mode=2, fields={92: ("i", 1024)})
    insert(path, record(4096))
    micrograph = read(path)
    np.testing.assert_array_equal(micrograph.image, image)
    assert "1024 bytes; read with one of 4096" in micrograph.notes[0].text


@pytest.mark.parametrize(("kind", "is_skipped"), [(b"FEI1", True), (bytes(4), False)])
def test_what_the_pixels_do_not_tell_is_told_by_the_kind_of_the_header(
    path: Path, kind: bytes, is_skipped: bool
) -> None:
    """Bytes like pixels before the image; without a kind, the file is read as its header says."""
    image = picture("i1")
    write(path, image, mode=0, fields={104: ("raw", kind)})
    insert(path, image[100:104].tobytes())
    expected = image if is_skipped else np.concatenate([image[100:104], image[:-4]])
    np.testing.assert_array_equal(read(path).image, expected)


def test_an_extended_header_that_is_longer_than_the_image_is_skipped(path: Path) -> None:
    image = grey(60, 12, "i1")
    write(path, image, mode=0)
    insert(path, record(131072))
    np.testing.assert_array_equal(read(path).image, image)


@pytest.mark.parametrize("dtype", ["i1", "f4"])
def test_black_rows_at_the_start_are_no_extended_header(path: Path, dtype: str) -> None:
    """Motion correction leaves such borders."""
    image = picture(dtype)
    image[:4] = 0
    for after in (record(1024), bytes(image[:3].nbytes)):
        write(path, image, mode=MODES[dtype], after=after)
        np.testing.assert_array_equal(read(path).image, image)


@pytest.mark.parametrize("dtype", ["i1", "f4"])
def test_an_image_whose_ends_are_both_unlike_it_is_read_as_its_header_says(
    path: Path, dtype: str
) -> None:
    """Black pixels at the start, and a trailer of the same length."""
    image = picture(dtype)
    trailer = b"\x7f\x80" * 512
    image.reshape(-1)[: len(trailer) // image.itemsize] = 0
    write(path, image, mode=MODES[dtype], after=trailer)
    micrograph = read(path)
    np.testing.assert_array_equal(micrograph.image, image)
    assert "surplus_bytes" in kinds(micrograph)
