"""Fixtures of the imaging tests."""

import numpy as np
import pytest


@pytest.fixture
def rng():
    """Return random numbers that are the same in each test."""
    return np.random.default_rng(7)


@pytest.fixture
def blob_image():
    """Return a function that draws Gaussians."""

    def draw(shape, centres, sigma):
        """Return an image with a Gaussian of height 1 at each (y, x)."""
        y, x = np.indices(shape)
        image = np.zeros(shape, dtype=np.float32)
        for cy, cx in centres:
            image += np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * sigma**2)).astype(np.float32)
        return image

    return draw
