"""Status of a training run, for ``livepick status`` and the page."""

import json
import time
from pathlib import Path

import pytest

from livepick.core.formats.file_version import FileVersion
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.writer import LedgerWriter
from livepick.monitoring import training_status as module
from livepick.monitoring.status import read_status
from livepick.retraining.trainer_place import TrainerPlace, write_place


@pytest.fixture
def say(make_config):
    """Return a function that makes run 1 running, with these lines of progress."""
    config = make_config()
    folder = config.state.directory / "runs" / "0001"
    folder.mkdir(parents=True)
    database = Database.writable(config.state.directory / LEDGER)
    ledger = LedgerWriter(database)
    ledger.session.begin("test")

    def look(*lines, reason="", place=None):
        write_place(folder, place)
        fingerprint = config.training_fingerprint()
        ledger.session.run_changed(1, fingerprint, "running", reason=reason)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "progress.jsonl").write_text(text)
        return read_status(config)

    with database:
        yield look


def epoch(at, done):
    return {
        "at": at, "stage": "train", "done": done, "total": 30,
        "training_loss": 0.25, "validation_loss": 0.5,
    }  # fmt: skip


def test_stage_losses_and_time_to_go_are_in_one_sentence_and_in_the_json(say):
    """28 epochs of 8 s, and 15 in the second round, take about six minutes."""
    now = time.time()
    status = say(epoch(now - 9, 1), epoch(now - 1, 2))

    assert status.training.sentence == (
        "Run 0001: training, 2 of 30, training loss 0.2500, held-out loss 0.5000, about 6 min left."
    )
    progress = status.as_json()["training"]["progress"]
    assert progress.pop("ends_at") == pytest.approx(now - 1 + 43 * 8 + 10)
    assert progress == {
        "stage": "train", "done": 2, "total": 30, "training_loss": 0.25, "validation_loss": 0.5,
    }  # fmt: skip


def test_there_is_no_remaining_time_before_the_first_epoch(say):
    """The duration of an epoch is not known yet."""
    assert say().training.sentence == "Run 0001 is starting."
    status = say({"at": time.time(), "stage": "prepare", "done": 3, "total": 20})

    assert status.training.sentence == "Run 0001: reading the micrographs, 3 of 20."
    assert status.as_json()["training"]["progress"]["ends_at"] is None


def test_a_waiting_run_names_the_reason(say):
    """The operator can then free some space."""
    status = say(epoch(time.time(), 1), reason="there is no room left on the disk of /r")

    assert status.training.sentence == (
        "Run 0001 is waiting and will continue by itself: there is no room left on the disk of /r."
    )


def test_a_run_on_a_cluster_names_its_machine(say):
    at_work = TrainerPlace(host="node7")
    assert say(place=at_work).training.sentence == "Run 0001 is starting on node7."
    status = say({"at": 1, "stage": "prepare", "done": 3, "total": 20}, place=at_work)
    assert status.training.sentence == "Run 0001 on node7: reading the micrographs, 3 of 20."
    assert status.as_json()["training"]["host"] == "node7"
    assert not status.training.waits

    silent = TrainerPlace(host="node7", waits="its worker does not answer")
    assert say(place=silent).training.sentence == (
        "Run 0001 is waiting and will continue by itself: node7: its worker does not answer."
    )
    status = say(place=TrainerPlace(waits="no worker of the cluster takes heavy jobs"))
    assert status.training.waits
    assert status.training.sentence.endswith("no worker of the cluster takes heavy jobs.")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "10 s"), (44, "40 s"), (95, "2 min"), (3000, "50 min"), (9000, "2.5 h")],
)
def test_times_are_as_rough_as_they_are_known(seconds, words):
    assert module._duration(seconds) == words


def test_equal_names_in_two_watched_folders_are_told_apart(make_config):
    """They are two micrographs; with one watched folder, its name is not shown."""
    config = make_config()
    with Database.writable(config.state.directory / LEDGER) as database:
        ledger = LedgerWriter(database)
        ledger.arrivals.landed(Path("/data/a/in"), Path("g/x.mrc"), FileVersion(1, 2, 3), 1.0)
        assert [row.name for row in read_status(config).newest] == ["g/x.mrc"]
        ledger.arrivals.landed(Path("/data/b/in"), Path("g/x.mrc"), FileVersion(1, 2, 3), 2.0)
        names = sorted(row.name for row in read_status(config).newest)
    assert names == ["a/in/g/x.mrc", "b/in/g/x.mrc"]
