"""Coordinates files: what is read, and what is refused in words."""

from pathlib import Path

import pytest

from livepick.core.coordinates import coordinates_files, micrograph_stem, read_coordinates
from livepick.errors import TruthError

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
        ("a.box", "1 2 3 4\n", ".box"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, name, text, says):
    """The error names the file and what was found in it."""
    path = tmp_path / name
    path.write_text(text)

    with pytest.raises(TruthError) as caught:
        read_coordinates(path)

    assert str(path) in caught.value.what
    assert says in caught.value.what
    assert caught.value.remedy


def test_bytes_that_are_no_text_are_refused(tmp_path):
    """A binary file under a text name is a TruthError, not a UnicodeDecodeError."""
    path = tmp_path / "a.star"
    path.write_bytes(b"\xff\xfe\x00\x81")

    with pytest.raises(TruthError):
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
    with pytest.raises(TruthError, match="both for the micrograph a"):
        coordinates_files(tmp_path)


def test_missing_or_empty_place_is_refused(tmp_path):
    """There is nothing to judge, and the error says where."""
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(TruthError, match=str(place)):
            coordinates_files(place)
