"""The blob picker: its templates, and its scores in noise."""

import numpy as np
import onnxruntime
import pytest

from livepick.core.imaging.blob_detector import MIDDLE_SIGMAS, blob_graph, templates
from livepick.core.imaging.peaks import find_peaks
from livepick.core.imaging.preprocess import DIAMETER_PX


def score_map(image):
    """Return the blob picker's scores."""
    session = onnxruntime.InferenceSession(
        blob_graph(DIAMETER_PX), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"image": image[None, None]})[0][0, 0]


def test_templates_have_mean_zero_and_norm_near_one():
    """A constant background gives no response; averaging to the grid takes little of the norm."""
    shapes, areas = templates(10)

    np.testing.assert_allclose(shapes.sum(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(areas.sum(axis=(1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("kind", ["disc", "shell"])
@pytest.mark.parametrize("diameter_px", [15, 18, 21])
def test_the_blob_picker_finds_discs_and_shells_in_noise(kind, diameter_px, rng):
    """All of nine weak particles are the nine best picks, in place, not on a gradient's edge."""
    y, x = np.indices((320, 320))
    centres = [(60.0 + 100 * i + 3.3, 60.0 + 100 * j + 7.6) for i in range(3) for j in range(3)]
    image = rng.standard_normal((320, 320)).astype(np.float32)
    for cy, cx in centres:
        distance = np.hypot(y - cy, x - cx)
        inside = distance < diameter_px / 2
        if kind == "shell":
            inside &= distance > 0.3 * diameter_px
        image += 1.3 * inside

    y, x, score = find_peaks(score_map(image), min_distance_px=12, floor=0.02)

    found = np.column_stack([y, x])[:9]
    order = np.lexsort((np.rint(found[:, 1] / 100), np.rint(found[:, 0] / 100)))
    np.testing.assert_allclose(found[order], centres, atol=1.5)
    assert score[8] > 0.9
    assert score[9] < score[8]


def test_the_score_of_the_middle_is_one_half(rng):
    """The response that ``MIDDLE_SIGMAS`` names scores 0.5, so that the card's threshold fits."""
    score = score_map(rng.standard_normal((320, 320)).astype(np.float32))
    sigmas = np.log(score / (1 - score)) * 0.7 + MIDDLE_SIGMAS

    assert sigmas.std() == pytest.approx(1, abs=0.01)
