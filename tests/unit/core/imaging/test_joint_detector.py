"""The joint picker: it takes what the network or the blob picker sees, and hardly any noise."""

import numpy as np
import onnxruntime
import pytest

from factories import network_graph
from livepick.core.imaging.blob_detector import blob_graph
from livepick.core.imaging.joint_detector import joint_graph
from livepick.core.imaging.peaks import find_peaks
from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick.models.general_model import SHIPPED

NETWORK = (SHIPPED / "model.onnx").read_bytes()


def scores_of(graph):
    """Return a function from an image, and perhaps a mask, to the scores of a graph."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # no warning about the optional input
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def scores(image, mask=None):
        inputs = {"image": image[None, None]}
        if mask is not None:
            inputs["mask"] = mask[None, None].astype(np.float32)
        return session.run(["score"], inputs)[0][0, 0]

    return scores


@pytest.fixture(scope="module")
def score_map():
    """Return the joint picker with the network of the package."""
    return scores_of(joint_graph(NETWORK, DIAMETER_PX))


def field(rng, places, height=1.0, side_px=400):
    """Return noise of standard deviation 1 with discs."""
    image = rng.standard_normal((side_px, side_px)).astype(np.float32)
    y, x = np.indices(image.shape)
    for cy, cx in places:
        image += height * (np.hypot(y - cy, x - cx) < 9).astype(np.float32)
    return image


def picks(score):
    """Return the places that would be written, (N, 2) as (y, x)."""
    y, x, _ = find_peaks(score, min_distance_px=12, floor=0.5)
    return np.column_stack([y, x])


PLACES = [(60.0 + 70 * i, 60.0 + 70 * j) for i in range(5) for j in range(5)]


def test_noise_alone_gives_hardly_any_picks(score_map):
    """The network alone has some 30 in each."""
    counts = [len(picks(score_map(field(np.random.default_rng(n), [])))) for n in range(4)]
    assert np.median(counts) <= 8


def test_particles_are_picked_and_hardly_anything_else(score_map, rng):
    found = picks(score_map(field(rng, PLACES)))

    assert sum(np.hypot(*(found - place).T).min() < 4 for place in PLACES) >= 24
    assert len(found) <= 38


def test_a_network_that_sees_nothing_leaves_the_blob_picker_alone(rng):
    """The scores are exactly those of the blob picker."""
    image = field(rng, PLACES)

    alone = scores_of(blob_graph(DIAMETER_PX))(image)
    joint = scores_of(joint_graph(network_graph(blind=True), DIAMETER_PX))(image)

    np.testing.assert_allclose(joint, alone, atol=1e-6)


def test_the_network_decides_too_where_it_sees_particles(rng):
    """Here these are bright squares in dark ones, which the blob picker cannot see."""
    image = field(rng, [], side_px=320)
    corners = [(40 + 60 * i, 40 + 60 * j) for i in range(4) for j in range(4)]
    for y, x in corners:
        image[y - 4 : y + 5, x - 4 : x + 5] -= 0.6
        image[y - 1 : y + 2, x - 1 : x + 2] += 5.4

    def found(graph):
        places = picks(scores_of(graph)(image))
        return sum(np.hypot(*(places - corner).T).min(initial=99) < 4 for corner in corners)

    assert found(blob_graph(DIAMETER_PX)) <= 4
    assert found(joint_graph(network_graph(), DIAMETER_PX)) >= 14


def test_masked_junk_does_not_count(score_map, rng):
    """Crystals under the mask change nothing outside it."""
    image = field(rng, [place for place in PLACES if place[0] > 150])
    mask = np.zeros(image.shape, dtype=bool)
    mask[:120] = True
    dirty = image.copy()
    dirty[:100] += 8 * (rng.standard_normal((100, 400)) > 1.5)

    clean, covered = (picks(score_map(one, mask)) for one in (image, dirty))

    assert abs(sum(clean[:, 0] > 140) - sum(covered[:, 0] > 140)) <= 1


def test_a_masked_or_flat_image_gives_scores(score_map, rng):
    for image, mask in (
        (field(rng, [], side_px=160), np.ones((160, 160), dtype=bool)),
        (np.zeros((160, 160), dtype=np.float32), None),
    ):
        score = score_map(image, mask)
        assert np.isfinite(score).all()
        assert 0 <= score.min() <= score.max() <= 1


@pytest.mark.parametrize("graph", [b"half", blob_graph(DIAMETER_PX)], ids=["bytes", "blob"])
def test_another_graph_is_refused(graph):
    with pytest.raises(ValueError, match="it is not"):
        joint_graph(graph, DIAMETER_PX)
