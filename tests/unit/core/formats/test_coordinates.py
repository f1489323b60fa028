"""Coordinates files: what is read, and what is refused in words."""

import io
from pathlib import Path

import numpy as np
import pytest

from livepick.core.formats.coordinates import (
    coordinates_files,
    read_all_positions,
    read_coordinates,
)
from livepick.core.formats.name_matching import match_names, micrograph_stem
from livepick.errors import CoordinatesError

RELION = """\
# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
1 opticsGroup1

# version 30001

data_

loop_
_rlnCoordinateX #1
_rlnCoordinateY #2
_rlnClassNumber #3
_rlnAnglePsi #4
_rlnAutopickFigureOfMerit #5
  120.500000   30.250000            0    -999.00000     0.250000
   10.000000   20.000000            0    -999.00000     0.750000

"""


def test_relion_star_is_read_best_first(tmp_path):
    """The table with coordinates is found among others; picks come in order of score."""
    path = tmp_path / "mic_autopick.star"
    path.write_text(RELION)

    picks = read_coordinates(path)

    assert picks.x_px.tolist() == [10, 120.5]
    assert picks.y_px.tolist() == [20, 30.25]
    assert picks.score.tolist() == [0.75, 0.25]


def test_csv_needs_no_score_and_ignores_other_columns(tmp_path):
    """Truth tables carry flags; positions without a score get 1."""
    path = tmp_path / "mic.csv"
    path.write_text("x_px,flag,y_px\r\n1.5,on_carbon,2.5\r\n")

    picks = read_coordinates(path)

    assert (picks.x_px[0], picks.y_px[0], picks.score[0]) == (1.5, 2.5, 1)


@pytest.mark.parametrize(
    ("name", "text"), [("a.star", RELION.split("  120", maxsplit=1)[0]), ("a.csv", "x_px,y_px\n")]
)
def test_no_rows_are_no_picks(tmp_path, name, text):
    """An empty table is a result like any other."""
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
        ("a.txt", "1 2 3 4\n", ".txt"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, name, text, says):
    """The error names the file and what was found in it."""
    path = tmp_path / name
    path.write_text(text)

    with pytest.raises(CoordinatesError) as caught:
        read_coordinates(path)

    assert str(path) in caught.value.what
    assert says in caught.value.what
    assert caught.value.remedy


def test_bytes_that_are_no_text_are_refused(tmp_path):
    """A binary file under a text name is a CoordinatesError, not a UnicodeDecodeError."""
    path = tmp_path / "a.star"
    path.write_bytes(b"\xff\xfe\x00\x81")

    with pytest.raises(CoordinatesError):
        read_coordinates(path)


@pytest.mark.parametrize("name", ["May.02.bin.mrc", "May.02.bin_autopick.star", "May.02.bin.csv"])
def test_stem_is_that_of_the_micrograph(name):
    """Dots within a micrograph's name stay, our marks and one extension go."""
    assert micrograph_stem(Path("a") / name) == "May.02.bin"


def test_folder_is_searched_by_micrograph(tmp_path):
    """Sub-folders count; the session's list, hidden and other files do not."""
    (tmp_path / "square").mkdir()
    for name in ["square/a_autopick.star", "b.csv", "autopick.star", ".c.star", "d.mrc"]:
        (tmp_path / name).touch()

    assert set(coordinates_files(tmp_path)) == {"a", "b"}

    (tmp_path / "a.csv").touch()
    with pytest.raises(CoordinatesError, match="both for the micrograph a"):
        coordinates_files(tmp_path)


def test_missing_or_empty_place_is_refused(tmp_path):
    """There is nothing to judge, and the error says where."""
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CoordinatesError, match=str(place)):
            coordinates_files(place)


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


def test_particles_of_relion_are_of_many_micrographs_and_refined(tmp_path):
    """Centres are the coordinates minus the shifts, in pixels of the micrograph."""
    (tmp_path / "particles.star").write_text(PARTICLES)

    found = read_all_positions(tmp_path / "particles.star")

    assert set(found) == {"mic_1", "mic_2"}
    assert xy(found["mic_1"]) == [(98, 54), (200, 59)]
    assert xy(found["mic_1"], pixel_size_angstrom=1.0) == [(96, 58), (200, 58)]
    assert xy(found["mic_2"]) == [(20, 30)]


def test_a_pixel_size_that_is_not_known_leaves_centres_where_they_were(tmp_path):
    """Shifts in ångström say nothing then; optics groups that differ say nothing either."""
    path = tmp_path / "particles.star"
    for lines in ("1 2.0 4.0\n2 1.0 4.0\n", ""):
        path.write_text(PARTICLES.replace("1 2.0 4.0\n", lines))

        assert xy(read_all_positions(path)["mic_1"]) == [(100, 50), (200, 60)]


def test_a_csv_may_name_the_micrographs(tmp_path):
    """One table for a whole session."""
    path = tmp_path / "all.csv"
    path.write_text("micrograph,x_px,y_px\nin/a.mrc,1,2\nin/b.mrc,3,4\nin/a.mrc,5,6\n")

    found = read_all_positions(path)

    assert {name: xy(here) for name, here in found.items()} == {
        "a": [(1, 2), (5, 6)],
        "b": [(3, 4)],
    }


def test_boxes_are_read_at_their_centres(tmp_path):
    """The corner is the one with the lowest coordinates; boxes without a size are points."""
    (tmp_path / "a.box").write_text("24 40 100 100\n36\t62\t0\t0\n-10 5 20 20\n\n")
    (tmp_path / "b.box").write_text("")

    found = read_all_positions(tmp_path)

    assert set(found) == {"a"}  # b has none
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
    """Doubtful boxes are there too; an empty file holds none."""
    (tmp_path / "a.cbox").write_text(CBOX)
    (tmp_path / "empty.cbox").write_text("\n")

    (here,) = read_all_positions(tmp_path).values()
    picks = here.picks()

    assert picks.x_px.tolist() == [60, 110.5, 20]
    assert picks.y_px.tolist() == [70, 220, 30]
    assert picks.score.tolist() == pytest.approx([1, 0.9, 0.1])
    assert here.least_score == 0.3


def cs_table(rows, path_type="S80"):
    return np.array(
        rows,
        dtype=[
            ("uid", "<u8"),
            ("location/micrograph_path", path_type),
            ("location/micrograph_shape", "<u4", (2,)),
            ("location/center_x_frac", "<f4"),
            ("location/center_y_frac", "<f4"),
        ],
    )


CS_ROWS = [
    (1, b"J14/motioncorrected/008578565574161745010_mic_1_patch_aligned.mrc", (100, 200), 0.5, 0.1),
    (2, b"J14/motioncorrected/004512345574161745011_mic_2_patch_aligned.mrc", (100, 200), 0.0, 1.0),
]


def test_cs_files_have_fractions_of_width_and_height(tmp_path):
    """They fit a micrograph of another binning as well."""
    with (tmp_path / "particles.cs").open("wb") as file:
        np.save(file, cs_table(CS_ROWS))

    found = read_all_positions(tmp_path)

    names = match_names(found, ["mic_1", "mic_2", "mic_3"])
    one, two = found[names["mic_1"]], found[names["mic_2"]]
    assert xy(one) == [pytest.approx((100, 10))]
    assert xy(one, shape_px=(200, 400)) == [pytest.approx((200, 20))]
    assert xy(two) == [pytest.approx((0, 100))]


def test_a_malformed_cs_file_is_refused(tmp_path):
    """Nothing in it is ever executed, and what is missing is named."""
    path = tmp_path / "particles.cs"
    whole = io.BytesIO()
    np.save(whole, cs_table(CS_ROWS))
    pickled = io.BytesIO()
    np.save(pickled, cs_table(CS_ROWS, path_type="O"), allow_pickle=True)
    no_numbers = cs_table(CS_ROWS)
    no_numbers["location/center_x_frac"] = np.nan
    nan = io.BytesIO()
    np.save(nan, no_numbers)
    other = io.BytesIO()
    np.save(other, np.zeros(3))
    for data, says in (
        (b"", "no cs file"),
        (b"\x94CSDAT" + bytes(100), "no cs file"),
        (whole.getvalue()[:-9], "no cs file"),
        (whole.getvalue()[:60], "no cs file"),
        (pickled.getvalue(), "no cs file"),
        (other.getvalue(), "lacks location/micrograph_path"),
        (nan.getvalue(), "no numbers"),
    ):
        path.write_bytes(data)
        with pytest.raises(CoordinatesError, match=says) as caught:
            read_all_positions(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.box", "1 2 3\n", "row 1"),
        ("a.box", "1 2 30 30\n1 two 30 30\n", "row 2"),
        ("a.box", "1 2 30 30 -1\n", "helix"),
        ("a.cbox", RELION, "rlnOpticsGroup"),
        ("a.cbox", CBOX.replace("20.0 40.0 0.9", "20.0"), "row 1"),
        ("a.cbox", CBOX.replace("10.0 20.0 <NA>", "10.0 20.0 7"), "slices"),
        ("a.star", "data_\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\na b\n", "names"),
        ("a.star", PARTICLES.replace("100 50", "100 nan"), "row 1"),
        ("a.star", PARTICLES + "200 60\n", "row 4"),
        ("a.csv", "micrograph,x_px,y_px\na/m.mrc,1,2\nb/m.mrc,1,2\n", "micrograph m"),
    ],
)
def test_what_is_wrong_in_a_file_of_many_is_said(tmp_path, name, text, says):
    """The error names the file and what was found in it."""
    (tmp_path / name).write_text(text)

    with pytest.raises(CoordinatesError, match=says) as caught:
        read_all_positions(tmp_path)

    assert name in caught.value.what


def test_names_match_whatever_programs_add_to_them():
    """The same name comes first; what two could mean is nobody's."""
    uid = "008578565574161745010_"
    theirs = ["mic_1", f"{uid}mic_2_patch_aligned_doseweighted", "20261123_mic", "mic_4"]
    ours = ["mic_1_DW", "mic_1", "mic_2_DW", "20261123_mic_DW", "mic_4_DW", "mic_4_noDW", "mic_5"]

    assert match_names(theirs, ours) == {
        "mic_1": "mic_1",
        "mic_2_DW": f"{uid}mic_2_patch_aligned_doseweighted",
        "20261123_mic_DW": "20261123_mic",
    }
    assert match_names(["a"], ["a", "a"]) == {}  # two folders have one
    assert match_names(["a_DW", "a_aligned"], ["a"]) == {}


FORMATS = Path("/work/shared/data/formats/test_data")


@pytest.mark.skipif(not FORMATS.is_dir(), reason="needs the files of other programs")
def test_files_of_other_programs_are_read():
    """As crYOLO's box manager left them."""
    one = read_all_positions(FORMATS / "particle_cbox_2d")["TcdA1-0018_frames_sum"]
    filaments = read_all_positions(FORMATS / "filament_cbox_2d")
    points = read_all_positions(FORMATS / "2d_center.box")["2d_center"]

    assert (one.x_px[0], one.y_px[0]) == pytest.approx((3810.367, 3984.456), abs=1e-3)
    assert one.score.max() <= 1
    assert "empty" not in filaments
    assert len(filaments) == 5
    assert xy(points) == [(24, 40), (36, 62), (78, 51)]
