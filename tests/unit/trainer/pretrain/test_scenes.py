"""Synthetic scenes: reproducible, with particles where they are said to be."""

from dataclasses import replace

import numpy as np
import pytest

from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick_trainer.pretrain.junk import add_strong_mottle
from livepick_trainer.pretrain.noise import (
    detectability,
    frequencies,
    random_noise,
    random_noise_power,
    random_transfer,
    visible_sigma,
)
from livepick_trainer.pretrain.scenes import SceneRules, make_scene
from livepick_trainer.pretrain.specimens import random_specimen

SHAPE = (160, 160)

CLEAR = SceneRules(
    size_px=160,
    margin_px=32,
    wrong_size_fraction=0,
    empty_fraction=0,
    junk_fraction=0,
    film_fraction=0,
    stranger_fraction=0,
    inverted_fraction=0,
    mottle_fraction=0,
    faint_fraction=0,
    faint=30.0,
)


def test_the_same_number_gives_the_same_scene_and_another_number_another():
    one, again, other = make_scene(1, 5), make_scene(1, 5), make_scene(1, 6)
    np.testing.assert_array_equal(one.image, again.image)
    np.testing.assert_array_equal(one.mask, again.mask)
    np.testing.assert_array_equal(one.seeds.positive_yx_px, again.seeds.positive_yx_px)
    assert not np.array_equal(one.image, other.image)


def test_all_kinds_of_scenes_are_finite_images_of_the_right_size():
    for number in range(25):
        scene = make_scene(3, number, rules=SceneRules(size_px=96, margin_px=16))
        assert scene.image.shape == scene.mask.shape == (96, 96)
        assert scene.image.dtype == np.float32
        assert np.isfinite(scene.image).all()
        assert 0.5 < np.std(scene.image) < 6, number


@pytest.mark.parametrize("kind", ["wrong_size_fraction", "empty_fraction", "inverted_fraction"])
def test_objects_of_a_wrong_size_or_contrast_are_background(kind):
    alone = {"wrong_size_fraction": 0.0, "empty_fraction": 0.0, "inverted_fraction": 0.0, kind: 1.0}
    rules = SceneRules(size_px=96, margin_px=16, **alone)
    assert all(len(make_scene(1, n, rules=rules).seeds.positive_yx_px) == 0 for n in range(6))


def test_scenes_of_noise_alone_have_neither_junk_nor_film():
    rules = replace(CLEAR, empty_fraction=1.0, junk_fraction=1.0, film_fraction=1.0)
    masked = [
        np.mean([make_scene(1, n, rules=replace(rules, noise_fraction=f)).mask for n in range(8)])
        for f in (1.0, 0.0)
    ]
    assert masked[0] < 0.1 * masked[1]


def test_clear_particles_stand_out_where_the_seeds_are():
    """Their pixels vary more than those between them, even if lens or shape darken their middle."""
    stands_out = []
    for number in range(20):
        scene = make_scene(2, number, rules=CLEAR)
        y, x = np.mgrid[:160, :160]
        distance = np.full((160, 160), np.inf)
        for centre_y, centre_x in scene.seeds.positive_yx_px:
            distance = np.minimum(distance, np.hypot(y - centre_y, x - centre_x))
        near = (distance < DIAMETER_PX / 2) & ~scene.mask
        far = (distance > 1.2 * DIAMETER_PX) & ~scene.mask
        if min(near.sum(), far.sum()) > 300:
            stands_out.append(scene.image[near].std() > scene.image[far].std())
    assert len(stands_out) >= 10
    assert np.mean(stands_out) >= 0.9


def test_grainy_particles_have_more_fine_detail_than_soft_ones():
    """The same scenes, with the same noise: only the blur of the particles differs."""
    fine = frequencies(SHAPE) > 0.2
    more = 0
    for number in range(10):
        kinds = ({"grainy_fraction": 1.0}, {"grainy_fraction": 0.0, "soft_fraction": 1.0})
        grainy, soft = (
            np.abs(np.fft.rfft2(make_scene(2, number, rules=replace(CLEAR, **kind)).image)) ** 2
            for kind in kinds
        )
        more += grainy[fine].sum() / grainy.sum() > soft[fine].sum() / soft.sum()
    assert more >= 8


def test_strong_mottle_is_coarse_and_has_the_strength_of_noise_or_more():
    rng = np.random.default_rng(5)
    for _ in range(10):
        image = np.zeros(SHAPE, dtype=np.float32)
        add_strong_mottle(image, DIAMETER_PX, rng)
        assert 0.4 < image.std() < 5
        power = np.abs(np.fft.rfft2(image)) ** 2
        assert power[frequencies(SHAPE) > 0.25].sum() < 0.1 * power.sum()


def test_noise_has_the_power_that_was_asked_for():
    rng = np.random.default_rng(1)
    power = random_noise_power(SHAPE, random_transfer(SHAPE, DIAMETER_PX, rng), rng)
    found = np.mean(
        [np.abs(np.fft.rfft2(random_noise(power, SHAPE, rng))) ** 2 for _ in range(40)], axis=0
    )
    ratio = found[1:, 1:-1] / power[1:, 1:-1] / np.prod(SHAPE)
    assert np.mean(ratio) == pytest.approx(1, abs=0.02)


def test_detectability_is_that_of_a_matched_filter():
    """The filter's response over white noise is the root of the particle's energy."""
    image = np.zeros(SHAPE, dtype=np.float32)
    image[60:72, 80:92] = 0.5
    image -= image.mean()
    power = np.full((160, 81), 4.0, dtype=np.float32)
    expected = np.sqrt((image**2).sum()) / 2
    # Flattening removes the lowest frequencies, which are a small part of such a particle.
    found = detectability(np.fft.rfft2(image), power, SHAPE, 1)
    assert found == pytest.approx(expected, rel=0.1)
    assert found < expected
    assert visible_sigma(power, SHAPE) == pytest.approx(2, rel=0.01)


def test_specimens_have_a_longest_diameter_of_one_and_differ():
    rng = np.random.default_rng(1)
    extents = []
    for _ in range(30):
        specimen = random_specimen(rng, points=400)
        directions = np.random.default_rng(0).normal(size=(3, 500))
        along = specimen.points @ (directions / np.linalg.norm(directions, axis=0))
        extents.append(np.ptp(along, axis=0))
        assert specimen.weights.sum() == pytest.approx(1, abs=1e-3)
        np.testing.assert_allclose(specimen.weights @ specimen.points, 0, atol=1e-3)
    assert np.max(extents, axis=1) == pytest.approx(1, abs=0.05)
    flatness = np.min(extents, axis=1)
    assert np.ptp(flatness) > 0.3


def test_half_of_the_specimens_come_from_structures():
    """A needle is a shape that random specimens never have."""
    needle = np.column_stack([np.linspace(0, 900, 2000), np.zeros(2000), np.zeros(2000)])
    rng = np.random.default_rng(4)
    thin = 0
    for _ in range(60):
        points = random_specimen(rng, [needle], points=200).points
        thin += int(np.linalg.svd(points, compute_uv=False)[1] < 0.01)
    assert 5 <= thin <= 30
