"""The orientation of given positions, by agreement with our own picks."""

import numpy as np
import pytest

from livepick.core.evaluation.orientation import Compared, choose_orientation, turned_over
from livepick.core.imaging.picks import Picks

HEIGHT, WIDTH = 700, 500


def picks_at(xy):
    xy = np.asarray(xy, dtype=np.float32)
    return Picks(xy[:, 0], xy[:, 1], np.ones(len(xy), dtype=np.float32))


def compared(chance, *, count, turned=False, agreeing=1.0):
    """Return a micrograph where this share of the given positions is at our own picks."""
    own = chance.uniform(0, [WIDTH, HEIGHT], (count, 2))
    other = chance.uniform(0, [WIDTH, HEIGHT], (count, 2))
    given = picks_at(np.where(chance.random(count)[:, None] < agreeing, own, other))
    if turned:
        given = turned_over(given, HEIGHT)
    return Compared(given, picks_at(own), HEIGHT, radius_px=10)


def test_turned_over_positions_are_counted_from_the_last_row():
    once = turned_over(picks_at([[3, 0], [4, 699], [5, 100.25]]), HEIGHT)

    assert once.y_px.tolist() == [699, 0, 598.75]
    assert once.x_px.tolist() == [3, 4, 5]
    assert turned_over(once, HEIGHT).y_px.tolist() == [0, 699, 100.25]


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("agreeing", [1.0, 0.5, 0.3])
def test_the_better_orientation_is_chosen_although_picks_are_poor(turned, agreeing):
    chance = np.random.default_rng(1)
    micrographs = [compared(chance, count=50, turned=turned, agreeing=agreeing) for _ in range(5)]

    chosen = choose_orientation(micrographs, "auto")

    assert chosen.flipped == turned
    assert "may be the wrong way" not in chosen.sentence
    assert " of 250 positions agree" in chosen.sentence


@pytest.mark.parametrize("seed", range(20))
def test_chance_alone_never_turns_positions_over(seed):
    chance = np.random.default_rng(seed)
    micrographs = [compared(chance, count=40, turned=True, agreeing=0) for _ in range(3)]

    chosen = choose_orientation(micrographs, "auto")

    assert not chosen.flipped
    assert "as given, but may be the wrong way round" in chosen.sentence
    assert "may be in binned images" in chosen.sentence


def test_too_few_positions_stay_as_given():
    chance = np.random.default_rng(1)
    few = [compared(chance, count=3, turned=True) for _ in range(3)]

    chosen = choose_orientation(few, "auto")

    assert not chosen.flipped
    assert "9 positions are too few" in chosen.sentence


def test_micrographs_without_picks_of_our_own_do_not_count():
    chance = np.random.default_rng(1)
    one = compared(chance, count=50, turned=True)
    none = Compared(one.given, Picks.empty(), HEIGHT, radius_px=10)

    assert choose_orientation([one, none], "auto").flipped
    assert "0 positions are too few" in choose_orientation([none], "auto").sentence
    assert "0 positions are too few" in choose_orientation([], "auto").sentence


def test_a_person_decides_without_any_picks():
    assert choose_orientation([], "yes").flipped
    assert not choose_orientation([], "no").flipped
