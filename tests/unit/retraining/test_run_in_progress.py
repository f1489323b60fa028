"""Restarts of a killed trainer, and waiting for a full disk."""

import textwrap

from trainer_programs import FAIL, PUBLISH

from livepick.retraining import run_in_progress, run_monitor, scheduler


def test_a_killed_trainer_is_restarted_but_not_forever(tmp_path, monkeypatch, make_session):
    """It runs in the same folder again; after a few times the run has failed."""
    monkeypatch.setattr(run_in_progress, "RESTARTS", 2)
    program = """
        import os, signal, sys
        with open(sys.argv[1] + "/starts", "a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    session = make_session(program)

    session.until(lambda: session.changes[-1:] == [(1, "failed")], "failure")

    assert (tmp_path / "state/runs/0001/starts").read_text() == "xxx"
    assert "killed 3 times in one stage (the first)" in session.row[0].reason
    assert "memory" in session.row[0].reason


def test_a_trainer_that_hangs_again_and_again_is_said_to_hang(monkeypatch, make_session):
    """The operator looks at the disks, not at the memory."""
    monkeypatch.setattr(run_in_progress, "RESTARTS", 1)
    monkeypatch.setattr(run_monitor, "IDLE_SECONDS", 0.2)
    session = make_session("import time; time.sleep(600)")

    session.until(lambda: session.changes[-1:] == [(1, "failed")], "failure")

    assert session.row[0].reason.startswith(
        "the trainer hung 2 times in one stage (the first), the last time because it has done"
    )
    assert "memory" not in session.row[0].reason


def test_kills_are_counted_for_each_stage(monkeypatch, make_session):
    """Six kills in six stages do not make the run fail."""
    monkeypatch.setattr(run_in_progress, "RESTARTS", 1)
    program = textwrap.dedent("""
            import os, signal, sys
            from pathlib import Path
            progress = Path(sys.argv[1]) / "progress.jsonl"
            at = len(progress.read_text().splitlines()) if progress.exists() else 0
            stages = ["prepare", "reseed", "classify", "select", "train", "retrain"]
            if at < len(stages):
                with progress.open("a") as file:
                    file.write('{"at": 1, "stage": "%s"}\\n' % stages[at])
                os.kill(os.getpid(), signal.SIGKILL)
        """) + textwrap.dedent(PUBLISH)
    session = make_session(program)

    session.until(lambda: session.promoted, "promotion")

    assert session.changes == [(1, "running"), (1, "promoted")]


def test_a_run_that_fails_while_its_share_is_lost_waits(monkeypatch, make_session):
    """It has not failed; it continues when the share is mounted again."""
    monkeypatch.setattr(run_in_progress, "PAUSE_SECONDS", 0.05)
    lost = ["/m is empty; is the share mounted?"]
    monkeypatch.setattr(scheduler, "away", lambda roots: next(iter(lost), None))
    session = make_session(FAIL)
    session.until(lambda: session.row and session.row[0].reason == lost[0], "waiting")
    assert session.changes == [(1, "running"), (1, "running")]

    lost.clear()
    session.until(lambda: session.changes[-1] == (1, "failed"), "failure")


FULL_TWICE = """
    import sys
    from pathlib import Path
    starts = Path(sys.argv[1]) / "starts"
    with starts.open("a") as file:
        file.write("x")
    if len(starts.read_text()) < 3:
        sys.exit(75)
"""


def test_a_run_waits_while_the_disk_is_full(tmp_path, monkeypatch, make_session, caplog):
    """The wait is logged once, the run never fails, and the same run continues."""
    caplog.set_level("INFO")
    monkeypatch.setattr(run_in_progress, "RESTARTS", 0)
    monkeypatch.setattr(run_in_progress, "PAUSE_SECONDS", 0.1)
    session = make_session(textwrap.dedent(FULL_TWICE) + textwrap.dedent(PUBLISH))
    session.until(lambda: len(session.changes) == 2, "a full disk")
    assert session.row[0].state == "running"
    assert "runs/0001 is full" in session.row[0].reason

    session.until(lambda: session.promoted, "promotion")

    assert (tmp_path / "state/runs/0001/starts").read_text() == "xxx"
    assert caplog.text.count("runs/0001 is full") == 1
    assert "run 0001: continues" in caplog.text
    assert set(session.changes) == {(1, "running"), (1, "promoted")}
    sample = session.metrics.registry.get_sample_value
    assert sample("livepick_training_runs_total", {"result": "failed"}) == 0


def test_a_restarted_service_resumes_a_run_that_waits_for_the_disk(make_session):
    """The reason is removed once the trainer reports progress."""
    session = make_session("raise SystemExit(75)")
    session.until(lambda: len(session.changes) == 2, "a full disk")
    session.command = make_session(PUBLISH).command
    session.scheduler = session.start()

    session.until(lambda: session.promoted, "promotion")

    assert session.changes == [(1, "running")] * 3 + [(1, "promoted")]


def test_a_newer_edit_ends_a_run_that_waits_for_the_disk(make_session):
    """Its model is no longer wanted."""
    session = make_session("raise SystemExit(75)")
    session.until(lambda: len(session.changes) == 2, "a full disk")
    session.scheduler._run._command = make_session(PUBLISH).command
    session.edit(training={"generation": 2})

    session.until(lambda: session.promoted, "promotion")

    assert session.changes[2:] == [(1, "superseded"), (2, "running"), (2, "promoted")]
