"""Comparison of two models: figures, intervals and decisions."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from factories import make_result
from livepick.core.contracts.held_out_labels import HeldOutLabels, LabelledMicrograph
from livepick.core.evaluation.model_comparison import Pair, decide, measure
from livepick.core.imaging.pick_area import PickArea
from livepick.core.imaging.picks import Picks
from livepick.retraining import promotion_gate

PARTICLES = 40


def picks(good, junk=0, *, seed=0):
    """Return picks on ``good`` particles, and ``junk`` wrong picks with similar scores."""
    generator = np.random.default_rng(seed)
    x = np.concatenate([np.arange(good) * 50.0, np.arange(junk) * 50.0])
    y = np.concatenate([np.full(good, 100.0), np.full(junk, 900.0)])
    score = generator.uniform(0.5, 1, good + junk)
    return Picks.sorted(*(a.astype(np.float32) for a in (x, y, score)))


def pair(name, candidate, current, *, labels=0, doubtful=None):
    """Return a micrograph with ``PARTICLES`` particles."""
    x = (np.arange(PARTICLES) * 50).astype(np.float32)
    return Pair(
        micrograph=name,
        labels=labels,
        particles=Picks(x, np.full_like(x, 100), np.ones_like(x)),
        doubtful=doubtful or Picks.empty(),
        radius_px=10,
        candidate=candidate,
        current=current,
        current_threshold=0.5,
    )


def comparison(candidate, current, *, micrographs=6, spread=1):
    """Compare two models with (good, junk) picks in each micrograph, varied by ``spread``."""
    generator = np.random.default_rng(1)
    pairs = []
    for number in range(micrographs):
        more = int(generator.integers(-spread, spread + 1))
        pairs.append(
            pair(
                str(number),
                picks(candidate[0] + more, candidate[1], seed=number),
                picks(current[0] + more, current[1], seed=100 + number),
            )
        )
    return measure(pairs, own_labels=0)


def test_a_model_with_more_particles_and_less_junk_is_better():
    """Both figures are higher, and the interval is above zero."""
    found = comparison((36, 4), (28, 12))
    decision = decide(found, mode="strict", requested=False)
    assert found.average_precision.low > 0
    assert found.picks > 0
    assert (decision.promote, decision.outcome) == (True, "better")


def test_a_model_with_more_junk_is_worse_even_if_requested():
    """A tolerant gate rejects it too; it is promoted only if the gate is off."""
    found = comparison((28, 12), (36, 4))
    for mode in ("strict", "tolerant"):
        decision = decide(found, mode=mode, requested=True)
        assert (decision.promote, decision.outcome) == (False, "worse")
    off = decide(found, mode="off", requested=False)
    assert off.promote
    assert "the promotion gate is off" in off.sentence


def test_an_equally_good_model_is_promoted_only_if_requested_or_tolerated():
    """Otherwise the current model stays."""
    found = comparison((32, 8), (32, 8), spread=0)
    same = pair("a", picks(32, 8), picks(32, 8))
    equal = measure([same, pair("b", same.candidate, same.current)], own_labels=0)
    assert equal.average_precision.difference == 0
    for mode, requested, promote in (
        ("strict", False, False),
        ("strict", True, True),
        ("tolerant", False, True),
    ):
        decision = decide(equal, mode=mode, requested=requested)
        assert (decision.promote, decision.outcome) == (promote, "as good")
    assert abs(found.average_precision.difference) < 0.1


def test_with_few_micrographs_the_interval_is_wide():
    """Two micrographs say little about others, so a small gain does not count."""
    found = comparison((33, 7), (32, 8), micrographs=2, spread=0)
    width = found.average_precision.high - found.average_precision.low
    assert width == pytest.approx(0.06)


def test_labels_of_both_runs_count():
    """A candidate that learned nonsense agrees only with its own labels."""
    nonsense = pair("a", picks(0, 40), picks(40), labels=0)
    x = (np.arange(PARTICLES) * 50).astype(np.float32)
    theirs = Picks(x, np.full_like(x, 900), np.ones_like(x))
    own = Pair(
        micrograph="a",
        labels=0,
        particles=theirs,
        doubtful=Picks.empty(),
        radius_px=10,
        candidate=nonsense.candidate,
        current=nonsense.current,
        current_threshold=0.5,
    )
    other = pair("a", nonsense.candidate, nonsense.current, labels=1)
    found = measure([own, other], own_labels=0)
    assert found.own_average_precision == 1
    assert found.average_precision.difference == pytest.approx(0)


def test_labels_are_weighted_by_their_number_of_particles():
    """Two particles in the only micrograph of a first run do not outvote forty."""
    few = Picks(*(np.array(a, dtype=np.float32) for a in ([900, 950], [900, 900], [1, 1])))
    many = pair("a", picks(40), picks(20, 20), labels=0)
    old = Pair(
        micrograph="b",
        labels=1,
        particles=few,
        doubtful=Picks.empty(),
        radius_px=10,
        candidate=picks(40),
        current=few,
        current_threshold=0.5,
    )
    found = measure([many, old], own_labels=0)
    assert found.average_precision.candidate == pytest.approx(40 / 42)
    assert found.average_precision.difference > 0.3


def test_a_model_that_misses_its_own_training_labels_is_worse():
    """That holds even if the current model misses them too."""
    found = comparison((2, 60), (2, 60), spread=0)
    decision = decide(found, mode="tolerant", requested=True)
    assert found.own_average_precision < 0.1
    assert decision.outcome == "worse"


def test_a_pick_on_a_doubtful_label_does_not_count():
    """Doubtful labels count neither for nor against a model."""
    x = (np.arange(20) * 50).astype(np.float32)
    doubtful = Picks(x, np.full_like(x, 900), np.ones_like(x))
    one = pair("a", picks(30, 20), picks(30, 20), doubtful=doubtful)
    found = measure([one], own_labels=0)
    assert found.average_precision.candidate == pytest.approx(0.75)


def test_only_a_clear_gain_replaces_a_blob_picker():
    """Networks and labels come from the same classes, so a small gain proves little.

    If the current model is nearly perfect, a fraction of what it lacks is enough.
    """
    worse, little, clear = (
        comparison(candidate, (34, 6), spread=0) for candidate in ((33, 8), (34, 5), (37, 4))
    )
    for found in (worse, little):
        assert not decide(found, mode="strict", requested=True, provisional=True).promote
    assert decide(clear, mode="strict", requested=True, provisional=True).promote
    assert (
        "only a clear gain replaces"
        in decide(little, mode="strict", requested=True, provisional=True).sentence
    )
    assert decide(little, mode="tolerant", requested=True, provisional=True).promote


def test_a_model_as_perfect_as_the_blob_picker_replaces_it_and_is_not_called_better():
    """There is nothing to gain in these micrographs."""
    perfect = comparison((40, 0), (40, 0), spread=0)
    decision = decide(perfect, mode="strict", requested=False, provisional=True)
    assert decision.promote
    assert decision.outcome == "as good"
    assert "nothing to gain" in decision.sentence


def test_without_a_comparison_the_current_model_stays():
    """There is no evidence that the new model is better."""
    for provisional in (False, True):
        decision = decide(None, mode="strict", requested=True, provisional=provisional)
        assert not decision.promote
        assert "models promote" in decision.sentence
    assert decide(None, mode="off", requested=False).promote


def test_the_confidence_interval_has_its_coverage():
    """For two equally good models, most 95 % intervals contain zero."""
    generator = np.random.default_rng(5)
    covered = 0
    for trial in range(15):
        pairs = [
            pair(
                str(number),
                picks(int(generator.integers(20, 40)), 10, seed=trial * 100 + number),
                picks(int(generator.integers(20, 40)), 10, seed=trial * 100 + 50 + number),
            )
            for number in range(12)
        ]
        found = measure(pairs, own_labels=0).average_precision
        covered += found.low <= 0 <= found.high
    assert covered >= 12


def test_the_comparison_is_deterministic():
    """The bootstrap has a fixed seed."""
    assert comparison((36, 4), (28, 12)) == comparison((36, 4), (28, 12))


def test_models_are_compared_only_where_both_may_pick():
    """Picks at the edge of a model without an edge rule do not change the comparison."""
    x = np.array([100, 200, 300, 5, 10], dtype=np.float32)
    particles = Picks(x, np.full_like(x, 50), np.ones_like(x))
    inside = particles.where(x >= 100)
    every = pair("0", particles, inside)
    limited = dataclasses.replace(
        every,
        particles=particles,
        area=PickArea.of_image((100, 400), edge_px=20),
    )

    unfair, fair = (
        measure([dataclasses.replace(one, particles=particles)], own_labels=0)
        for one in (every, limited)
    )

    assert unfair.average_precision.difference > 0.3
    assert fair.average_precision.difference == 0
    assert fair.average_precision.current == 1
    assert fair.particles == 3


def test_the_gate_compares_in_the_area_of_both_bundles():
    """Each bundle has its own edge rule, and each micrograph its own dead borders."""
    one, other = (
        make_result(area=PickArea(top, 400, 10, right)) for top, right in ((30, 290), (50, 280))
    )
    labels = HeldOutLabels(by="classes", radius_angstrom=30, micrographs=[])
    micrograph = LabelledMicrograph(
        path=Path("mic.mrc"), pixel_size_angstrom=1.5, particles=[], doubtful=[]
    )

    made = promotion_gate._pair(0, labels, micrograph, one, other)

    assert made.area == PickArea(50, 400, 10, 280)
    assert promotion_gate._pair(0, labels, micrograph, make_result(), other).area == other.area
