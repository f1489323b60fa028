"""Recording of runs, model and session."""

import json
import math

import pytest

from livepick.core.contracts.judgement import Judgement
from livepick.core.evaluation.model_comparison import Comparison, Decision, Difference
from livepick.ledger.session_rows import Called

JUDGEMENT = Judgement(
    candidate=1,
    current=0,
    decision=Decision(promote=True, outcome="better", sentence="it is better"),
    comparison=Comparison(
        average_precision=Difference(0.9, 0.7, 0.2, 0.1, 0.3),
        precision=Difference(0.8, 0.8, 0.0, -0.1, 0.1),
        picks=133,
        particles=128,
        micrographs=2,
        own_average_precision=0.9,
    ),
)


def test_runs_model_and_session_are_recorded(ledger, clock):
    """A resumed run keeps its start time, and so does a model recorded twice."""
    ledger.session.run_changed(1, "abc", "running")
    assert not ledger.session.use_model(0, "blob", "p")
    ledger.session.begin("s1")
    clock.now += 60
    ledger.session.run_changed(1, "abc", "promoted", judgement=JUDGEMENT)
    assert not ledger.session.use_model(0, "blob", "p")

    (run,) = ledger.reader.runs()
    assert (run.state, run.started_at, run.ended_at, run.judgement) == (
        "promoted",
        1000.0,
        1060.0,
        JUDGEMENT,
    )
    assert (ledger.reader.model().kind, ledger.reader.model().since) == ("blob", 1000.0)
    assert ledger.session.begin("s1").started_at == 1000.0
    assert not ledger.session.use_model(1, "trained", "p")
    assert ledger.session.use_model(2, "blob", "another particle")


def test_an_unknown_figure_of_a_judgement_stays_unknown(ledger):
    """A candidate without labels of its own has no average precision on them."""
    values = JUDGEMENT.as_json()
    values["comparison"]["own_average_precision"] = math.nan
    ledger.session.run_changed(1, "abc", "promoted", judgement=Judgement.from_json(values))

    (run,) = ledger.reader.runs()
    assert math.isnan(run.judgement.comparison.own_average_precision)


@pytest.mark.parametrize("figures", [{}, {"verdict": None}, {"verdict": {"candidate": "x"}}])
def test_a_judgement_of_another_livepick_is_left_out(ledger, figures):
    """The rest of the run can be read."""
    ledger.session.run_changed(2, "abc", "promoted", reason="it is better")
    ledger.database.change("update run set figures = ?", json.dumps(figures))

    (run,) = ledger.reader.runs()
    assert (run.version, run.reason, run.judgement) == (2, "it is better", None)


def test_the_extent_to_which_on_picked_was_called_is_remembered(ledger):
    assert ledger.reader.called() == Called(until=0.0, final=False)
    extent = Called(1234.5, final=True)
    ledger.session.called(extent)
    before = ledger.database.rows("select total_changes()")[0][0]
    ledger.session.called(extent)
    assert ledger.reader.called() == extent
    assert ledger.database.rows("select total_changes()")[0][0] == before
