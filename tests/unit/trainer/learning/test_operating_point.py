"""Choice of the score threshold for picks."""

import numpy as np
import pytest

from livepick.core.evaluation.matching import Matches
from livepick_trainer.learning.operating_point import choose_operating_point

SCORES = np.linspace(0.9, 0.1, 17)


def matches(hits, *, truths):
    """Return the matches of 17 picks; those with the best scores are hits."""
    hit = np.arange(len(SCORES)) < hits
    return Matches(SCORES, hit, np.where(hit, 1.0, np.nan), truths)


def test_a_person_who_knows_the_count_is_believed():
    """The count overrides F1; it is a mean per held-out micrograph, and all are taken if fewer."""
    found = [matches(6, truths=8), matches(6, truths=8)]

    point = choose_operating_point(found, expected_picks=10)
    generous = choose_operating_point(found, expected_picks=500)

    assert sum(int((one.score >= point.threshold).sum()) for one in found) == 20
    assert "training.expected_picks, 10 per micrograph" in point.source
    assert point.precision == pytest.approx(12 / 20)
    assert generous.threshold == pytest.approx(SCORES[-1])


def test_a_pickers_seeds_lack_the_difficult_particles():
    """The score with the best F1 against them is too high, so the midpoint to 0.5 is used."""
    found = [matches(6, truths=6), matches(6, truths=6)]

    best = choose_operating_point(found)
    easy = choose_operating_point(found, easy_seeds=True)

    assert best.threshold == pytest.approx(SCORES[5])
    assert easy.threshold == pytest.approx((SCORES[5] + 0.5) / 2)
    assert easy.precision == pytest.approx(6 / 7)
    assert easy.source.startswith("midpoint between 0.5 and 0.65, which has the best F1 against 12")


def test_by_their_classes_picks_count_as_far_as_they_are_likely():
    """Ten certain picks and ten at even odds are all worth writing; unlikely ones are not.

    The threshold is the midpoint between that score and 0.3; picks in no class have no influence.
    """
    chance = np.array([0.95] * 8 + [0.6] * 4 + [0.05] * 5, dtype=np.float32)
    chance[3] = np.nan
    found = [matches(6, truths=6)] * 3

    point = choose_operating_point(
        found, easy_seeds=True, by_class=[(SCORES.astype(np.float32), chance)] * 3
    )

    assert point.threshold == pytest.approx((SCORES[11] + 0.3) / 2, abs=1e-6)
    assert "according to the 2D classes of 48 picks" in point.source


def test_classes_that_have_seen_hardly_any_pick_do_not_choose():
    """In this case the seeds determine the threshold."""
    chance = np.full(17, np.nan, dtype=np.float32)
    chance[:2] = 0.9
    found = [matches(6, truths=6)] * 3

    point = choose_operating_point(found, by_class=[(SCORES.astype(np.float32), chance)] * 3)

    assert point.source.startswith("best F1 against 18 seeds")
