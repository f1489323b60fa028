"""Coordinates files that are damaged, in another encoding, or very long."""

import io
import json
import time

import numpy as np
import pytest
from picked_micrographs import cs_file, picked

from livepick.core.formats.coordinates import read_all_positions
from livepick.core.formats.cryolo_cbox import write_cbox
from livepick.core.formats.csv_coordinates import write_csv
from livepick.core.formats.eman_box import write_box
from livepick.core.formats.eman_json import write_info
from livepick.core.formats.relion_star import coordinates_star, particles_star
from livepick.core.formats.topaz import write_topaz
from livepick.errors import CoordinatesError

PICKED = picked(*[(10 + i, 200 - 3 * i, 0.5 + i / 100) for i in range(12)])

WRITTEN = {
    "a_autopick.star": coordinates_star(PICKED),
    "particles.star": particles_star(PICKED, turned=False),
    "picks.cs": cs_file(PICKED),
    "a.box": write_box(PICKED),
    "a_info.json": write_info(PICKED),
    "a.cbox": write_cbox(PICKED),
    "a.txt": write_topaz(PICKED),
    "a.tab": write_topaz(PICKED),
    "a.csv": write_csv(PICKED),
}
TEXTS = {name: data for name, data in WRITTEN.items() if name != "picks.cs"}

X, Y = "_rlnCoordinateX", "_rlnCoordinateY"
STAR = f"data_\nloop_\n{X} #1\n{Y} #2\n_rlnAnglePsi #3\n1 2 0\n3 4 0\n"


def read(folder, name, data):
    """Return the positions in a file with these contents, as (N, 2)."""
    (folder / name).write_bytes(data)
    (here,) = read_all_positions(folder / name).values()
    return np.column_stack([here.x_px, here.y_px]).tolist()


def refused(folder, name, data):
    """Return what is wrong with a file, and check that the error names it."""
    if isinstance(data, str):
        data = data.encode()
    (folder / name).write_bytes(data)
    with pytest.raises(CoordinatesError) as caught:
        read_all_positions(folder)
    assert str(folder / name) in caught.value.what
    assert caught.value.remedy
    return caught.value.what


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b"\n", b"\r"),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.decode().encode("utf-16"),
        lambda data: b"\xfe\xff" + data.decode().encode("utf-16-be"),
        lambda data: data.rstrip(b"\n"),
    ],
    ids=["CRLF", "CR", "byte-order mark", "UTF-16", "UTF-16 BE", "no last newline"],
)
def test_line_ends_and_encodings_make_no_difference(tmp_path, name, change):
    assert read(tmp_path, name, change(TEXTS[name])) == read(tmp_path, name, TEXTS[name])


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_not_text_is_refused_with_the_line(tmp_path, name):
    """UTF-16 without a mark is full of NUL characters."""
    data = TEXTS[name]
    line = data.count(b"\n") + 1
    assert f"line {line} cannot be read" in refused(tmp_path, name, data + b"\xe9\xff\n")
    assert f"line {line} has a NUL character" in refused(tmp_path, name, data + b"1\0\n")
    assert "has a NUL character" in refused(tmp_path, name, data.decode().encode("utf-16-le"))


@pytest.mark.parametrize("name", ["a.star", "a.csv", "a.txt", "a_info.json", "a.cs"])
@pytest.mark.parametrize("data", [b"", b"\n\n"])
def test_empty_files_are_refused_except_where_programs_write_them(tmp_path, name, data):
    (tmp_path / "b.box").write_bytes(data)
    (tmp_path / "b.cbox").write_bytes(data)
    assert read(tmp_path, "b.box", data) == read(tmp_path, "b.cbox", data) == []
    (tmp_path / "b.cbox").unlink()
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CoordinatesError, match=name):
        read_all_positions(tmp_path / name)


def read_or_refused(path):
    """Return the positions by micrograph, or nothing if the file is refused by its name."""
    try:
        return read_all_positions(path)
    except CoordinatesError as error:
        if str(path) not in error.what:
            raise
        return {}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_that_is_cut_off_is_refused_or_has_whole_rows_only(tmp_path, name):
    """Only a cut at the end of a row, or in its last number, cannot be seen."""
    data = WRITTEN[name]
    whole = read(tmp_path, name, data)
    for end in range(0, len(data), 23):
        (tmp_path / name).write_bytes(data[:end])
        for here in read_or_refused(tmp_path / name).values():
            xy = np.column_stack([here.x_px, here.y_px]).tolist()
            complete = max(len(xy) - 1, 0) if name == "a.box" else len(xy)
            assert xy[:complete] == whole[:complete]


@pytest.mark.parametrize("name", WRITTEN)
def test_damaged_files_raise_nothing_but_our_error(tmp_path, name):
    """Random edits, as a bad disk or a hasty editor makes them."""
    chance = np.random.default_rng(1)
    words = [b'"', b"'", b"\n", b"#", b"_", b"loop_", b"nan", b"1e400", b"9" * 400, b"[", b"\x00"]
    for _ in range(100):
        data = bytearray(WRITTEN[name])
        for _ in range(chance.integers(1, 4)):
            at = int(chance.integers(len(data) + 1))
            data[at : at + int(chance.integers(20))] = words[chance.integers(len(words))]
        (tmp_path / name).write_bytes(data)
        for here in read_or_refused(tmp_path / name).values():
            here.picks(shape_px=(300, 400), pixel_size_angstrom=1.5)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.star", STAR.replace("3 4 0", "3 4"), "row 2 (line 7) is '3 4': it has 2 values for 3"),
        ("a.star", STAR.replace("3 4 0", "3 4"), "cut off"),
        ("a.star", STAR + "5 6 0 7\n", "row 3 (line 8) is '5 6 0 7': it has 4 values for 3"),
        ("a.star", STAR + "5 b 0\n", "row 3 (line 8) is '5 b'"),
        ("a.star", STAR + "5 inf 0\n", "row 3 (line 8) is 5 inf"),
        ("a.star", STAR + "5 1e39 0\n", "row 3 (line 8) is 5 1e39"),
        ("a.star", STAR.replace("_rlnAnglePsi", X), "rlnCoordinateX more than once"),
        ("a.star", STAR.replace("loop_\n", ""), "columns (none)"),
        (
            "a.star",
            STAR + "loop_\n_rlnOther #1\n",
            "values for 3 columns; perhaps it is the column",
        ),
        ("a.star", STAR + STAR.replace("data_", "data_b"), "several tables of coordinates"),
        ("a.star", f"data_\nloop_\n{X} #1\n_rlnAnglePsi #2\n1 2\n", "columns rlnCoordinateX, rln"),
        (
            "a.star",
            STAR.replace("_rlnAnglePsi", "_rlnImageName"),
            "positions in several micrographs (rlnImageName)",
        ),
        ("a.star", STAR.replace("_rlnAnglePsi", "_rlnTomoName"), "in tomograms (rlnTomoName)"),
        ("a.csv", "x_px,y_px,x_px\n1,2,3\n", "x_px more than once"),
        ("a.csv", "# a note\nx_px,y_px\n1,2\n\n3,four\n", "row 2 (line 5) is '3 four'"),
        ("a.csv", 'micrograph,x_px,y_px\nm,1,2\n"m,3,4\nm,5,6\n', "row 2 (line 3)"),
        ("a.csv", "micrograph,x_px,y_px\nm,1,2\n ,3,4\n", "row 2 (line 3) names no micrograph"),
        ("a.csv", "x_px,y_px\n" + "1" * 200_000 + ",2\n", "line 2 is not readable as CSV"),
        ("a.txt", "image_name\tx_coord\ty_coord\nm\t1\t2\nm\t3\n", "row 2 (line 3)"),
        ("a.box", "1\t2\t9\t9\n\n3\t4\n", "row 2 (line 3) is '3\\t4'"),
        ("a_info.json", '{"boxes": [[1, 2, "manual"], [3, "4"]]}', "box 2 is [3, '4']"),
        ("a_info.json", '{"boxes": [[1, true]]}', "box 1 is [1, True]"),
        ("a_info.json", '{"boxes": [[1, NaN]]}', "box 1 is [1, nan]"),
        ("a_info.json", '{"boxes": [[1]]}', "box 1 is [1]"),
        ("a_info.json", '{"boxes": {"1": 2}}', "not an EMAN2 info file"),
        ("a_info.json", "[1, 2]", "not an EMAN2 info file"),
        ("a_info.json", f'{{"boxes": [[1, {"9" * 400}]]}}', "box 1 is [1, 999"),
        ("a_info.json", "[" * 100_000, "not readable as JSON"),
        ("a_info.json", '{"boxes": ' + '{"a":' * 50_000, "not readable as JSON"),
        ("a.cbox", write_cbox(PICKED).decode() + "1\n2 3\n", "a.cbox"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, name, data, says):
    if name == "a.cbox":
        data = data.replace("<NA> <NA>\n", "<NA>\n", 1)
        says = "row 1 (line 20)"
    assert says in refused(tmp_path, name, data)


def test_nothing_is_read_from_a_folder_with_one_bad_file(tmp_path):
    (tmp_path / "a.csv").write_text("x_px,y_px\n1,2\n")
    assert len(read_all_positions(tmp_path)) == 1
    refused(tmp_path, "b.csv", "x_px,y_px\n1,\n")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("location/center_x_frac", np.inf, "record 3 has the position [inf"),
        ("location/center_y_frac", 1e30, "record 3 has the position"),
        ("location/micrograph_shape", 0, "in a micrograph of the size [0, 0]"),
        ("location/micrograph_shape", 7, "has several sizes for"),
        ("location/micrograph_path", b"", "does not name all micrographs, first in record 3"),
    ],
)
def test_bad_records_of_cryosparc_are_named(tmp_path, field, value, says):
    table = np.load(io.BytesIO(WRITTEN["picks.cs"]))
    table[field][2] = value
    data = io.BytesIO()
    np.save(data, table)
    assert says in refused(tmp_path, "a.cs", data.getvalue())


def test_records_of_other_kinds_are_refused(tmp_path):
    table = np.load(io.BytesIO(WRITTEN["picks.cs"]))
    kinds = [(n, "S4") if n.endswith("x_frac") else (n, table.dtype[n]) for n in table.dtype.names]
    for other in (table.astype(kinds), table.reshape(3, 4), table[0]):
        data = io.BytesIO()
        np.save(data, other)
        refused(tmp_path, "a.cs", data.getvalue())


@pytest.mark.parametrize("name", ["a.star", "a.csv", "a.txt", "a.cs", "a.box", "a_info.json"])
def test_long_files_are_read_in_seconds(tmp_path, name):
    """A session has up to a million particles; this is a tenth, in many micrographs."""
    count = 100_000
    names = [f"Movies/FoilHole_{i // 20:06d}.mrc" for i in range(count)]
    table = np.zeros(count, dtype=np.load(io.BytesIO(WRITTEN["picks.cs"])).dtype)
    table["location/micrograph_path"] = [one[-11:].encode() for one in names]
    table["location/micrograph_shape"] = 4000
    records = io.BytesIO()
    np.save(records, table)
    texts = {
        "a.star": f"data_\nloop_\n{X}\n{Y}\n_rlnMicrographName\n"
        + "".join(f"1.5 {i} {one}\n" for i, one in enumerate(names)),
        "a.csv": "micrograph,x_px,y_px\n" + "".join(f"{one},1.5,2.5\n" for one in names),
        "a.txt": "image_name\tx_coord\ty_coord\n" + "".join(f"{one}\t1\t2\n" for one in names),
        "a.box": "1\t2\t64\t64\n" * count,
        "a_info.json": json.dumps({"boxes": [[1, 2, "manual"]] * count}),
    }
    data = records.getvalue() if name == "a.cs" else texts[name].encode()
    (tmp_path / name).write_bytes(data)
    start = time.process_time()

    found = read_all_positions(tmp_path / name)

    assert sum(map(len, found.values())) == count
    assert time.process_time() - start < 5


def test_a_line_of_open_quotes_is_refused_in_seconds(tmp_path):
    """Each of them may begin a word that goes on to the end of the line."""
    began = time.process_time()
    what = refused(tmp_path, "a.star", STAR + '"a ' * 20_000)
    assert time.process_time() - began < 15
    assert "it has 20000 values for 3 columns" in what
    assert "cut off" not in what
