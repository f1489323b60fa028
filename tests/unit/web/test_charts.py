"""Positions of numbers in the plots."""

from itertools import pairwise

import pytest

from livepick.core.contracts.training_report import Epoch
from livepick.ledger.rows import Moment
from livepick.ledger.timeline import Timeline
from livepick.web.charts import HEIGHT_PX, MOST_BINS, curves, picks_plot, score_plot


def moments(count, *, picks=lambda number: number, every=20.0, model=lambda _: 0):
    """Return the timeline of a session."""
    return [Moment(1e9 + every * n, picks(n), 0.5, model(n)) for n in range(count)]


def test_few_micrographs_are_shown_one_by_one():
    """Each is at its time; the axis begins at zero and ends at a round number."""
    plot = picks_plot(Timeline.of(moments(3, picks=lambda n: (0, 50, 100)[n])))

    assert [mark.y for mark in plot.marks] == pytest.approx([HEIGHT_PX, HEIGHT_PX / 2, 0], abs=3)
    assert [mark.x for mark in plot.marks] == [1.5, 50.0, 98.5]
    assert plot.rows[0].label == "0"


def test_many_are_shown_by_median_and_range():
    """Ten thousand micrographs need no more marks than a screen has room for."""
    plot = picks_plot(Timeline.of(moments(10_000, picks=lambda n: (90, 100, 110)[n % 3])))

    assert len(plot.marks) == MOST_BINS
    assert len({mark.y for mark in plot.marks}) == 1
    assert all(mark.low > mark.y > mark.high for mark in plot.marks)
    assert "median 100" in plot.summary


def test_a_pause_is_a_gap():
    """There is no mark where nothing arrived."""
    session = moments(300) + [Moment(1e9 + 50_000 + 20 * n, 9, 0.5, 0) for n in range(300)]
    places = [mark.x for mark in picks_plot(Timeline.of(session)).marks]

    assert max(b - a for a, b in pairwise(places)) > 50


def test_a_change_of_model_is_marked():
    """The mark is at the arrival of its first micrograph."""
    plot = picks_plot(Timeline.of(moments(11, model=lambda n: 2 if n >= 5 else 0)))

    assert [(change.at, change.label) for change in plot.models] == [(50.0, "model 2")]


def test_micrographs_without_picks_have_no_score():
    """They are left out and do not count as zero."""
    session = [Moment(1e9, 0, None, 0), Moment(1e9 + 20, 3, 0.8, 0)]

    assert len(score_plot(Timeline.of(session)).marks) == 1
    assert score_plot(Timeline.of(session[:1])).marks == ()


def test_curves_share_one_axis():
    """Both losses, over all epochs; a single epoch is not a curve."""
    epochs = [Epoch(0.4 - 0.1 * n, 0.5 - 0.1 * n, None, None) for n in range(3)]
    drawn = curves("Loss", epochs)

    assert [line.name for line in drawn.lines] == ["training", "held out"]
    assert drawn.lines[1].points == "0.0,0.0 50.0,33.3 100.0,66.7"
    assert curves("Loss", epochs[:1]) is None
    assert curves("Accuracy", epochs, accuracy=True) is None
