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


def scored(score, *, hits, truths):
    """Return the matches of picks with these scores; the first ones are hits."""
    score = np.asarray(score)
    hit = np.arange(len(score)) < hits
    return Matches(score, hit, np.where(hit, 1.0, np.nan), truths)


def test_a_pickers_seeds_do_not_set_the_threshold():
    """It is relative to the median of the likely picks, because the seeds are the easy ones."""
    found = [scored([0.98, 0.95, 0.9, 0.9, 0.9, 0.85, 0.8, 0.4, 0.3], hits=2, truths=2)] * 2

    by_person = choose_operating_point(found)
    by_picker = choose_operating_point(found, easy_seeds=True)

    assert by_picker.threshold == pytest.approx(1 / (1 + np.exp(2) / 9))  # odds of 9 at .9
    assert "at 0.90, the median score of the likely picks in 2" in by_picker.source
    assert by_picker.precision == pytest.approx(2 / 7)
    assert by_person.threshold == pytest.approx(0.95)
    assert by_person.source.startswith("as many picks as seeds")


def test_the_threshold_follows_the_scale_of_the_scores():
    """A strong signal gives high scores, also to what is not a particle."""
    weak, strong = (
        choose_operating_point([scored([typical] * 20, hits=9, truths=9)], easy_seeds=True)
        for typical in (0.8, 0.96)
    )

    assert weak.threshold == pytest.approx(0.351, abs=0.001)
    assert strong.threshold == pytest.approx(0.765, abs=0.001)


def test_scores_of_one_do_not_put_the_threshold_at_infinite_odds():
    """A network that is certain of everything still has a threshold below its scores."""
    point = choose_operating_point([scored([1.0] * 20, hits=20, truths=20)], easy_seeds=True)

    assert 0.9 < point.threshold < 1
    assert point.recall == 1


def test_picks_that_count_neither_way_are_part_of_the_scale():
    """They are written like all others."""
    found = [scored([0.9] * 12, hits=9, truths=9)]
    every = [np.full(40, 0.7, dtype=np.float32)]

    point = choose_operating_point(found, easy_seeds=True, scores=every)

    assert "at 0.70," in point.source


def test_without_likely_picks_the_seeds_and_even_odds_share_the_choice():
    """The score with the best F1 against a picker's seeds is too high."""
    found = [matches(6, truths=6)]

    best = choose_operating_point([*found, *found])
    easy = choose_operating_point([scored(SCORES / 2, hits=12, truths=12)], easy_seeds=True)

    assert best.threshold == pytest.approx(SCORES[5])
    assert easy.threshold == pytest.approx((SCORES[11] / 2 + 0.5) / 2)
    assert easy.source.startswith("midpoint between 0.5 and 0.17, which has the best F1 against 12")
