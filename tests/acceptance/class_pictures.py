"""Recognition of simulated molecules in the picture of class averages."""

import io

import numpy as np
from PIL import Image
from scipy import ndimage

from livepick.simulate.species import random_rotations, specimen
from livepick_trainer.classification.particles import BOX_DIAMETERS
from livepick_trainer.live_classes import montage

__all__ = ["share_of_first", "tiles"]

ORIENTATIONS = 60
TURN_DEGREES = 12


def tiles(png, count):
    """Return the averages of a picture, ``[class, y, x]``, without frames and captions."""
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("L"), dtype=float)
    across = (picture.shape[1] - montage.GAP_PX) // montage.COLUMNS - montage.GAP_PX
    box_px = (across - 2 * montage.FRAME_PX) // montage.ENLARGED
    found = []
    for number in range(count):
        top, left = (edge + montage.FRAME_PX for edge in montage._corner(number, box_px))
        side = montage.ENLARGED * box_px
        found.append(picture[top : top + side, left : left + side][:: montage.ENLARGED])
    return np.array(found)[:, :, :: montage.ENLARGED]


def projections(name, box_px, pixel_size_angstrom):
    """Return projections of a molecule in random orientations, each turned all around."""
    molecule, rng = specimen(name), np.random.default_rng(1)
    edges = (np.arange(box_px + 1) - box_px // 2 - 0.5) * pixel_size_angstrom
    found = []
    for rotation in random_rotations(ORIENTATIONS, rng):
        x, y, _ = (molecule.points_angstrom @ rotation.T).T
        for degrees in range(0, 360, TURN_DEGREES):
            turn = np.exp(1j * np.radians(degrees)) * (x + 1j * y)
            image, *_ = np.histogram2d(turn.imag, turn.real, bins=(edges, edges))
            found.append(ndimage.gaussian_filter(image, 10 / pixel_size_angstrom))
    return np.array(found)


def share_of_first(averages, first, second, *, diameter_angstrom):
    """Return the fraction of averages that look more like one molecule than like another.

    The look is the best correlation with any projection, inside the box's circle.
    """
    box_px = averages.shape[-1]
    pixel_size_angstrom = BOX_DIAMETERS * diameter_angstrom / box_px
    y, x = np.indices((box_px, box_px)) - box_px // 2
    disc = np.hypot(y, x) < 0.45 * box_px

    def flat(images):
        inside = images[:, disc]
        inside = inside - inside.mean(axis=1, keepdims=True)
        return inside / np.linalg.norm(inside, axis=1, keepdims=True)

    best = [
        (flat(averages) @ flat(projections(name, box_px, pixel_size_angstrom)).T).max(axis=1)
        for name in (first, second)
    ]
    return float((best[0] > best[1]).mean())
