"""Checks by ``livepick check`` of a RELION project."""

import shutil

import pytest

from livepick.config.yaml_loader import load_config
from livepick.monitoring.preflight.relion import relion
from livepick.picking.relion_project import PIPELINE

LIST = "CtfFind/job003/micrographs_ctf.star"


@pytest.fixture
def project(tmp_path):
    """Return the folder of a project, and make the watched folder, which it links to."""
    folder = tmp_path / "project"
    (folder / "CtfFind" / "job003").mkdir(parents=True)
    (folder / PIPELINE).touch()
    (tmp_path / "in").mkdir()
    (folder / "Micrographs").symlink_to(tmp_path / "in")
    return folder


@pytest.fixture
def tried(tmp_path, project):
    """Return a function that checks a session with these settings of the output."""

    def check(relion_settings="{}", *, watched="in", directory="out", formats="[relion]"):
        path = tmp_path / "session.yaml"
        path.write_text(
            f"""\
session: {{name: s}}
watch: {{directories: [{watched}]}}
particle: {{diameter_angstrom: 150}}
output: {{directory: {directory}, formats: {formats}, relion: {relion_settings}}}
state: {{directory: state}}
"""
        )
        return list(relion(load_config(path)))

    return check


def micrograph(folder, name="x.mrc"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"image")


def write_list(project, *names):
    rows = "\n".join(names)
    (project / LIST).write_text(f"\ndata_micrographs\n\nloop_\n_rlnMicrographName\n{rows}\n\n")


def only(checks):
    (check,) = (check for check in checks if check.name == "RELION project")
    return check


WITH_LIST = f"{{project: project, micrographs_star: {LIST}}}"


def test_without_a_project_there_is_a_remark(tried):
    """RELION passes over absolute names without an error."""
    check = only(tried())
    assert check.verdict == "ok"
    assert "absolute paths" in check.found
    assert "output.relion.project" in check.found


def test_an_output_folder_that_is_the_project_is_a_warning(tried):
    check = only(tried(directory="project"))
    assert check.verdict == "warning"
    assert "External/livepick" in check.remedy


def test_a_micrograph_below_the_project_has_a_name(tried, project):
    """Its watched folder has one already, before the first arrives."""
    for _ in range(2):
        check = only(tried("{project: project}", watched="project/MotionCorr/job002"))
        assert check.verdict == "ok"
        assert check.found == (
            f"{project}; coordinates in External/livepick, as soon as they are final"
            " (output.relion.publish)"
        )
        micrograph(project / "MotionCorr" / "job002" / "Movies")


def test_with_publish_all_nothing_is_said_of_final_picks(tried, project):
    check = only(tried("{project: project, publish: all}", watched="project/MotionCorr/job002"))
    assert check.found == f"{project}; coordinates in External/livepick"


def test_a_project_above_the_output_folder_is_named(tried, project):
    check = only(tried(directory="project/picks", watched="project/Micrographs"))
    assert (check.verdict, check.found) == ("ok", f"{project}; coordinates in picks")


def test_a_folder_that_is_not_a_project_is_a_fault(tried, project):
    (project / PIPELINE).unlink()
    check = only(tried("{project: project}"))
    assert check.verdict == "fault"
    assert f"it has no {PIPELINE}" in check.found


def test_a_project_that_is_not_there_is_a_fault(tried, project):
    shutil.rmtree(project)
    assert only(tried("{project: project}")).verdict == "fault"


def test_a_list_without_a_project_is_a_fault(tried):
    check = only(tried(f"{{micrographs_star: {LIST}}}"))
    assert check.verdict == "fault"
    assert "no RELION project is known" in check.found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot be read: No such file"),
        (b"\xff\xfe\xfa", "cannot be read"),
        (b"\ndata_\n\nloop_\n_rlnMicrographName\n\n", "names no micrographs"),
        (b"\ndata_\n\nloop_\n_rlnImageName\n1@x.mrcs\n\n", "names no micrographs"),
    ],
)
def test_a_list_without_names_is_a_fault(tried, project, text, says):
    if text is not None:
        (project / LIST).write_bytes(text)
    check = only(tried(WITH_LIST))
    assert check.verdict == "fault"
    assert says in check.found
    assert ("the service can start" in check.remedy) is (text is None)


def test_a_watched_folder_outside_the_project_is_a_fault(tried, tmp_path):
    """A link in the project is not enough: its name may be another."""
    micrograph(tmp_path / "in")
    check = only(tried("{project: project}"))
    assert check.verdict == "fault"
    assert f"{tmp_path / 'in'} is outside the RELION project" in check.found
    assert "micrographs_star" in check.remedy


def test_a_watched_folder_outside_is_fine_if_the_list_names_its_files(tried, tmp_path, project):
    """One is enough: RELION has yet to list the latest."""
    micrograph(tmp_path / "in")
    micrograph(tmp_path / "in", "y.mrc")
    write_list(project, "Micrographs/y.mrc")
    assert only(tried(WITH_LIST)).verdict == "ok"


def test_a_list_of_other_micrographs_is_a_fault(tried, tmp_path, project):
    micrograph(tmp_path / "in")
    write_list(project, "Micrographs/other.mrc")
    check = only(tried(WITH_LIST))
    assert check.verdict == "fault"
    assert "names none of the micrographs in" in check.found


def test_a_list_cannot_be_compared_with_an_empty_folder(tried, project):
    write_list(project, "Micrographs/other.mrc")
    check = only(tried(WITH_LIST))
    assert check.verdict == "warning"
    assert "no micrographs yet" in check.found


def test_the_folder_of_another_job_is_a_fault(tried, project):
    (project / "AutoPick" / "job004").mkdir(parents=True)
    (project / "AutoPick" / "job004" / "job.star").touch()
    check = only(tried("{project: project, job: AutoPick/job004}"))
    assert check.verdict == "fault"
    assert "folder of a RELION job" in check.found


def test_a_project_without_its_format_is_a_warning(tried):
    assert only(tried("{project: project}", formats="[csv]")).verdict == "warning"
    assert tried(formats="[csv]") == []
