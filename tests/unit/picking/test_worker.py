"""The worker: from a micrograph and a bundle to picks, without a silent fallback to the CPU."""

import dataclasses
import json
import os
import pickle
import warnings

import mrcfile
import numpy as np
import onnxruntime
import pytest
from scipy.signal import convolve2d

from factories import publish_blob
from livepick.core.contracts.bundle import GRAPH, publish, read_card, sha256
from livepick.core.contracts.job import CPU, CUDA, Job
from livepick.errors import ContentError, ImageError, ModelError, ProviderError, SmallImageError
from livepick.picking import onnx_session, read_ahead, worker
from livepick.picking.model_check import probe
from livepick.picking.worker import pick

DIAMETER_ANGSTROM = 30.0  # 20 px at 1.5 Å, the blobs of write_mrc


@pytest.fixture
def bundle(tmp_path):
    """Return a blob bundle for bright blobs of 30 Å."""
    yield publish_blob(tmp_path / "models", diameter_angstrom=DIAMETER_ANGSTROM, contrast="bright")
    onnx_session._kept.clear()


def test_picks_are_where_the_particles_are(write_mrc, bundle):
    """Positions are in pixels of the original micrograph, best first."""
    centres = ((60.0, 40.0), (130.0, 200.0), (190.0, 75.0))
    path = write_mrc(shape=(230, 260), centres=centres)
    with_noise(path)

    result = pick(Job(path, None, bundle))

    good = result.picks.above(result.threshold)
    found = sorted(zip(good.y_px[:3].tolist(), good.x_px[:3].tolist(), strict=True))
    np.testing.assert_allclose(found, sorted(centres), atol=1.0)
    assert (np.diff(result.picks.score) <= 0).all()
    assert result.provider == CPU
    assert result.shape_px == (230, 260)
    assert result.pixel_size_angstrom == pytest.approx(1.5)


def test_the_next_file_is_read_ahead_once_this_one_has_been_read(write_mrc, bundle, monkeypatch):
    """Two files that are read at a time delay the first one."""
    path, steps = write_mrc(shape=(230, 260), centres=((60.0, 40.0),)), []

    def note(module, name):
        call = getattr(module, name)

        def noted(*args, **options):
            steps.append(name)
            return call(*args, **options)

        monkeypatch.setattr(module, name, noted)

    note(worker, "read_micrograph")
    note(worker, "prepare")
    note(read_ahead, "resume")
    pick(Job(path, None, bundle))
    assert steps == ["read_micrograph", "resume", "prepare"]


@pytest.mark.parametrize("spoil", ["unsigned", "rows", "nan", "wrong header"])
def test_an_odd_file_has_the_picks_of_the_ordinary_one(write_mrc, bundle, spoil):
    """Unsigned bytes read as signed left 0 to 2 % of the right picks."""
    centres = [(40.0 + 45 * i, 50.0 + 55 * j) for i in range(4) for j in range(4)]
    path = write_mrc(shape=(230, 260), centres=centres)
    with_noise(path)
    plain = pick(Job(path, None, bundle))
    image = mrcfile.read(path).copy()
    trust = {}
    if spoil == "unsigned":
        image = np.clip(np.rint(125 + 15 * image / image.std()), 0, 255).astype("u1").view("i1")
    elif spoil == "rows":
        image[111:113] = image.max() * 20
        image[:, 37] = -1e30
    elif spoil == "nan":
        image.ravel()[::61] = np.nan
    with warnings.catch_warnings(), mrcfile.new(path, overwrite=True) as mrc:
        warnings.simplefilter("ignore", RuntimeWarning)  # of the NaN
        mrc.set_data(image)
        mrc.voxel_size = 1.5
        if spoil == "wrong header":
            mrc.voxel_size = 1.0
            trust = {"trust": "config", "pixel_size_angstrom": 1.5}

    odd = pick(Job(path, None, bundle, **trust))

    kind = {"unsigned": "read_as_unsigned", "wrong header": "pixel_size"}.get(spoil, "bad_pixels")
    assert [note.kind for note in odd.notes] == [kind]
    assert not plain.notes
    right, found = (
        np.column_stack([good.x_px, good.y_px])
        for good in (each.picks.above(each.threshold) for each in (plain, odd))
    )
    assert len(right) >= 16
    near = np.hypot(*(right[:, None] - found[None]).transpose(2, 0, 1)).min(axis=1) < 3
    assert near.mean() > 0.9
    assert len(found) < 1.1 * len(right)


def test_threshold_of_the_job_takes_precedence(write_mrc, bundle):
    """Threshold 0 counts every candidate."""
    path = write_mrc(shape=(230, 260), centres=((60.0, 40.0),))
    with_noise(path)

    all_of_them = pick(Job(path, None, bundle, threshold=0.0))

    assert all_of_them.threshold == 0
    assert len(all_of_them.picks.above(0)) == len(all_of_them.picks) > 3


def test_tiles_give_the_same_scores_as_the_whole(monkeypatch):
    """Seams do not show if the receptive field is narrower than the overlap."""
    image = np.random.default_rng(1).standard_normal((300, 420)).astype(np.float32)
    local_mean = np.float32(1) / 9 * np.ones((3, 3), np.float32)

    def blur(_model, tile, _mask):
        return convolve2d(tile, local_mean, mode="same", boundary="symm").astype(np.float32)

    monkeypatch.setattr(onnx_session, "_run", blur)
    whole = onnx_session.score_map(None, image)
    monkeypatch.setattr(onnx_session, "TILE_PX", 192)
    tiled = onnx_session.score_map(None, image)

    np.testing.assert_allclose(tiled, whole, atol=1e-6)


@pytest.mark.parametrize("device", ["cpu", "prefer-gpu"])
def test_provider_obtained_is_reported_without_a_gpu(bundle, device):
    """prefer-gpu reports the CPU if it got the CPU."""
    obtained = probe(bundle, device)

    assert obtained in ({CPU} if device == "cpu" else {CPU, CUDA})


def test_require_gpu_without_a_gpu_is_an_error(bundle):
    """By itself, onnxruntime would silently use the CPU."""
    if os.path.exists("/dev/nvidia0"):  # noqa: PTH110 - a device, not a file of ours
        pytest.skip("there is a GPU")
    assert CUDA in onnxruntime.get_available_providers()  # so it claims

    with pytest.raises(ProviderError, match=r"the GPU cannot be used.*nvidia-smi"):
        probe(bundle, "require-gpu")


def test_bundle_of_another_particle_gets_images_at_its_own_size(write_mrc, bundle):
    """Given diameter and contrast, a bundle for 300 Å picks 30 Å particles like one for 30 Å."""
    path = write_mrc(shape=(230, 260), centres=((60.0, 40.0), (130.0, 200.0)))
    with_noise(path)
    own = pick(Job(path, None, bundle))
    card = dataclasses.replace(
        onnx_session._kept[(bundle, "cpu")].card,
        version=1,
        diameter_angstrom=10 * DIAMETER_ANGSTROM,
        min_distance_angstrom=6 * DIAMETER_ANGSTROM,
        contrast="dark",
    )
    other = publish(bundle.parent, card, {GRAPH: (bundle / GRAPH).read_bytes()})

    job = Job(path, None, other, diameter_angstrom=DIAMETER_ANGSTROM, contrast="bright")
    found = pick(job)

    assert len(own.picks.above(0.5)) >= 2
    for name in ("x_px", "y_px", "score"):
        np.testing.assert_array_equal(getattr(found.picks, name), getattr(own.picks, name))


def test_error_of_a_missing_gpu_survives_pickling():
    """Errors are pickled between processes."""
    error = pickle.loads(pickle.dumps(ProviderError("what", "remedy")))  # noqa: S301

    assert (error.what, error.remedy) == ("what", "remedy")


def test_damaged_graph_is_refused(write_mrc, bundle):
    """The checksum in the card differs."""
    graph = (bundle / GRAPH).read_bytes()
    (bundle / GRAPH).write_bytes(graph[:-1] + b"\0")

    with pytest.raises(ModelError, match="does not match the checksum"):
        pick(Job(write_mrc(), None, bundle))


def test_graph_that_is_not_onnx_is_refused(bundle):
    """The checksum matches, and the error names the file."""
    card = json.loads((bundle / "model.json").read_text())
    (bundle / GRAPH).write_bytes(b"garbage")
    (bundle / "model.json").write_text(json.dumps(card | {"graph_sha256": sha256(b"garbage")}))

    with pytest.raises(ModelError, match="does not accept"):
        probe(bundle, "cpu")


def test_errors_name_the_file(write_mrc, bundle):
    """The error about a constant micrograph contains its name."""
    path = write_mrc("mic_0042.mrc", shape=(128, 128))

    with pytest.raises(ContentError, match=r"mic_0042\.mrc"):
        pick(Job(path, None, bundle))


def test_one_session_is_kept(bundle, tmp_path):
    """A second job with the same bundle makes no new session; another bundle replaces it."""
    probe(bundle, "cpu")
    first = onnx_session._kept[(bundle, "cpu")]
    probe(bundle, "cpu")
    assert onnx_session._kept[(bundle, "cpu")] is first

    card = dataclasses.replace(first.card, version=1)
    other = publish(tmp_path / "models", card, {GRAPH: (bundle / GRAPH).read_bytes()})
    probe(other, "cpu")

    assert list(onnx_session._kept) == [(other, "cpu")]


def with_noise(path):
    """Add a little noise to a micrograph on disk; a noiseless one has no deviation."""
    rng = np.random.default_rng(3)
    with mrcfile.open(path, mode="r+") as mrc:
        mrc.data[...] += 10 * rng.standard_normal(mrc.data.shape).astype(np.float32)


def edge_micrograph(path, diameter_px, *, dead_px):
    """Write bright discs at all distances from each edge; the last columns are dead."""
    shape = height, width = 501, 633
    rng = np.random.default_rng(5)
    image = 10 * rng.standard_normal(shape).astype(np.float32)
    y, x = np.indices(shape)
    step = 1.6 * diameter_px
    away = np.linspace(0, 0.9, 8) * diameter_px
    for number, distance in enumerate(away.tolist()):
        along = 1.2 * diameter_px + number * step
        for cy, cx in (
            (along, distance),
            (along, width - 1 - dead_px - distance),
            (distance, along),
            (height - 1 - distance, along),
        ):
            image += 20 * (np.hypot(y - cy, x - cx) < diameter_px / 2)
    image[:, width - dead_px :] = 0
    with mrcfile.new(path, image) as mrc:
        mrc.voxel_size = DIAMETER_ANGSTROM / diameter_px
    return shape


@pytest.mark.parametrize("edge_fraction", [0.0, 0.25, 0.5])
def test_no_pick_is_closer_to_the_edge_than_the_bundle_allows(tmp_path, bundle, edge_fraction):
    """Edges are those of the image and of a dead border, in pixels of the original."""
    diameter_px, dead_px = 31.7, 41
    height, width = edge_micrograph(tmp_path / "mic.mrc", diameter_px, dead_px=dead_px)
    card = dataclasses.replace(read_card(bundle), version=1, edge_fraction=edge_fraction)
    other = publish(bundle.parent, card, {GRAPH: (bundle / GRAPH).read_bytes()})

    result = pick(Job(tmp_path / "mic.mrc", None, other, threshold=0.0))

    x, y = (a.astype(float) for a in (result.picks.x_px, result.picks.y_px))
    gaps = np.min([x, y, height - 1 - y], axis=0)
    least_px = edge_fraction * diameter_px
    assert gaps.min() >= least_px
    assert gaps.min() < least_px + 0.15 * diameter_px  # and what may be picked is
    assert result.area is not None
    assert result.area.holds(x, y).all()
    from_dead_px = max(least_px, 0.25 * diameter_px)
    assert result.area.right == pytest.approx(width - 1 - dead_px - from_dead_px)
    assert result.quality.border_fraction == pytest.approx(0.07, abs=0.02)  # whatever the rule


def test_whole_particles_are_picked_and_cut_ones_are_not(tmp_path, bundle):
    """With half a diameter, the last that is picked touches the edge from inside."""
    diameter_px = 31.7
    image = 10 * np.random.default_rng(6).standard_normal((401, 501)).astype(np.float32)
    y, x = np.indices(image.shape)
    centres = [(200.0, 0.7 * diameter_px), (100.0, 0.3 * diameter_px)]
    for cy, cx in centres:
        image += 20 * (np.hypot(y - cy, x - cx) < diameter_px / 2)
    with mrcfile.new(tmp_path / "mic.mrc", image) as mrc:
        mrc.voxel_size = DIAMETER_ANGSTROM / diameter_px
    found = {}
    for version, edge_fraction in ((1, 0.0), (2, 0.5)):
        card = dataclasses.replace(read_card(bundle), version=version, edge_fraction=edge_fraction)
        other = publish(bundle.parent, card, {GRAPH: (bundle / GRAPH).read_bytes()})
        picks = pick(Job(tmp_path / "mic.mrc", None, other)).picks.above(0.5)
        found[edge_fraction] = [
            bool((np.hypot(picks.y_px - cy, picks.x_px - cx) < 4).any()) for cy, cx in centres
        ]

    assert found == {0.0: [True, True], 0.5: [True, False]}


def test_micrograph_smaller_than_a_particle_has_no_picks(write_mrc, bundle):
    """No position is half a diameter from every edge."""
    path = write_mrc(shape=(18, 260), centres=((9.0, 90.0),))
    with_noise(path)
    card = dataclasses.replace(read_card(bundle), version=1, edge_fraction=0.5)
    other = publish(bundle.parent, card, {GRAPH: (bundle / GRAPH).read_bytes()})

    result = pick(Job(path, None, other, threshold=0.0))

    assert len(result.picks) == 0
    assert result.quality.occupied_fraction is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (400, 2), (7, 300), (12, 12), (18, 19)])
def test_micrograph_in_which_no_particle_fits_is_refused_in_words(write_mrc, bundle, shape):
    """It is a fault of the file, not of the model, whose reflection needs a larger image."""
    path = write_mrc(shape=shape, centres=())
    with_noise(path)
    with pytest.raises(SmallImageError) as caught:
        pick(Job(path, None, bundle))

    assert path.name in caught.value.what
    assert f"{shape[1]} x {shape[0]} pixels" in caught.value.what
    assert "30 Å" in caught.value.what


@pytest.mark.parametrize("shape", [(8, 2000), (2000, 9), (20, 20), (24, 33), (60, 40), (97, 95)])
def test_small_micrograph_is_padded_and_picked(write_mrc, bundle, shape):
    path = write_mrc(shape=shape, centres=())
    with_noise(path)
    result = pick(Job(path, None, bundle, threshold=0.0))

    assert result.shape_px == shape
    assert (result.picks.x_px < shape[1]).all()
    assert (result.picks.y_px < shape[0]).all()


def test_an_image_on_which_a_model_fails_is_at_fault_if_the_model_runs_on_another(
    write_mrc, bundle, monkeypatch
):
    path = write_mrc(shape=(230, 260), centres=())
    with_noise(path)
    scores, sizes, least_px = onnx_session.graph_scores, [], onnx_session.LEAST_PX

    def failing(model, padded, mask=None):
        sizes.append(padded.shape)
        if padded.shape[2] > least_px:
            raise ModelError("onnxruntime could not run model 0: Pad", "Roll back.")
        return scores(model, padded, mask)

    monkeypatch.setattr(onnx_session, "graph_scores", failing)
    with pytest.raises(ImageError, match=f"{path.name}.*Pad"):
        pick(Job(path, None, bundle))
    assert len(sizes) == 2

    least_px = 0
    with pytest.raises(ModelError, match="Pad"):
        pick(Job(path, None, bundle))
