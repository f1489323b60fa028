"""Odd files in a session: small images, pipes, and damaged models stop nothing else."""

import os
import shutil
import warnings

import mrcfile
import numpy as np

from factories import promote, publish_bundle
from livepick.config.yaml_loader import load_config
from livepick.core.contracts.bundle import GRAPH
from livepick.models.registry import MODELS, Models

PIXEL_SIZE_ANGSTROM = 4.0


def write_noise(path, shape):
    image = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    with warnings.catch_warnings(), mrcfile.new(path, image) as mrc:
        mrc.voxel_size = PIXEL_SIZE_ANGSTROM


def test_images_smaller_than_a_particle_fail_alone(make_session):
    """Several in a row are no fault of the model, so the service does not end."""
    session = make_session()
    small = {f"small_{side}.mrc": (side, side) for side in (1, 7, 16, 25, 39)}
    strips = {"strip_10.mrc": (10, 384), "wide_41.mrc": (41, 41)}
    for name, shape in (small | strips).items():
        write_noise(session.landing / name, shape)
    os.mkfifo(session.landing / "pipe.mrc")
    (session.landing / "mic_0001.xml").write_text('<?xml version="1.0" encoding="gb2312"?><Movie/>')
    session.start()
    names = session.drop(3)
    total = len(small) + len(strips) + len(names)
    session.until(lambda: sum((session.counts().picked, session.counts().failed)) == total, "all")

    found = session.rows()
    assert {found[name].reason for name in small} == {"too_small"}
    assert "39 x 39 pixels" in found["small_39.mrc"].error
    assert "160 Å" in found["small_39.mrc"].error
    assert {found[name].state for name in (*strips, *(f"{n}.mrc" for n in names))} == {"picked"}
    assert session.get("/healthz")
    assert session.stop() == 0


def test_a_damaged_model_is_replaced_at_a_start_and_under_way(make_session):
    """The one before it picks, then the blob picker; picks that exist stay; the status tells it."""
    session = make_session(picking={"device": "cpu", "workers": 1, "repick": "all"})
    config = load_config(session.config)
    models = Models(session.state / MODELS)
    graph = (models.ensure_blob(config).path / GRAPH).read_bytes()
    for version in (1, 2):
        publish_bundle(models.directory, graph, config=config, version=version, kind="trained")
        promote(models, version)
    session.start()
    session.drop(2)
    session.until(lambda: session.picked() == 2, "picks of model 2")
    assert {row.model_version for row in session.rows().values()} == {2}
    session.until(lambda: session.figure("model_usable") == 1, "the metric")

    kept = session.folder / "kept"
    shutil.copytree(models.directory / "0002", kept)
    (models.directory / "0002" / GRAPH).write_bytes(graph[:1000])
    session.until(lambda: 'model_info{kind="trained",version="1"}' in session.get("/metrics"), "1")
    session.drop(1, first=3)
    session.until(lambda: session.picked() == 3, "picks of model 1")
    assert {name: row.model_version for name, row in session.rows().items()} == {
        "mic_0001.mrc": 2,
        "mic_0002.mrc": 2,
        "mic_0003.mrc": 1,
    }
    session.until(lambda: session.figure("model_usable") == 0, "the metric")
    session.until(lambda: "0002/model.onnx" in str(session.status()["problems"]), "the status")
    assert session.stop() == 0

    (models.directory / "0001" / GRAPH).unlink()
    session.start()
    session.drop(1, first=4)
    session.until(lambda: session.picked() == 4, "picks of the blob picker")
    assert session.rows()["mic_0004.mrc"].model_version == 0
    assert session.rows()["mic_0001.mrc"].model_version == 2

    shutil.rmtree(models.directory / "0002")
    kept.rename(models.directory / "0002")
    session.until(lambda: session.figure("model_usable") == 1, "the restored model")
    session.until(
        lambda: {row.model_version for row in session.rows().values()} == {2}, "picks of model 2"
    )
    assert session.stop() == 0
