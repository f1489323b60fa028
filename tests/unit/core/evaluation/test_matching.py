"""Matching and its figures, on cases that can be checked by hand."""

import math

import numpy as np
import pytest

from livepick.core.evaluation.matching import curve, figures, match, precision_recall_f1
from livepick.core.imaging.pick_area import PickArea
from livepick.core.imaging.picks import Picks


def picks_of(*rows: tuple[float, float, float]) -> Picks:
    table = np.array(rows, dtype=np.float32).reshape(-1, 3)
    return Picks(table[:, 0], table[:, 1], table[:, 2])


TRUTH = picks_of((10, 10, 1), (50, 10, 1), (90, 10, 1), (10, 90, 1))


def test_perfect_picks_have_perfect_figures():
    """Picks on the truths themselves: every figure is 1, and the error 0."""
    found = figures([match(TRUTH, TRUTH, radius_px=5)])

    assert (found.average_precision, found.best_f1, found.precision_at_count) == (1, 1, 1)
    assert found.localisation_mean_px == 0


def test_second_pick_on_one_particle_is_false():
    """A truth is found once; the weaker pick beside it counts as wrong."""
    picks = picks_of((11, 10, 0.4), (10, 12, 0.9))

    matches = match(picks, TRUTH, radius_px=5)

    assert matches.hit.tolist() == [True, False]
    assert matches.distance_px[0] == pytest.approx(2)
    assert math.isnan(matches.distance_px[1])


def test_pick_takes_the_nearest_free_truth():
    """The better pick chooses first; the other takes what is left within the radius."""
    truth = picks_of((0, 0, 1), (6, 0, 1))
    matches = match(picks_of((4, 0, 0.9), (5, 0, 0.5)), truth, radius_px=5)

    assert matches.hit.all()
    assert matches.distance_px.tolist() == [2, 5]


def test_figures_by_hand():
    """Hit, miss, hit, hit, miss with four truths give AP = 1/4 (1 + 2/3 + 3/4)."""
    picks = picks_of((10, 10, 0.9), (30, 40, 0.8), (53, 14, 0.7), (90, 10, 0.6), (70, 70, 0.5))

    found = figures([match(picks, TRUTH, radius_px=5)])

    assert found.average_precision == pytest.approx((1 + 2 / 3 + 3 / 4) / 4)
    assert found.best_f1 == pytest.approx(0.75)
    assert (found.precision, found.recall) == (0.75, 0.75)
    assert found.threshold == pytest.approx(0.6)
    assert found.precision_at_count == pytest.approx(0.75)
    assert found.localisation_mean_px == pytest.approx(5 / 3)
    assert found.localisation_median_px == 0


def test_order_of_equal_scores_does_not_show():
    """A threshold accepts all picks of a score or none, so their order does not matter."""
    rows = [(10, 10, 0.5), (30, 40, 0.5), (50, 10, 0.5), (70, 70, 0.5), (75, 30, 0.5)]

    one, other = (figures([match(picks_of(*r), TRUTH, radius_px=5)]) for r in (rows, rows[::-1]))

    assert one == other
    assert one.average_precision == pytest.approx(0.5 * 2 / 5)
    assert one.precision_at_count == pytest.approx(2 / 5)


def test_pooling_ranks_all_micrographs_together():
    """The truths of a micrograph without picks count as missed."""
    good = match(picks_of((10, 10, 0.9), (50, 10, 0.8)), TRUTH, radius_px=5)
    missed = match(Picks.empty(), TRUTH, radius_px=5)

    found = figures([good, missed])

    assert (found.truths, found.hits) == (8, 2)
    assert found.average_precision == pytest.approx(2 / 8)
    assert found.precision_at_count == pytest.approx(2 / 8)


def test_undefined_figures_are_nan_and_not_zero():
    """Picks in an empty field have no recall; no picks have no precision."""
    empty_field = figures([match(TRUTH, Picks.empty(), radius_px=5)])
    no_picks = figures([match(Picks.empty(), TRUTH, radius_px=5)])

    assert math.isnan(empty_field.average_precision)
    assert (no_picks.average_precision, no_picks.best_f1) == (0, 0)
    assert math.isnan(no_picks.precision)
    assert math.isnan(figures([]).best_f1)


def test_operating_point_agrees_with_the_curve():
    """The figures at a threshold are those of the curve's point there."""
    rng = np.random.default_rng(3)
    table = np.column_stack([rng.uniform(0, 100, (60, 2)), rng.uniform(0, 1, 60)])
    matches = match(picks_of(*map(tuple, table)), TRUTH, radius_px=20)

    points = curve(matches)

    for threshold, precision, recall, f1 in zip(
        points.threshold, points.precision, points.recall, points.f1, strict=True
    ):
        assert precision_recall_f1([matches], threshold) == pytest.approx((precision, recall, f1))


AREA = PickArea(top=20, bottom=80, left=20, right=80)


def test_outside_of_the_area_neither_truths_nor_picks_count():
    """A truth at the edge is not a miss, and a pick of it is neither right nor wrong."""
    truth = picks_of((50, 50, 1), (50, 18, 1), (5, 50, 1))
    picks = picks_of((50, 51, 0.9), (50, 21, 0.8), (60, 5, 0.7), (60, 70, 0.6))

    matches = match(picks, truth, radius_px=5, area=AREA)

    assert matches.truths == 1
    assert matches.hit.tolist() == [True, False]  # that at (60, 70) is inside, and wrong
    assert matches.score == pytest.approx([0.9, 0.6])


@pytest.mark.parametrize(("y", "truths"), [(24, 0), (26, 1)])
def test_what_an_error_of_the_position_moves_over_the_limit_does_not_count(y, truths):
    """A picker that follows the edge rule therefore scores as well as one that does not."""
    truth = picks_of((50, y, 1))
    for error_px in (-4.5, 4.5):
        picks = picks_of((50, y + error_px, 0.9))
        kept = picks.where(AREA.holds(picks.x_px, picks.y_px))

        matches, of_kept = (match(p, truth, radius_px=5, area=AREA) for p in (picks, kept))

        assert matches.truths == of_kept.truths == truths
        assert matches.hit.tolist() == of_kept.hit.tolist() == [True] * truths


def test_without_truths_picks_inside_are_wrong():
    """An empty field has an edge too."""
    picks = picks_of((50, 50, 0.9), (50, 5, 0.8))

    matches = match(picks, Picks.empty(), radius_px=5, area=AREA)

    assert (matches.truths, matches.hit.tolist()) == (0, [False])
