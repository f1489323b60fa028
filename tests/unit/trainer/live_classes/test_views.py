"""Views of the particle, told from class averages of drawn shapes in any rotation."""

import numpy as np
import pytest

from livepick_trainer.live_classes.views import find_views

BOX_PX, DIAMETER_PX = 64, 42.0
BARREL = ((0, 12, 16, 7), (0, -12, 16, 7), (0, 0, 8, 5))
CLAW = ((8, 8, 9, 5), (-10, 4, 6, 9), (3, -9, 5, 12))
BAR = ((0, 0, 19, 5),)


def draw(blobs, turn, *, mirrored=False):
    """Return an image of ellipses, each with centre x and y and half axes, turned as a whole."""
    y, x = np.indices((BOX_PX, BOX_PX)) - BOX_PX // 2
    if mirrored:
        x = -x
    cosine, sine = np.cos(turn), np.sin(turn)
    u, v = cosine * x + sine * y, cosine * y - sine * x
    edges = [np.hypot((u - cx) / a, (v - cy) / b) for cx, cy, a, b in blobs]
    return sum(1 / (1 + np.exp(8 * (edge - 1))) for edge in edges)


def ring():
    y, x = np.indices((BOX_PX, BOX_PX)) - BOX_PX // 2
    return np.exp(-(((np.hypot(y, x) - 15) / 3) ** 2))


def halves_of(images, noise=0.15, seed=0):
    """Return two noisy halves of each image."""
    rng = np.random.default_rng(seed)
    stack = np.stack([images, images]).astype(np.float32)
    return stack + rng.normal(0, noise, stack.shape).astype(np.float32)


def find(images, sizes=None, good=None):
    count = len(images)
    sizes = np.full(count, 200) if sizes is None else np.array(sizes)
    good = np.ones(count, dtype=bool) if good is None else np.array(good)
    half_sizes = np.stack([sizes // 2, sizes - sizes // 2])
    return find_views(halves_of(np.array(images)), half_sizes, good, diameter_px=DIAMETER_PX)


def test_one_view_in_any_rotation_and_as_its_mirror_image_is_one_view():
    turns = np.linspace(0, 2 * np.pi, 6, endpoint=False)
    images = [draw(CLAW, turn, mirrored=number % 2 == 1) for number, turn in enumerate(turns)]
    views = find(images)
    assert views.number == (0,) * 6
    assert views.balance.state == "one_view"
    assert (views.balance.largest_fraction, views.balance.views) == (1.0, 1)


def test_different_shapes_are_different_views():
    views = find([draw(CLAW, 0.3), draw(BARREL, 1.0), draw(BAR, 2.0), ring()])
    assert sorted(views.number) == [0, 1, 2, 3]
    assert views.balance.state == "balanced"


@pytest.mark.parametrize(("others", "state"), [(160, "one_view"), (240, "balanced")])
def test_one_view_dominates_from_seven_tenths_of_the_particles(others, state):
    images = [draw(CLAW, 0.3), draw(CLAW, 2.0), draw(BARREL, 1.0)]
    views = find(images, sizes=[200, 200, others])
    assert views.balance.state == state
    assert views.balance.largest_fraction == pytest.approx(400 / (400 + others), abs=1e-4)


def test_a_single_round_view_is_no_evidence_of_an_orientation():
    assert find([ring(), ring(), ring()]).balance.state == "round"


def test_junk_and_noise_are_no_views():
    rng = np.random.default_rng(1)
    images = [draw(CLAW, 0.3), draw(CLAW, 1.0), draw(BAR, 0.0), np.zeros((BOX_PX, BOX_PX))]
    images[3] = rng.normal(0, 0.01, (BOX_PX, BOX_PX))
    views = find(images, good=[True, True, False, True])
    assert views.number == (0, 0, None, None)


@pytest.mark.parametrize("good", [[True, True], [False, False]])
def test_few_good_particles_say_nothing(good):
    views = find([draw(CLAW, 0.3), draw(BAR, 0.3)], sizes=[100, 100], good=good)
    assert views.balance.state == "unknown"
    assert views.balance.largest_fraction is None
