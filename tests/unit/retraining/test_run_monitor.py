"""Monitor of a trainer: priority, settings, and the meaning of each way to end."""

import signal
import sys
import textwrap
import time

import psutil
import pytest

from livepick.config.training_sections import Training
from livepick.core.contracts.run import RunSpec
from livepick.monitoring.metrics.exporter import Metrics
from livepick.retraining import run_monitor, trainer_process
from livepick.retraining.run_monitor import RunMonitor

SLEEP = "import time; time.sleep(60)"
SAY = """
    import os, sys
    from pathlib import Path
    def say(text):
        with (Path(sys.argv[1]) / "progress.jsonl").open("a") as file:
            file.write(text + "\\n")
    say('{"at": 1, "stage": "train", "done": 3, "total": 12, "training_loss": 0.5}')
"""


@pytest.fixture
def follow(tmp_path, make_config):
    """Return a function that starts a program as the trainer of a run; it ends with the test."""
    config = make_config()
    folder = tmp_path / "runs" / "0001"
    folder.mkdir(parents=True)
    models = tmp_path / "models"
    models.mkdir()
    RunSpec(
        version=1,
        parent=0,
        fingerprint="f",
        particle_fingerprint="p",
        models_directory=models,
        particle=config.particle,
        training=config.training,
        seed_threshold=0.5,
        micrographs=[],
    ).write(folder)
    made = []

    def start(program, metrics=None, **training):
        made.append(
            RunMonitor(
                folder,
                models=models,
                training=Training.model_validate(training),
                metrics=(metrics or Metrics()).training,
                command=(sys.executable, "-c", textwrap.dedent(program)),
            )
        )
        return made[-1]

    yield start
    for one in made:
        one.end()


def end_of(following):
    """Wait until a trainer has ended."""
    give_up = time.monotonic() + 300
    while (ending := following.step()) is None:
        assert time.monotonic() < give_up
        time.sleep(0.02)
    return ending


@pytest.mark.skipif(not hasattr(psutil.Process, "ionice"), reason="needs Linux")
def test_the_trainer_has_low_cpu_and_disk_priority(follow):
    """It has a higher nice value, and the idle class for the disk."""
    trainer = psutil.Process(follow(SLEEP)._trainer.pid)

    assert trainer.nice() == max(trainer_process.NICENESS, psutil.Process().nice())
    assert trainer.ionice().ioclass == psutil.IOPRIO_CLASS_IDLE


@pytest.mark.parametrize("program", ["/nonexistent/ionice", "/bin/false"])
def test_training_works_without_ionice(follow, monkeypatch, caplog, program):
    """The warning is logged once, not at each start."""
    monkeypatch.setattr(trainer_process, "IONICE", program)
    trainer_process._say_no_io_priority.cache_clear()

    for _ in range(2):
        following = follow(SLEEP)
        assert following.step() is None
        following.end()

    assert caplog.text.count("its disk access has normal priority") == 1


def test_a_run_continues_with_the_current_live_settings(tmp_path, follow):
    """Only settings that do not shape the model are taken from the current config."""
    folder = tmp_path / "runs" / "0001"
    before = RunSpec.read(folder)

    follow(SLEEP, threads=5, device="cuda:1", gpu_memory_fraction=0.3, epochs=7)

    after = RunSpec.read(folder)
    present = {"threads": 5, "device": "cuda:1", "gpu_memory_fraction": 0.3}
    assert after.training == before.training.model_copy(update=present)
    assert after.model_copy(update={"training": before.training}) == before


def test_stage_and_losses_are_exported_only_while_the_trainer_runs(follow):
    """Prometheus has one stage at a time, and none once the trainer has ended."""
    metrics = Metrics()
    following = follow(SAY + "    import time; time.sleep(60)", metrics)
    sample = metrics.registry.get_sample_value
    give_up = time.monotonic() + 300
    while not following.has_progressed:
        assert time.monotonic() < give_up
        following.step()

    assert sample("livepick_training_stage", {"stage": "train"}) == 1
    assert sample("livepick_training_stage", {"stage": "retrain"}) == 0
    assert sample("livepick_training_stage_done_ratio") == 0.25
    assert sample("livepick_training_loss") == 0.5
    following.end()
    assert sample("livepick_training_stage", {"stage": "train"}) == 0
    assert sample("livepick_training_running") == 0


def test_a_kill_is_reported_with_its_stage(follow):
    """The run is then resumed, and given up after repeated kills in one stage."""
    ending = end_of(follow(SAY + f"    os.kill(os.getpid(), {signal.SIGKILL.value})"))

    assert (ending.killed, ending.stage, ending.fault, ending.waits) == (True, "train", None, None)


def test_the_trainers_own_explanation_of_a_failure_is_passed_on(follow):
    """For example too little memory, with the settings that need less."""
    words = '{"at": 2, "stage": "failed", "note": "No memory. Lower minibatch_size."}'
    ending = end_of(follow(SAY + f"    say('{words}')\n    sys.exit(1)"))

    assert ending.fault == "No memory. Lower minibatch_size."
    assert not ending.killed


def test_a_crash_has_the_last_lines_of_the_log_as_its_reason(follow):
    """For example an import that fails."""
    ending = end_of(follow("import no_such_module"))

    assert "the trainer ended with 1" in ending.fault
    assert "no_such_module" in ending.fault


def test_a_trainer_is_ended_if_its_process_id_cannot_be_written(tmp_path, follow):
    """Otherwise a later service could not end it; a full disk is one cause."""
    (tmp_path / "runs" / "0001" / trainer_process.LOCK).symlink_to("/dev/full")
    before = psutil.Process().children()

    with pytest.raises(OSError, match=r"Invalid argument|No space left"):
        follow(SLEEP)

    assert set(psutil.Process().children()) <= set(before)


def test_a_full_disk_is_not_a_failure(tmp_path, follow):
    """The trainer reports it by its exit status."""
    ending = end_of(follow(SAY + "    sys.exit(75)"))

    assert ending.fault is None
    assert not ending.killed
    assert str(tmp_path / "runs" / "0001") in ending.waits


def test_on_a_full_disk_any_end_of_the_trainer_means_a_full_disk(follow, monkeypatch):
    """A trainer that could not write its reason has not failed."""
    monkeypatch.setattr(run_monitor, "LEAST_FREE_BYTES", 1 << 60)

    ending = end_of(follow("raise SystemExit('half a word')"))

    assert ending.waits is not None
    assert ending.fault is None


@pytest.mark.parametrize(
    ("limit", "words"), [("STOPPED_SECONDS", "SIGSTOP"), ("IDLE_SECONDS", "has done nothing")]
)
def test_a_trainer_that_is_stopped_or_hangs_is_killed_and_can_be_resumed(
    follow, monkeypatch, caplog, limit, words
):
    following = follow(SAY + "    import time; time.sleep(600)")
    process = psutil.Process(following._trainer.pid)
    if limit == "STOPPED_SECONDS":
        process.suspend()
    assert following.step() is None
    monkeypatch.setattr(run_monitor, limit, 0.5)
    ending = end_of(following)
    assert (ending.killed, ending.fault) == (True, None)
    assert words in caplog.text
    assert not process.is_running()


def test_a_trainer_that_works_is_not_idle(follow, monkeypatch):
    """Its processor time shows it, though it reports nothing."""
    monkeypatch.setattr(run_monitor, "LEAST_CPU_SECONDS", 0.1)
    following = follow("while True: pass")
    give_up = time.monotonic() + 300
    while following._watch._used_seconds < 0.3:
        assert following.step() is None
        assert time.monotonic() < give_up
        time.sleep(0.02)
    assert following._watch._idle_seconds == 0


def test_a_suspension_does_not_count_as_time_of_a_trainer(follow, monkeypatch):
    """The machine slept for a day."""
    following = follow(SLEEP)
    assert following.step() is None
    following._watch._last -= 24 * 3600
    assert following.step() is None
    assert following._watch.seconds < 60
