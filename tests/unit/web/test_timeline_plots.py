"""Data of the plots over time."""

import json
from itertools import pairwise

import numpy as np
import pytest

from livepick.core.imaging.quality_limits import LIMITS
from livepick.ledger.timeline import Timeline
from livepick.web.timeline_plots import (
    BARS,
    MOST_CHANGES,
    MOST_MICROGRAPHS,
    MOST_SPANS,
    figure_summaries,
    timeline_plots,
)

BEGIN = 1e9


def timeline(count, **columns):
    """Return a session with a micrograph every 20 s; further columns replace its values."""
    number = np.arange(count, dtype=float)
    nothing = np.full(count, np.nan)
    values = {
        "id": number + 1,
        "landed_at": BEGIN + 20 * number,
        "pick_count": number,
        "median_score": np.full(count, 0.5),
        "model_version": np.zeros(count),
        "verdict": np.zeros(count),
        "ice_ring": nothing,
        "defocus_micrometre": nothing,
        "ctf_resolution_angstrom": nothing,
        "ctf_is_fitted": nothing,
    }
    return Timeline(**values | {name: np.array(value, float) for name, value in columns.items()})


def figure_of(data, name):
    (figure,) = (figure for figure in data["figures"] if figure["name"] == name)
    return figure


def test_few_micrographs_are_sent_one_by_one():
    """Each has its own time, number and values; the axis of picks begins at zero."""
    data = timeline_plots(timeline(3, pick_count=[10, 50, 100], verdict=[0, 2, np.nan]))
    picks = figure_of(data, "pick_count")

    assert (data["at"], data["id"], data["count"]) == ([0.0, 20.0, 40.0], [1, 2, 3], None)
    assert (picks["middle"], picks["low"], picks["high"]) == ([10, 50, 100], None, None)
    assert picks["axis"][0] == 0
    assert data["verdicts"] == {"good": [1, 0, 0], "doubtful": [0, 0, 0], "bad": [0, 1, 0]}
    json.dumps(data, allow_nan=False)


def test_many_are_sent_by_lowest_median_and_highest_value():
    """A session of any length has at most as many places as a screen has columns."""
    count = 10_000
    data = timeline_plots(timeline(count, pick_count=np.tile([90, 100, 110, 100], count // 4)))
    picks = figure_of(data, "pick_count")

    assert len(data["at"]) == MOST_SPANS
    assert data["id"] is None
    assert sum(data["count"]) == sum(data["verdicts"]["good"]) == count
    assert set(picks["middle"]) == {100}
    assert (set(picks["low"]), set(picks["high"])) == ({90}, {110})
    assert len(json.dumps(data)) < 60_000


def test_unknown_values_do_not_count_in_a_span():
    """A span without any known value is empty; one with some has these alone."""
    count = 4 * MOST_MICROGRAPHS
    ice = np.full(count, np.nan)
    ice[: count // 2 : 2] = 1.2
    data = timeline_plots(timeline(count, ice_ring=ice))
    values = figure_of(data, "ice_ring")

    half = MOST_SPANS // 2
    for name in ("low", "middle", "high"):
        assert set(values[name][:half]) == {1.2}
        assert set(values[name][half + 1 :]) == {None}
    json.dumps(data, allow_nan=False)


def test_a_pause_is_a_gap():
    """There is no place where nothing arrived."""
    count = 2 * MOST_MICROGRAPHS
    number = np.arange(count)
    landed_at = BEGIN + 20.0 * number + np.where(number < count // 2, 0, 200_000)
    places = timeline_plots(timeline(count, landed_at=landed_at))["at"]

    assert max(b - a for a, b in pairwise(places)) > 190_000


def test_a_histogram_has_every_known_value_and_the_limits_are_beside_it():
    """Values beyond the axis are in its last bar."""
    (limit,) = (limit for limit in LIMITS if limit.figure == "ice_ring")
    values = np.full(1000, 1.1)
    values[0], values[1] = 50.0, np.nan
    ice = figure_of(timeline_plots(timeline(1000, ice_ring=values)), "ice_ring")

    assert len(ice["bars"]) == BARS
    assert sum(ice["bars"]) == 999
    assert ice["bars"][-1] == 1
    assert ice["limits"] == {"doubtful": limit.doubtful, "bad": limit.bad}
    assert ice["axis"][1] > limit.doubtful
    assert ice["axis"][1] < 50


def test_a_change_of_model_is_marked():
    """The mark is at the first micrograph of the model; too many marks are none."""
    assert timeline_plots(timeline(11, model_version=[0] * 5 + [2] * 6))["models"] == [(100.0, 2)]
    count = MOST_CHANGES + 2
    assert timeline_plots(timeline(count, model_version=np.arange(count)))["models"] == []


def test_a_figure_that_no_micrograph_has_is_left_out_with_a_sentence():
    """CTF figures say who has measured them."""
    data = timeline_plots(timeline(3))
    assert [figure["name"] for figure in data["figures"]] == ["pick_count", "median_score"]
    unknown = [summary.unknown for summary in figure_summaries(timeline(3)) if summary.unknown]
    assert unknown[0].startswith("No defocus is known")
    assert len(unknown) == 3

    measured = timeline(3, defocus_micrometre=[1.0, 2.0, np.nan], ctf_is_fitted=[1, 0, np.nan])
    assert figure_of(timeline_plots(measured), "defocus_micrometre")["fitted"] == [1, 0, 0]
    (defocus,) = (s for s in figure_summaries(measured) if s.title == "Defocus, µm")
    assert (defocus.known, defocus.fitted, defocus.latest) == (2, 1, "2.00")


def test_a_session_without_micrographs_has_no_plots():
    assert timeline_plots(Timeline.empty()) == {"micrographs": 0, "figures": []}
    assert all(summary.known == 0 for summary in figure_summaries(Timeline.empty()))


def test_the_zone_is_that_of_the_machine(monkeypatch):
    """The browser may be elsewhere."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    import time  # noqa: PLC0415 - tzset belongs to this test

    time.tzset()
    try:
        data = timeline_plots(timeline(2))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert (data["zone"], data["offset_seconds"]) == ("UTC+5:30", 19_800)
    assert data["from"] == pytest.approx(BEGIN)
