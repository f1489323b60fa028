"""Comparison of the latest micrographs with the first that the model picked."""

import numpy as np
import pytest

from livepick.core.evaluation.drift_test import (
    DRIFT_FIGURES,
    LEAST_SCORES,
    REFERENCE,
    WINDOW,
    Picked,
    compare,
)


def session(rng, count, *, picks=100, score=0.85, masked=0.05, square=0.1):
    """Return micrographs whose number and scores vary from square to square and within one."""
    made, left = [], 0
    while len(made) < count:
        if left == 0:
            left = int(rng.integers(12, 31))
            density, better = np.exp(rng.normal(0, square)), rng.normal(0, 0.01)
        left -= 1
        number = rng.poisson(picks * density * np.clip(rng.normal(1, 0.25), 0.2, 2))
        centre = score + better + rng.normal(0, 0.02)
        scores = np.clip(rng.normal(centre, 0.08, number), 0.5, 1).astype(np.float32)
        made.append(Picked(scores, float(np.clip(rng.normal(masked, 0.03), 0, 1))))
    return made


def compared(micrographs, **how):
    """Return the comparison of the first and the last of a session."""
    reference, rest = micrographs[:REFERENCE], micrographs[REFERENCE:]
    return compare(reference, rest[-WINDOW:], model_version=3, **how)


def kinds(drift):
    return [change.kind for change in drift.changes]


def test_few_micrographs_are_not_compared():
    micrographs = session(np.random.default_rng(3), REFERENCE + WINDOW)
    assert compared(micrographs).measures
    assert not compared(micrographs[:-1]).measures
    assert not compare(micrographs[: REFERENCE - 1], micrographs, model_version=3).measures


@pytest.mark.parametrize("seed", range(5))
def test_half_the_particles_are_noticed_within_25_micrographs(seed):
    rng = np.random.default_rng([4, seed])
    before = session(rng, 90)
    after = session(rng, 25, picks=50)
    assert any("fewer_picks" in kinds(compared(before + after[:n])) for n in range(26))


def test_a_change_has_the_medians_of_both_sides():
    rng = np.random.default_rng(5)
    before = session(rng, REFERENCE, square=0)
    drift = compared(before + session(rng, WINDOW, picks=40, square=0))
    (change,) = drift.changes
    assert change.kind == "fewer_picks"
    assert change.before == pytest.approx(100, rel=0.1)
    assert change.now == pytest.approx(40, rel=0.1)
    assert drift.model_version == 3


def test_seven_poor_micrographs_in_a_row_are_not_drift():
    """Their share of the window does not matter."""
    rng = np.random.default_rng(6)
    micrographs = session(rng, 80, square=0) + session(rng, 7, picks=10, square=0)
    micrographs += session(rng, 25, square=0)
    for count in range(80, len(micrographs)):
        assert kinds(compared(micrographs[:count])) == []


def test_ten_stationary_sessions_raise_no_alarm():
    """The test runs after every fifth micrograph; densities differ by 10 % between squares."""
    for seed in range(10):
        micrographs = session(np.random.default_rng([7, seed]), 200)
        found: set[str] = set()
        for count in range(REFERENCE + WINDOW, len(micrographs), 5):
            found |= set(kinds(compared(micrographs[:count], active=found)))
        assert found == set()


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"picks": 220}, "more_picks"),
        ({"score": 0.68}, "lower_scores"),
        ({"score": 0.68}, "other_scores"),
        ({"score": 0.95}, "other_scores"),
        ({"masked": 0.3}, "more_masked"),
    ],
)
def test_each_change_has_its_finding(change, kind):
    rng = np.random.default_rng(8)
    drift = compared(session(rng, REFERENCE) + session(rng, WINDOW, **change))
    assert kind in kinds(drift)
    assert max(drift.size(figure) for figure in DRIFT_FIGURES) >= 1


def test_a_change_within_the_reference_does_not_count():
    """Four of its ten batches were as poor as the whole window is."""

    def exactly(picks, count):
        return [Picked(np.linspace(0.5, 1, picks, dtype=np.float32), 0.0)] * count

    drift = compared(exactly(100, 30) + exactly(50, 20) + exactly(50, WINDOW))
    assert drift.size("picks") > 1
    assert drift.changes == ()


def test_few_scores_are_not_mistaken_for_other_scores():
    """With six picks per micrograph, chance alone gives an index of 0.2 between two halves."""
    sizes = []
    for seed in range(10):
        rng = np.random.default_rng([11, seed])
        drift = compared(session(rng, REFERENCE + WINDOW, picks=7, square=0))
        sizes.append(drift.size("score_distribution"))
    assert np.mean(sizes) < 0.3


def test_scores_of_few_picks_are_not_compared():
    """Nine scores are too few for ten bins."""
    rng = np.random.default_rng(9)
    few = session(rng, WINDOW, picks=LEAST_SCORES / WINDOW / 2)
    drift = compared(session(rng, REFERENCE) + few)
    assert {measure.figure for measure in drift.measures} == {"picks", "masked_fraction"}
    assert drift.size("score_distribution") == 0


def test_a_session_without_picks_is_as_good_as_another():
    """No picks before and no picks now are not a change."""
    nothing = [Picked(np.zeros(0, np.float32), 0.0)] * (REFERENCE + WINDOW)
    assert compared(nothing).changes == ()


def test_an_existing_change_stays_until_it_is_clearly_over():
    """Seven tenths of the picks neither start an alarm nor end one."""

    def exactly(picks, count):
        return [Picked(np.linspace(0.5, 1, picks, dtype=np.float32), 0.0)] * count

    micrographs = exactly(100, REFERENCE) + exactly(70, WINDOW)
    assert kinds(compared(micrographs)) == []
    assert kinds(compared(micrographs, active={"fewer_picks"})) == ["fewer_picks"]
    assert kinds(compared(micrographs, active={"more_masked"})) == []
    assert kinds(compared(exactly(100, REFERENCE + WINDOW), active={"fewer_picks"})) == []
