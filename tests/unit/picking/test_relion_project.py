"""Names of micrographs in a RELION project."""

from pathlib import Path, PurePosixPath

import pytest

from livepick.config.output_sections import Output, RelionOutput
from livepick.errors import ConfigError
from livepick.picking.relion_project import (
    PIPELINE,
    RelionProject,
    after_job,
    find_project,
    relion_project,
)

LIST = """\

# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
opticsGroup1 1


# version 30001

data_micrographs

loop_
_rlnMicrographName #1
_rlnOpticsGroup #2
MotionCorr/job002/Movies/a.mrc 1
"MotionCorr/job002/Movies/b's c.mrc" 1

"""


@pytest.fixture
def folder(tmp_path):
    """Return the folder of a project whose micrographs are links to another disk."""
    folder, disk = tmp_path / "project", tmp_path / "disk"
    disk.mkdir()
    (folder / "CtfFind/job003").mkdir(parents=True)
    (folder / "MotionCorr/job002/Movies").mkdir(parents=True)
    (folder / PIPELINE).touch()
    (folder / "CtfFind/job003/micrographs_ctf.star").write_text(LIST)
    for name in ("a.mrc", "b's c.mrc"):
        (disk / name).touch()
        (folder / "MotionCorr/job002/Movies" / name).symlink_to(disk / name)
    return folder


@pytest.mark.parametrize(
    ("name", "rest"),
    [
        ("MotionCorr/job002/Movies/x.mrc", "Movies/x.mrc"),
        ("MotionCorr/job002/x.mrc", "x.mrc"),
        ("Micrographs/x.mrc", "Micrographs/x.mrc"),
        ("MotionCorr/job1234/x.mrc", "x.mrc"),
        ("External/job010/MotionCorr/job002/x.mrc", "MotionCorr/job002/x.mrc"),
        ("job002/x.mrc", "job002/x.mrc"),
        ("Movies/job_a/x.mrc", "Movies/job_a/x.mrc"),
        ("Movies/job012.mrc", "Movies/job012.mrc"),
    ],
)
def test_everything_through_the_first_job_is_removed(name, rest):
    """As RELION derives the folder of the coordinates."""
    assert after_job(PurePosixPath(name)) == PurePosixPath(rest)


def test_a_micrograph_has_the_name_of_the_list_whatever_path_it_was_found_under(folder):
    """Paths are compared by the files that they lead to."""
    project = RelionProject(folder, Path("J"), "CtfFind/job003/micrographs_ctf.star")
    for place in (folder / "MotionCorr/job002/Movies", folder.parent / "disk"):
        for name in ("a.mrc", "b's c.mrc"):
            assert project.name(place / name) == PurePosixPath("MotionCorr/job002/Movies", name)


def test_without_a_list_a_micrograph_has_its_path_below_the_project(folder):
    project = RelionProject(folder, Path("J"))
    assert project.name(folder / "Micrographs/x.mrc") == PurePosixPath("Micrographs/x.mrc")
    link = folder / "MotionCorr/job002/Movies/a.mrc"
    assert project.name(link) == PurePosixPath("MotionCorr/job002/Movies/a.mrc")
    assert project.name(folder.parent / "elsewhere.mrc") is None


def test_a_project_that_was_reached_through_a_link_is_the_same(folder):
    """The service may watch ``/session`` and RELION work in ``/disk/session``."""
    link = folder.with_name("link")
    link.symlink_to(folder)
    (folder / "Micrographs").mkdir()
    (folder / "Micrographs/x.mrc").touch()
    for project, other in ((folder, link), (link, folder)):
        name = RelionProject(project, Path("J")).name(other / "Micrographs/x.mrc")
        assert name == PurePosixPath("Micrographs/x.mrc")


def test_micrographs_that_join_the_list_later_are_found(folder):
    """RELION writes the list again as the session goes on."""
    path = folder / "CtfFind/job003/micrographs_ctf.star"
    path.write_text(LIST.replace("Movies/b's c.mrc", "Movies/z.mrc"))
    project = RelionProject(folder, Path("J"), "CtfFind/job003/micrographs_ctf.star")
    micrograph = folder.parent / "disk/b's c.mrc"
    assert project.name(micrograph) is None
    path.unlink()
    assert project.name(micrograph) is None
    path.write_text(LIST)
    assert project.name(micrograph) == PurePosixPath("MotionCorr/job002/Movies/b's c.mrc")


def test_the_nearest_project_above_a_folder_is_found(folder):
    assert find_project(folder / "External/livepick") == folder
    assert find_project(folder) == folder
    assert find_project(folder.parent) is None


def output(directory, **relion):
    return Output(directory=directory, relion=RelionOutput(**relion))


def test_a_project_is_found_by_its_pipeline_above_the_output_folder(folder):
    """The output folder is then the folder of the job."""
    found = relion_project(output(folder / "External/lp"))
    assert (found.folder, found.job) == (folder, Path("External/lp"))
    assert relion_project(output(folder.parent / "out")) is None


def test_a_given_project_takes_the_coordinates_in_the_folder_of_its_job(folder):
    found = relion_project(output(folder.parent / "out", project=folder))
    assert found.job_folder == folder / "External/livepick"
    found = relion_project(output(folder.parent / "out", project=folder, job="AutoPick/job004/"))
    assert found.job_folder == folder / "AutoPick/job004"


@pytest.mark.parametrize(
    ("relion", "says"),
    [
        ({"project": "missing"}, "is not a folder"),
        ({"project": "project", "micrographs_star": "none.star"}, "cannot be read"),
        ({"project": "project", "micrographs_star": PIPELINE}, "names no micrographs"),
        ({"project": "project", "micrographs_star": "MotionCorr"}, "cannot be read"),
        ({"micrographs_star": "x.star"}, "no RELION project is known"),
    ],
)
def test_a_project_that_is_not_what_the_config_says_is_an_error_with_a_remedy(folder, relion, says):
    if "project" in relion:
        relion["project"] = folder.parent / relion["project"]
    with pytest.raises(ConfigError, match=says) as caught:
        relion_project(output(folder.parent / "out", **relion))
    assert "output.relion" in caught.value.remedy or "RELION" in caught.value.remedy
