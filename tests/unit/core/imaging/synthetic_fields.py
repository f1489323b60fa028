"""Synthetic fields of view for the tests of masks and of carbon film."""

import numpy as np
from scipy import ndimage

from livepick.core.imaging.preprocess import DIAMETER_PX, prepare

SIDE = 26 * DIAMETER_PX
ANGSTROM = 8.0
"""Pixel size at which a particle of ``DIAMETER_PX`` pixels needs no resampling."""


def noise(rng, side=SIDE):
    """Return an empty field after normalization: slightly coloured noise."""
    white, smooth = rng.standard_normal((2, side, side)).astype(np.float32)
    image = 0.8 * white + 0.6 * ndimage.gaussian_filter(smooth, 1.5) * 5
    return (image / image.std()).astype(np.float32)


def prepared(image):
    """Return a normalized image, whose particles are bright, after all of the preparation."""
    return prepare(
        image,
        pixel_size_angstrom=ANGSTROM,
        diameter_angstrom=DIAMETER_PX * ANGSTROM,
        contrast="bright",
    )


def rim(off, height=3.0):
    """Return the fringe at the film's edge: bright on the film, where ``off`` is positive."""
    return (height * np.sign(off) * (np.abs(off) < DIAMETER_PX / 2)).astype(np.float32)


def circle(y, x, radius):
    """Return the distance of each pixel outside a circle."""
    yy, xx = np.indices((SIDE, SIDE))
    return np.hypot(yy - y, xx - x) - radius


def share(mask, area):
    """Return the masked fraction of an area."""
    return mask[area].mean()
