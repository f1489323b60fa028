"""A template made from first picks minus their decoys: its appearance, and what it finds."""

import numpy as np
import pytest
from scipy.signal import fftconvolve
from scipy.spatial import cKDTree

from livepick.core.imaging.peaks import find_peaks
from livepick_trainer.seeds.templates import find_template, match_score

DIAMETER_PX = 20
MIN_DISTANCE_PX = 12
SIDE_PX = 320


def shell(distance):
    """Return a hollow particle: bright at its wall, and as dark at its centre as outside."""
    return np.exp(-(((distance - 8) / 2) ** 2))


def disc(distance):
    return (distance < 9).astype(float)


def field(seed, shape, height, *, count=49):
    """Return noise with particles at random positions on a loose grid, and these positions."""
    rng = np.random.default_rng(seed)
    cells = np.stack(np.meshgrid(*[np.arange(28, SIDE_PX - 20, 44)] * 2, indexing="ij"), -1)
    cells = cells.reshape(-1, 2)[rng.permutation(49)[:count]]
    truth = cells + rng.uniform(-9, 9, cells.shape)
    y, x = np.indices((SIDE_PX, SIDE_PX))
    image = rng.normal(0, 1, y.shape)
    for cy, cx in truth:
        image += height * shape(np.hypot(y - cy, x - cx))
    return image.astype(np.float32), truth


def disc_picks(image, count=120):
    """Return the best matches of a plain disc, (N, 2); noise gives as many."""
    y, x = np.mgrid[-15:16, -15:16]
    distance = np.hypot(y, x)
    kernel = (distance < 10) / 314 - (distance < 15) / 707
    response = fftconvolve(image, kernel, mode="same")
    y, x, _ = find_peaks(response, min_distance_px=MIN_DISTANCE_PX, floor=0)
    return np.column_stack([y, x])[:count].astype(np.float32)


def template_of(images):
    """Return the template made from blob picks in images, minus those in their negatives."""
    return find_template(
        images,
        [np.zeros(image.shape, dtype=bool) for image in images],
        [disc_picks(image) for image in images],
        [disc_picks(-image) for image in images],
        diameter_px=DIAMETER_PX,
        min_distance_px=MIN_DISTANCE_PX,
    )


def right(picks, truth):
    """Return the correct fraction of the best N picks, where N is the number of particles."""
    best = picks[: len(truth)]
    distance, _ = cKDTree(truth).query(best)
    return float((distance < DIAMETER_PX / 4).mean())


@pytest.fixture(scope="module")
def weak():
    """Return images of weak hollow shells, their positions, and the template.

    Tests only read them.
    """
    images, places = zip(*[field(n, shell, 0.45) for n in range(4)], strict=True)
    return images, places, template_of(images)


def test_weak_shells_are_a_ring_though_a_disc_found_them(weak):
    """It is bright at the wall, dark in the middle, since a share of the decoys is subtracted."""
    _, _, template = weak
    middle = len(template.values) // 2
    row = template.values[middle, middle:]

    assert template.share > 0
    assert 6 <= int(row.argmax()) <= 10
    assert row[8] > 0 > row[:5].mean()
    assert np.linalg.norm(template.values) == pytest.approx(1)


def test_the_template_finds_more_particles_than_the_picks_that_it_is_made_of(weak):
    images, places, template = weak

    before = [right(disc_picks(i), truth) for i, truth in zip(images, places, strict=True)]
    after = [right(m.yx_px, truth) for m, truth in zip(template.matches, places, strict=True)]

    assert np.mean(after) > np.mean(before) + 0.15


def test_the_excess_is_about_the_number_of_particles(weak):
    """The decoys measure the matches of noise, which are the majority, since the signal is weak."""
    _, places, template = weak
    particles = sum(map(len, places))

    assert 0.6 * particles < template.excess < 1.1 * particles
    assert 0.2 < template.purity < 0.6


def test_noise_is_nearly_all_impure():
    """A disc finds no more in noise than in the negative of the noise."""
    template = template_of([field(n, shell, 0)[0] for n in range(4)])

    assert template.purity < 0.15


def test_strong_discs_are_nearly_pure():
    template = template_of([field(n, disc, 1.5)[0] for n in range(2)])

    assert template.purity > 0.9


def test_matches_are_at_their_places_to_less_than_a_pixel():
    image, truth = field(3, disc, 2.0)

    (match,) = template_of([image]).matches

    distance, _ = cKDTree(match.yx_px).query(truth)
    assert np.median(distance) < 0.5
    assert distance.max() < 1


def test_matches_are_the_best_first_and_none_is_masked():
    image, truth = field(3, disc, 2.0)
    mask = np.zeros(image.shape, dtype=bool)
    mask[:, 160:] = True

    template = find_template(
        [image],
        [mask],
        [disc_picks(image)],
        [disc_picks(-image)],
        diameter_px=DIAMETER_PX,
        min_distance_px=MIN_DISTANCE_PX,
    )

    (match,) = template.matches
    assert (np.diff(match.sigmas) <= 0).all()
    assert (match.yx_px[:, 1] < 160).all()
    assert right(match.yx_px, truth[truth[:, 1] < 155]) > 0.9


def test_the_same_picks_give_the_same_template():
    """A stage that was killed and is done again gives the same result."""
    images = [field(n, shell, 0.6)[0] for n in range(2)]

    first, second = template_of(images), template_of(images)

    assert (first.share, first.excess, first.purity) == (second.share, second.excess, second.purity)
    np.testing.assert_array_equal(first.values, second.values)
    for one, other in zip(first.matches, second.matches, strict=True):
        np.testing.assert_array_equal(one.yx_px, other.yx_px)
        np.testing.assert_array_equal(one.sigmas, other.sigmas)


@pytest.mark.parametrize("lacking", ["candidates", "decoys"])
def test_without_candidates_or_decoys_there_is_no_template(lacking):
    """Without decoys, the part of it that is noise is unknown."""
    image, _ = field(0, disc, 1.0)
    picks = {"candidates": [disc_picks(image)], "decoys": [disc_picks(-image)]}
    picks[lacking] = [np.zeros((0, 2), dtype=np.float32)]

    found = find_template(
        [image],
        [np.zeros(image.shape, dtype=bool)],
        picks["candidates"],
        picks["decoys"],
        diameter_px=DIAMETER_PX,
        min_distance_px=MIN_DISTANCE_PX,
    )

    assert found is None


def test_a_score_grows_with_the_response_and_is_half_at_the_middle():
    scores = match_score(np.array([1.0, 2.25, 3.0, 6.0], dtype=np.float32))

    assert scores[1] == pytest.approx(0.5)
    assert (np.diff(scores) > 0).all()
    assert 0 < scores[0] < scores[-1] < 1
