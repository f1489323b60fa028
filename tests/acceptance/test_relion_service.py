"""The service beside a RELION project: what it starts with, and what it refuses."""

import pytest

LIST = "CtfFind/job003/micrographs_ctf.star"


@pytest.fixture
def project(tmp_path):
    """Return the folder of a project that has a link to the watched folder."""
    folder = tmp_path / "project"
    (folder / "CtfFind" / "job003").mkdir(parents=True)
    (folder / "default_pipeline.star").touch()
    (folder / "Micrographs").symlink_to(tmp_path / "in")
    return folder


def test_the_service_starts_before_relion_has_a_list_and_takes_its_names_later(
    make_session, project
):
    """CtfFind writes its list when it has run; RELION gets the names of that list."""
    session = make_session(
        output={"relion": {"project": "project", "micrographs_star": LIST, "publish": "all"}}
    )
    session.drop(1)
    session.start()
    session.until(lambda: session.picked() == 1, "the first is picked")
    assert "micrographs_ctf.star, which cannot be read" in session.log.read_text()

    (project / LIST).write_text(
        "\ndata_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnOpticsGroup #2\n"
        "Micrographs/mic_0001.mrc 1\n\n"
    )

    job = project / "External" / "livepick"
    row = "Micrographs/mic_0001.mrc External/livepick/Micrographs/mic_0001_autopick.star\n"
    session.until(
        lambda: row in (job / "autopick.star").read_text(), "the list has the name of RELION"
    )
    assert (job / "Micrographs" / "mic_0001_autopick.star").exists()
    assert session.stop() == 0


@pytest.mark.parametrize(
    ("fault", "status", "says"),
    [
        ("no project", 1, "it has no default_pipeline.star"),
        ("a job of RELION", 78, "is the folder of a RELION job"),
    ],
)
def test_a_project_that_cannot_be_used_ends_the_service(make_session, project, fault, status, says):
    """Status 78 is for what only an edit of the config changes; a disk may yet be mounted."""
    if fault == "no project":
        (project / "default_pipeline.star").unlink()
    else:
        (project / "External" / "livepick").mkdir(parents=True)
        (project / "External" / "livepick" / "job.star").touch()
    session = make_session(output={"relion": {"project": "project"}})
    session.start(wait=False)

    assert session.process.wait(timeout=60) == status
    assert says in session.log.read_text()
