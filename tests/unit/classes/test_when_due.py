"""When class averages are due."""

import dataclasses

import pytest

from factories import make_class_averages, make_row
from livepick.classes.when_due import averaged, why_due
from livepick.core.contracts.class_averages import MOST_PARTICLES

MADE = make_class_averages(
    number=1,
    last_id=10,
    micrographs=10,
    particles=400,
    good_particles=300,
    classes=8,
    good_classes=6,
    views=3,
    threshold=None,
)


def rows(count, picks=40, *, version=1, first=1, threshold=0.35):
    """Return micrographs with picks, the latest first."""
    return [
        make_row(number, pick_count=picks, model_version=version, threshold=threshold)
        for number in range(first + count - 1, first - 1, -1)
    ]


def why(newest, last=None, *, model=1, now=1000.0, every=600.0, diameter=120.0):
    return why_due(
        newest,
        last,
        model_version=model,
        now=now,
        every_seconds=every,
        diameter_angstrom=diameter,
    )


@pytest.mark.parametrize(("micrographs", "picks"), [(9, 100), (10, 14)])
def test_nothing_is_due_from_few_micrographs_or_few_picks(micrographs, picks):
    assert why(rows(micrographs, picks)) is None


def test_ten_micrographs_with_enough_picks_are_due():
    assert why(rows(10, 15)) == "10 micrographs are picked"


def test_they_are_due_again_when_the_picks_have_doubled():
    assert why(rows(19), MADE) is None
    assert why(rows(20), MADE) is not None


def test_beyond_the_largest_number_they_follow_the_newest_picks_after_some_time():
    full = dataclasses.replace(MADE, particles=MOST_PARTICLES)
    newest = rows(10 + 50)
    assert why(newest, full, now=1599.0) is None
    assert why(newest, full, now=1600.0) is not None
    assert why(rows(10 + 49), full, now=1e6) is None


def test_a_clock_that_was_set_back_does_not_keep_them_from_being_made():
    assert why(rows(16), MADE, now=0.0) is not None


def test_a_new_model_is_averaged_as_soon_as_it_has_picked_ten_micrographs():
    newest = rows(9, version=2, first=11) + rows(10)
    assert why(newest, MADE, model=2) is None
    newest = rows(10, version=2, first=11) + rows(10)
    assert why(newest, MADE, model=2) == "model 2 picks now"
    assert {row.model_version for row in averaged(newest, 2)} == {2}


def test_the_newest_micrographs_are_averaged_up_to_the_largest_number_of_picks():
    assert [row.id for row in averaged(rows(100, 400), 1)] == list(range(100, 90, -1))
    assert len(averaged(rows(100, 300), 1)) == 14
    assert len(averaged(rows(100, 1), 1)) == 60


def test_another_threshold_makes_them_due_once_all_picks_are_by_it():
    """Junk that it removes must not stay on the page."""
    last = dataclasses.replace(MADE, threshold=0.35)
    assert why(rows(10), last) is None
    assert why(rows(10, threshold=0.41), last) == "the threshold is 0.41 now"
    mixed = rows(2, threshold=0.41, first=9) + rows(8)
    assert why(mixed, last) is None
    assert why(rows(10, threshold=0.41), MADE) is None  # not recorded by an earlier version


def test_another_diameter_makes_them_due_at_once():
    """Their boxes have the size of the diameter. One that was not recorded is no reason."""
    assert why(rows(10), MADE) is None
    assert why(rows(10), MADE, diameter=155.5) == "the diameter is 155.5 Å now"
    assert why(rows(10), dataclasses.replace(MADE, diameter_angstrom=None), diameter=155.5) is None
