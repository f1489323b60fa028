"""Micrographs of dark discs, which take no time to make."""

import mrcfile
import numpy as np

DIAMETER_ANGSTROM = 160
PIXEL_SIZE_ANGSTROM = 4.0
SIDE_PX = 384
CENTRES_PX = [(i, j) for i in range(50, 350, 75) for j in range(50, 350, 75)]
"""``(y, x)`` of the discs, each within 8 pixels of there."""


def blotches(rng):
    """Return structure between two and four diameters wide, as of uneven ice."""
    axis = np.fft.fftfreq(SIDE_PX, PIXEL_SIZE_ANGSTROM / DIAMETER_ANGSTROM)
    frequency = np.hypot(*np.meshgrid(axis, axis))  # in 1 / diameter
    wide = (frequency > 1 / 4) & (frequency < 1 / 2)
    image = np.fft.ifft2(np.fft.fft2(rng.normal(0, 1, (SIDE_PX, SIDE_PX))) * wide).real
    return (image / image.std()).astype(np.float32)


def write_disc_micrograph(path, *, seed, discs=16, bad=False):
    """Write dark discs in noise, 16 by default, and rename the file to its name.

    The quality is good; ``bad`` adds uneven ice.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    radius = DIAMETER_ANGSTROM / PIXEL_SIZE_ANGSTROM / 2
    noise = rng.normal(0, 1, (SIDE_PX, SIDE_PX)).astype(np.float32)
    image = np.zeros((SIDE_PX, SIDE_PX), dtype=np.float32)
    for centre in CENTRES_PX[:discs]:
        i, j = centre + rng.uniform(-8, 8, 2)
        image -= 1.5 / (1 + np.exp(np.hypot(y - i, x - j) - radius))
    if bad:
        image += 3 * blotches(rng)
    image += noise
    draft = path.with_suffix(".part")
    with mrcfile.new(draft, image, overwrite=True) as mrc:
        mrc.voxel_size = PIXEL_SIZE_ANGSTROM
    draft.rename(path)
