"""Preparation of training images, which is identical to that in the worker."""

import mrcfile
import numpy as np
import pytest

from livepick.core.contracts.bundle import read_card
from livepick.core.contracts.held_out_labels import HeldOutLabels
from livepick.core.contracts.job import Job
from livepick.core.contracts.run import RunSpec
from livepick.core.imaging.normalize import BACKGROUND_MEDIAN, COMMON_NOISE
from livepick.picking import onnx_session, worker
from livepick_trainer import stages
from livepick_trainer.learning.dataset import PatchRules
from livepick_trainer.pipeline.candidate_sorting import SortRules
from livepick_trainer.pipeline.progress import Reporter
from livepick_trainer.seeds import preprocess
from one_round import one_round

QUICK = PatchRules(size_px=64, patches_per_epoch=8, held_out_patches=8)


class Killed(BaseException):
    """Simulated kill of the process."""


@pytest.mark.parametrize("lowpass_angstrom", [None, 40.0])
@pytest.mark.parametrize("normalize", [True, False])
def test_the_worker_sees_what_was_trained_on(make_run, monkeypatch, normalize, lowpass_angstrom):
    """The images are bit-identical for all settings, because the model card records these."""
    folder = make_run(
        micrographs=3, epochs=1, normalize=normalize, lowpass_angstrom=lowpass_angstrom
    )
    spec = RunSpec.read(folder)
    with one_round():
        bundle = stages.run_stages(folder, Reporter(folder), patch_rules=QUICK)
    trained_on = preprocess.load_prepared(spec, folder / "prepare")
    seen = []
    score_map = onnx_session.score_map
    monkeypatch.setattr(
        worker,
        "score_map",
        lambda model, image, mask: seen.append(image) or score_map(model, image, mask),
    )

    for micrograph in spec.micrographs[:2]:
        worker.pick(Job(path=micrograph.path, version=None, bundle=bundle))

    for image, micrograph in zip(seen, trained_on[:2], strict=True):
        np.testing.assert_array_equal(image, micrograph.image)
    card = read_card(bundle)
    assert card.edge_fraction == spec.particle.edge_fraction == 0.05
    assert card.lowpass_angstrom == lowpass_angstrom
    assert (card.normalization, card.noise_sigma is None) == (
        (BACKGROUND_MEDIAN, True) if normalize else (COMMON_NOISE, False)
    )


@pytest.mark.parametrize("edge_fraction", [0.0, 0.5])
def test_labels_keep_the_distance_from_the_edge_that_picks_keep(make_run, edge_fraction):
    """Labels of cut particles are neither used for training nor counted against a model."""
    folder = make_run(micrographs=3, epochs=1)
    spec = RunSpec.read(folder)
    at_edges = [(3.0, 60.0, 0.9), (9.2, 100.0, 0.9), (9.8, 140.0, 0.9), (230.5, 60.0, 0.9)]
    rows, columns = np.indices((208, 240))
    for m in spec.micrographs:
        with mrcfile.open(m.path, mode="r+") as mrc:
            for x, y, _ in at_edges:
                mrc.data[np.hypot(rows - y, columns - x) < 9] -= 2
    spec = spec.model_copy(
        update={
            "particle": spec.particle.model_copy(update={"edge_fraction": edge_fraction}),
            "micrographs": [
                m.model_copy(update={"seeds": sorted(m.seeds + at_edges, key=lambda s: -s[2])})
                for m in spec.micrographs
            ],
        }
    )
    spec.write(folder)

    with one_round():
        bundle = stages.run_stages(
            folder,
            Reporter(folder),
            patch_rules=QUICK,
            sort_rules=SortRules(least_particles=10**9),
        )

    labels = HeldOutLabels.read(bundle)
    assert labels is not None
    (micrograph,) = labels.micrographs
    x, y = np.array(micrograph.particles).T
    gaps = np.min([x, 239 - x, y, 207 - y], axis=0)  # in pixels; a diameter is 20 pixels
    assert (gaps >= 20 * edge_fraction).all()
    assert (gaps.min() < 10) == (edge_fraction == 0)


def test_the_trainer_learns_nothing_where_the_worker_picks_nothing(make_run):
    """Both have the same mask, and the trainer's area is that of the worker in prepared pixels."""
    folder = make_run()
    spec = RunSpec.read(folder)
    path = spec.micrographs[0].path
    with mrcfile.open(path, mode="r+") as mrc:
        mrc.data[:, :25] = 0

    preprocess.prepare_micrographs(spec, folder)

    found = preprocess.load_prepared(spec, folder)[0]
    assert found.mask[:, :29].all()
    assert not found.mask[3:-3, 31:-3].any()
    assert found.mask[0].all()
    assert found.area.left == 30  # 25 dead columns, and a quarter of a diameter of 20
    assert (found.area.top, found.area.bottom) == (1, 206)


def test_the_common_noise_is_that_of_the_micrographs_trained_on(make_run):
    """The held-out micrograph, here ten times as noisy, is excluded from it but divided too."""
    folder = make_run(normalize=False)
    spec = RunSpec.read(folder)
    louder(spec.micrographs[0].path, 10)
    preprocess.prepare_micrographs(spec, folder)

    prepared = preprocess.load_prepared(spec, folder)

    assert preprocess.noise_sigma(folder) == pytest.approx(1, rel=0.2)
    spread = [1.4826 * np.median(np.abs(m.image)) for m in prepared]
    assert spread[0] == pytest.approx(10, rel=0.2)
    assert spread[1:] == pytest.approx([1] * 4, rel=0.2)


def test_no_image_is_divided_twice(make_run, monkeypatch):
    """A trainer that was killed between two images continues with the remaining ones."""
    folder = make_run(normalize=False)
    spec = RunSpec.read(folder)
    undisturbed, killed = folder / "undisturbed", folder / "killed"
    for place in (undisturbed, killed):
        place.mkdir()
    preprocess.prepare_micrographs(spec, undisturbed)
    divided_by, calls = preprocess.divided_by, []

    def dying(*args, **kwargs):
        calls.append(args)
        if len(calls) in (2, 4):
            raise Killed
        return divided_by(*args, **kwargs)

    monkeypatch.setattr(preprocess, "divided_by", dying)
    for _ in range(2):
        with pytest.raises(Killed):
            preprocess.prepare_micrographs(spec, killed)
    preprocess.prepare_micrographs(spec, killed)

    expected, found = (preprocess.load_prepared(spec, place) for place in (undisturbed, killed))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


def louder(path, factor):
    """Multiply the pixels of a micrograph."""
    with mrcfile.open(path, mode="r+") as mrc:
        mrc.set_data(mrc.data * np.float32(factor))
