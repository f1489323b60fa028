"""Choice of the score threshold for picks."""

from pathlib import Path

import numpy as np
import pytest

from livepick.core.evaluation.matching import Matches
from livepick.core.imaging.pick_area import PickArea
from livepick.core.imaging.picks import Picks
from livepick_trainer.learning import evaluate
from livepick_trainer.learning.evaluate import choose_operating_point
from livepick_trainer.seeds.labels import BELIEVED, REJECTED, UNSORTED, Candidates, Seeds
from livepick_trainer.seeds.preprocess import PreparedMicrograph

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
    assert "training.expected_picks, 10 a micrograph" in point.source
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
    assert easy.source.startswith("half way from 0.5 to 0.65, which has the best F1 against 12")


def test_picks_that_count_neither_way_are_among_those_expected(monkeypatch):
    """They are written like all others, so they are part of the count given by a person."""
    x_px = np.arange(20, 420, 20, dtype=np.float32)
    y_px = np.full_like(x_px, 50)
    found = Picks(x_px, y_px, np.linspace(0.95, 0.2, 20).astype(np.float32))
    monkeypatch.setattr(evaluate, "pick", lambda *_args, **_keywords: found)
    yx_px = np.column_stack([y_px, x_px])
    micrograph = PreparedMicrograph(
        path=Path("mic.mrc"),
        held_out=True,
        original_pixel_size_angstrom=5.0,
        image=np.zeros((100, 440), dtype=np.float32),
        mask=np.zeros((100, 440), dtype=bool),
        scale_y=1.0,
        scale_x=1.0,
        candidates=Candidates(yx_px, found.score),
    )

    held_out = evaluate.evaluate(
        None,
        [(micrograph, Seeds(positive_yx_px=yx_px[::2], ignored_yx_px=yx_px[1::2]))],
        diameter_angstrom=100,
        min_distance_fraction=0.6,
        expected_picks=12,
    )

    assert held_out.micrographs[0].picks == 12
    assert held_out.figures.picks == 10


def test_a_refined_position_that_leaves_the_area_is_no_pick(monkeypatch):
    """The worker drops such a pick too."""
    y, x = np.indices((64, 64))
    scores = sum(
        np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 20) for cy, cx in ((9.7, 30.0), (10.3, 50.0))
    ).astype(np.float32)
    monkeypatch.setattr(evaluate, "network_scores", lambda _network, _image: scores)
    area = PickArea.of_image((64, 64), edge_px=10)
    micrograph = PreparedMicrograph(
        path=Path("mic.mrc"),
        held_out=True,
        original_pixel_size_angstrom=5.0,
        image=np.zeros((64, 64), dtype=np.float32),
        mask=area.shrunk(-0.5).outside((64, 64)),
        scale_y=1.0,
        scale_x=1.0,
        candidates=Candidates(np.zeros((0, 2), np.float32), np.zeros(0, np.float32)),
        area=area,
    )

    found = evaluate.pick(None, micrograph, min_distance_px=12)

    assert found.x_px.tolist() == pytest.approx([50], abs=0.1)


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
    assert "by the 2D classes of 48 picks" in point.source


def test_classes_that_have_seen_hardly_any_pick_do_not_choose():
    """In this case the seeds determine the threshold."""
    chance = np.full(17, np.nan, dtype=np.float32)
    chance[:2] = 0.9
    found = [matches(6, truths=6)] * 3

    point = choose_operating_point(found, by_class=[(SCORES.astype(np.float32), chance)] * 3)

    assert point.source.startswith("best F1 against 18 seeds")


def test_what_only_one_picker_finds_is_labelled_by_its_class():
    """A place in a good class is a particle; one in a doubtful class counts neither way."""
    yx_px = np.array([[10, 10], [10, 60], [10, 110], [10, 160], [10, 200]], dtype=np.float32)
    micrograph = PreparedMicrograph(
        path=Path("mic.mrc"),
        held_out=True,
        original_pixel_size_angstrom=5.0,
        image=np.zeros((100, 440), dtype=np.float32),
        mask=np.zeros((100, 440), dtype=bool),
        scale_y=1.0,
        scale_x=1.0,
        candidates=Candidates(yx_px[:1], np.ones(1, np.float32)),
    )
    known = Candidates(
        yx_px,
        score=np.array([0.9, 0.8, 0.7, 0.6, 0.1], dtype=np.float32),
        verdict=np.array([BELIEVED, BELIEVED, UNSORTED, REJECTED, UNSORTED], dtype=np.int8),
        chance=np.array([0.9, 0.9, 0.4, 0.1, np.nan], dtype=np.float32),
    )

    labels = evaluate.held_out_labels(
        [(micrograph, Seeds(yx_px[:1], yx_px[:0]))],
        diameter_angstrom=100,
        by="classes",
        places={micrograph.path: known},
    )

    here = labels.micrographs[0]
    assert [x for x, _ in here.particles] == [10, 60]
    assert [x for x, _ in here.doubtful] == [110]
