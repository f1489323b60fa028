"""The demo waits as long as something moves."""

import pytest

from demo_progress import DemoError, ProgressWatch

WAITS = "run 2 to train a model"


@pytest.fixture
def watch(clock):
    return ProgressWatch(300, clock)


def test_a_slow_session_is_waited_for(watch, clock):
    """One step every four minutes, for an hour."""
    for epoch in range(15):
        watch.check(WAITS, {"stage": "train", "done in stage": epoch})
        clock.now += 240


@pytest.mark.parametrize(
    "later",
    [
        {"picked": 10, "stage": "export", "done in stage": 3},
        {"picked": 10, "stage": "train", "done in stage": 4},
        {"picked": 11, "stage": "train", "done in stage": 3},
    ],
    ids=["stage", "epoch", "count"],
)
def test_any_change_counts(watch, clock, later):
    watch.check(WAITS, {"picked": 10, "stage": "train", "done in stage": 3})
    clock.now += 299
    watch.check(WAITS, later)
    clock.now += 299
    watch.check(WAITS, later)


def test_a_session_that_has_stopped_fails_with_what_is_waited_for(watch, clock):
    """The error names what moved last, and when."""
    watch.check(WAITS, {"picked": 10, "stage": "prepare"})
    clock.now += 100
    watch.check(WAITS, {"picked": 10, "stage": "train"})
    for _ in range(3):
        clock.now += 100
        watch.check(WAITS, {"picked": 10, "stage": "train"})
    clock.now += 1

    with pytest.raises(DemoError) as error:
        watch.check(WAITS, {"picked": 10, "stage": "train"})

    assert str(error.value) == f"still waiting for {WAITS}; last change 301 s ago: stage train"


def test_a_session_in_which_nothing_ever_moves_fails_too(watch, clock):
    clock.now += 301
    watch.check(WAITS, {"picked": 0})
    clock.now += 301
    with pytest.raises(DemoError, match="last change 301 s ago: the session began"):
        watch.check(WAITS, {"picked": 0})
