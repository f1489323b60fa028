"""Files that a job in a RELION project writes, and its endings."""

import errno
from pathlib import Path

import pytest

from factories import make_result
from livepick.core.formats.coordinates import read_coordinates
from livepick.core.formats.star import star_tables
from livepick.errors import ConfigError, ModelError, OutputError
from livepick.host import atomic_files
from livepick.ledger.output_rows import Visible
from livepick.picking.job_picks import Picked, Unpicked, relative_path
from livepick.picking.relion_job import WITHOUT_PICKS, RelionJob, read_list
from livepick.picking.relion_job_folder import ABORT, NODES, End, JobFolder

LIST = "CtfFind/job003/micrographs_ctf.star"
JOB = "External/job012"
NAMES = [f"MotionCorr/job002/Movies/{letter}.mrc" for letter in "abc"]


class Project:
    """A RELION project with a list of micrographs, and a job in it."""

    def __init__(self, folder):
        self.folder = folder
        self.job = folder / JOB
        self.lines, self.asked = [], []
        (folder / LIST).parent.mkdir(parents=True)
        self.job.mkdir(parents=True)
        self.list(NAMES)

    def list(self, names):
        rows = "\n".join(f"{name} 1" for name in names)
        (self.folder / LIST).write_text(
            "\n# version 30001\n\ndata_optics\n\nloop_ \n_rlnOpticsGroupName #1 \n"
            "_rlnOpticsGroup #2 \nopticsGroup1 1 \n \n\ndata_micrographs\n\nloop_ \n"
            f"_rlnMicrographName #1 \n_rlnOpticsGroup #2 \n{rows}\n \n"
        )

    def run(self, **events):
        """Run the job; a micrograph's picks are those of its letter, or of model 1."""

        def picks(names):
            self.asked.append(list(names))
            for name in names:
                yield None
                event = events.get(
                    Path(name).stem, make_result(model_version=1, model_kind="trained")
                )
                if isinstance(event, Exception):
                    raise event
                if callable(event):
                    event = event()
                if isinstance(event, tuple):
                    yield Unpicked(name, *event)
                else:
                    yield Picked(
                        name,
                        Visible.of_result(self.folder, relative_path(name), event),
                        event.picks,
                    )

        job = RelionJob(
            JobFolder(self.folder, Path(JOB)),
            LIST,
            report=self.lines.append,
            warn=lambda line: self.lines.append(f"! {line}"),
        )
        return job.run(picks)

    def table(self, file):
        return [
            list(row.values()) for row in star_tables((self.job / file).read_text())[0].records()
        ]

    def listed(self):
        return [name for name, _ in self.table("autopick.star")]


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project")


def test_the_files_are_where_relions_own_pickers_put_them(project):
    assert project.run() is End.SUCCESS

    assert project.table("autopick.star") == [
        [name, f"{JOB}/Movies/{Path(name).stem}_autopick.star"] for name in NAMES
    ]
    assert (project.job / "coords_suffix_autopick.star").read_text() == f"{LIST}\n"
    assert len(read_coordinates(project.job / "Movies" / "a_autopick.star")) == 2
    assert (project.job / NODES).is_file()
    assert not (project.job / WITHOUT_PICKS).exists()
    assert project.lines[-1] == "3 of 3 micrographs have coordinates"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("Micrographs/a.mrc", "Micrographs/a"),
        ("./Micrographs/a.mrc", "Micrographs/a"),
        ("Micrographs//a.tif", "Micrographs/a"),
        ("a.mrc", "a"),
        ("/data/a.mrc", "data/a"),
        ('"Movies 1/a b.mrc"', "Movies 1/a b"),
        ("MotionCorr/job1002/Movies/ü.mrc", "Movies/ü"),
    ],
)
def test_names_are_kept_to_the_letter(project, name, place):
    """RELION 4 and later compare them as text."""
    project.list([name])

    assert project.run() is End.SUCCESS

    assert project.table("autopick.star") == [[name.strip('"'), f"{JOB}/{place}_autopick.star"]]
    assert (project.job / f"{place}_autopick.star").is_file()


def test_a_name_that_is_listed_twice_is_picked_once(project):
    project.list([*NAMES, NAMES[0]])

    assert project.run() is End.SUCCESS
    assert project.asked == [NAMES]


def test_a_job_that_is_continued_picks_what_is_missing(project):
    """Its list has all, in the order of the micrographs, with the models that picked them."""
    project.run()
    (project.job / "Movies" / "b_autopick.star").unlink()
    (project.job / "autopick.star").rename(project.job / "autopick.star.old")  # as RELION 3.1 does

    assert project.run(b=make_result(model_version=4, model_kind="trained")) is End.SUCCESS

    assert project.asked == [NAMES, NAMES[1:2]]
    assert project.listed() == NAMES
    models = star_tables((project.job / "autopick.star").read_text())[1]
    assert models.column("livepickModelVersion") == ["1", "4", "1"]
    assert models.column("livepickModelKind") == ["trained"] * 3
    assert "2 of 3 micrographs have coordinates from an earlier run" in project.lines


def test_a_job_with_nothing_left_to_do_succeeds(project):
    """A Scheme continues its jobs whether or not there are new micrographs."""
    project.run()

    assert project.run() is End.SUCCESS
    assert project.asked[1] == []
    assert project.listed() == NAMES


def test_new_micrographs_in_the_list_are_picked_when_it_is_continued(project):
    project.run()
    project.list([*NAMES, "MotionCorr/job002/Movies/d.mrc"])

    assert project.run() is End.SUCCESS
    assert project.asked[1] == ["MotionCorr/job002/Movies/d.mrc"]


def test_a_micrograph_that_fails_is_listed_with_the_reason_and_the_job_succeeds(project):
    assert project.run(b=("failed", 'b.mrc: "NaN" pixels. Look at it.')) is End.SUCCESS

    assert project.listed() == [NAMES[0], NAMES[2]]
    assert project.table(WITHOUT_PICKS) == [
        [NAMES[1], "failed", "b.mrc: 'NaN' pixels. Look at it."]
    ]
    assert f'! {NAMES[1]}: b.mrc: "NaN" pixels. Look at it.' in project.lines
    assert project.lines[-1] == (
        f"2 of 3 micrographs have coordinates; {JOB}/{WITHOUT_PICKS} says why the others have none"
    )


def test_a_micrograph_that_failed_is_tried_again_when_the_job_is_continued(project):
    project.run(b=("failed", "it is not there"))

    assert project.run() is End.SUCCESS
    assert project.asked[1] == [NAMES[1]]
    assert not (project.job / WITHOUT_PICKS).exists()


def test_the_job_fails_if_no_micrograph_has_picks(project):
    """RELION gets no node then: there is nothing to extract."""
    none = dict.fromkeys("abc", ("failed", "it is not there"))

    assert project.run(**none) is End.FAILURE

    assert not (project.job / NODES).exists()
    assert len(project.table(WITHOUT_PICKS)) == 3


def test_a_micrograph_without_particles_is_picked(project):
    none = dict.fromkeys("abc", make_result(()))

    assert project.run(**none) is End.SUCCESS
    assert project.listed() == NAMES


def test_micrographs_left_out_for_their_quality_do_not_count_as_failed(project):
    assert project.run(b=("left_out", "the session judged its quality bad")) is End.SUCCESS

    assert project.listed() == [NAMES[0], NAMES[2]]
    assert not (project.job / "Movies" / "b_autopick.star").exists(), "RELION 3.1 reads no list"
    assert not any(line.startswith("!") for line in project.lines)


def test_a_job_that_waited_in_vain_fails_and_keeps_what_it_has(project):
    """A Scheme must not extract from half of the micrographs as if they were all."""
    assert project.run(b=("waiting", "its picks are provisional")) is End.FAILURE

    assert project.listed() == [NAMES[0], NAMES[2]]
    assert "no final picks yet for 1 of 3 micrographs" in project.lines[-1]
    assert project.run() is End.SUCCESS


def test_an_abort_takes_effect_between_micrographs(project):
    def abort():
        (project.job / ABORT).touch()
        return make_result()

    assert project.run(b=abort) is End.ABORTED

    assert project.listed() == NAMES[:2]
    assert not (project.job / "Movies" / "c_autopick.star").exists()
    assert project.lines[-1].startswith("! aborted; continue the job")


def test_a_model_that_fails_ends_the_job_which_can_be_continued(project):
    with pytest.raises(ModelError):
        project.run(b=ModelError("the GPU is lost", "Reset it."))

    assert project.listed() == NAMES[:1]
    assert project.run() is End.SUCCESS
    assert project.asked[1] == NAMES[1:]


def test_a_full_disk_ends_the_job(project, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic_files.os, "fsync", full)

    with pytest.raises(OutputError, match="No space left"):
        project.run()
    assert not list(project.job.rglob("*_autopick.star"))


@pytest.mark.parametrize("name", ["../elsewhere/a.mrc", "Movies/../../a.mrc", 'Movies/"a.mrc'])
def test_a_name_that_cannot_have_a_file_in_the_job_fails_alone(project, name):
    """A file must not be written outside the folder of the job."""
    project.list([name, NAMES[1]])

    assert project.run() is End.SUCCESS
    assert project.asked == [[NAMES[1]]]
    assert not list(project.folder.glob("*_autopick.star"))
    assert not list(project.folder.parent.glob("*_autopick.star"))


def test_two_micrographs_that_would_have_the_same_file_are_not_mixed_up(project):
    """As in a list joined from two jobs that corrected the same movies."""
    other = "MotionCorr/job007/Movies/a.mrc"
    project.list([*NAMES, other])

    assert project.run() is End.SUCCESS

    ((name, state, reason),) = project.table(WITHOUT_PICKS)
    assert (name, state) == (other, "failed")
    assert reason.startswith(f"its coordinates file would be that of {NAMES[0]}")


def test_two_links_to_one_file_keep_their_names(project):
    """They are two micrographs for RELION."""
    (project.folder / "Movies").mkdir()
    (project.folder / "Movies" / "x.mrc").touch()
    (project.folder / "Movies" / "y.mrc").symlink_to("x.mrc")
    project.list(["Movies/x.mrc", "Movies/y.mrc"])

    assert project.run() is End.SUCCESS
    assert project.table("autopick.star") == [
        ["Movies/x.mrc", f"{JOB}/Movies/x_autopick.star"],
        ["Movies/y.mrc", f"{JOB}/Movies/y_autopick.star"],
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot be read in .*No such file"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"", "lists no micrographs"),
        (b"data_micrographs\n\nloop_\n_rlnMicrographName #1\n\n", "lists no micrographs"),
        (b"data_movies\n\nloop_\n_rlnMicrographMovieName #1\na.tif\n", "lists no micrographs"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path, text, says):
    if text is not None:
        (tmp_path / "x.star").write_bytes(text)

    with pytest.raises(ConfigError, match=rf"--in_mics is x.star, which {says}") as caught:
        read_list(tmp_path, "x.star")
    assert "CtfFind/job003/micrographs_ctf.star" in caught.value.remedy
