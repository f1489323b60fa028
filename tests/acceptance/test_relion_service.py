"""The service beside a RELION project: what it starts with, and what it refuses."""

import pytest
from session import QUICK_LISTS, impatient

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
    session.start(program=impatient(QUICK_LISTS))
    session.until(lambda: session.picked() == 1, "the first is picked")
    fault = "micrographs_ctf.star, which cannot be read"
    session.until(lambda: fault in session.log.read_text(), "the log says so")

    (project / LIST).write_text(
        "\ndata_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnOpticsGroup #2\n"
        "Micrographs/mic_0001.mrc 1\n\n"
    )

    job = project / "External" / "livepick"
    row = "Micrographs/mic_0001.mrc External/livepick/Micrographs/mic_0001_autopick.star\n"
    names = job / "autopick.star"
    session.until(
        lambda: names.exists() and row in names.read_text(), "the list has the name of RELION"
    )
    assert (job / "Micrographs" / "mic_0001_autopick.star").exists()
    assert session.stop() == 0


def test_a_project_that_is_missing_is_waited_for(make_session, project):
    """Its disk may not be mounted yet; picks come when it is there."""
    (project / "default_pipeline.star").unlink()
    session = make_session(output={"relion": {"project": "project", "publish": "all"}})
    session.drop(1)
    session.start(program=impatient({"picking.output_sync.RETRY_SECONDS": 3}))
    session.until(
        lambda: "or its disk is not mounted" in session.log.read_text(), "the log says so"
    )
    assert session.picked() == 0
    assert not (project / "External").exists()

    (project / "default_pipeline.star").touch()
    session.until(lambda: session.picked() == 1, "the micrograph is picked")
    assert list((project / "External").rglob("mic_0001_autopick.star"))
    assert session.stop() == 0


def test_the_folder_of_a_job_of_relion_ends_the_service(make_session, project):
    """Status 78 is for what only an edit of the config changes."""
    (project / "External" / "livepick").mkdir(parents=True)
    (project / "External" / "livepick" / "job.star").touch()
    session = make_session(output={"relion": {"project": "project"}})
    session.start(wait=False)

    assert session.process.wait(timeout=60) == 78
    assert "is the folder of a RELION job" in session.log.read_text()
