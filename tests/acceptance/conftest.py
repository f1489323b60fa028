"""What acceptance tests share: sessions, and micrographs that take no time to make."""

import mrcfile
import numpy as np
import pytest
from session import Session

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


@pytest.fixture(scope="session")
def write_disc_micrograph():
    """Return a function that writes dark discs in noise, 16 unless told otherwise, by a rename.

    Those are of good quality; ``bad`` ones are in uneven ice besides.
    """

    def write(path, *, seed, discs=16, bad=False):
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

    return write


@pytest.fixture
def make_session(tmp_path, write_disc_micrograph):
    """Return a function that makes a session; its service is ended with the test.

    Where there are several, each has a ``place`` of its own.
    """
    made = []

    def make(place="", **sections):
        folder = tmp_path / place
        folder.mkdir(exist_ok=True)
        made.append(Session(folder, write_disc_micrograph, **sections))
        return made[-1]

    yield make
    for session in made:
        if session.process is not None and session.process.poll() is None:
            session.process.kill()
            session.process.wait()
