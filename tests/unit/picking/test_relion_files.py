"""Coordinates files for RELION and the session's lists of them, as other programs read them."""

from pathlib import Path

import numpy as np
import pytest
import starfile
from picked_micrographs import ROOT, picked, visible
from star_readers import relion_table

from livepick.core.formats.coordinates import read_coordinates
from livepick.core.formats.relion_star import MODELS_BLOCK
from livepick.core.formats.star import star_tables
from livepick.picking.output_folder import OutputFolder
from livepick.picking.output_tree import Branches
from livepick.picking.relion_files import RelionFiles
from livepick.picking.relion_project import PIPELINE, RelionProject

RELION = Path(__file__).parents[2] / "data" / "relion31_autopick.star"
"""As RELION 3.1 writes it, with its trailing blanks."""


@pytest.fixture
def star(tmp_path):
    return RelionFiles(OutputFolder(tmp_path / "out"), Branches([ROOT]))


def test_coordinates_have_relions_columns(star):
    """Columns, order and types are those of a file that RELION wrote."""
    star.write(ROOT, Path("a.mrc"), picked((139.125, 19.979, 0.625)))

    ours, theirs = starfile.read(star.directory / "a_autopick.star"), starfile.read(RELION)
    assert list(ours.columns) == list(theirs.columns)
    assert list(ours.dtypes) == list(theirs.dtypes)
    np.testing.assert_allclose(ours.to_numpy()[0], [139, 20, 0.625, 0, 0])


def test_coordinates_are_whole_pixels_because_relion_truncates(star):
    """The last digits of a large detector are exact."""
    given = picked((11519.37, 8183.51, 1.0), (0.0, 0.625, 0.02), shape_px=(8184, 11520))
    star.write(ROOT, Path("a.mrc"), given)

    read = read_coordinates(star.place(ROOT, Path("a.mrc")))
    assert read.x_px.tolist() == [11519, 0]
    assert read.y_px.tolist() == [8183, 1]


def test_micrograph_without_picks_has_a_file_without_rows(star):
    """The file shows that the micrograph was picked."""
    star.write(ROOT, Path("a.mrc"), picked(version=0))

    table = starfile.read(star.directory / "a_autopick.star")
    assert len(table) == 0
    assert "rlnCoordinateX" in table.columns


def test_comments_name_the_model_and_contain_no_star_keyword(star):
    """RELION recognizes ``data_``, ``loop_`` and ``# version`` anywhere in a line."""
    star.write(ROOT, Path("a.mrc"), picked((1, 2, 0.5), version=7))
    star.write_list([visible("a.mrc")])

    for path in star.directory.glob("*.star"):
        lines = path.read_text().splitlines()
        comments = [line for line in lines if line.startswith("#")]
        assert comments[0] == "# version 30001"
        for word in ("data_", "loop_", "# version"):
            assert not any(word in comment for comment in comments[1:])
        assert path.read_text().endswith("\n\n")
    assert "model 7 (trained)" in (star.directory / "a_autopick.star").read_text()


def test_folder_tree_is_mirrored(star):
    """Two micrographs of one name in different folders have their own files."""
    for folder, x in (("one", 1.0), ("two", 2.0)):
        star.write(ROOT, Path(folder, "a.b.mrc"), picked((x, 0, 0.5)))

    found = {path.relative_to(star.directory) for path in star.directory.rglob("*.star")}
    assert found == {Path("one/a.b_autopick.star"), Path("two/a.b_autopick.star")}


def test_list_names_micrographs_and_their_coordinates(star):
    """Names may contain spaces; an unchanged list is not written again."""
    entries = [visible("a.mrc"), visible("grid 1/b's.mrc")]
    assert star.write_list(entries)
    assert not star.write_list(entries)

    block = starfile.read(star.directory / "autopick.star", always_dict=True)["coordinate_files"]
    assert next(iter(block["rlnMicrographName"])) == "/data/avg/a.mrc"
    assert next(iter(block["rlnMicrographCoordinates"])) == str(star.directory / "a_autopick.star")
    lines = (star.directory / "autopick.star").read_text().splitlines()
    assert any(line.startswith('"/data/avg/grid 1/b\'s.mrc" "') for line in lines)


def test_list_names_the_model_of_each_micrograph(star):
    """The models are in a second block, for starfile and for our own reader."""
    star.write_list([visible("a.mrc"), visible("grid 1/b.mrc", version=0)])

    path = star.directory / "autopick.star"
    blocks = starfile.read(path, always_dict=True)
    places, models = star_tables(path.read_text())
    assert list(blocks) == [places.name, models.name] == ["coordinate_files", MODELS_BLOCK]
    assert blocks[MODELS_BLOCK].to_numpy().tolist() == [
        ["/data/avg/a.mrc", 1, "trained"],
        ["/data/avg/grid 1/b.mrc", 0, "blob"],
    ]
    assert models.column("rlnMicrographName") == places.column("rlnMicrographName")
    assert models.column("livepickModelVersion") == ["1", "0"]
    assert models.column("livepickModelKind") == ["trained", "blob"]


def test_first_block_of_the_list_ends_at_an_empty_line(star):
    """RELION stops reading there."""
    star.write_list([visible("a.mrc")])

    text = (star.directory / "autopick.star").read_text()
    rows = text.partition("_rlnMicrographCoordinates #2\n")[2].partition("\n\n")[0]
    assert len(rows.splitlines()) == 1
    assert "autopick.star" in rows


def test_empty_list_is_valid(star):
    """A session begins with one."""
    star.write_list([])
    blocks = starfile.read(star.directory / "autopick.star", always_dict=True)
    assert [len(block) for block in blocks.values()] == [0, 0]


def test_removing_a_file_twice_is_not_an_error(star):
    star.write(ROOT, Path("a.mrc"), picked())
    assert not star.is_missing(visible("a.mrc"))
    star.remove(ROOT, Path("a.mrc"))
    star.remove(ROOT, Path("a.mrc"))
    assert star.is_missing(visible("a.mrc"))


def test_list_leaves_out_micrographs_of_other_verdicts(tmp_path):
    """Their files are written all the same."""
    star = RelionFiles(OutputFolder(tmp_path), Branches([ROOT]), verdicts=["good", "doubtful"])
    entries = [
        visible("a.mrc"),
        visible("b.mrc", verdict="bad"),
        visible("c.mrc", verdict="doubtful"),
    ]
    star.write_list(entries)

    blocks = starfile.read(tmp_path / "autopick.star", always_dict=True)
    for block in blocks.values():
        assert [Path(name).name for name in block["rlnMicrographName"]] == ["a.mrc", "c.mrc"]
    assert all(star.is_missing(entry) for entry in entries)


def test_picks_that_are_not_final_are_withheld(star):
    """They are neither written nor listed nor missing; an earlier file stays."""
    star.publish_if(lambda kind: kind == "trained")
    star.write(ROOT, Path("a.mrc"), picked((1, 2, 0.5), version=0))
    star.write_list([visible("a.mrc", version=0)])
    assert not star.is_missing(visible("a.mrc", version=0))
    assert [path.name for path in star.directory.glob("[!.]*")] == ["autopick.star"]
    assert "a.mrc" not in (star.directory / "autopick.star").read_text()

    star.write(ROOT, Path("a.mrc"), picked((1, 2, 0.5), version=1))
    assert star.write_list([visible("a.mrc", version=1)])
    assert "a.mrc" in (star.directory / "autopick.star").read_text()
    assert star.place(ROOT, Path("a.mrc")).exists()


def test_what_has_been_published_stays_in_the_list(star):
    """A session that continues after a pause has provisional picks again."""
    star.write(ROOT, Path("a.mrc"), picked((1, 2, 0.5), version=0))
    star.publish_if(lambda kind: kind == "trained")
    star.write(ROOT, Path("b.mrc"), picked((1, 2, 0.5), version=0))
    star.write_list([visible("a.mrc", version=0), visible("b.mrc", number=2, version=0)])
    _, rows = relion_table((star.directory / "autopick.star").read_text(), "coordinate_files")
    assert [name for name, _ in rows] == ["/data/avg/a.mrc"]


@pytest.fixture
def project(tmp_path):
    """Return a RELION project after its Import and MotionCorr jobs."""
    folder = tmp_path / "project"
    (folder / "MotionCorr/job002/Movies").mkdir(parents=True)
    (folder / PIPELINE).touch()
    for name in ("a.mrc", "b's c.mrc"):
        (folder / "MotionCorr/job002/Movies" / name).touch()
    return RelionProject(folder, Path("External/livepick"))


def test_files_in_a_project_are_where_relion_31_looks_for_them(project):
    """``JOB/`` and the name of the micrograph without everything through ``/job002/``."""
    root = project.folder / "MotionCorr/job002"
    star = RelionFiles(OutputFolder(project.job_folder), Branches([root]), project=project)
    star.write(root, Path("Movies/a.mrc"), picked((1, 2, 0.5)))

    (written,) = project.folder.rglob("*_autopick.star")
    assert written.relative_to(project.folder) == Path("External/livepick/Movies/a_autopick.star")
    assert star.place(root, Path("Movies/a.mrc")) == written
    star.remove(root, Path("Movies/a.mrc"))
    assert not written.exists()


def test_lists_in_a_project_have_relative_names(project):
    """RELION 4 and later compare the name by its exact text, and refuse absolute paths."""
    root = project.folder / "MotionCorr/job002"
    star = RelionFiles(OutputFolder(project.job_folder), Branches([root]), project=project)
    entries = [visible("Movies/a.mrc", root=root), visible("Movies/b c.mrc", root=root)]
    assert star.write_list(entries)
    assert not star.write_list(entries)

    path = project.folder / "External/livepick/autopick.star"
    block = starfile.read(path, always_dict=True)["coordinate_files"]
    assert block.to_numpy().tolist() == [
        ["MotionCorr/job002/Movies/a.mrc", "External/livepick/Movies/a_autopick.star"],
        ["MotionCorr/job002/Movies/b c.mrc", "External/livepick/Movies/b c_autopick.star"],
    ]
    suffix = project.folder / "External/livepick/coords_suffix_autopick.star"
    assert suffix.read_text() == "External/livepick/micrographs.star\n"


def test_suffix_file_names_the_list_of_micrographs_of_the_config(project):
    star = RelionFiles(
        OutputFolder(project.job_folder),
        Branches([ROOT]),
        project=project,
        micrographs_star="CtfFind/job003/micrographs_ctf.star",
    )
    star.write_list([])
    suffix = project.job_folder / "coords_suffix_autopick.star"
    assert suffix.read_text() == "CtfFind/job003/micrographs_ctf.star\n"


def test_a_micrograph_outside_the_project_keeps_its_absolute_name(project):
    """Its coordinates are in the job's folder all the same."""
    star = RelionFiles(OutputFolder(project.job_folder), Branches([ROOT]), project=project)
    star.write(ROOT, Path("sub/a.mrc"), picked((1, 2, 0.5)))
    star.write_list([visible("sub/a.mrc")])
    assert (project.job_folder / "sub/a_autopick.star").exists()
    assert (
        "/data/avg/sub/a.mrc External/livepick/sub/a_autopick.star"
        in (project.job_folder / "autopick.star").read_text()
    )


def test_without_a_project_there_is_no_file_for_relion_31(star):
    star.write_list([visible("a.mrc")])
    assert [path.name for path in star.directory.glob("[!.]*")] == ["autopick.star"]
