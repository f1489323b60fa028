"""``livepick relion-job``: its options as RELION passes them, and what it tells RELION."""

import signal
from pathlib import Path

import pytest

from factories import make_result
from livepick import cli
from livepick.commands import relion_job as command
from livepick.config.last_known_good import save_config_copy
from livepick.config.yaml_loader import load_config
from livepick.core.formats.file_version import FileVersion
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.writer import LedgerWriter
from livepick.picking import tasks
from livepick.picking.engine import threads
from livepick.picking.relion_job_folder import ABORT

JOB = "External/job012/"
LIST = "Select/job005/micrographs.star"
NAMES = ["MotionCorr/job002/Movies/a.mrc", "MotionCorr/job002/Movies/b.mrc"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return the working folder, a RELION project with a list of micrographs."""
    folder = tmp_path / "project"
    for place in (JOB, "Select/job005", "MotionCorr/job002/Movies"):
        (folder / place).mkdir(parents=True)
    for bundle in ("m", "models/0003", "relion_models/0003"):
        (folder / bundle).mkdir(parents=True)
        (folder / bundle / "model.json").touch()
    rows = "\n".join(NAMES)
    (folder / LIST).write_text(f"data_micrographs\n\nloop_\n_rlnMicrographName #1\n{rows}\n")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    return folder


@pytest.fixture
def jobs(monkeypatch):
    """Return the jobs that workers got; each micrograph has two particles."""
    got = []

    def pick(job):
        got.append(job)
        return make_result()

    monkeypatch.setattr(tasks, "pick", pick)
    monkeypatch.setattr(command, "local", threads)
    return got


def run(*words, o=JOB, in_mics=LIST, j="1"):
    """Run the command with RELION's own options around the words."""
    return cli.main(["relion-job", "--o", o, "--in_mics", in_mics, *words, "--j", j])


def ends(project):
    """Return how RELION sees the job: the ends of its name."""
    return [path.name.removeprefix("RELION_JOB_EXIT_") for path in _ends(project)]


def _ends(project):
    return sorted((project / JOB).glob("RELION_JOB_*"))


def test_a_job_with_a_model_picks_and_succeeds(project, jobs, capsys):
    assert run("--bundle", "models/0003", "--threshold", "0.25", "--pixel_size", "1.06") == 0

    assert ends(project) == ["SUCCESS"]
    assert (project / JOB / "Movies" / "b_autopick.star").is_file()
    assert sorted(job.path for job in jobs) == [project / name for name in NAMES]
    assert {(j.bundle, j.threshold, j.pixel_size_angstrom, j.device) for j in jobs} == {
        (project / "models/0003", 0.25, 1.06, "prefer-gpu")
    }
    out = capsys.readouterr().out
    assert f"{NAMES[0]}: 2 particles\n" in out
    assert out.endswith("2 of 2 micrographs have coordinates\n")


def test_a_job_can_say_which_pixel_size_counts(project, jobs):
    assert run("--bundle", "models/0003", "--pixel_size", "1.06", "--trust", "config") == 0
    assert {(job.pixel_size_angstrom, job.trust) for job in jobs} == {(1.06, "config")}

    jobs.clear()
    for path in _ends(project):
        path.unlink()
    for path in project.glob(f"{JOB}/Movies/*_autopick.star"):
        path.unlink()
    assert run("--bundle", "models/0003") == 0
    assert {job.trust for job in jobs} == {None}


def test_threads_of_relion_are_processes(project, jobs, monkeypatch):
    counts = []
    monkeypatch.setattr(command, "local", lambda count: counts.append(count) or threads(count))

    assert run("--bundle", "models/0003", j="3") == 0
    assert counts == [3]


@pytest.mark.parametrize(
    "words",
    [
        ["--bundle=models/0003"],
        ["--bundle", "models/0003", "--device", "cpu"],
        ["--bundle", "models/0003", "--pixel-size", "1.06"],
        ["--bundle", "relion_models/0003", "--pipeline_control", JOB],
    ],
)
def test_words_as_relion_and_people_write_them(project, jobs, words):
    """RELION adds --pipeline_control to a command with relion_ anywhere in it."""
    assert run(*words) == 0
    assert ends(project) == ["SUCCESS"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "it is not said where the picks come from"),
        (["--bundel", "m"], "no option --bundel; did you mean --bundle?"),
        (["--in_parts", "x.star", "--bundle", "m"], "no option --in_parts"),
        (["--bundle"], "--bundle has no value"),
        (["--bundle", "Select"], "--bundle is Select, which is not the folder of a model"),
        (["--bundle", "x" * 300], "which is not the folder of a model"),
        (["--bundle", "my", "models"], "--bundle has 2 values: my, models"),
        (["--bundle", "a", "--bundle", "b"], "--bundle has 2 values: a, b"),
        (["--bundle", "m", "--session", "s.yaml"], "--bundle and --session exclude each other"),
        (["--bundle", "m", "--threshold", "half"], "--threshold is 'half'; it must be a number"),
        (["--bundle", "m", "--threshold", "-0.1"], "must be a number from 0 to 1"),
        (["--bundle", "m", "--threshold", "nan"], "must be a number from 0 to 1"),
        (["--bundle", "m", "--trust", "me"], "--trust is 'me'; it must be header or config"),
        (["--session", "s.yaml", "--trust", "config"], "--trust has no meaning with --session"),
        (["--bundle", "m", "--device", "gpu"], "it must be cpu or prefer-gpu or require-gpu"),
        (["--bundle", "m", "--wait_minutes", "5"], "--wait_minutes has no meaning with --bundle"),
        (["--session", "s.yaml", "--device", "cpu"], "--device has no meaning with --session"),
        (["--session", "none.yaml"], "none.yaml"),
        (["--state", "none"], "where no session has left its settings"),
        (["--bundle", "m", "--in_mics", LIST], f"--in_mics has 2 values: {LIST}, {LIST}"),
    ],
)
def test_a_wrong_option_ends_the_job_as_failed(project, jobs, capsys, words, says):
    """Otherwise RELION would show it as running for ever."""
    assert run(*words) != 0

    assert says in capsys.readouterr().err
    assert not jobs
    assert ends(project) == ["FAILURE"]


def test_a_missing_list_ends_the_job_as_failed(project, jobs, capsys):
    assert run("--bundle", "m", in_mics="Select/job099/micrographs.star") == 1

    assert ends(project) == ["FAILURE"]
    assert "cannot be read in" in capsys.readouterr().err


def test_a_word_that_belongs_to_no_label_ends_the_job_as_failed(project, jobs, capsys):
    """As in the field External executable, behind the name of the command."""
    words = ["relion-job", "session.yaml", "--o", JOB, "--in_mics", LIST, "--j", "1"]

    assert cli.main(words) == 1
    assert ends(project) == ["FAILURE"]
    assert "'session.yaml' has no --label before it" in capsys.readouterr().err


def test_a_folder_outside_the_project_is_refused(project, jobs, capsys):
    assert run("--bundle", "m", o="../job012/") != 0

    assert "which is not below" in capsys.readouterr().err
    assert not (project.parent / "job012").exists()


def test_an_abort_ends_it_as_aborted(project, jobs):
    (project / JOB / ABORT).touch()

    assert run("--bundle", "m") == 2
    assert ends(project) == ["ABORTED"]


def test_a_fault_in_livepick_ends_the_job_as_failed(project, jobs, monkeypatch):
    def pick(job):
        raise ZeroDivisionError

    monkeypatch.setattr(tasks, "pick", pick)

    with pytest.raises(ZeroDivisionError):
        run("--bundle", "m")
    assert ends(project) == ["FAILURE"]


def test_a_queueing_system_that_ends_it_leaves_a_failed_job(project, jobs, monkeypatch):
    handlers = {}
    monkeypatch.setattr(command.signal, "signal", handlers.__setitem__)
    monkeypatch.setattr(tasks, "pick", lambda job: make_result())
    monkeypatch.setattr(command, "bundle_picks", lambda *_: iter_and(handlers[signal.SIGTERM]))

    assert run("--bundle", "m") == 1
    assert ends(project) == ["FAILURE"]


def iter_and(call):
    """Yield nothing yet, and call."""
    yield None
    call()


@pytest.fixture
def session(project, config_file):
    """Return the config of a session that has picked the micrographs with model 2."""
    config = load_config(config_file)
    config.state.directory.mkdir()
    save_config_copy(config)
    with Database.writable(config.state.directory / LEDGER) as database:
        ledger = LedgerWriter(database)
        watched = project / "MotionCorr" / "job002"
        for name in ("Movies/a.mrc", "Movies/b.mrc"):
            ledger.arrivals.landed(watched, Path(name), FileVersion(1, 1, 1), 0.0)
        for claim in ledger.claim(2):
            ledger.picked(claim, make_result(model_version=2, model_kind="trained"))
    return config_file


@pytest.mark.parametrize("source", ["session", "state"])
def test_a_job_takes_the_picks_of_a_session(project, session, source):
    place = session if source == "session" else load_config(session).state.directory

    assert run(f"--{source}", str(place), "--wait_minutes", "0") == 0

    assert ends(project) == ["SUCCESS"]
    assert (project / JOB / "Movies" / "a_autopick.star").is_file()


def test_a_session_that_has_not_begun_ends_the_job_as_failed(project, config_file, capsys):
    assert run("--session", str(config_file)) == 1

    assert "there is no ledger" in capsys.readouterr().err
    assert ends(project) == ["FAILURE"]


def test_what_the_session_has_not_picked_fails_the_job_after_the_time(project, session, capsys):
    (project / LIST).write_text((project / LIST).read_text() + "MotionCorr/job002/Movies/c.mrc\n")

    assert run("--session", str(session), "--wait_minutes", "0.001") == 1

    assert "no final picks yet for 1 of 3 micrographs" in capsys.readouterr().err
    assert (project / JOB / "Movies" / "a_autopick.star").is_file()


def test_a_job_that_shall_not_wait_takes_what_is_final(project, session):
    """So that a Scheme continues, and picks the rest in its next round."""
    (project / LIST).write_text((project / LIST).read_text() + "MotionCorr/job002/Movies/c.mrc\n")

    assert run("--session", str(session), "--wait_minutes", "0") == 0
    assert ends(project) == ["SUCCESS"]


def test_the_help_names_every_option(capsys):
    assert cli.main(["relion-job", "--help"]) == 0

    out = capsys.readouterr().out
    assert not [label for label in command._LABELS[:-1] if f"--{label} " not in out]
