"""``livepick relion-job``, started as RELION starts it, in a project as a user has it."""

import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from disc_micrographs import write_disc_micrograph
from session import LIVEPICK

from factories import publish_blob
from livepick.core.formats.star import star_tables

PIPELINER = shutil.which("relion_pipeliner")
LIST = "CtfFind/job003/micrographs_ctf.star"
JOB = "External/job001"
MODEL = ("--bundle", "relion_models/0000", "--device", "cpu", "--pipeline_control", f"{JOB}/")
"""RELION adds the last option because the path of the model has ``relion_`` in it."""


class Project:
    """A RELION project, and a job of livepick in it."""

    def __init__(self, folder):
        self.folder = folder
        self.job = folder / JOB
        (folder / LIST).parent.mkdir(parents=True)
        (folder / "MotionCorr" / "job002" / "Movies").mkdir(parents=True)
        publish_blob(folder / "relion_models", diameter_angstrom=160.0, contrast="dark")

    def list(self, names):
        """Write the list of micrographs as CtfFind does."""
        rows = "\n".join(f"{name} 1 15000.0 15000.0 0.0" for name in names)
        (self.folder / LIST).write_text(
            "\n# version 30001\n\ndata_optics\n\nloop_ \n_rlnOpticsGroupName #1 \n"
            "_rlnOpticsGroup #2 \n_rlnMicrographOriginalPixelSize #3 \n_rlnVoltage #4 \n"
            "_rlnSphericalAberration #5 \n_rlnAmplitudeContrast #6 \n_rlnMicrographPixelSize #7 \n"
            "opticsGroup1 1 4.0 300.0 2.7 0.1 4.0\n \n\n"
            "# version 30001\n\ndata_micrographs\n\nloop_ \n_rlnMicrographName #1 \n"
            "_rlnOpticsGroup #2 \n_rlnDefocusU #3 \n_rlnDefocusV #4 \n_rlnDefocusAngle #5 \n"
            f"{rows}\n \n"
        )

    def start(self, *words):
        """Start the job as RELION 4 and 5 do: with the shell, and with files for its output."""
        self.job.mkdir(parents=True, exist_ok=True)
        (self.job / "job.star").write_text("\ndata_job\n\n_rlnJobTypeLabel relion.external\n \n")
        command = f"{LIVEPICK} relion-job --o {JOB}/ --in_mics {LIST} {' '.join(words)} --j 1"
        line = f"exec {command} >> {JOB}/run.out 2>> {JOB}/run.err"
        return subprocess.Popen(["/bin/sh", "-c", line], cwd=self.folder)

    def ends(self):
        """Return the files by which RELION sees how the job has ended."""
        return {path.name for path in self.job.glob("RELION_JOB_*")}

    def coordinates(self):
        """Return the coordinates files with the times when they were written."""
        files = self.job.glob("M*/*_autopick.star")
        return {path: path.stat().st_mtime_ns for path in files}

    def rows(self, file, block):
        """Return the rows of a block of a STAR file."""
        text = (self.folder / file).read_text()
        (found,) = (table.rows for table in star_tables(text) if table.name == block)
        return found

    def pipeliner(self, *words):
        """Run RELION's pipeliner in the project."""
        subprocess.run(
            [PIPELINER, *words], cwd=self.folder, check=True, capture_output=True, timeout=60
        )

    def add_job(self, job_type, **options):
        """Add a job to RELION's pipeline, as its window does."""
        values = "\n".join(f'{name} "{value}"' for name, value in options.items())
        (self.folder / "new.star").write_text(
            f"\n# version 30001\n\ndata_job\n\n_rlnJobType {job_type}\n_rlnJobIsContinue 0\n \n\n"
            "# version 30001\n\ndata_joboptions_values\n\nloop_ \n_rlnJobOptionVariable #1 \n"
            f"_rlnJobOptionValue #2 \n{values}\n \n"
        )
        self.pipeliner("--addJobFromStar", "new.star")


@pytest.fixture
def project(tmp_path):
    """Return a project of three micrographs."""
    project = Project(tmp_path / "project")
    names = [f"MotionCorr/job002/Movies/mic_{number}.mrc" for number in range(3)]
    for seed, name in enumerate(names):
        write_disc_micrograph(project.folder / name, seed=seed)
    project.list(names)
    return project


def until(condition, *, seconds=60):
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


@pytest.mark.skipif(PIPELINER is None, reason="relion_pipeliner is not installed")
def test_relion_runs_the_job_and_extracts_from_it(project):
    """RELION 3.1 itself does both, by what it finds in the folder of the job."""
    (project.folder / "default_pipeline.star").write_text(
        "\n# version 30001\n\ndata_pipeline_general\n\n_rlnPipeLineJobCounter 1\n \n"
    )
    project.add_job(
        99,
        fn_exe=f"{LIVEPICK} relion-job",
        in_mic=LIST,
        param1_label="bundle",
        param1_value="relion_models/0000",
        param2_label="device",
        param2_value="cpu",
        nr_threads=2,
        do_queue="No",
    )
    project.pipeliner("--schedule", "one", "--RunJobs", f"{JOB}/", "--sec_wait_after", "1")

    node = f"{JOB}/coords_suffix_autopick.star"
    assert [node, "2"] in project.rows("default_pipeline.star", "pipeline_nodes")
    assert [f"{JOB}/", node] in project.rows("default_pipeline.star", "pipeline_output_edges")

    project.add_job(5, star_mics=LIST, coords_suffix=node, extract_size=48, do_queue="No", nr_mpi=1)
    project.pipeliner("--schedule", "two", "--RunJobs", "Extract/job002/", "--sec_wait_after", "1")

    picks = re.findall(r": (\d+) particles", (project.job / "run.out").read_text())
    assert len(picks) == 3
    assert len(project.rows("Extract/job002/particles.star", "particles")) == sum(map(int, picks))
    assert sum(map(int, picks)) >= 3 * 12, "of 16 discs each"


def test_a_job_of_relion_4_or_5_ends_with_all_that_they_look_for(project):
    assert project.start(*MODEL).wait(timeout=120) == 0

    assert project.ends() == {"RELION_JOB_EXIT_SUCCESS"}
    assert project.rows(f"{JOB}/RELION_OUTPUT_NODES.star", "output_nodes") == [
        [f"{JOB}/autopick.star", "MicrographCoordsGroup.star.relion.autopick"]
    ]
    listed = project.rows(f"{JOB}/autopick.star", "coordinate_files")
    assert [name for name, _ in listed] == [name for name, *_ in project.rows(LIST, "micrographs")]
    assert all((project.folder / place).is_file() for _, place in listed)
    assert (project.job / "run.err").read_text() == ""
    assert (project.job / "run.out").read_text().endswith("3 of 3 micrographs have coordinates\n")


def test_an_aborted_job_stops_and_a_continued_one_picks_the_rest(project):
    """The first run has far more to pick than it can until it is aborted."""
    names = [f"MotionCorr/job002/Movies/copy_{number:04d}.mrc" for number in range(2000)]
    for name in names:
        (project.folder / name).hardlink_to(project.folder / "MotionCorr/job002/Movies/mic_0.mrc")
    project.list(names)
    process = project.start(*MODEL)
    until(project.coordinates)
    (project.job / "RELION_JOB_ABORT_NOW").touch()

    assert process.wait(timeout=60) == 2
    assert project.ends() == {"RELION_JOB_EXIT_ABORTED"}
    before = project.coordinates()
    assert 0 < len(before) < len(names)

    picked = {path.name.removesuffix("_autopick.star") for path in before}
    left = [name for name in names if Path(name).stem not in picked]
    listed = [name for name in names if name not in left] + left[:50]
    project.list(listed)
    assert project.start(*MODEL).wait(timeout=120) == 0
    assert project.ends() == {"RELION_JOB_EXIT_SUCCESS"}
    assert len(project.coordinates()) == len(listed)
    assert before.items() <= project.coordinates().items(), "these were not written again"
    assert len(project.rows(f"{JOB}/autopick.star", "coordinate_files")) == len(listed)


def test_a_job_waits_for_the_picks_of_a_running_service(project, make_session):
    """The project has a link to the watched folder."""
    session = make_session(picking={"repick": "none"})
    (project.folder / "Micrographs").symlink_to(session.landing)
    project.list(["Micrographs/mic_0001.mrc", "Micrographs/mic_0002.mrc"])
    session.drop(1)
    session.start()
    process = project.start("--session", str(session.config))
    until(lambda: len(project.coordinates()) == 1)
    assert process.poll() is None

    session.drop(1, first=2)

    assert process.wait(timeout=60) == 0
    assert project.ends() == {"RELION_JOB_EXIT_SUCCESS"}
    rows = project.rows(f"{JOB}/autopick.star", "coordinate_files")
    assert rows[1] == ["Micrographs/mic_0002.mrc", f"{JOB}/Micrographs/mic_0002_autopick.star"]
    assert session.stop() == 0


def test_a_job_that_a_queueing_system_ends_has_failed(project, make_session):
    """Without a word to RELION it would be shown as running for ever."""
    session = make_session()
    session.start()
    earlier = project.job / "RELION_JOB_EXIT_SUCCESS"
    project.job.mkdir(parents=True)
    earlier.touch()
    process = project.start("--session", str(session.config))
    until(lambda: not earlier.exists())
    process.send_signal(signal.SIGTERM)

    assert process.wait(timeout=60) == 1
    assert project.ends() == {"RELION_JOB_EXIT_FAILURE"}
    assert session.stop() == 0
