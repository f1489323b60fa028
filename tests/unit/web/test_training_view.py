"""Training on the page, and the listeners to its changes."""

import asyncio
import json

import pytest

from livepick.core.contracts.judgement import Judgement
from livepick.core.contracts.progress import PROGRESS, Progress
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.page_queries import PageQueries
from livepick.ledger.session_rows import RunRow
from livepick.monitoring.training_status import TrainingStatus
from livepick.retraining.eta import RunProgress
from livepick.web.live_updates import MOST_LISTENERS, Live
from livepick.web.page_thread import PageThread
from livepick.web.training_view import run_activity, view_training

JUDGEMENT = Judgement.from_json(
    {
        "candidate": 2,
        "champion": 0,
        "verdict": {"promote": True, "outcome": "better", "sentence": "…"},
        "comparison": {
            "average_precision": {
                "candidate": 0.9,
                "champion": 0.7,
                "difference": 0.2,
                "low": 0.1,
                "high": 0.3,
            },
            "precision": {
                "candidate": 0.8,
                "champion": 0.8,
                "difference": 0.0,
                "low": -0.1,
                "high": 0.1,
            },
            "picks": 133,
            "particles": 128,
            "micrographs": 2,
            "own_average_precision": 0.9,
        },
    }
)


def run(version, state, judgement=None):
    """Return a run as in the ledger."""
    return RunRow(version, "f", state, "", 0.0, None, judgement)


@pytest.fixture
def queries(make_config):
    """Return the queries of an empty ledger."""
    with Database.writable(make_config().state.directory / LEDGER) as database:
        yield PageQueries(database)


def write_progress(config, epochs):
    """Write the progress of run 1: stage, number of the epoch, and loss of each epoch."""
    folder = config.state.directory / "runs" / "0001"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        Progress(at=0, stage=stage, done=done, total=3, training_loss=loss, validation_loss=loss)
        for stage, done, loss in epochs
    ]
    text = "".join(f"{line.model_dump_json()}\n" for line in lines)
    (folder / PROGRESS).write_text(text + '{"at": 1, "sta')  # a line that is being written


def test_the_curves_are_those_of_the_whole_run(make_config, queries):
    """A repeated attempt and the second round follow the first, with a gap between them."""
    config = make_config()
    first, second = [("train", 1, 0.9), ("train", 2, 0.8)], [("train", 1, 0.5)]
    write_progress(config, [*first, *second, ("retrain", 1, 0.4), ("retrain", 2, 0.25)])

    view = view_training(config, [run(1, "running")], queries)
    (chart,) = view.charts  # no accuracy is known

    assert view.is_running
    assert [attempt.name for attempt in view.attempts] == [
        "round 1, attempt 1", "round 1, attempt 2", "round 2",
    ]  # fmt: skip
    assert chart.epochs == [1, 2, 2.5, 3, 3.5, 4, 5]
    assert chart.values[0] == [0.9, 0.8, None, 0.5, None, 0.4, 0.25]
    assert chart.starts == [(1, "round 1, attempt 1"), (3, "round 1, attempt 2"), (4, "round 2")]
    assert chart.last == (0.25, 0.25)

    (config.state.directory / "models" / "0001").mkdir(parents=True)
    after = view_training(config, [run(1, "promoted")], queries)
    assert (after.is_running, after.attempts) == (False, view.attempts)
    write_progress(config, [("train", 1, 0.9)])
    assert view_training(config, [run(1, "promoted")], queries).charts == ()


def test_the_result_of_the_promotion_gate(make_config, queries):
    """Both figures of both models, from the latest run with a model."""
    config = make_config()
    (config.state.directory / "models" / "0002").mkdir(parents=True)
    runs = [run(3, "failed"), run(2, "promoted", JUDGEMENT)]

    gate = view_training(config, runs, queries).gate

    assert (gate.candidate, gate.current, gate.outcome, gate.micrographs) == (2, 0, "better", 2)
    assert [figure.name for figure in gate.figures] == [
        "average precision at the gate",
        "precision of the best 133 picks",
    ]
    assert gate.figures[0].figure.difference == 0.2


@pytest.mark.parametrize(
    ("stage", "loss", "words", "unit", "step"),
    [
        ("prepare", None, "reading the micrographs", "micrograph", 1),
        ("classify", None, "2D classification", "", 3),
        ("train", 0.5, "training", "epoch", 5),
        ("train", None, "training", "", 5),
        ("retrain", 0.5, "training a second round on its own picks", "epoch", 6),
        ("publish", None, "publishing the model", "", 9),
        ("failed", None, "failed", "", 0),
    ],
)
def test_each_stage_has_a_description(stage, loss, words, unit, step):
    """Epochs are counted only after the first one; before that, the count means other things."""
    progress = RunProgress(stage, done=3, total=20, training_loss=loss, ends_at=9.0)
    doing = run_activity(TrainingStatus("training", "", 4, progress))

    assert (doing.words, doing.unit, doing.step, doing.steps) == (words, unit, step, 9)
    assert (doing.version, doing.done, doing.total, doing.ends_at) == (4, 3, 20, 9.0)


@pytest.mark.parametrize(
    "training",
    [
        TrainingStatus("training", "Run 0004 begins.", 4),
        TrainingStatus("trained", "", 4, RunProgress("done", 1, 1)),
        TrainingStatus("collecting", ""),
    ],
)
def test_no_activity_is_shown_without_a_running_stage(training):
    """A run without progress lines has a sentence but no bar."""
    assert run_activity(training) is None


def test_the_number_of_listeners_is_limited():
    """A listener that leaves makes room for another."""
    live = Live(None, None)
    assert [live.enter() for _ in range(MOST_LISTENERS + 1)] == [*[True] * MOST_LISTENERS, False]
    live.leave()
    assert [live.enter(), live.enter()] == [True, False]


def test_a_change_is_sent_once():
    """The stream ends with the service."""

    class Sections:
        html = "a"

        def parts(self):
            return {"glance": self.html}

    async def listen():
        sections = Sections()
        live = Live(sections, PageThread(), interval_seconds=0.2)
        stream = live.events()
        first = await anext(stream)
        sections.html = "b"
        second = await anext(stream)
        live.close()
        assert [event async for event in stream] == []
        return first, second

    first, second = asyncio.run(listen())
    assert json.loads(first[6:])["glance"] != json.loads(second[6:])["glance"]
