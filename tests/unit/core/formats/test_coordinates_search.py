"""The search for coordinates files, and RELION's lists of them."""

import pytest

from livepick.core.formats.coordinates import read_all_positions
from livepick.core.formats.coordinates_search import search_coordinates
from livepick.errors import CoordinatesError

STAR = "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n"
LIST = "data_coordinate_files\nloop_\n_rlnMicrographName #1\n_rlnMicrographCoordinates #2\n"


def test_folder_is_searched_by_micrograph(tmp_path):
    """Sub-folders are searched; the session's lists, hidden and other files are ignored."""
    (tmp_path / "square").mkdir()
    for name in [
        "square/a_autopick.star",
        "b.csv",
        "autopick.star",
        "coords_suffix_autopick.star",
        "good_micrographs.star",
        "micrograph_quality.star",
        "micrographs.csv",
        "micrographs_without_picks.star",
        "summary.star",
        ".c.star",
        "d.mrc",
        "e.json",
        "f_info.json",
        "ctffind.txt",
    ]:
        (tmp_path / name).touch()
    (tmp_path / "g.txt").write_text("image_name\tx_coord\ty_coord\n")

    found = {source.micrograph for source in search_coordinates(tmp_path)}

    assert found == {"square/a", "b", "f", "g"}


def test_two_files_of_one_micrograph_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("x_px,y_px\n")
    (tmp_path / "a_autopick.star").write_text(STAR)

    with pytest.raises(CoordinatesError, match="both for the micrograph a"):
        read_all_positions(tmp_path)


def test_missing_or_empty_place_is_refused(tmp_path):
    """The error names the place."""
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CoordinatesError, match=str(place)):
            search_coordinates(place)


@pytest.fixture
def project(tmp_path):
    """Return a RELION project with the picks of two micrographs, and a list of them."""
    job = tmp_path / "project" / "AutoPick" / "job004"
    (job / "Movies").mkdir(parents=True)
    rows = []
    for name in ("a", "b"):
        (job / "Movies" / f"{name}_autopick.star").write_text(f"{STAR}1 2\n")
        rows.append(
            f"MotionCorr/job002/Movies/{name}.mrc AutoPick/job004/Movies/{name}_autopick.star\n"
        )
    (job / "autopick.star").write_text(LIST + "".join(rows))
    return job


def test_a_list_by_relion_names_the_micrographs_of_its_files(project):
    """Its paths are relative to the project, however deep the list is in it."""
    deeper = project / "more" / "copy.star"
    deeper.parent.mkdir()
    deeper.write_bytes((project / "autopick.star").read_bytes())

    linked = project.parents[2] / "link"
    linked.symlink_to(project)

    for place in (project / "autopick.star", deeper, linked / "autopick.star"):
        assert {name: len(here) for name, here in read_all_positions(place).items()} == {
            "MotionCorr/job002/Movies/a": 1,
            "MotionCorr/job002/Movies/b": 1,
        }


def test_a_list_with_a_missing_file_is_refused(project):
    """Picks of the others are not taken without it."""
    (project / "Movies" / "b_autopick.star").unlink()

    with pytest.raises(CoordinatesError, match=r"autopick\.star row 2 \(line 6\) names AutoPick"):
        read_all_positions(project / "autopick.star")


@pytest.mark.parametrize("rows", ["", f"a.mrc {'x' * 300}.star\n", "a.mrc nowhere.star\n"])
def test_a_list_without_any_file_is_refused(project, rows):
    (project / "autopick.star").write_text(LIST + rows)

    with pytest.raises(CoordinatesError, match=r"autopick\.star"):
        read_all_positions(project / "autopick.star")


def test_a_path_that_is_too_long_is_refused(tmp_path):
    with pytest.raises(CoordinatesError, match="cannot be searched: File name too long"):
        read_all_positions(tmp_path / ("x" * 300))


def test_the_mark_of_a_folder_is_not_taken_for_coordinates(tmp_path):
    """RELION 3.1 shows its users this file; the coordinates are beside it."""
    mark = tmp_path / "coords_suffix_autopick.star"
    mark.write_text("CtfFind/job003/micrographs_ctf.star\n")

    with pytest.raises(CoordinatesError, match="only marks a folder") as caught:
        read_all_positions(mark)
    assert str(tmp_path) in caught.value.remedy
