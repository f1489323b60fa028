"""Names of micrographs in a RELION project."""

from pathlib import Path, PurePosixPath

import pytest
from picked_micrographs import picked, visible

from livepick.config.output_sections import Output, RelionOutput
from livepick.errors import ConfigError, MicrographError, OutputError
from livepick.picking import relion_project as module
from livepick.picking.output_folder import OutputFolder
from livepick.picking.output_tree import Branches
from livepick.picking.relion_files import RelionFiles
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
        ("job002/x.mrc", "x.mrc"),
        ("./MotionCorr/job002/x.mrc", "x.mrc"),
        ("Movies/job_a/x.mrc", "Movies/job_a/x.mrc"),
        ("Movies/job012.mrc", "Movies/job012.mrc"),
        ("myjob002/x.mrc", "myjob002/x.mrc"),
        ("/data/avg/x.mrc", "data/avg/x.mrc"),
    ],
)
def test_everything_through_the_first_job_is_removed(name, rest):
    """As RELION derives the folder of the coordinates."""
    assert after_job(name) == PurePosixPath(rest)


def test_a_micrograph_has_the_name_of_the_list_whatever_path_it_was_found_under(folder):
    """Paths are compared by the files that they lead to."""
    project = RelionProject(folder, Path("J"), "CtfFind/job003/micrographs_ctf.star")
    for place in (folder / "MotionCorr/job002/Movies", folder.parent / "disk"):
        for name in ("a.mrc", "b's c.mrc"):
            assert project.name(place / name) == f"MotionCorr/job002/Movies/{name}"


def test_without_a_list_a_micrograph_has_its_path_below_the_project(folder):
    project = RelionProject(folder, Path("J"))
    assert project.name(folder / "Micrographs/x.mrc") == "Micrographs/x.mrc"
    link = folder / "MotionCorr/job002/Movies/a.mrc"
    assert project.name(link) == "MotionCorr/job002/Movies/a.mrc"
    assert project.name(folder.parent / "elsewhere.mrc") is None


def test_micrographs_without_a_name_are_logged_once(folder, caplog):
    """RELION would pass over them without an error."""
    project = RelionProject(folder, Path("J"))
    for name in ("x.mrc", "y.mrc"):
        assert project.name(folder.parent / name) is None
    (record,) = caplog.records
    assert "x.mrc: it has no name in the RELION project" in record.message


def test_a_project_that_was_reached_through_a_link_is_the_same(folder):
    """The service may watch ``/session`` and RELION work in ``/disk/session``."""
    link = folder.with_name("link")
    link.symlink_to(folder)
    (folder / "Micrographs").mkdir()
    (folder / "Micrographs/x.mrc").touch()
    for project, other in ((folder, link), (link, folder)):
        name = RelionProject(project, Path("J")).name(other / "Micrographs/x.mrc")
        assert name == "Micrographs/x.mrc"


def test_a_name_is_that_of_the_list_to_the_letter(folder):
    """RELION compares texts."""
    path = folder / "CtfFind/job003/micrographs_ctf.star"
    path.write_text(LIST.replace("MotionCorr/job002/Movies/a", "./MotionCorr//job002/Movies/a"))
    project = RelionProject(folder, Path("J"), "CtfFind/job003/micrographs_ctf.star")
    assert project.name(folder.parent / "disk/a.mrc") == "./MotionCorr//job002/Movies/a.mrc"


def test_of_two_names_of_one_file_the_first_counts(folder):
    path = folder / "CtfFind/job003/micrographs_ctf.star"
    path.write_text(LIST.rstrip() + "\n./MotionCorr/job002/Movies/a.mrc 1\n")
    project = RelionProject(folder, Path("J"), "CtfFind/job003/micrographs_ctf.star")
    for place in (folder / "MotionCorr/job002/Movies", folder.parent / "disk"):
        assert project.name(place / "a.mrc") == "MotionCorr/job002/Movies/a.mrc"


def test_micrographs_that_join_the_list_later_are_found(folder, monkeypatch):
    """RELION writes the list again as the session goes on; a name that it once had is kept."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0)
    path = folder / "CtfFind/job003/micrographs_ctf.star"
    path.write_text(LIST.replace("Movies/b's c.mrc", "Movies/z.mrc"))
    project = RelionProject(folder, Path("J"), "CtfFind/job003/micrographs_ctf.star")
    first, second = folder.parent / "disk/a.mrc", folder.parent / "disk/b's c.mrc"
    assert project.name(first) == "MotionCorr/job002/Movies/a.mrc"
    assert project.name(second) is None
    assert project.names_changed()
    assert not project.names_changed()

    path.unlink()
    assert project.name(second) is None
    path.write_text("")
    assert not project.names_changed()
    path.write_text(LIST.replace("MotionCorr/job002/Movies/a", "MotionCorr/job002/Movies/y"))
    assert project.names_changed()
    assert project.name(second) == "MotionCorr/job002/Movies/b's c.mrc"
    assert project.name(first) == "MotionCorr/job002/Movies/a.mrc"


def test_a_list_that_cannot_be_read_is_logged_once(folder, monkeypatch, caplog):
    """RELION writes it in place, and it may come later than the service."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0)
    path = folder / "CtfFind/job003/micrographs_ctf.star"
    path.unlink()
    project = RelionProject(folder, Path("J"), "CtfFind/job003/micrographs_ctf.star")
    for _ in range(2):
        assert project.name(folder / "Micrographs/x.mrc") == "Micrographs/x.mrc"
    (record,) = caplog.records
    assert record.message == (
        f"output.relion.micrographs_star is {path}, which cannot be read: No such file or"
        " directory; until then, RELION gets the paths of the micrographs below the project"
    )


def test_the_nearest_project_above_a_folder_is_found(folder):
    assert find_project(folder / "External/livepick") == folder
    assert find_project(folder) is None


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
        ({"project": "missing"}, "is not a RELION project"),
        ({"project": "disk"}, "has no default_pipeline.star"),
        ({"micrographs_star": "x.star"}, "no RELION project is known"),
    ],
)
def test_a_project_that_is_not_as_the_config_says_is_an_error_with_a_remedy(folder, relion, says):
    """A project whose disk may not be mounted yet is no error of the config, which is final."""
    if "project" in relion:
        relion["project"] = folder.parent / relion["project"]
    kind = OutputError if "project" in relion else ConfigError
    with pytest.raises(kind, match=says) as caught:
        relion_project(output(folder.parent / "out", **relion))
    assert "output.relion" in str(caught.value)
    assert "RELION" in caught.value.remedy or "output.relion" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "says"), [(None, "cannot be read"), ("data_x\nloop_\n_rlnX\n", "names no micrographs")]
)
def test_a_list_that_names_no_micrographs_is_an_error_for_who_asks(folder, text, says):
    path = folder / "CtfFind/job003/micrographs_ctf.star"
    path.unlink()
    if text is not None:
        path.write_text(text)
    project = RelionProject(folder, Path("J"), "CtfFind/job003/micrographs_ctf.star")
    with pytest.raises(ConfigError, match=says):
        project.read_names()


@pytest.mark.parametrize("name", ["job.star", "run.job", "note.txt"])
def test_the_folder_of_a_job_of_relion_is_refused(folder, name):
    """Its own files would be overwritten; a folder that livepick has written to is taken."""
    job = folder / "AutoPick/job004"
    job.mkdir(parents=True)
    (job / name).touch()
    with pytest.raises(ConfigError, match="folder of a RELION job"):
        relion_project(output(folder / "out", project=folder, job="AutoPick/job004"))
    (job / "autopick.star").write_text("\n# version 30001\n# livepick 0.1.0\n")
    assert relion_project(output(folder / "out", project=folder, job="AutoPick/job004"))


@pytest.mark.parametrize("place", ["/data/x.star", "../x.star", "a/../../x.star", ".", "a\nb"])
@pytest.mark.parametrize("key", ["micrographs_star", "job"])
def test_places_outside_the_project_are_refused(folder, key, place):
    with pytest.raises(ValueError, match="below the project"):
        output(folder.parent / "out", project=folder, **{key: place})


@pytest.mark.parametrize(
    ("listed", "place"),
    [
        ("Micrographs/x.mrc", "Micrographs/x_autopick.star"),
        ("{folder}/Micrographs/x.mrc", "{below}/Micrographs/x_autopick.star"),
        ("Micrographs/../Micrographs/x.mrc", "x_autopick.star"),
    ],
)
def test_coordinates_stay_in_the_folder_of_the_job(folder, listed, place):
    """Whatever the list says: an absolute name, or one that goes up."""
    disk = folder.parent / "disk"
    (folder / "Micrographs").symlink_to(disk)
    (folder / "list.star").write_text(
        f"data_\nloop_\n_rlnMicrographName\n{listed.format(folder=folder)}\n"
    )
    wanted = output(folder.parent / "out", project=folder, micrographs_star="list.star")
    project = relion_project(wanted)
    files = RelionFiles(OutputFolder(project.job_folder), Branches([disk]), project=project)

    found = files.place(disk, Path("x.mrc")).relative_to(files.directory)

    assert str(found) == place.format(below=str(folder).lstrip("/"))


def test_the_list_is_looked_at_now_and_then_only(folder):
    """Names are looked up ten thousands of times for each list that is written."""
    path = folder / "CtfFind/job003/micrographs_ctf.star"
    path.unlink()
    project = RelionProject(folder, Path("J"), "CtfFind/job003/micrographs_ctf.star")
    assert project.name(folder.parent / "disk/a.mrc") is None
    path.write_text(LIST)
    assert project.name(folder.parent / "disk/a.mrc") is None


def test_micrographs_of_two_jobs_do_not_share_a_file(folder):
    """RELION leaves the job out; the second would have the picks of the first."""
    root = folder / "MotionCorr"
    files = RelionFiles(
        OutputFolder(folder / "J"), Branches([root]), project=RelionProject(folder, Path("J"))
    )
    first, second = Path("job002/Movies/a.mrc"), Path("job007/Movies/a.mrc")
    files.write(root, first, picked((1, 2, 0.5)))

    with pytest.raises(MicrographError, match=r"same coordinates file in RELION as .*job002"):
        files.write(root, second, picked((3, 4, 0.5)))
    assert not files.is_missing(visible(second, root=root))
    files.write_list([visible(first, root=root), visible(second, root=root)])
    assert "job007" not in (files.directory / "autopick.star").read_text()
    files.remove(root, second)
    assert files.place(root, first).exists()
    files.write(root, first, picked((5, 6, 0.5)))
    files.remove(root, first)
    files.write(root, second, picked((3, 4, 0.5)))
    again = RelionFiles(
        OutputFolder(folder / "J"), Branches([root]), project=RelionProject(folder, Path("J"))
    )
    assert not again.is_missing(visible(second, root=root))
    with pytest.raises(MicrographError, match="job007"):
        again.write(root, first, picked((5, 6, 0.5)))
