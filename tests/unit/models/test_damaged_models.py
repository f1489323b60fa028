"""A promoted model that is damaged or does not run: one before it is used, or the blob picker."""

import os
import shutil

import pytest

from factories import promote
from livepick.core.contracts.bundle import CARD, GRAPH
from livepick.errors import ModelError
from livepick.models.promotions import PROMOTIONS_FILE
from livepick.models.registry import Models


@pytest.fixture
def models(tmp_path, config, put_bundle):
    """Return a folder with a blob picker and three models, promoted in turn."""
    models = Models(tmp_path)
    put_bundle(models, config, 0, "blob")
    for version in (1, 2, 3):
        put_bundle(models, config, version)
        promote(models, version)
    return models


def used(models, config):
    return models.current(config).card.version


def empty(path):
    (path / GRAPH).write_bytes(b"")


def cut_off(path):
    os.truncate(path / GRAPH, 3)


def flip_a_bit(path):
    """Keep size and time, as a bad disk does."""
    graph = path / GRAPH
    before = graph.stat()
    data = bytearray(graph.read_bytes())
    data[0] ^= 1
    graph.write_bytes(data)
    os.utime(graph, ns=(before.st_atime_ns, before.st_mtime_ns))


def make_it_a_pipe(path):
    (path / GRAPH).unlink()
    os.mkfifo(path / GRAPH)


def make_it_a_folder(path):
    (path / GRAPH).unlink()
    (path / GRAPH).mkdir()


def nest_the_card(path):
    (path / CARD).write_text("[" * 100_000)


def change_a_type(path):
    text = (path / CARD).read_text()
    (path / CARD).write_text(text.replace('"threshold": ', '"threshold": "high", "x": '))


def take_the_card_of_another(path):
    shutil.copy(path.parent / "0001" / CARD, path / CARD)


DAMAGES = [
    empty,
    cut_off,
    flip_a_bit,
    make_it_a_pipe,
    make_it_a_folder,
    nest_the_card,
    change_a_type,
    take_the_card_of_another,
    lambda path: (path / GRAPH).unlink(),
    lambda path: (path / CARD).unlink(),
    lambda path: (path / CARD).write_bytes(b"\xff\xfe"),
    shutil.rmtree,
]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("damage", DAMAGES)
def test_the_model_before_a_damaged_one_is_used(models, config, damage, caplog):
    """The log and the fault name it, damaged before the start or in use."""
    assert (used(models, config), models.fault()) == (3, None)
    damage(models.directory / "0003")

    for registry in (models, Models(models.directory)):
        assert used(registry, config) == 2
        assert "0003" in registry.fault().what
    assert "model 0003: not used" in caplog.text


def test_a_damaged_model_that_is_restored_is_used_again(models, config):
    place, copy = models.directory / "0003", models.directory / "copy"
    shutil.copytree(place, copy)
    empty(place)
    assert used(models, config) == 2
    shutil.rmtree(place)
    copy.rename(place)

    assert (used(models, config), models.fault()) == (3, None)


def test_the_blob_picker_is_used_if_all_models_are_damaged(models, config):
    for version in (1, 2, 3):
        empty(models.directory / f"000{version}")
    assert used(models, config) == 0


def test_a_damaged_blob_picker_is_made_again(models, config):
    for version in range(4):
        empty(models.directory / f"000{version}")
    with pytest.raises(ModelError):
        models.current(config)
    made = models.ensure_blob(config)

    assert models.current(config) == made
    assert made.card.version == 4


def test_a_model_that_does_not_run_is_set_aside_until_its_files_change(models, config):
    models.set_aside(3, ModelError("model 3 gives scores outside 0 to 1", "Train again."))
    assert used(models, config) == 2
    assert "outside 0 to 1" in models.fault().what
    assert used(Models(models.directory), config) == 3  # a start tries it again
    os.utime(models.directory / "0003" / GRAPH, (1, 1))

    assert used(models, config) == 3


def test_a_damaged_history_means_the_blob_picker(models, config):
    (models.directory / PROMOTIONS_FILE).write_text("[" * 100_000)
    assert used(models, config) == 0
