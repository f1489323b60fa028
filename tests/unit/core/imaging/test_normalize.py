"""Normalization by the local background and the noise."""

import numpy as np
import pytest

from livepick.core.imaging.normalize import flatten, trend


def test_gradients_and_dark_things_do_not_upset_the_normalization(rng):
    """Noise with a steep gradient and a black disc has standard deviation 1 elsewhere."""
    y, x = np.indices((400, 400))
    noise = 5 * rng.standard_normal((400, 400)).astype(np.float32)
    dirty = noise + 0.3 * x.astype(np.float32) + 100
    disc = np.hypot(y - 100, x - 120) < 25
    dirty[disc] -= 500

    flat = flatten(dirty, window_px=60).flat

    far = np.hypot(y - 100, x - 120) > 60
    inner = far & (np.minimum(x, 399 - x) > 15)
    assert flat[inner].std() == pytest.approx(1, abs=0.1)
    assert abs(flat[inner].mean()) < 0.1
    assert flat[disc].max() < -50


def test_a_dead_border_does_not_pull_the_background_down(rng):
    """Ignored pixels get the background of their neighbours."""
    image = 10 + rng.standard_normal((200, 200)).astype(np.float32)
    ignore = np.zeros(image.shape, dtype=bool)
    image[:, :40], ignore[:, :40] = -100, True

    flat = flatten(image, window_px=40, ignore=ignore).flat

    assert abs(flat[:, 40:60].mean()) < 0.1


def test_the_trend_is_that_of_the_ice_not_of_the_carbon():
    """A quarter of the field in carbon does not bend a gradient of ice."""
    y, x = np.meshgrid(np.linspace(-1, 1, 20), np.linspace(-1, 1, 26), indexing="ij")
    ice = (5 + 2 * x - y + 0.5 * x * x).astype(np.float32)
    carbon = (x > 0.4) & (y > -0.5)

    np.testing.assert_allclose(trend(np.where(carbon, ice - 20, ice)), ice, atol=0.1)
