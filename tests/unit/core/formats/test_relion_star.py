"""RELION STAR files: positions of one or many micrographs, and lists of files."""

from pathlib import Path

import pytest
import starfile
from picked_micrographs import picked
from star_readers import RELION_AUTOPICK, gemmi_column, relion_table

from livepick.core.formats.coordinates import read_all_positions, read_coordinates
from livepick.core.formats.relion_star import (
    ListEntry,
    coordinates_star,
    list_star,
    particles_star,
    suffix_star,
)

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

MIC_1, MIC_2 = "MotionCorr/job2/Movies/mic_1", "MotionCorr/job2/Movies/mic_2"


def xy(positions, **given):
    picks = positions.picks(**given)
    return sorted(zip(picks.x_px.tolist(), picks.y_px.tolist(), strict=True))


def test_relion_star_is_read_best_first(tmp_path):
    """The table with coordinates is found among others; picks come in order of score."""
    path = tmp_path / "mic_autopick.star"
    path.write_text(RELION_AUTOPICK)

    picks = read_coordinates(path)

    assert picks.x_px.tolist() == [10, 120.5]
    assert picks.y_px.tolist() == [20, 30.25]
    assert picks.score.tolist() == [0.75, 0.25]


def test_relion_particles_are_read_by_micrograph_at_refined_centres(tmp_path):
    """Centres are the coordinates minus the shifts, in pixels of the micrograph."""
    (tmp_path / "particles.star").write_text(PARTICLES)

    found = read_all_positions(tmp_path / "particles.star")

    assert set(found) == {MIC_1, MIC_2}
    assert xy(found[MIC_1]) == [(98, 54), (200, 59)]
    assert xy(found[MIC_1], pixel_size_angstrom=1.0) == [(96, 58), (200, 58)]
    assert xy(found[MIC_2]) == [(20, 30)]


def test_centres_are_not_shifted_if_the_pixel_size_is_unknown(tmp_path):
    """Shifts are in ångström. Optics groups with different pixel sizes do not give one either."""
    path = tmp_path / "particles.star"
    for lines in ("1 2.0 4.0\n2 1.0 4.0\n", ""):
        path.write_text(PARTICLES.replace("1 2.0 4.0\n", lines))

        assert xy(read_all_positions(path)[MIC_1]) == [(100, 50), (200, 60)]


def test_coordinates_are_whole_pixels_with_six_digits():
    """RELION cuts off what is behind the point; its pickers write six digits."""
    text = coordinates_star(picked((100.5, 50.25, 0.875), (3, 299.5, 0.25))).decode()
    columns, rows = relion_table(text, "")
    assert columns == [
        "rlnCoordinateX",
        "rlnCoordinateY",
        "rlnAutopickFigureOfMerit",
        "rlnClassNumber",
        "rlnAnglePsi",
    ]
    assert rows == [
        ["101.000000", "50.000000", "0.875000", "0", "0.000000"],
        ["3.000000", "299.000000", "0.250000", "0", "0.000000"],
    ]


def test_relion_gets_the_rows_of_a_tiff_turned_over():
    """It turns them over when it reads the micrograph."""
    text = coordinates_star(picked((100, 50, 0.9), path="a.tif")).decode()
    assert relion_table(text, "")[1][0][:2] == ["100.000000", "249.000000"]


@pytest.mark.parametrize(
    ("path", "turned", "y"),
    [("a.tif", True, 249), ("a.tif", False, 50), ("a.mrc", True, 50), ("a.mrc", False, 50)],
)
def test_particles_name_their_micrograph(tmp_path, path, turned, y):
    """The name is the base name, as Warp and cryoSPARC look for it."""
    data = particles_star(picked((100.5, y, 0.9), path=f"/d/sub/{path}"), turned=False)
    assert particles_star(picked((100.5, 50, 0.9), path=f"/d/sub/{path}"), turned=turned) == data

    (tmp_path / "a.star").write_bytes(data)
    blocks = starfile.read(tmp_path / "a.star", always_dict=True)
    assert blocks["particles"].to_dict("records") == [
        {
            "rlnMicrographName": path,
            "rlnCoordinateX": 101,
            "rlnCoordinateY": y,
            "rlnAutopickFigureOfMerit": pytest.approx(0.9),
        }
    ]


@pytest.mark.parametrize(
    "name", ["a b.mrc", "b's c.mrc", "é.mrc", "#1.mrc", "_1.mrc", "data_1.mrc"]
)
def test_names_in_files_of_particles_are_read_back(name):
    text = particles_star(picked((1, 2, 0.9), path=f"/d/{name}"), turned=False).decode()
    assert relion_table(text, "particles")[1][0][0] == name
    assert gemmi_column(text, "particles", "rlnMicrographName") == [name]


def test_the_list_has_names_and_places_and_then_the_models():
    """RELION reads the first table; the names are written to the letter."""
    entries = [
        ListEntry(
            "./Micrographs//b's c.mrc", Path("External/lp/b's c_autopick.star"), 3, "trained"
        ),
        ListEntry("Micrographs/é.mrc", Path("External/lp/é_autopick.star"), 0, "blob"),
    ]
    text = b"".join(list_star(entries)).decode()
    assert relion_table(text, "coordinate_files") == (
        ["rlnMicrographName", "rlnMicrographCoordinates"],
        [[entry.micrograph, str(entry.coordinates)] for entry in entries],
    )
    assert relion_table(text, "livepick_micrographs")[1] == [
        ["./Micrographs//b's c.mrc", "3", "trained"],
        ["Micrographs/é.mrc", "0", "blob"],
    ]
    names = gemmi_column(text, "coordinate_files", "rlnMicrographName")
    assert names == [entry.micrograph for entry in entries]


def test_the_file_for_relion_31_is_one_line():
    """As its pickers write it."""
    assert suffix_star("CtfFind/job003/x.star") == b"CtfFind/job003/x.star\n"
