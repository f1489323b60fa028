"""Diagnosis of learning curves.

``tests/data/curves`` contains curves of real trainings made by ``tests/benchmarks/diagnosis.py``
(and four on real micrographs). Each test changes one thing or nothing.
"""

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from livepick_trainer.learning.attempt_settings import AttemptSettings
from livepick_trainer.learning.curve_diagnosis import diagnose
from livepick_trainer.learning.losses import LossScale
from livepick_trainer.learning.train import EpochFigures

CURVES = Path(__file__).parents[3] / "data" / "curves"
SCALE = LossScale(blank=0.6, floor=0.2, untrained=0.8)
USUAL = AttemptSettings(
    epochs=30, initial_learning_rate=0.003, final_learning_rate=0.0003, class_weights=True
)


def recorded(name):
    """Return the arguments of ``diagnose`` for a recorded training."""
    entries = json.loads((CURVES / f"{name}.json").read_bytes())
    columns = [field.name for field in dataclasses.fields(EpochFigures)][2:]
    rows = zip(*(entries[column] for column in columns), strict=True)
    return {
        "epochs": [
            EpochFigures(epoch=n, learning_rate=math.nan, **dict(zip(columns, row, strict=True)))
            for n, row in enumerate(rows, 1)
        ],
        "settings": AttemptSettings(**entries["settings"]),
        "training_scale": LossScale(**entries["training_scale"]),
        "held_out_scale": LossScale(**entries["held_out_scale"]),
    }


def kinds(findings):
    return [finding.kind for finding in findings]


def curves(training, held_out, *, accuracy=(0.8, 0.8), found=0.7, settings=USUAL):
    """Return the arguments of ``diagnose`` for curves given as progress, 0 to 1.

    An accuracy is a number, or a function of the index of the epoch.
    """

    def at(value, i):
        return value(i) if callable(value) else value

    def loss(progress):
        return SCALE.blank - progress * (SCALE.blank - SCALE.floor)

    epochs = [
        EpochFigures(
            epoch=i + 1,
            learning_rate=0.001,
            training_loss=loss(t),
            validation_loss=loss(v),
            training_accuracy=at(accuracy[0], i),
            validation_accuracy=at(accuracy[1], i),
            training_found=found,
            validation_found=found,
        )
        for i, (t, v) in enumerate(zip(training, held_out, strict=True))
    ]
    return {
        "epochs": epochs,
        "settings": settings,
        "training_scale": SCALE,
        "held_out_scale": SCALE,
    }


def rise(count, top=0.8, quickness=4.0):
    """Return a healthy curve, which rises and levels off."""
    return [top * (1 - math.exp(-quickness * (i + 1) / count)) for i in range(count)]


@pytest.mark.parametrize("path", sorted(CURVES.glob("healthy-*.json")), ids=lambda p: p.stem)
def test_a_healthy_training_raises_no_alarm(path):
    """Cases: easy and hard micrographs, clean labels and those of a blob picker."""
    assert kinds(diagnose(**recorded(path.stem))) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rate_too_high", ["rate_too_high", "underfitting"]),
        ("rate_too_low", ["rate_too_low", "underfitting"]),
        ("underfitting", ["rate_too_low", "underfitting"]),
        ("still_falling", ["still_falling", "underfitting"]),
        ("all_background", ["all_background"]),
        ("overfitting", ["overfitting"]),
        ("training_ahead", ["training_ahead"]),
        ("stagnation", ["stagnation"]),
    ],
)
def test_a_training_made_to_fail_is_told_by_its_curves(name, expected):
    """Cases: absurd rates, too few epochs, no class weights on sparse particles, one micrograph."""
    findings = diagnose(**recorded(name))

    assert kinds(findings) == expected
    assert all(re.search(r"\d", finding.evidence) for finding in findings)
    assert all("training." in finding.remedy for finding in findings)
    assert all(finding.settings != recorded(name)["settings"] for finding in findings)


def test_a_loss_that_is_no_number_is_a_rate_too_high():
    """It is underfitting too, as in published practice, but with the same remedy: a lower rate."""
    curve = curves(rise(3), rise(3), settings=USUAL)
    last = dataclasses.replace(curve["epochs"][-1], training_loss=math.nan)
    curve["epochs"][-1] = last

    first, second = diagnose(**curve)

    assert (first.kind, second.kind) == ("rate_too_high", "underfitting")
    assert "epoch 3 is not a finite number" in first.evidence
    assert first.settings.initial_learning_rate == second.settings.initial_learning_rate == 0.001


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_never_a_number_is_diagnosed_too(value):
    """In this case there is not a single complete epoch."""
    curve = curves([0.1], [0.1])
    curve["epochs"][0] = dataclasses.replace(curve["epochs"][0], validation_loss=value)

    assert kinds(diagnose(**curve)) == ["rate_too_high", "underfitting"]


def test_large_losses_in_one_epoch_are_a_rough_start():
    """Persistent ones mean that the rate is too high, whatever follows."""
    rough, bad = rise(30), rise(30)
    rough[0] = -1000
    bad[:3] = [-1000, -500, -10]

    assert kinds(diagnose(**curves(rise(30), rough))) == []
    (finding,) = diagnose(**curves(rise(30), bad))
    assert finding.kind == "rate_too_high"
    assert "reaches 401 in the first 3 epochs" in finding.evidence


@pytest.mark.parametrize(
    ("rate", "expected", "remedy"),
    [
        (0.1, "rate_too_high", "lower training.initial_learning_rate to 0.003"),
        (0.003, "all_background", "lower training.initial_learning_rate to 0.001"),
        (0.0001, "rate_too_low", "raise training.initial_learning_rate to 0.003"),
    ],
)
def test_a_flat_curve_is_judged_by_its_rate(rate, expected, remedy):
    """Steps that are too long or too short look alike; in between, everything is background."""
    settings = dataclasses.replace(USUAL, initial_learning_rate=rate, final_learning_rate=rate / 10)
    flat = [0.01, 0.0, 0.02] * 4
    curve = curves(flat, flat, accuracy=(0.5, 0.5), found=0.0, settings=settings)

    first = diagnose(**curve)[0]

    assert (first.kind, first.remedy) == (expected, remedy)


def test_class_weights_come_before_a_lower_rate():
    """They are the remedy if no particle is found and class weights are off."""
    settings = dataclasses.replace(USUAL, class_weights=False)
    curve = curves(rise(30), rise(30), accuracy=(0.5, 0.5), found=0.0, settings=settings)

    (finding,) = diagnose(**curve)

    assert finding.kind == "all_background"
    assert finding.settings == USUAL


def test_a_network_that_is_sure_of_nothing_may_still_rank():
    """With class weights and half of the progress made, faint particles are not all background."""
    curve = curves(rise(30, 0.4), rise(30, 0.4), accuracy=(0.65, 0.65), found=0.0)

    assert kinds(diagnose(**curve)) == []


def test_a_gap_alone_is_not_overfitting():
    """A network fits its training micrographs better; that is fine while others improve too."""
    training, held_out = rise(30, 0.9), rise(30, 0.75)

    assert kinds(diagnose(**curves(training, held_out, accuracy=(0.95, 0.8)))) == []


def test_overfitting_needs_losses_and_accuracies_to_part():
    """Either alone is not enough."""
    training = rise(30, 0.8)
    parting = [min(v, 0.6 - 0.02 * (i - 12)) for i, v in enumerate(rise(30, 0.6))]
    falling, rising = (lambda i: 0.85 - 0.004 * i), (lambda i: 0.8 + 0.004 * i)

    (finding,) = diagnose(**curves(training, parting, accuracy=(rising, falling)))
    only_losses = diagnose(**curves(training, parting, accuracy=(rising, 0.85)))
    only_accuracies = diagnose(**curves(training, rise(30, 0.7), accuracy=(rising, falling)))

    assert finding.kind == "overfitting"
    assert finding.settings == dataclasses.replace(USUAL, final_learning_rate=0.0009)
    assert "overfitting" not in kinds(only_losses)
    assert kinds(only_accuracies) == []


def test_training_far_ahead_asks_for_a_lower_final_rate():
    """It does not ask for a higher rate, which is the remedy for overfitting."""
    (finding,) = diagnose(**curves(rise(30, 0.95), rise(30, 0.5), accuracy=(0.95, 0.8)))

    assert finding.kind == "training_ahead"
    assert finding.settings.final_learning_rate == 0.0001


def test_a_loss_that_falls_a_little_at_the_end_is_advice():
    """A loss that falls steeply is worth a rerun."""
    settings = dataclasses.replace(USUAL, epochs=10)
    (little,) = diagnose(**curves(rise(10, 0.6, 2), rise(10, 0.6, 2.6), settings=settings))
    (much,) = diagnose(**curves(rise(10, 0.6, 1), rise(10, 0.6, 1), settings=settings))

    assert (little.kind, little.is_fault) == ("still_falling", False)
    assert (much.kind, much.is_fault, much.settings.epochs) == ("still_falling", True, 20)


def test_long_stagnation_is_advice():
    """Only long stagnation is reported, and never with fewer than the advised number of epochs."""
    settings = dataclasses.replace(USUAL, epochs=200)
    held_out = [*rise(40), *[rise(40)[-1]] * 60]
    (finding,) = diagnose(**curves(held_out, held_out, settings=settings))

    assert (finding.kind, finding.is_fault) == ("stagnation", False)
    assert 35 < finding.settings.epochs < 50
    assert kinds(diagnose(**curves(held_out[10:40], held_out[10:40]))) == []


@pytest.mark.parametrize("seed", range(20))
def test_scatter_of_the_epochs_is_no_finding(seed):
    """Healthy curves are tested with three times the scatter of real ones."""
    rng = np.random.default_rng(seed)
    training, held_out = (
        [v + rng.normal(0, 0.03) for v in rise(30, top, 8)] for top in (0.8, 0.75)
    )
    accuracy = [0.8 + rng.normal(0, 0.04) for _ in range(30)]
    curve = curves(training, held_out, accuracy=(0.8, accuracy.__getitem__))

    assert kinds(diagnose(**curve)) == []


def test_nothing_is_said_of_nothing():
    """A training without epochs has no curves."""
    assert diagnose([], USUAL, training_scale=SCALE, held_out_scale=SCALE) == ()


def test_a_remedy_stays_within_the_advised_range():
    """Rates are not raised above the advised range; the epochs are raised instead."""
    highest = dataclasses.replace(USUAL, initial_learning_rate=0.01, final_learning_rate=0.001)
    low = {"accuracy": (0.55, 0.55), "found": 0.1}

    (raised,) = diagnose(**curves(rise(30, 0.3), rise(30, 0.3), **low))
    (longer,) = diagnose(**curves(rise(30, 0.3), rise(30, 0.3), **low, settings=highest))

    assert (raised.kind, longer.kind) == ("underfitting", "underfitting")
    assert raised.settings.initial_learning_rate == 0.009
    assert raised.settings.final_learning_rate == 0.0009
    assert longer.settings == dataclasses.replace(highest, epochs=60)


def test_a_warm_start_that_is_good_at_once_raises_no_alarm():
    """Its best epoch is among the first, or it rises slowly: that is no fault of its small steps.

    The same curves of a training from random weights would be.
    """
    small = USUAL.scaled(0.0009)
    many = dataclasses.replace(USUAL, epochs=60)
    level = curves([0.7] * 14, [0.7] * 14, settings=many)
    climb = [0.2 + 0.02 * i for i in range(15)]
    slow = curves(climb, climb, settings=dataclasses.replace(small, epochs=15))
    cold = [kinds(diagnose(**one)) for one in (level, slow)]
    assert cold == [["stagnation"], ["rate_too_low"]]

    assert kinds(diagnose(**level, warm=True)) == []
    assert "rate_too_low" not in kinds(diagnose(**slow, warm=True))


def test_faults_of_a_warm_start_are_found():
    """Steps that destroy the weights, everything taken for background, and overfitting."""
    ruined = [-1000.0, -500.0, -100.0, *rise(12)]
    nothing = [0.01, 0.0, 0.02] * 5
    learning = [0.5 + 0.03 * i for i in range(15)]
    falling = [0.6, 0.6, *(0.6 - 0.03 * i for i in range(13))]
    small = dataclasses.replace(USUAL.scaled(0.0009), epochs=15)
    found = [
        kinds(diagnose(**curve, warm=True))[0]
        for curve in (
            curves(ruined, ruined, settings=small),
            curves(nothing, nothing, accuracy=(0.5, 0.5), found=0.0, settings=small),
            curves(
                learning,
                falling,
                accuracy=(lambda i: 0.8 + 0.01 * i, lambda i: 0.9 - 0.01 * i),
                settings=small,
            ),
        )
    ]
    assert found == ["rate_too_high", "rate_too_low", "overfitting"]
