"""The blob picker: its templates, its scores in noise and next to junk."""

import numpy as np
import onnxruntime
import pytest

from livepick.core.imaging.blob_detector import blob_graph, templates
from livepick.core.imaging.decoys import THRESHOLDS_SIGMAS
from livepick.core.imaging.peaks import find_peaks
from livepick.core.imaging.preprocess import DIAMETER_PX


def session_of(graph):
    """Return a session on the CPU, which does not warn about the optional input."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def score_map():
    """Return a function from an image, and perhaps a mask, to the blob picker's scores."""
    session = session_of(blob_graph(DIAMETER_PX))

    def scores(image, mask=None):
        inputs = {"image": image[None, None]}
        if mask is not None:
            inputs["mask"] = mask[None, None].astype(np.float32)
        return session.run(["score"], inputs)[0][0, 0]

    return scores


def picks(score):
    """Return the places that the blob picker would pick, (N, 2) as (y, x)."""
    y, x, _ = find_peaks(score, min_distance_px=12, floor=0.5)
    return np.column_stack([y, x])


def noise(rng, side_px, pinkness=0.0):
    """Return noise of standard deviation 1; with pinkness, its power falls with the frequency."""
    frequency = np.hypot(np.fft.fftfreq(side_px)[:, None], np.fft.rfftfreq(side_px))
    spectrum = np.fft.rfft2(rng.standard_normal((side_px, side_px)))
    image = np.fft.irfft2(spectrum / np.sqrt(1 + pinkness * frequency), s=(side_px, side_px))
    return (image / image.std()).astype(np.float32)


def put_discs(image, centres, height, diameter_px=18):
    """Add discs to an image."""
    y, x = np.indices(image.shape)
    for cy, cx in centres:
        image += height * (np.hypot(y - cy, x - cx) < diameter_px / 2).astype(np.float32)


def test_templates_have_mean_zero_and_norm_near_one():
    """A constant background gives no response; averaging to the grid takes little of the norm."""
    shapes, areas = templates(10)

    np.testing.assert_allclose(shapes.sum(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(areas.sum(axis=(1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("kind", ["disc", "shell"])
@pytest.mark.parametrize("diameter_px", [15, 18, 21])
def test_the_blob_picker_finds_discs_and_shells_in_noise(score_map, kind, diameter_px, rng):
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
    np.testing.assert_allclose(found[order], centres, atol=2)
    assert score[8] > 0.8
    assert score[9] < score[8]


@pytest.mark.parametrize("pinkness", [0.0, 10.0, 50.0])
def test_noise_alone_gives_hardly_any_picks(score_map, pinkness):
    """The picker of before, whose threshold was a number of standard deviations, found some 200."""
    counts = [
        len(picks(score_map(noise(np.random.default_rng(seed), 400, pinkness))))
        for seed in range(5)
    ]

    assert np.median(counts) <= 12


def test_a_few_particles_in_noise_are_picked_and_hardly_anything_else(score_map, rng):
    """The threshold follows from how often noise is picked, not from the particles' number."""
    image = noise(rng, 400)
    centres = [(60.0 + 70 * i, 60.0 + 70 * j) for i in range(5) for j in range(5)]
    put_discs(image, centres, 1.0)

    found = picks(score_map(image))

    hits = sum(np.hypot(*(found - centre).T).min() < 4 for centre in centres)
    assert hits >= 24
    assert len(found) <= 30


def test_junk_under_the_mask_does_not_hide_particles(score_map, rng):
    """An ice crystal raises the spread of the response in the whole micrograph, unless masked."""
    image = noise(rng, 400)
    put_discs(image, [(160.0 + 45 * i, 40.0 + 45 * j) for i in range(5) for j in range(8)], 0.8)
    mask = np.zeros(image.shape, dtype=bool)
    mask[:120] = True
    crystals = [(20.0 + 35 * i, 20.0 + 36 * j) for i in range(3) for j in range(11)]
    put_discs(image, crystals, 5.0, 22)

    def outside(score):
        return sum(y > 125 for y, _ in picks(score).tolist())

    assert 38 <= outside(score_map(image, mask)) <= 44
    assert outside(score_map(image)) < 10


def test_without_a_mask_everything_counts(score_map, rng):
    image = noise(rng, 160)

    np.testing.assert_array_equal(score_map(image), score_map(image, np.zeros(image.shape, bool)))


def test_a_masked_or_flat_image_gives_scores(score_map):
    for image, mask in (
        (noise(np.random.default_rng(0), 160), np.ones((160, 160), dtype=bool)),
        (np.zeros((160, 160), dtype=np.float32), None),
    ):
        score = score_map(image, mask)
        assert np.isfinite(score).all()
        assert score.min() >= 0
        assert score.max() <= 1


def test_the_threshold_scores_one_half(rng):
    """Score, response and threshold agree, and the threshold is one of those that are tried."""
    image = noise(rng, 320)[None, None]
    outputs = []
    for scores, names in ((True, ["score"]), (False, ["response", "threshold"])):
        graph = blob_graph(DIAMETER_PX, scores=scores)
        outputs += session_of(graph).run(names, {"image": image})
    score, response, threshold = outputs

    np.testing.assert_array_equal(score > 0.5, response > threshold)
    assert threshold.item() in THRESHOLDS_SIGMAS.tolist()
