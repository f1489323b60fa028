"""The files by which RELION and a job talk to each other."""

from pathlib import Path

import pytest

from livepick.core.formats.star import star_tables
from livepick.picking.relion_job_folder import ABORT, NODES, End, JobFolder

JOB_OF_3_1 = "\n# version 30001\n\ndata_job\n\n_rlnJobType    99\n_rlnJobIsContinue    0\n \n"
JOB_OF_5 = (
    "\n# version 50001\n\ndata_job\n\n_rlnJobTypeLabel    relion.external\n"
    "_rlnJobIsContinue    0\n_rlnJobIsTomo    0\n \n"
)
"""As RELION writes ``job.star`` before it starts the job; 3.1.3 did, 5 by its source."""


@pytest.fixture
def folder(tmp_path):
    job = JobFolder(tmp_path, Path("External/job012"))
    job.path.mkdir(parents=True)
    return job


def nodes(folder):
    """Return the table that RELION reads, by its name."""
    (table,) = star_tables((folder.path / NODES).read_text())
    assert table.name == "output_nodes"
    return list(table.records())


def test_relion_3_1_gets_the_node_that_it_extracts_from_with_a_number(folder):
    (folder.path / "job.star").write_text(JOB_OF_3_1)

    folder.write_nodes()

    name = "External/job012/coords_suffix_autopick.star"
    assert nodes(folder) == [{"rlnPipeLineNodeName": name, "rlnPipeLineNodeType": "2"}]


@pytest.mark.parametrize("job_star", [JOB_OF_5, "", None])
def test_later_versions_get_the_list_with_a_label(folder, job_star):
    """Also where nobody knows: a job started by hand."""
    if job_star is not None:
        (folder.path / "job.star").write_text(job_star)

    folder.write_nodes()

    label = "MicrographCoordsGroup.star.relion.autopick"
    name = "External/job012/autopick.star"
    assert nodes(folder) == [{"rlnPipeLineNodeName": name, "rlnPipeLineNodeTypeLabel": label}]


def test_a_project_of_an_older_version_is_known_by_who_starts_the_job(folder):
    """RELION 5 writes job.star anew when it continues a job of 3.1."""
    (folder.path / "job.star").write_text(JOB_OF_3_1)
    folder.write_nodes()
    (folder.path / "job.star").write_text(JOB_OF_5)
    folder.write_nodes()

    assert [row["rlnPipeLineNodeName"] for row in nodes(folder)] == [
        "External/job012/autopick.star"
    ]


def test_the_end_of_an_earlier_run_goes_at_the_start(folder):
    for end in End:
        folder.end(end)

    folder.begin()

    assert list(folder.path.glob("[!.]*")) == []


def test_an_abort_is_noticed_and_its_request_goes_with_the_job(folder):
    """One that comes before the job has started counts too: RELION removes older ones."""
    assert not folder.should_abort()
    (folder.path / ABORT).touch()
    folder.begin()

    assert folder.should_abort()
    folder.end(End.ABORTED)
    assert [path.name for path in folder.path.glob("[!.]*")] == ["RELION_JOB_EXIT_ABORTED"]


def test_exit_statuses_are_those_of_relions_programs():
    assert [end.exit_status for end in (End.SUCCESS, End.FAILURE, End.ABORTED)] == [0, 1, 2]


def test_the_folder_is_made_if_need_be(tmp_path):
    """A job started by hand, whose settings are wrong, has none yet."""
    job = JobFolder(tmp_path, Path("External/job001"))
    job.begin()
    job.end(End.FAILURE)

    assert (tmp_path / "External/job001/RELION_JOB_EXIT_FAILURE").read_bytes() == b""
