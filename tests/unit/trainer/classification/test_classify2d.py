"""Reference-free sorting of particles into classes, with alignment."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from livepick_trainer.classification.classification_rules import (
    ClassificationRules,
    ClassificationStage,
)
from livepick_trainer.classification.classify2d import choose_classes, classify
from livepick_trainer.classification.polar import Polar, shift_images, soft_disc

BOX_PX, DIAMETER_PX = 48, 32.0
RULES = ClassificationRules(
    sorting=(
        ClassificationStage(
            passes=4, most_ring=5, angles=32, shifts_px=(2.0,), temperature=(1.0, 0.2)
        ),
        ClassificationStage(
            passes=4, most_ring=6, angles=48, shifts_px=(2.0,), temperature=(0.2, 0.1)
        ),
    ),
    refining=(
        ClassificationStage(
            passes=2, most_ring=10, angles=64, shifts_px=(1.5,), temperature=(0, 0)
        ),
    ),
)


def shapes():
    """Return a bar, a ring and a lopsided triangle of three dots."""
    y, x = np.indices((BOX_PX, BOX_PX)) - BOX_PX // 2
    bar = (np.abs(y) < 4) & (np.abs(x) < 14)
    ring = np.abs(np.hypot(y, x) - 11) < 3.5
    dots = np.zeros_like(ring)
    for cy, cx, radius in ((-9, 0, 6), (7, 8, 4), (6, -9, 3)):
        dots |= np.hypot(y - cy, x - cx) < radius
    return [ndimage.gaussian_filter(shape.astype(np.float32), 1) for shape in (bar, ring, dots)]


def particles(each, *, noise, seed=0, shift_px=2.0, kinds=(0, 1, 2)):
    """Return rotated, shifted, noisy shapes, their kinds, and their shifts."""
    rng = np.random.default_rng(seed)
    kind = np.repeat(kinds, each)
    rng.shuffle(kind)
    shift = rng.uniform(-shift_px, shift_px, (len(kind), 2))
    images = []
    for k, s in zip(kind, shift, strict=True):
        image = ndimage.rotate(shapes()[k], rng.uniform(0, 360), reshape=False, order=1)
        # scipy rotates about (box - 1) / 2; half a pixel does not matter here
        images.append(ndimage.shift(image, s, order=1) + rng.normal(0, noise, image.shape))
    return np.array(images, dtype=np.float32), kind, shift


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def sorted_particles():
    images, kind, shift = particles(60, noise=0.7)
    return kind, shift, classify(images, diameter_px=DIAMETER_PX, classes=6, rules=RULES)


def test_a_class_holds_one_kind(sorted_particles):
    """Nine out of ten particles are in a class where their kind is the majority."""
    kind, _, found = sorted_particles

    majority = [np.bincount(kind[found.label == k], minlength=3).max() for k in range(6)]

    assert sum(majority) >= 0.9 * len(kind)


def test_no_class_swallows_the_others(sorted_particles):
    """With six classes for three kinds, the largest has less than half of the particles."""
    _, _, found = sorted_particles

    assert found.occupancy.max() < 0.5 * found.occupancy.sum()
    assert found.occupancy.tolist() == sorted(found.occupancy, reverse=True)


def test_an_average_looks_like_its_kind(sorted_particles):
    """The average of the bar, rotated to match, correlates with the bar."""
    kind, _, found = sorted_particles
    of_bars = max(range(6), key=lambda k: int((kind[found.label == k] == 0).sum()))
    inside = soft_disc(BOX_PX, 18, torch.device("cpu")).numpy() > 0.5

    best = max(
        np.corrcoef(
            ndimage.rotate(found.averages[of_bars], angle, reshape=False, order=1)[inside],
            shapes()[0][inside],
        )[0, 1]
        for angle in range(0, 360, 6)
    )

    assert best > 0.85


def test_the_two_halves_agree(sorted_particles):
    _, _, found = sorted_particles
    one, two = found.halves[:, 0]

    assert found.half_sizes.sum(0).tolist() == found.occupancy.tolist()
    assert np.corrcoef(one.ravel(), two.ravel())[0, 1] > 0.5


def test_shifts_lead_to_the_centre(sorted_particles):
    """Particles are found where they were placed relative to their class, to about a pixel."""
    kind, shift, found = sorted_particles
    ring = kind == 1
    error = np.linalg.norm(found.shift_yx_px[ring] - shift[ring], axis=1)

    assert np.median(error) < 1.2


def test_the_same_seed_gives_the_same_classes():
    images, _, _ = particles(20, noise=0.5)

    one, two = (
        classify(images, diameter_px=DIAMETER_PX, classes=5, seed=3, rules=RULES) for _ in range(2)
    )

    assert (one.label == two.label).all()
    assert (one.averages == two.averages).all()


def test_pure_noise_and_doubles_are_no_obstacle():
    """Every particle has a class and finite figures, even if all are the same image."""
    image = np.random.default_rng(0).normal(0, 1, (1, BOX_PX, BOX_PX)).astype(np.float32)

    found = classify(np.repeat(image, 40, 0), diameter_px=DIAMETER_PX, classes=5, rules=RULES)

    assert found.occupancy.sum() == 40
    assert np.isfinite(found.averages).all()
    assert np.isfinite(found.score).all()


def test_too_few_particles_are_refused():
    images = np.zeros((9, BOX_PX, BOX_PX), dtype=np.float32)

    with pytest.raises(ValueError, match="9 particles"):
        classify(images, diameter_px=DIAMETER_PX, classes=5)


@pytest.mark.parametrize(("count", "classes"), [(30, 5), (1000, 20), (9000, 40)])
def test_the_number_of_classes_follows_that_of_particles(count, classes):
    assert choose_classes(count) == classes


def test_a_shift_is_a_phase_on_the_rings():
    """The transform of a shifted image is the shifted transform."""
    y, x = np.indices((BOX_PX, BOX_PX)) - BOX_PX // 2
    spot = np.exp(-((y - 2) ** 2 + (x + 3) ** 2) / 18).astype(np.float32)
    image = torch.from_numpy(spot)[None]
    polar = Polar(BOX_PX, 8, 64, torch.ones(BOX_PX, BOX_PX))
    shift = torch.tensor([[1.5, -2.0]])

    direct = polar.transform(shift_images(image, shift))
    by_phase = polar.shifted(polar.transform(image), polar.phases(shift))

    assert torch.allclose(direct, by_phase, atol=1e-3 * float(direct.abs().max()))


def test_a_turn_is_a_phase_of_the_angular_frequencies():
    """Rotating a spot by 90° from x towards y multiplies coefficient m by exp(-i m 90°)."""
    y, x = np.indices((BOX_PX, BOX_PX)) - BOX_PX // 2
    polar = Polar(BOX_PX, 8, 64, torch.ones(BOX_PX, BOX_PX))
    on_x, on_y = (
        torch.from_numpy(np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 18).astype(np.float32))[None]
        for cy, cx in ((0, 6), (6, 0))
    )
    order = torch.arange(33)[:, None, None]

    turned = polar.transform(on_x) * torch.polar(torch.ones(1), -order * math.pi / 2)

    assert torch.allclose(turned, polar.transform(on_y), atol=1e-3 * float(turned.abs().max()))


def test_further_particles_get_the_class_of_their_kind():
    """They were not used for making the classes; neither were the decoys, which are noise here."""
    images, kind, _ = particles(60, noise=0.7)
    others, other_kind, _ = particles(30, noise=0.7, seed=5)
    noise = np.random.default_rng(9).normal(0, 0.7, (40, BOX_PX, BOX_PX)).astype(np.float32)

    found = classify(
        images,
        diameter_px=DIAMETER_PX,
        classes=6,
        rules=RULES,
        rest=iter([others[:50], others[50:]]),
        decoys=iter([noise]),
    )

    usual = [np.bincount(kind[found.label == k], minlength=3).argmax() for k in range(6)]
    assert (np.array(usual)[found.rest.label] == other_kind).mean() >= 0.85
    assert found.rest.shift_yx_px.shape == (90, 2)
    assert len(found.decoys.label) == 40
    alone = classify(images, diameter_px=DIAMETER_PX, classes=6, rules=RULES)
    assert (alone.label == found.label).all()
    assert not len(alone.rest.label)


def test_a_class_is_centred_on_the_whole_body():
    """For a large and a small lobe, picks on the large one are moved to between the two."""
    rng = np.random.default_rng(3)
    y, x = np.indices((BOX_PX, BOX_PX)) - BOX_PX // 2
    shape = np.where(np.hypot(y, x) < 5, 1.3, 0) + np.where(np.hypot(y - 13, x) < 6, 1.0, 0)
    shape = ndimage.gaussian_filter(shape.astype(np.float32), 1)
    turned = [ndimage.rotate(shape, rng.uniform(0, 360), reshape=False, order=1) for _ in range(90)]
    images = np.array(turned, dtype=np.float32)
    images += rng.normal(0, 0.4, images.shape).astype(np.float32)

    found = classify(images, diameter_px=DIAMETER_PX, classes=2, rules=RULES)

    assert np.median(np.linalg.norm(found.shift_yx_px, axis=1)) > 4
