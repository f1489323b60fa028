"""Choice of the candidates that are believed."""

import numpy as np
import pytest

from livepick.core.imaging.pick_area import PickArea
from livepick_trainer.seeds.labels import (
    BELIEVED,
    REJECTED,
    UNSORTED,
    Candidates,
    choose_seeds,
    disc_contrast,
)

DIAMETER_PX = 20
GRID = [(float(y), float(x)) for y in range(20, 200, 40) for x in range(20, 200, 40)]


def micrograph(centres, heights):
    """Return noise with discs of the given heights at the given centres."""
    y, x = np.indices((220, 220))
    image = np.random.default_rng(0).normal(0, 0.2, y.shape)
    for (cy, cx), height in zip(centres, heights, strict=True):
        image += height * (np.hypot(y - cy, x - cx) < DIAMETER_PX / 2)
    return image.astype(np.float32)


def choose(candidates, image=None, mask=None, threshold=0.5, area=None):
    """Return the positive and the ignored candidates as sets of (y, x)."""
    image = np.zeros((220, 220), dtype=np.float32) if image is None else image
    table = np.array(candidates, dtype=np.float32).reshape(-1, 3)
    seeds = choose_seeds(
        image,
        np.zeros(image.shape, dtype=bool) if mask is None else mask,
        Candidates(table[:, :2], table[:, 2]),
        threshold=threshold,
        diameter_px=DIAMETER_PX,
        area=area,
    )
    return tuple(
        {(float(y), float(x)) for y, x in points}
        for points in (seeds.positive_yx_px, seeds.ignored_yx_px)
    )


def test_the_score_sorts_into_three_classes():
    """Candidates above the threshold are positive, slightly below ignored, far below background."""
    positive, ignored = choose([(50, 50, 0.5), (100, 50, 0.3), (150, 50, 0.1)])

    assert (positive, ignored) == ({(50, 50)}, {(100, 50)})


@pytest.mark.parametrize("at", [(9.75, 100.0), (100.0, 209.25)])
def test_outside_of_the_area_a_candidate_is_ignored(at):
    """A candidate closer to the edge than the rule allows is neither particle nor background."""
    area = PickArea.of_image((220, 220), edge_px=10)

    assert choose([(*at, 0.9)], area=area) == (set(), {at})
    assert choose([(*at, 0.9)]) == ({at}, set())


def test_masked_candidates_are_dropped():
    """The mask already excludes that place from training."""
    mask = np.zeros((220, 220), dtype=bool)
    mask[:60] = True

    assert choose([(50, 50, 0.9)], mask=mask) == (set(), set())


def test_outliers_of_contrast_are_ignored():
    """A candidate that is three times as bright as the others is ice, not a particle."""
    heights = [1.0 + 0.02 * (i % 5) for i in range(len(GRID))]
    heights[7] = 4.0

    positive, ignored = choose([(*at, 0.9) for at in GRID], micrograph(GRID, heights))

    assert ignored == {GRID[7]}
    assert len(positive) == len(GRID) - 1


def test_no_candidates_are_no_seeds():
    """An empty micrograph teaches background."""
    assert choose([]) == (set(), set())


def test_contrast_is_the_height_of_a_disc():
    """A disc of height 2 has a contrast of 2 at any brightness, also next to an edge."""
    image = np.full((80, 80), 5, dtype=np.float32)
    y, x = np.indices(image.shape)
    image[np.hypot(y - 40, x - 40) <= 10] += 2

    contrast = disc_contrast(image, np.array([[40, 40], [0, 0]], dtype=np.float32), diameter_px=20)

    assert contrast == pytest.approx([2, 0], abs=1e-4)


def choose_by_verdict():
    """Return the labels of three good candidates: one believed, one rejected, one not sorted."""
    image = np.zeros((200, 200), dtype=np.float32)
    yx = np.array([[50, 50], [50, 100], [50, 150]], dtype=np.float32)
    verdict = np.array([BELIEVED, REJECTED, UNSORTED], dtype=np.int8)
    seeds = choose_seeds(
        image,
        np.zeros(image.shape, dtype=bool),
        Candidates(yx, np.full(3, 0.9, np.float32), verdict),
        threshold=0.5,
        diameter_px=20,
    )
    return tuple(points[:, 1].tolist() for points in (seeds.positive_yx_px, seeds.ignored_yx_px))


def test_the_verdict_of_the_classes_decides_what_a_good_candidate_teaches():
    """Believed gives a particle, rejected gives background, and not sorted is ignored."""
    assert choose_by_verdict() == ([50], [150])


def test_below_the_threshold_only_what_is_in_a_good_class_is_ignored():
    """The others look similar to particles but hardly any is one, so they serve as background."""
    yx_px = np.array([[30, 30], [30, 70], [70, 30], [70, 70]], dtype=np.float32)
    candidates = Candidates(
        yx_px,
        np.array([0.9, 0.4, 0.4, 0.4], dtype=np.float32),
        np.array([BELIEVED, BELIEVED, UNSORTED, REJECTED], dtype=np.int8),
    )
    image = np.zeros((100, 100), dtype=np.float32)

    seeds = choose_seeds(
        image,
        np.zeros(image.shape, dtype=bool),
        candidates,
        threshold=0.5,
        diameter_px=20,
    )

    np.testing.assert_array_equal(seeds.positive_yx_px, yx_px[:1])
    np.testing.assert_array_equal(seeds.ignored_yx_px, yx_px[1:2])


def choose_after(earlier, *, verdict=BELIEVED, score=0.9):
    """Return the labels of a second-round candidate at (50, 50) and those of the first round."""
    image = np.zeros((200, 200), dtype=np.float32)
    mask = np.zeros(image.shape, dtype=bool)
    mask[150:] = True
    seeds = choose_seeds(
        image,
        mask,
        Candidates(
            np.array([[50, 50]], dtype=np.float32),
            np.array([score], dtype=np.float32),
            np.array([verdict], dtype=np.int8),
            earlier_yx_px=np.array(earlier, dtype=np.float32).reshape(-1, 2),
        ),
        threshold=0.5,
        diameter_px=20,
    )
    return tuple(points.tolist() for points in (seeds.positive_yx_px, seeds.ignored_yx_px))


def test_what_only_an_earlier_round_saw_is_ignored():
    """A network that missed a particle once must not learn that it is background."""
    assert choose_after([[50, 100]]) == ([[50, 50]], [[50, 100]])


def test_an_earlier_round_does_not_outvote_the_later():
    """The same particle is learned; junk by its classes is background, and masks still apply."""
    assert choose_after([[54, 50], [160, 60]]) == ([[50, 50]], [])
    assert choose_after([[50, 50]], verdict=REJECTED) == ([], [])


def test_a_low_score_alone_is_no_verdict():
    """A place below all thresholds keeps its label from the first round."""
    assert choose_after([[52, 50]], verdict=UNSORTED, score=0.1) == ([], [[52, 50]])
