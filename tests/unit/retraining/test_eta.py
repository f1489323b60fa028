"""Progress of a run and forecast of its end."""

import pytest

from livepick.core.contracts.progress import Progress
from livepick.retraining.eta import CLOSING_SECONDS, forecast


def line(at, stage, done=0, total=0, loss=None):
    return Progress(
        at=at, stage=stage, done=done, total=total, training_loss=loss, validation_loss=loss
    )


BEFORE = [
    line(0, "prepare", 1, 2),
    line(5, "prepare", 2, 2),
    line(10, "classify", 0, 4),
    line(20, "classify", 2, 4),
    line(30, "classify", 4, 4),
    line(31, "select", 1, 1),
    line(40, "train", 0, 10),
]
EPOCHS = [line(40 + 6 * n, "train", n, 10, 0.9 / n) for n in range(1, 11)]


def test_there_is_no_forecast_before_the_pace_is_known():
    """The trainer has not reported yet, or has not finished an epoch."""
    assert forecast([], now=0) is None
    for count in range(1, len(BEFORE) + 1):
        assert forecast(BEFORE[:count], now=0).ends_at is None


def test_the_forecast_adds_both_rounds_and_the_sorting_between_them():
    """8 and 5 epochs of six seconds, and 20 seconds of sorting, from the last line on."""
    progress = forecast(BEFORE + EPOCHS[:2], now=52)

    assert progress.ends_at == 52 + 8 * 6 + 20 + 5 * 6 + CLOSING_SECONDS
    assert (progress.stage, progress.done, progress.total) == ("train", 2, 10)
    assert progress.fraction == 0.2
    assert (progress.training_loss, progress.validation_loss) == (0.45, 0.45)


def test_the_second_round_has_the_pace_of_the_first_until_its_own_is_known():
    """Sorting that is done no longer counts."""
    sorting = [line(100, "retrain", 0, 4), line(110, "retrain", 2, 4)]
    assert forecast(BEFORE + EPOCHS + sorting, now=110).ends_at == pytest.approx(
        110 + 10 + 5 * 6 + CLOSING_SECONDS
    )

    slower = [*sorting, line(120, "retrain", 0, 5), line(132, "retrain", 1, 5, 0.1)]
    assert forecast(BEFORE + EPOCHS + slower, now=132).ends_at == 132 + 4 * 12 + CLOSING_SECONDS


def test_an_interruption_does_not_change_the_pace():
    """The service and its trainer were off for a night."""
    late = [line(40 + 6 * n + (36_000 if n > 2 else 0), "train", n, 10, 0.5) for n in range(1, 6)]

    progress = forecast(BEFORE + late, now=late[-1].at)

    assert progress.ends_at == late[-1].at + 5 * 6 + 20 + 5 * 6 + CLOSING_SECONDS


def test_a_forecast_in_the_past_is_dropped():
    """It was wrong, and there is no better one."""
    assert forecast(BEFORE + EPOCHS[:2], now=10_000).ends_at is None


def test_a_note_between_epochs_hides_neither_steps_nor_losses():
    """A finding on the curves is such a note."""
    progress = forecast([*BEFORE, EPOCHS[0], line(47, "train")], now=47)

    assert (progress.done, progress.total, progress.training_loss) == (1, 10, 0.9)
