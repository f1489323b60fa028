"""Patches and their labels."""

import numpy as np
import pytest

from livepick.core.imaging.pick_area import PickArea
from livepick_trainer.learning.dataset import (
    PatchRules,
    SeededMicrograph,
    cut_patch,
    draw_batches,
)
from livepick_trainer.seeds.labels import Seeds

RULES = PatchRules(size_px=64)


def points(*yx):
    return np.array(yx, dtype=np.float32).reshape(-1, 2)


def labelled(*, shape=(200, 160), positive=(), ignored=(), mask=None, area=None):
    y, x = np.indices(shape)
    return SeededMicrograph(
        (1000 * y + x).astype(np.float32),
        np.zeros(shape, dtype=bool) if mask is None else mask,
        Seeds(points(*positive), points(*ignored)),
        area,
    )


def cut(micrograph, corner=(0, 0)):
    return cut_patch(micrograph, corner, diameter_px=20, rules=RULES)


def batches(micrograph, seed=0, **options):
    keywords = {"diameter_px": 20, "patches": 10, "batch_size": 4, "rules": RULES} | options
    return list(draw_batches([micrograph], np.random.default_rng(seed), **keywords))


def test_a_patch_is_the_piece_at_its_corner():
    """Pixels and labels come from the same place."""
    patch = cut(labelled(positive=[(60, 50)]), (40, 30))

    assert patch.image[0, 0] == 40_030
    assert np.unravel_index(patch.target.argmax(), patch.target.shape) == (20, 20)
    assert patch.target.max() == pytest.approx(1)
    assert patch.weight.min() == 1


def test_close_particles_keep_their_own_peaks():
    """The target is the higher of two Gaussians, not their sum."""
    patch = cut(labelled(positive=[(30, 24), (30, 36)]))

    assert patch.target.max() == pytest.approx(1)
    assert patch.target[30, 30] < 0.5


def test_a_particle_beside_the_patch_reaches_into_it():
    """Its flank is in the target although its centre is not."""
    assert cut(labelled(positive=[(30, 66)])).target[30, 63] > 0.5


def test_nothing_is_learned_where_it_is_doubtful():
    """Masked pixels and the discs of ignored candidates have weight 0."""
    mask = np.zeros((200, 160), dtype=bool)
    mask[:10] = True

    weight = cut(labelled(ignored=[(40, 40)], mask=mask)).weight

    assert (weight[:10].max(), weight[40, 40], weight[40, 47], weight[40, 49]) == (0, 0, 0, 1)


def test_beside_the_limits_of_the_area_only_particles_are_learned():
    """A particle just outside is not a seed, and its flank inside is not background."""
    area = PickArea.of_image((200, 160), edge_px=10)
    micrograph = labelled(positive=[(12, 30)], area=area)

    top, bottom = cut(micrograph), cut(micrograph, (136, 96))

    assert (top.weight[17, 50], top.weight[18, 50], top.weight[12, 30]) == (0, 1, 1)
    assert (bottom.weight[45, 30], bottom.weight[46, 30]) == (1, 0)  # rows 181 and 182
    assert (bottom.weight[30, 45], bottom.weight[30, 46]) == (1, 0)  # columns 141 and 142


def test_a_micrograph_smaller_than_a_patch_is_filled_up():
    """Pixels beyond the micrograph have weight 0."""
    (batch,) = batches(labelled(shape=(50, 64)), patches=1, augment=False)

    assert batch.image.shape == (1, 1, 64, 64)
    assert float(batch.weight.sum()) == 50 * 64


def test_the_same_generator_gives_the_same_batches():
    """A run can be resumed because of this; another seed gives other batches."""
    micrograph = labelled(positive=[(60, 50), (150, 100)])
    first, again, other = (batches(micrograph, seed) for seed in (3, 3, 4))

    assert [len(batch.image) for batch in first] == [4, 4, 2]
    assert all((a.image == b.image).all() for a, b in zip(first, again, strict=True))
    assert not (first[0].image == other[0].image).all()


def test_labels_turn_with_the_image():
    """After any rotation or mirroring, the peak of the target is still on the particle."""
    shape, centre = (200, 160), (100, 80)
    y, x = np.indices(shape)
    image = 20 * np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 20).astype(np.float32)
    micrograph = SeededMicrograph(
        image, np.zeros(shape, dtype=bool), Seeds(points(centre), points())
    )
    rules = PatchRules(size_px=64, seed_fraction=1)

    for batch in batches(micrograph, rules=rules):
        tops = batch.image.flatten(1).argmax(1)
        assert (batch.target.flatten(1).gather(1, tops[:, None]) > 0.9).all()
