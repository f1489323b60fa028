"""Formats with one file for each micrograph, each in a folder of its own."""

from pathlib import Path

import pytest
from picked_micrographs import ROOT, picked, visible

from livepick.picking.coordinate_files import CoordinateFiles, file_formats
from livepick.picking.output_folder import OutputFolder
from livepick.picking.output_tree import Branches

FORMATS = file_formats(flip_tiff=True)

PLACES = {
    "star": "star/grid 1/a.b.star",
    "eman": "eman/grid 1/a.b.box",
    "eman-json": "eman-json/grid 1/info/a.b_info.json",
    "cbox": "cbox/grid 1/a.b.cbox",
    "topaz": "topaz/grid 1/a.b.txt",
    "csv": "csv/grid 1/a.b.csv",
}


@pytest.fixture(params=FORMATS.values(), ids=FORMATS.keys())
def files(request, tmp_path):
    return CoordinateFiles(request.param, OutputFolder(tmp_path), Branches([ROOT]))


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_mirrors_the_tree_in_its_own_folder(tmp_path, name):
    files = CoordinateFiles(FORMATS[name], OutputFolder(tmp_path), Branches([ROOT]))
    assert files.place(ROOT, Path("grid 1/a.b.mrc")) == tmp_path / PLACES[name]


def test_a_file_is_written_replaced_and_removed(files, tmp_path):
    """Another micrograph of the name in another folder keeps its own."""
    place = files.place(ROOT, Path("one/a.mrc"))
    files.write(ROOT, Path("two/a.mrc"), picked((1, 2, 0.5)))
    files.write(ROOT, Path("one/a.mrc"), picked((1, 2, 0.5)))
    before = place.read_bytes()
    files.write(ROOT, Path("one/a.mrc"), picked((3, 4, 0.5), (5, 6, 0.4)))
    assert place.read_bytes() != before

    for _ in range(2):
        files.remove(ROOT, Path("one/a.mrc"))
    left = {
        path for path in tmp_path.rglob("*") if path.is_file() and ".livepick" not in path.parts
    }
    assert left == {files.place(ROOT, Path("two/a.mrc"))}


def test_a_file_is_missing_until_it_is_written(files):
    """A micrograph without picks has a file, too."""
    assert files.is_missing(visible("a.mrc"))
    files.write(ROOT, Path("a.mrc"), picked())
    assert not files.is_missing(visible("a.mrc"))
    files.remove(ROOT, Path("a.mrc"))
    assert files.is_missing(visible("a.mrc"))


def test_the_formats_have_no_list(files, tmp_path):
    assert not files.write_list([visible("a.mrc")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("flip_tiff", "y"), [(True, 297), (False, 2)])
def test_rows_of_a_tiff_are_turned_over_in_star_files_if_the_config_says_so(tmp_path, flip_tiff, y):
    files = CoordinateFiles(
        file_formats(flip_tiff=flip_tiff)["star"], OutputFolder(tmp_path), Branches([ROOT])
    )
    files.write(ROOT, Path("a.tif"), picked((1, 2, 0.5), path="a.tif", shape_px=(300, 400)))
    row = files.place(ROOT, Path("a.tif")).read_text().split("a.tif ")[1].split()
    assert [float(word) for word in row[:2]] == [1, y]
