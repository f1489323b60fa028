"""Calls of ``output.on_picked``: real programs, and a dispatch loop that they must not delay."""

import json
import logging
import time
from collections import Counter
from pathlib import Path

import pytest
from dispatch_session import V2, card, find_two

from livepick.core.formats.file_version import FileVersion
from livepick.errors import HeaderError, LedgerWriteError
from livepick.ledger.inbox import CallEnded, Promoted, RunChanged
from livepick.picking import finality, on_picked
from livepick.picking.exports import make_on_picked
from livepick.picking.finality import Finality
from livepick.picking.on_picked import OnPicked, description

HOOKS = Path(__file__).parents[3] / "deploy" / "hooks"


class Calls:
    """Instruments that record the calls."""

    def __init__(self):
        self.ended = Counter()
        self.waiting = 0

    def call_ended(self, outcome):
        self.ended[outcome] += 1

    def calls_waiting(self, count):
        self.waiting = count


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(finality, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(on_picked, "RECORD_SECONDS", 0.0)
    monkeypatch.setattr(on_picked, "STOP_SECONDS", 0.3)


@pytest.fixture
def calls():
    return Calls()


@pytest.fixture
def program(tmp_path):
    """Return a function that writes a shell script, which is called in the folder's place."""

    def write(script):
        path = tmp_path / "program"
        path.write_text(f'#!/bin/sh\ncd "{tmp_path}"\n{script}\n')
        path.chmod(0o755)
        return str(path)

    return write


@pytest.fixture
def calling(session, calls):
    """Return a function that makes a session which calls a program."""

    def make(*command, parallel=2, timeout_seconds=90.0, repicks=True, **kwargs):
        def make_calls(run):
            def describe(row, final):
                return description(
                    row,
                    session="krios2",
                    coordinates=run.outputs.files(row.root, row.relative),
                    diameter_angstrom=150.0,
                    final=final,
                    page="http://127.0.0.1:9476/",
                )

            return OnPicked(
                command,
                parallel=parallel,
                timeout_seconds=timeout_seconds,
                ledger=run.ledger,
                describe=describe,
                finality=Finality(run.ledger.reader, lambda: repicks),
                instruments=calls,
                wake=lambda: run.inbox.put(CallEnded()),
            )

        return session(make_calls=make_calls, **kwargs)

    return make


def told(folder):
    """Return what the program was told, in the order of the calls."""
    path = folder / "told"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


TELL = "cat >> told"

WAIT = "while [ ! -e go ]; do sleep 0.02; done"


def test_a_program_is_told_about_each_picked_micrograph(calling, program, calls, tmp_path):
    run = calling(program(TELL)).land("one/a.mrc").start()
    run.until(lambda: calls.ended["success"] == 1)
    run.stop()

    (said,) = told(tmp_path)
    assert said.pop("picked_at") == pytest.approx(time.time(), abs=30)
    assert said == {
        "session": "krios2",
        "micrograph": "/data/avg/one/a.mrc",
        "coordinates": {"relion": str(run.out / "one/a_autopick.star")},
        "pick_count": 2,
        "threshold": 0.5,
        "diameter_angstrom": 150.0,
        "pixel_size_angstrom": 1.5,
        "width_px": 300,
        "height_px": 400,
        "model_version": 0,
        "model_kind": "blob",
        "final": False,
        "verdict": "good",
        "reason": "",
        "thumbnail": None,
        "thumbnail_url": "http://127.0.0.1:9476/micrographs/1/thumbnail.png",
    }


def test_picks_that_are_not_in_the_file_yet_have_no_file(calling, program, calls, tmp_path):
    """RELION gets only final picks then."""
    run = calling(program(TELL))
    run.star.publish_if(lambda kind: kind != "blob")
    run.land("a.mrc").start()
    run.until(lambda: calls.ended["success"] == 1)
    run.stop()
    assert told(tmp_path)[0]["coordinates"] == {}


def test_a_new_model_is_told(calling, program, calls, tmp_path):
    """The program is called again, and the picks of a trained model are final."""
    run = calling(program(TELL), repick="provisional").land("a.mrc").start()
    run.until(lambda: calls.ended["success"] == 1)
    run.inbox.put(Promoted(tmp_path / "0001", card(1, "trained")))
    run.until(lambda: calls.ended["success"] == 2)
    run.stop()
    assert [(one["model_version"], one["final"]) for one in told(tmp_path)] == [
        (0, False),
        (1, True),
    ]


def test_picks_that_become_final_are_told_again(calling, program, calls, tmp_path):
    """The training has failed, so no better picks are to come."""
    run = calling(program(TELL)).land("a.mrc", "b.mrc").start()
    run.until(lambda: calls.ended["success"] == 2)
    run.inbox.put(RunChanged(1, "f", "failed", reason="diverged"))
    run.until(lambda: calls.ended["success"] == 4)
    run.stop()
    assert [one["final"] for one in told(tmp_path)] == [False, False, True, True]

    again = calling(program(TELL)).start()
    again.until_counts(picked=2)
    again.stop()
    assert len(told(tmp_path)) == 4


def test_picks_that_became_final_between_two_starts_are_told(calling, program, calls, tmp_path):
    run = calling(program(TELL)).land("a.mrc").start()
    run.until(lambda: calls.ended["success"] == 1)
    run.stop()
    for total in (2, 2):
        again = calling(program(TELL), repicks=False).start()
        again.until(lambda total=total: calls.ended["success"] == total)
        again.stop()
    assert [one["final"] for one in told(tmp_path)] == [False, True]


def test_a_program_that_hangs_delays_no_picks(calling, program, calls):
    """All micrographs are picked while the first calls hang; the loop does not pause for them."""
    run = calling(program("sleep 1000"), timeout_seconds=1000)
    names = [f"{number}.mrc" for number in range(60)]
    started_at = time.monotonic()
    run.land(*names).start()
    turns, longest = [run.dispatch.progress_at], 0.0
    while run.reader.counts().picked < len(names):
        assert time.monotonic() - started_at < 90
        turns.append(run.dispatch.progress_at)
        longest = max(longest, turns[-1] - turns[-2])
        time.sleep(0.005)
    assert longest < 60
    assert not calls.ended
    run.until(lambda: calls.waiting == len(names) - 2)
    started_at = time.monotonic()
    run.stop()
    assert time.monotonic() - started_at < 60
    assert not calls.ended


@pytest.mark.parametrize("parallel", [1, 3])
def test_no_more_than_the_configured_number_runs_at_a_time(
    calling, program, calls, tmp_path, parallel
):
    script = program(f"mkdir run.$$; ls -d run.* | wc -l >> count; {WAIT}; rmdir run.$$")
    run = calling(script, parallel=parallel).land(*(f"{n}.mrc" for n in range(12))).start()
    run.until(lambda: calls.waiting == 12 - parallel)
    run.until(lambda: len(list(tmp_path.glob("run.*"))) == parallel)
    (tmp_path / "go").touch()
    run.until(lambda: calls.ended["success"] == 12)
    run.stop()
    assert max(int(line) for line in (tmp_path / "count").read_text().split()) == parallel


def test_a_call_that_takes_too_long_is_killed_counted_and_logged_once(
    calling, program, calls, caplog
):
    caplog.set_level(logging.WARNING)
    path = program("sleep 1000")
    run = calling(path, timeout_seconds=0.1).land("a.mrc", "b.mrc", "c.mrc").start()
    run.until(lambda: calls.ended["timeout"] == 3)
    run.stop()
    (message,) = caplog.messages
    assert f"on_picked: {path} was killed after 0.1 s. Make it faster" in message


def test_failures_are_counted_and_logged_once_of_each_kind(calling, program, calls, caplog):
    caplog.set_level(logging.WARNING)
    path = program("exit 3")
    run = calling(path, parallel=1).land("a.mrc", "b.mrc").start()
    run.until(lambda: calls.ended["failure"] == 2)
    Path(path).unlink()
    run.land("c.mrc", "d.mrc")
    run.until(lambda: calls.ended["not_started"] == 2)
    run.stop()
    failed, missing = caplog.messages
    assert f"{path} ended with status 3" in failed
    assert f"{path} could not be started: [Errno 2]" in missing
    assert run.error is None


def test_calls_that_had_not_ended_are_repeated_by_the_next_start(
    calling, program, calls, tmp_path, caplog
):
    """Those that ran are killed, and what waits is called for; what had ended is not."""
    caplog.set_level(logging.INFO)
    first = calling(program(TELL), parallel=1).land("a.mrc").start()
    first.until(lambda: calls.ended["success"] == 1)
    program("sleep 1000")
    first.land("b.mrc", "c.mrc")
    first.until_counts(picked=3)
    first.stop()
    assert "on_picked: 2 micrographs are called for after the next start" in caplog.messages

    again = calling(program(TELL), parallel=1).start()
    again.until(lambda: calls.ended["success"] == 3)
    again.stop()
    assert [one["micrograph"] for one in told(tmp_path)] == [
        f"/data/avg/{name}" for name in ("a.mrc", "b.mrc", "c.mrc")
    ]


def test_a_call_that_fails_is_not_repeated_by_the_next_start(calling, program, calls):
    run = calling(program("exit 3")).land("a.mrc").start()
    run.until(lambda: calls.ended["failure"] == 1)
    run.stop()
    again = calling(program("exit 3")).land("b.mrc").start()
    again.until(lambda: calls.ended["failure"] == 2)
    again.stop()
    assert calls.ended == {"failure": 2}


def test_a_ledger_that_fails_at_the_stop_leaves_no_program_running(
    calling, program, calls, tmp_path, monkeypatch
):
    """The session's list is written all the same."""
    run = calling(program("echo $$ > pid; sleep 1000")).land("a.mrc").start()
    run.until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())

    def called(extent):
        raise LedgerWriteError("disk full", "Free some.")

    monkeypatch.setattr(run.ledger.session, "called", called)
    (run.out / "autopick.star").unlink(missing_ok=True)
    run.outputs.reconcile(Path("/data/avg"), Path("none.mrc"))
    run.stop()
    stat = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    run.until(lambda: not stat.exists())
    assert (run.out / "autopick.star").exists()
    assert run.error is None


def test_a_session_that_gets_a_program_calls_it_for_all_picks(
    session, calling, program, calls, tmp_path
):
    before = session().land("a.mrc", "b.mrc").start()
    before.until_counts(picked=2)
    before.stop()
    run = calling(program(TELL)).start()
    run.until(lambda: calls.ended["success"] == 2)
    run.stop()
    assert len(told(tmp_path)) == 2


def test_two_calls_for_one_micrograph_never_run_at_the_same_time(calling, program, calls, tmp_path):
    """New picks that came meanwhile become one call, with the latest."""
    script = program(f"mkdir busy || exit 9; cat >> told; {WAIT}; rmdir busy")
    run = calling(script, parallel=3).land("a.mrc").start()
    run.until(lambda: len(told(tmp_path)) == 1)
    for count, version in ((2, V2), (3, FileVersion(300, 3, 7))):
        run.land("a.mrc", version=version)
        run.until(lambda count=count: run.instruments.calls["picked"] == count)
    (tmp_path / "go").touch()
    run.until(lambda: calls.ended["success"] == 2)
    run.stop()
    assert calls.ended == {"success": 2}


def test_a_micrograph_that_has_lost_its_picks_is_not_told(calling, program, calls, tmp_path):
    """Its new content failed while it waited."""

    def work(job):
        if job.path.name == "b.mrc" and job.version == V2:
            raise HeaderError("b.mrc is empty", "Copy it again.")
        return find_two(job)

    run = calling(program(f"cat >> told; {WAIT}"), parallel=1, work=work).land("a.mrc").start()
    run.until(lambda: len(told(tmp_path)) == 1)
    run.land("b.mrc")
    run.until_counts(picked=2)
    run.land("b.mrc", version=V2)
    run.until_counts(picked=1, failed=1)
    (tmp_path / "go").touch()
    run.until(lambda: calls.ended["success"] == 1 and calls.waiting == 0)
    run.stop()
    assert calls.ended == {"success": 1}


def test_a_session_without_a_program_makes_no_calls(ledger, make_config, calls):
    config = make_config()
    assert (
        make_on_picked(
            lambda: config, ledger, None, instruments=calls, page=lambda: "", wake=lambda: None
        )
        is None
    )


def test_the_program_of_the_config_is_called(session, make_config, program, calls, tmp_path):
    """Its arguments, number and time limit come from the config, as do name and diameter."""
    before = make_config(particle={"diameter_angstrom": 210.0})
    output = before.output.model_copy(
        update={"on_picked": [program('cat >> "$1"'), "told"], "on_picked_timeout_seconds": 9.0}
    )
    config = before.model_copy(update={"output": output})

    def make_calls(run):
        return make_on_picked(
            lambda: config,
            run.ledger,
            run.outputs,
            instruments=calls,
            page=lambda: "http://localhost:1/",
            wake=lambda: run.inbox.put(CallEnded()),
        )

    run = session(make_calls=make_calls).land("a.mrc").start()
    run.until(lambda: calls.ended["success"] == 1)
    run.stop()
    (said,) = told(tmp_path)
    assert (said["session"], said["diameter_angstrom"]) == ("test", 210.0)
    assert said["thumbnail_url"].startswith("http://localhost:1/micrographs/")


def test_the_example_is_a_program_that_can_be_called(calling, calls, tmp_path):
    """It passes over the picks of the blob picker until they are final."""
    place = tmp_path / "picked.jsonl"
    run = calling(str(HOOKS / "picks_to_jsonl.py"), str(place)).land("a.mrc").start()
    run.until(lambda: calls.ended["success"] == 1)
    assert not place.exists()
    run.inbox.put(RunChanged(1, "f", "failed", reason="diverged"))
    run.until(lambda: calls.ended["success"] == 2)
    run.stop()
    line = json.loads(place.read_text())
    assert (line["micrograph"], line["particles"]) == ("/data/avg/a.mrc", 2)
    assert line["star"] == str(run.out / "a_autopick.star")
