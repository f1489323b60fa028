"""Diagnosis of learning curves: faults of a training, and the settings that would fix them.

In published practice the curves are read by eye, with rules based on a cross-entropy *summed* over
the pixels of a micrograph: in the 1000s if nothing is learned, and about 1 if everything is. Our
loss is a weighted *mean* over pixels whose targets are Gaussians. It is never close to 0, and
a good value depends on how crowded the micrographs are. Therefore a loss is converted to
**progress** (``losses.LossScale``): 0 is the best blind guess, which knows the number of particles
but not their positions, and 1 is a perfect network. "In the 1000s" becomes a loss far above that of
an untrained network, and "at 1" becomes progress that has stopped rising. The rules then apply:

=================  ===========================================  =================================
finding            the curves                                   remedy
=================  ===========================================  =================================
rate_too_high      large losses persist over the first epochs,  lower the initial rate
                   or are not finite, or nothing changes
rate_too_low       slow progress or none, and the rate is not   raise the initial rate
                   yet at its upper limit
still_falling      the loss is still falling at the end         more epochs
all_background     no particle pixel is classified as particle  class weights on, else lower the
                                                                initial rate
underfitting       accuracy at or below 60 %, or a loss as      raise both rates, then the epochs
                   large as that of an untrained network
overfitting        training loss falls *and* held-out loss      raise the final rate
                   rises *and* the accuracies diverge
training_ahead     training loss far below the held-out one     lower the final rate
                   in the last epochs (and no overfitting)
stagnation         no further progress after epoch n            slightly more than n epochs
=================  ===========================================  =================================

The findings are ordered by cause: anything that prevents the network from learning at all comes
first, because it makes every later figure meaningless. Where published practice gives one symptom
for two causes, the settings decide: a flat curve is caused by steps that are too long if the rate
is above the advised range, and by steps that are too short if it is below. Published practice lists
a loss that is not finite under underfitting, with higher rates as the remedy. It is reported as
underfitting here too. But its cause is steps that are too long (the graph has no division that
could fail otherwise), and higher rates would make it worse. Therefore the lower rate is listed
first, and underfitting then has no remedy of its own.

Faults are worth another training; advice is not. Stagnation only costs time, since the weights of
the best epoch are kept and training ends by itself after some epochs without gain. A loss that is
still falling slightly at the end promises little. The scatter between epochs is reduced by running
medians of three; each threshold below is well above the scatter that remains in healthy runs.

A training that starts from the weights of another model begins with most of its progress, and with
small steps that do not undo it. Therefore a slow rise is not a sign of steps that are too short
then, and a best epoch that is among the first is what one hopes for, not stagnation. All other
rules apply unchanged: their scale is that of the labels, whatever the network starts from.

The rules are in one file, because each relies on what the rules before it have excluded.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from livepick.core.contracts.progress import FindingKind
from livepick_trainer.learning.attempt_settings import (
    AttemptSettings,
    advised_range,
    default_value,
)
from livepick_trainer.learning.learning_curves import LEARNED_NOTHING, LEAST_GAIN, LearningCurves
from livepick_trainer.learning.losses import LossScale
from livepick_trainer.learning.train import EpochFigures

__all__ = ["Diagnosis", "diagnose"]

Vector = NDArray[np.float64]

LARGE_LOSS = 2.0
"""A loss is large if it is more than this many times that of an untrained network."""

PERSISTENT_EPOCHS = 3
"""Number of first epochs with large losses that is more than a rough start."""

LOW_ACCURACY = 0.6
"""Published limit, applied here to the balanced accuracy, which is 0.5 if nothing is found."""

FOUND_NOTHING = 0.01
"""Maximum share of the particles' pixels if the network finds no particles anywhere."""

FAINT_PROGRESS = 0.15
"""With class weights, a network with more progress than this distinguishes particles from
background, even if it is not certain of any. With weak signal this is the best that is possible."""

RISING = 0.1
"""Minimum fraction of its progress that a still rising curve gains in its last third."""

RISING_STEEPLY = 0.2
"""The same fraction above which a rerun with more epochs is worthwhile."""

PARTED_LOSS = 0.04
"""Minimum loss of held-out progress since its best that counts as overfitting."""

PARTED_ACCURACY = 0.01
"""Minimum loss of held-out accuracy that counts as overfitting."""

FAR_AHEAD = 0.25
"""Minimum progress on training patches minus that on held-out patches for "training ahead"."""

LONG_STAGNATION = 8
"""Minimum number of epochs without gain that is reported; equal to the training's patience."""

BEYOND_STAGNATION = 1.2
"""Factor for "slightly more than n"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """A fault, or a piece of advice, derived from the learning curves.

    It is not a ``Finding``, because it carries the settings for the next attempt. Its fields are
    written side by side to ``attempt.json`` and ``report.json``.
    """

    kind: FindingKind
    is_fault: bool
    """True if the finding is worth a rerun; otherwise it is advice for the next training."""
    evidence: str
    """Evidence in the curves, in words with numbers."""
    remedy: str
    """Recommended change, in terms of the config's settings."""
    settings: AttemptSettings
    """AttemptSettings to use for the next training."""


def diagnose(
    epochs: Sequence[EpochFigures],
    settings: AttemptSettings,
    *,
    training_scale: LossScale,
    held_out_scale: LossScale,
    warm: bool = False,
) -> tuple[Diagnosis, ...]:
    """Return the findings on the curves of a training, the first cause first; () if there are none.

    Parameters
    ----------
    epochs
        Epochs of a training that has ended: because all epochs were done, because of the patience,
        or because of a loss that is not finite.
    settings
        AttemptSettings that were used for the training.
    training_scale, held_out_scale
        Scales of the losses on training and held-out patches.
    warm
        True if the training started from the weights of another model.
    """
    if not epochs:
        return ()
    curves = LearningCurves(epochs, settings, training_scale, held_out_scale, warm=warm)
    causes = [
        finding
        for rule in (
            _rate_too_high,
            _rate_far_too_low,
            _too_few_epochs,
            _all_background,
            _still_falling,
            _rate_somewhat_too_low,
        )
        if (finding := rule(curves)) is not None
    ][:1]  # each explains the symptoms that the later rules would find
    further = (_underfitting(curves, causes), _overfitting(curves) or _training_ahead(curves))
    faults = (*causes, *(finding for finding in further if finding is not None))
    stagnation = None if faults else _stagnation(curves)
    return faults if stagnation is None else (stagnation,)


def _rate_too_high(curves: LearningCurves) -> Diagnosis | None:
    rate = curves.settings.initial_learning_rate
    large = np.max(curves.losses, axis=1) > LARGE_LOSS * curves.untrained
    total = len(curves.losses)
    first = total if large.all() else int(np.argmin(large))
    if not curves.is_finite:
        evidence = f"the loss of epoch {curves.count + 1} is not a finite number"
    elif first >= min(PERSISTENT_EPOCHS, total):
        worst = float(curves.losses[:first].max())
        evidence = (
            f"the loss reaches {worst:.3g} in the first {first} epochs; that of an untrained"
            f" network is {curves.untrained:.3g}"
        )
    elif rate > advised_range("initial_learning_rate")[1] and curves.accuracy <= LOW_ACCURACY:
        evidence = (
            f"almost nothing is learned in {curves.count} epochs with an initial learning rate of"
            f" {rate:g}; the highest advised rate is"
            f" {advised_range('initial_learning_rate')[1]:g}"
        )
    else:
        return None
    lower = curves.settings.scaled(min(rate / 3, default_value("initial_learning_rate")))
    return Diagnosis(
        kind="rate_too_high",
        is_fault=True,
        evidence=evidence,
        remedy=_lower_initial(lower),
        settings=lower,
    )


def _rate_far_too_low(curves: LearningCurves) -> Diagnosis | None:
    """Detect slow learning, or none, at a rate below the advised range."""
    rate = curves.settings.initial_learning_rate
    if rate >= advised_range("initial_learning_rate")[0]:
        return None
    if curves.best <= LEARNED_NOTHING:
        return _rate_too_low(
            curves,
            f"nothing is learned in {curves.count} epochs with an initial learning rate of"
            f" {rate:g}",
        )
    if not curves.warm and (curves.is_slow or curves.is_rising(RISING)):
        return _rate_too_low(curves, _slowness(curves))
    return None


def _rate_somewhat_too_low(curves: LearningCurves) -> Diagnosis | None:
    """Detect slow learning at a rate below the upper limit, when there are enough epochs."""
    settings = curves.settings
    if (
        not curves.warm
        and settings.initial_learning_rate < advised_range("initial_learning_rate")[1]
        and settings.epochs >= advised_range("epochs")[0]
        and curves.is_slow
    ):
        return _rate_too_low(curves, _slowness(curves))
    return None


def _slowness(curves: LearningCurves) -> str:
    return f"half of the progress took {curves.half_way} of {curves.settings.epochs} epochs"


def _rate_too_low(curves: LearningCurves, evidence: str) -> Diagnosis:
    usual = max(3 * curves.settings.initial_learning_rate, default_value("initial_learning_rate"))
    higher = curves.settings.scaled(min(advised_range("initial_learning_rate")[1], usual))
    return Diagnosis(
        kind="rate_too_low",
        is_fault=True,
        evidence=evidence,
        remedy=f"raise training.initial_learning_rate to {higher.initial_learning_rate:g}",
        settings=higher,
    )


def _too_few_epochs(curves: LearningCurves) -> Diagnosis | None:
    """Detect a falling loss with fewer epochs than advised, when nothing else can be diagnosed."""
    return _still_falling(curves) if curves.has_few_epochs else None


def _still_falling(curves: LearningCurves) -> Diagnosis | None:
    if not curves.is_rising(RISING):
        return None
    more = replace(
        curves.settings,
        epochs=min(1000, max(2 * curves.settings.epochs, int(advised_range("epochs")[0]))),
    )
    return Diagnosis(
        kind="still_falling",
        is_fault=curves.is_rising(RISING_STEEPLY),
        evidence=(
            "the losses are still falling: in the last third of the epochs, progress on held-out"
            f" micrographs rose from {curves.held_out[-1] - curves.gain(curves.held_out):.2f} to"
            f" {curves.held_out[-1]:.2f} (0 is a blind guess, 1 is perfect)"
        ),
        remedy=f"raise training.epochs to {more.epochs}",
        settings=more,
    )


def _all_background(curves: LearningCurves) -> Diagnosis | None:
    last = curves.held_out_found[-_third(curves.count) :]
    if not len(last) or not float(np.max(last)) <= FOUND_NOTHING:
        return None
    if curves.settings.class_weights and curves.best > FAINT_PROGRESS:
        return None
    evidence = (
        f"the network recognizes at most {100 * float(np.max(last)):.1f} % of the particle pixels"
        " in held-out micrographs: it takes almost everything for background"
    )
    if not curves.settings.class_weights:
        changed = replace(curves.settings, class_weights=True)
        remedy = "set training.class_weights to true"
    else:
        changed = curves.settings.scaled(curves.settings.initial_learning_rate / 3)
        remedy = _lower_initial(changed)
    return Diagnosis(
        kind="all_background", is_fault=True, evidence=evidence, remedy=remedy, settings=changed
    )


def _underfitting(curves: LearningCurves, causes: Sequence[Diagnosis]) -> Diagnosis | None:
    """Return the general finding; if a cause was found, its remedy is used here too."""
    if any(finding.kind == "all_background" for finding in causes):
        return None
    if not curves.is_finite:
        evidence = "the loss is not a finite number"
    elif curves.losses[-1].max() > LARGE_LOSS * curves.untrained:
        evidence = f"the loss is still {curves.losses[-1].max():.3g} at the end"
    elif curves.accuracy <= LOW_ACCURACY:
        evidence = (
            f"the accuracy on training and held-out micrographs is at most"
            f" {100 * curves.accuracy:.0f} %; a network that finds nothing has 50 %"
        )
    else:
        return None
    if causes:
        return Diagnosis(
            kind="underfitting",
            is_fault=True,
            evidence=evidence,
            remedy=f"{causes[0].remedy} (as above)",
            settings=causes[0].settings,
        )
    highest = advised_range("initial_learning_rate")[1]
    if curves.settings.initial_learning_rate < highest:
        rate = min(highest, 3 * curves.settings.initial_learning_rate)
        changed = curves.settings.scaled(rate)
        remedy = (
            f"raise training.initial_learning_rate to {changed.initial_learning_rate:g} and"
            f" training.final_learning_rate to {changed.final_learning_rate:g}; if that is not"
            " enough, raise training.epochs"
        )
    else:
        changed = replace(curves.settings, epochs=min(1000, 2 * curves.settings.epochs))
        remedy = f"raise training.epochs to {changed.epochs}"
    return Diagnosis(
        kind="underfitting", is_fault=True, evidence=evidence, remedy=remedy, settings=changed
    )


def _overfitting(curves: LearningCurves) -> Diagnosis | None:
    if curves.count < 2 * PERSISTENT_EPOCHS:
        return None
    top = int(np.argmax(curves.held_out))
    if curves.count - 1 - top < PERSISTENT_EPOCHS:
        return None

    def change(curve: Vector) -> float:
        return float(np.median(curve[-3:]) - curve[top])

    if not (
        change(curves.training) > 0
        and change(curves.held_out) <= -PARTED_LOSS
        and change(curves.training_accuracy) > 0
        and change(curves.held_out_accuracy) <= -PARTED_ACCURACY
    ):
        return None
    rate = min(curves.settings.initial_learning_rate, 3 * curves.settings.final_learning_rate)
    changed = replace(curves.settings, final_learning_rate=float(f"{rate:.2g}"))
    return Diagnosis(
        kind="overfitting",
        is_fault=True,
        evidence=(
            f"since epoch {top + 1} the training loss has kept falling while the held-out loss has"
            " risen, and the held-out accuracy has dropped from"
            f" {100 * curves.held_out_accuracy[top]:.0f} to"
            f" {100 * float(np.median(curves.held_out_accuracy[-3:])):.0f} %"
        ),
        remedy=(
            f"raise training.final_learning_rate to {changed.final_learning_rate:g}, or train on"
            " more micrographs (bootstrap.micrographs)"
        ),
        settings=changed,
    )


def _training_ahead(curves: LearningCurves) -> Diagnosis | None:
    if curves.count < 2 * PERSISTENT_EPOCHS:
        return None
    ahead = float(np.median((curves.training - curves.held_out)[-3:]))
    if ahead < FAR_AHEAD or curves.best <= LEARNED_NOTHING:
        return None
    changed = replace(
        curves.settings,
        final_learning_rate=float(f"{curves.settings.final_learning_rate / 3:.2g}"),
    )
    return Diagnosis(
        kind="training_ahead",
        is_fault=True,
        evidence=(
            "in the last epochs the network has learned"
            f" {100 * float(np.median(curves.training[-3:])):.0f} % of what there is to learn in"
            " the training micrographs, but only"
            f" {100 * float(np.median(curves.held_out[-3:])):.0f} % in the held-out ones"
        ),
        remedy=f"lower training.final_learning_rate to {changed.final_learning_rate:g}",
        settings=changed,
    )


def _stagnation(curves: LearningCurves) -> Diagnosis | None:
    if curves.warm or curves.best <= LEARNED_NOTHING:
        return None
    reached = int(np.argmax(curves.held_out >= curves.best - LEAST_GAIN)) + 1
    if curves.count - reached < LONG_STAGNATION:
        return None
    enough = max(math.ceil(BEYOND_STAGNATION * reached), int(advised_range("epochs")[0]))
    if enough > curves.settings.epochs / 2:
        return None
    changed = replace(curves.settings, epochs=enough)
    return Diagnosis(
        kind="stagnation",
        is_fault=False,
        evidence=f"there is no further gain after epoch {reached} of {curves.count}",
        remedy=f"lower training.epochs to {changed.epochs}",
        settings=changed,
    )


def _lower_initial(settings: AttemptSettings) -> str:
    return f"lower training.initial_learning_rate to {settings.initial_learning_rate:g}"


def _third(count: int) -> int:
    return max(1, count // 3)
