"""Bundles on disk, and which one picks."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from livepick.core.contracts.bundle import CARD, GRAPH, read_card
from livepick.core.contracts.progress import PROGRESS, Progress
from livepick.core.contracts.run import RUNS, RunSpec
from livepick.core.contracts.training_report import read_findings
from livepick.errors import LedgerWriteError, ModelError
from livepick.models import promotions
from livepick.models.promotions import CHAMPION
from livepick.models.registry import Models


@pytest.fixture
def config(make_config):
    """Return the smallest config."""
    return make_config()


def promote(models, version, *, by="operator", why="a test", fingerprint="f", rollback=False):
    """Make a bundle the champion, for no particular reason."""
    models.promote(version, by=by, why=why, fingerprint=fingerprint, rollback=rollback)


def test_blob_picker_serves_until_a_model_is_promoted(tmp_path, config, put_bundle):
    """A bundle that lies there picks nothing before it is promoted."""
    models = Models(tmp_path)
    put_bundle(models, config, 0, "blob")
    put_bundle(models, config, 1)

    before = models.champion(config).card.version
    promote(models, 1)

    assert (before, models.champion(config).card.version) == (0, 1)
    assert models.pointer().path == tmp_path / "0001"


def test_a_model_serves_only_its_particle(tmp_path, config, make_config, put_bundle):
    """With another diameter in the config the blob picker for that one takes over."""
    models = Models(tmp_path)
    put_bundle(models, config, 0, "blob")
    put_bundle(models, config, 1)
    promote(models, 1)
    other = make_config(diameter_angstrom=200)

    with pytest.raises(ModelError):
        models.champion(other)
    put_bundle(models, other, 2, "blob")

    assert models.champion(other).card.version == 2
    assert models.champion(config).card.version == 1


def test_going_back_finds_the_old_model(tmp_path, config, make_config, put_bundle):
    """Settings that were trained for once are not trained for again."""
    models = Models(tmp_path)
    edited = make_config(generation=2)
    put_bundle(models, config, 1)
    put_bundle(models, edited, 2)

    assert models.trained(config.training_fingerprint()).card.version == 1
    assert models.trained(edited.training_fingerprint()).card.version == 2
    assert models.trained("another") is None


def test_damaged_bundles_are_neither_listed_nor_promoted(tmp_path, config, caplog, put_bundle):
    """A half-deleted bundle does not stop the service, and cannot become champion."""
    models = Models(tmp_path)
    put_bundle(models, config, 0, "blob")
    (put_bundle(models, config, 1) / "model.json").unlink()
    (put_bundle(models, config, 2) / GRAPH).write_bytes(b"exchanged")

    assert [bundle.card.version for bundle in models.bundles()] == [0, 2]
    assert "0001" in caplog.text
    for version in (1, 2, 3):
        with pytest.raises(ModelError):
            promote(models, version)
    assert models.champion(config).card.version == 0


def test_a_card_of_an_earlier_livepick_means_what_it_meant(tmp_path, config, put_bundle):
    """It knows no filter, no common noise and no edge rule, and its model gets none of them."""
    bundle = put_bundle(Models(tmp_path), config, 1)
    card = json.loads((bundle / CARD).read_text())
    for name in ("lowpass_angstrom", "noise_sigma", "edge_fraction"):
        del card[name]
    (bundle / CARD).write_text(json.dumps(card))

    read = read_card(bundle)
    assert (read.lowpass_angstrom, read.noise_sigma, read.edge_fraction) == (None, None, 0)


def test_a_card_with_a_wrong_entry_names_it(tmp_path, config, put_bundle):
    """And none of those that may be missing."""
    bundle = put_bundle(Models(tmp_path), config, 1)
    card = json.loads((bundle / CARD).read_text())
    del card["lowpass_angstrom"], card["threshold"]
    (bundle / CARD).write_text(json.dumps(card | {"tresholt": 1}))

    with pytest.raises(ModelError, match=r"unknown entries: threshold, tresholt\."):
        read_card(bundle)


def test_findings_are_read_from_a_bundles_report(tmp_path):
    """Those of its training, in words; a report that has none, or no report, says nothing."""
    finding = {
        "kind": "still_falling",
        "is_fault": False,
        "evidence": "the losses still fall",
        "remedy": "raise training.epochs to 60",
        "settings": {"epochs": 60},
    }
    assert read_findings(tmp_path) == ()
    (tmp_path / "report.json").write_text(json.dumps({"figures": {}}))
    assert read_findings(tmp_path) == ()
    (tmp_path / "report.json").write_text(json.dumps({"findings": [finding]}))

    (found,) = read_findings(tmp_path)

    assert not found.is_fault
    assert found.sentence == ("Still falling: the losses still fall; raise training.epochs to 60.")


def test_numbers_of_runs_and_bundles_are_one_series(tmp_path):
    """A run that failed keeps its number, so that run and model always match."""
    models = Models(tmp_path / "models")
    runs = tmp_path / "runs"
    assert models.next_version(besides=runs) == 0

    (tmp_path / "models" / "0000").mkdir(parents=True)
    (runs / "0001").mkdir(parents=True)

    assert models.next_version(besides=runs) == 2


def test_the_blob_picker_is_made_once(tmp_path, config):
    """The first start makes it, every other finds it."""
    models = Models(tmp_path / "models")

    made = models.ensure_blob(config)
    found = models.ensure_blob(config)

    assert made == found
    assert made.card.kind == "blob"
    assert made.card.edge_fraction == config.particle.edge_fraction == 0.05
    assert models.champion(config) == made


def test_what_a_killed_service_or_trainer_left_is_swept(tmp_path, config, put_bundle):
    """Drafts go with the next try at the same thing; those of other versions may be under way."""
    models = Models(tmp_path)
    (tmp_path / ".draft-0001-killed").mkdir(parents=True)
    (tmp_path / ".draft-0002-alive").mkdir()
    (tmp_path / ".livepick-0123.tmp").touch()

    put_bundle(models, config, 1)
    promote(models, 1)

    assert {path.name for path in tmp_path.iterdir()} == {"0001", ".draft-0002-alive", CHAMPION}


@pytest.fixture
def models(tmp_path, config, put_bundle):
    """Return a session's models: blob picker 0 and the trained ones 1 to 6."""
    models = Models(tmp_path / "state" / "models")
    put_bundle(models, config, 0, "blob")
    for version in range(1, 7):
        put_bundle(models, config, version)
    return models


def roll_back(models, config):
    """Roll back as the command does; return the version that picks then."""
    target = models.rollback_target(config)
    if target is None:
        return None
    promote(models, target.card.version, rollback=True)
    return models.champion(config).card.version


def test_a_promotion_says_who_why_and_for_which_settings(models, config):
    """All of it survives in the pointer's own file, in order."""
    before = time.time()
    promote(models, 1, by="service", why="it is better", fingerprint="abc")
    promote(models, 2, why="I like it", fingerprint="def")

    first, last = Models(models.directory).promotions()

    assert (first.version, first.by, first.why, first.fingerprint) == (
        1,
        "service",
        "it is better",
        "abc",
    )
    assert before <= first.at <= last.at <= time.time()
    assert models.promotion() == last
    assert (last.version, last.by) == (2, "operator")


def test_the_service_promotes_the_same_model_once(models):
    """Each look of its thread would add a line; for other settings it is another decision."""
    for fingerprint in ("a", "a", "b"):
        promote(models, 1, by="service", fingerprint=fingerprint)

    assert [p.fingerprint for p in models.promotions()] == ["a", "b"]


def test_the_history_is_bounded(models, monkeypatch):
    """The file is read each second."""
    monkeypatch.setattr(promotions, "MOST_KEPT", 5)
    for number in range(8):
        promote(models, 1 + number % 2)

    assert len(models.promotions()) == 5
    assert models.promotion().version == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is damaged"),
        ("[]", "is damaged"),
        ('{"format": 1}', "is damaged"),
        ('{"format": 2, "history": []}', "format 2"),
        ('{"format": 1, "history": [{"version": 1}]}', "damaged at history.0.at"),
    ],
)
def test_a_damaged_pointer_is_told_once_and_the_blob_picker_serves(
    models, config, caplog, text, says
):
    """In plain words with a remedy; a further promotion mends it."""
    promote(models, 1)
    (models.directory / CHAMPION).write_text(text)

    for _ in range(3):
        assert models.champion(config).card.kind == "blob"

    (record,) = caplog.records
    assert says in record.message
    assert "livepick models promote" in record.message
    promote(models, 2)
    assert "begins anew" in caplog.records[-1].message
    assert models.champion(config).card.version == 2


def test_a_pointer_that_cannot_be_read_is_not_replaced(models, config, caplog):
    """Its history may be whole; the blob picker serves meanwhile, and the log says why."""
    promote(models, 1)
    whole = models.directory / CHAMPION
    whole.rename(models.directory.parent / "aside")
    whole.mkdir()

    assert models.champion(config).card.kind == "blob"
    assert "cannot be read: Is a directory" in caplog.text
    with pytest.raises(LedgerWriteError, match="cannot be read: Is a directory"):
        promote(models, 2)


def test_rollbacks_go_further_back_and_not_to_and_fro(models, config):
    """At the end of the way is the blob picker, which served before any promotion."""
    for version in (1, 2, 3):
        promote(models, version, by="service")

    assert [roll_back(models, config) for _ in range(4)] == [2, 1, 0, None]
    assert models.champion(config).card.kind == "blob"


def test_a_promotion_after_a_rollback_starts_from_there(models, config):
    """What was rolled back from is not on the way any more."""
    for version in (1, 2, 3):
        promote(models, version)
    roll_back(models, config)
    promote(models, 4)

    assert [roll_back(models, config) for _ in range(3)] == [2, 1, 0]


def test_a_promotion_of_an_old_model_can_be_taken_back(models, config):
    """A rollback undoes it, as it would undo any other."""
    for version in (1, 2, 3, 1, 1):
        promote(models, version)

    assert [roll_back(models, config) for _ in range(4)] == [3, 2, 1, 0]


def test_a_rollback_passes_over_what_is_gone_or_for_another_particle(
    models, config, make_config, put_bundle
):
    """It ends with a model that can pick."""
    put_bundle(models, make_config(diameter_angstrom=200), 7)
    for version in (1, 2, 7, 3):
        promote(models, version)
    shutil.rmtree(models.directory / "0002")

    assert [roll_back(models, config) for _ in range(2)] == [1, 0]


def versions(models):
    """Return the versions that are there."""
    return [bundle.card.version for bundle in models.bundles()]


def test_pruning_removes_the_oldest_and_keeps_what_is_needed(models, config):
    """The champion, the one to roll back to, and the blob picker, though they are old."""
    promote(models, 1)
    promote(models, 2)

    removed = models.prune(2, config)

    assert [bundle.card.version for bundle in removed] == [3, 4]
    assert versions(models) == [0, 1, 2, 5, 6]
    assert models.prune(0, config)[0].card.version == 5
    assert versions(models) == [0, 1, 2, 6]  # 6 is the newest of the present settings
    assert models.prune(0, config) == []


def test_pruning_keeps_the_model_of_the_present_settings(models, config, make_config, put_bundle):
    """Going back to earlier settings trains nothing, so their model is no waste."""
    for version in (7, 8):
        put_bundle(models, make_config(generation=2), version)
    promote(models, 8)

    models.prune(0, config)

    assert versions(models) == [0, 6, 8]


@pytest.mark.parametrize(
    ("last", "kept"), [("", True), ('{"at": 1, "stage": "fail', True), ("failed", False)]
)
def test_pruning_keeps_the_parent_of_a_run_under_way(models, config, last, kept):
    """A run that has given up needs nothing any more; one whose order is not there never began."""
    promote(models, 6)
    runs = models.directory.parent / RUNS
    (runs / "0009").mkdir(parents=True)
    folder = runs / "0008"
    folder.mkdir()
    RunSpec(
        version=8,
        parent=2,
        fingerprint="f",
        particle_fingerprint="p",
        models_directory=models.directory,
        particle=config.particle,
        training=config.training,
        seed_threshold=0.5,
        micrographs=[],
    ).write(folder)
    if last == "failed":
        last = Progress(at=1, stage="failed").model_dump_json() + "\n"
    (folder / PROGRESS).write_text(Progress(at=0, stage="train").model_dump_json() + "\n" + last)

    models.prune(1, config)

    assert versions(models) == ([0, 2, 6] if kept else [0, 6])


def test_pruning_needs_no_blob_picker(models, config, make_config):
    """The config was edited for another particle, and the service not started since."""
    promote(models, 6)

    removed = models.prune(1, make_config(diameter_angstrom=200))

    assert len(removed) == 5
    assert versions(models) == [0, 6]


def test_promotions_of_two_processes_are_both_kept(models, config):
    """The service and a command may promote in the same moment."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: promote(models, 1 + n % 6, why=str(n)), range(40)))

    assert sorted(int(p.why) for p in models.promotions()) == list(range(40))
