"""Coordinates files of all formats, and the errors for files that cannot be read."""

from pathlib import Path

import pytest
from star_readers import RELION_AUTOPICK

from livepick.core.formats.coordinates import read_all_positions, read_coordinates
from livepick.errors import CoordinatesError


def test_csv_score_is_optional_and_other_columns_are_ignored(tmp_path):
    """Positions without a score get a score of 1."""
    path = tmp_path / "mic.csv"
    path.write_text("x_px,flag,y_px\r\n1.5,on_carbon,2.5\r\n")

    picks = read_coordinates(path)

    assert (picks.x_px[0], picks.y_px[0], picks.score[0]) == (1.5, 2.5, 1)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.star", RELION_AUTOPICK.split("  120", maxsplit=1)[0]), ("a.csv", "x_px,y_px\n")],
)
def test_table_without_rows_gives_no_picks(tmp_path, name, text):
    """An empty table is not an error."""
    (tmp_path / name).write_text(text)

    assert len(read_coordinates(tmp_path / name)) == 0


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "x,y\n1,2\n", "columns x, y"),
        ("a.csv", "", "(none)"),
        ("a.csv", "x_px,y_px\n1,two\n", "row 1"),
        ("a.csv", "x_px,y_px\n1,2\n1\n", "row 2"),
        ("a.csv", "x_px,y_px\n1,nan\n", "row 1"),
        ("a.star", "data_\nloop_\n_rlnMicrographName\nm.mrc\n", "rlnMicrographName"),
        (
            "a.star",
            "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnMicrographName\n1 2 a\n1 2 b\n",
            "2 micrographs",
        ),
        ("a.txt", "1 2 3 4\n", "columns 1 2 3 4"),
        ("a.hdf", "1 2 3 4\n", "ends in .hdf"),
    ],
)
def test_errors_name_the_file_and_what_is_wrong(tmp_path, name, text, says):
    """The error names the file and what was found in it."""
    path = tmp_path / name
    path.write_text(text)

    with pytest.raises(CoordinatesError) as caught:
        read_coordinates(path)

    assert str(path) in caught.value.what
    assert says in caught.value.what
    assert caught.value.remedy


def test_binary_file_with_a_text_suffix_is_refused(tmp_path):
    """The error is a CoordinatesError, not a UnicodeDecodeError."""
    path = tmp_path / "a.star"
    path.write_bytes(b"\xff\xfe\x00\x81")

    with pytest.raises(CoordinatesError):
        read_coordinates(path)


PARTICLES = """\
data_optics

loop_
_rlnOpticsGroup #1
_rlnMicrographOriginalPixelSize #2
_rlnImagePixelSize #3
1 2.0 4.0

data_particles

loop_
_rlnCoordinateX #1
_rlnCoordinateY #2
_rlnImageName #3
_rlnMicrographName #4
_rlnOpticsGroup #5
_rlnOriginXAngst #6
_rlnOriginYAngst #7
100 50 000001@Extract/job4/a.mrcs MotionCorr/job2/Movies/mic_1.mrc 1 4.0 -8.0
20  30 000001@Extract/job4/b.mrcs MotionCorr/job2/Movies/mic_2.mrc 1 0.0 0.0
200 60 000002@Extract/job4/a.mrcs MotionCorr/job2/Movies/mic_1.mrc 1 0.0 2.0
"""
"""As RELION's selection of classes writes it."""


def xy(positions, **given):
    picks = positions.picks(**given)
    return sorted(zip(picks.x_px.tolist(), picks.y_px.tolist(), strict=True))


def test_csv_may_name_the_micrographs(tmp_path):
    """One table covers a whole session."""
    path = tmp_path / "all.csv"
    path.write_text("micrograph,x_px,y_px\nin/a.mrc,1,2\nin/b.mrc,3,4\nin/a.mrc,5,6\n")

    found = read_all_positions(path)

    assert {name: xy(here) for name, here in found.items()} == {
        "in/a": [(1, 2), (5, 6)],
        "in/b": [(3, 4)],
    }


def test_boxes_are_read_at_their_centres(tmp_path):
    """The corner is the one with the lowest coordinates; boxes without a size are points."""
    (tmp_path / "a.box").write_text("24 40 100 100\n36\t62\t0\t0\n-10 5 20 20\n\n")
    (tmp_path / "b.box").write_text("")

    found = read_all_positions(tmp_path)

    assert set(found) == {"a", "b"}
    assert len(found["b"]) == 0
    assert xy(found["a"]) == [(0, 15), (36, 62), (74, 90)]
    assert len(read_coordinates(tmp_path / "b.box")) == 0


CBOX = """\
data_global

_cbox_format_version 1.0

data_cryolo

loop_
_CoordinateX #1
_CoordinateY #2
_CoordinateZ #3
_Width #4
_Height #5
_Confidence #6
100.5 200.0 <NA> 20.0 40.0 0.9
10.0 20.0 <NA> 20.0 20.0 0.1
50.0 60.0 <NA> 20.0 20.0 <NA>

data_cryolo_include

loop_
_slice_index #1
0
"""


def test_cbox_files_have_corners_and_confidences(tmp_path):
    """Boxes of low confidence are read too; an empty file holds none."""
    (tmp_path / "a.cbox").write_text(CBOX)
    (tmp_path / "empty.cbox").write_text("\n")

    found = read_all_positions(tmp_path)
    here = found["a"]
    picks = here.picks()

    assert picks.x_px.tolist() == [60, 110.5, 20]
    assert picks.y_px.tolist() == [70, 220, 30]
    assert picks.score.tolist() == pytest.approx([1, 0.9, 0.1])
    assert here.least_score == 0.3
    assert len(found["empty"]) == 0


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.box", "1 2 3\n", "row 1"),
        ("a.box", "1 2 30 30\n1 two 30 30\n", "row 2"),
        ("a.box", "1 2 30 30 -1\n", "helix"),
        ("a.cbox", RELION_AUTOPICK, "rlnOpticsGroup"),
        ("a.cbox", CBOX.replace("20.0 40.0 0.9", "20.0"), "row 1"),
        ("a.cbox", CBOX.replace("10.0 20.0 <NA>", "10.0 20.0 7"), "slices"),
        (
            "a.star",
            "data_\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\na b\n",
            "only a list",
        ),
        ("a.star", PARTICLES.replace("100 50", "100 nan"), "row 1"),
        ("a.star", PARTICLES + "200 60\n", "row 4"),
        ("a.csv", "micrograph,x_px,y_px\na/m.mrc,1,2\na/m.tif,1,2\n", "micrograph a/m"),
    ],
)
def test_errors_in_a_file_of_many_micrographs_name_it(tmp_path, name, text, says):
    """The error names the file and what was found in it."""
    (tmp_path / name).write_text(text)

    with pytest.raises(CoordinatesError, match=says) as caught:
        read_all_positions(tmp_path)

    assert name in caught.value.what


FORMATS = Path("/work/shared/data/formats/test_data")


@pytest.mark.skipif(not FORMATS.is_dir(), reason="needs the files of other programs")
def test_files_of_other_programs_are_read():
    """The files were written by crYOLO's box manager."""
    one = read_all_positions(FORMATS / "particle_cbox_2d")["TcdA1-0018_frames_sum"]
    filaments = read_all_positions(FORMATS / "filament_cbox_2d")
    points = read_all_positions(FORMATS / "2d_center.box")["2d_center"]

    assert (one.x_px[0], one.y_px[0]) == pytest.approx((3810.367, 3984.456), abs=1e-3)
    assert one.score.max() <= 1
    assert len(filaments["empty"]) == 0
    assert len(filaments) == 6
    assert xy(points) == [(24, 40), (36, 62), (78, 51)]
