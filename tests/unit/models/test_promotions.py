"""Promotion history and rollbacks."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from factories import promote
from livepick.errors import LedgerWriteError
from livepick.models import promotions
from livepick.models.promotions import PROMOTIONS_FILE
from livepick.models.registry import Models


def roll_back(models, config):
    """Roll back as the command does; return the version of the current model."""
    target = models.rollback_target(config)
    if target is None:
        return None
    promote(models, target.card.version, rollback=True)
    return models.current(config).card.version


def test_a_promotion_says_who_why_and_for_which_settings(models, config):
    """All of it is in the file, in order."""
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
    assert models.last_promotion() == last
    assert (last.version, last.by) == (2, "operator")


def test_the_service_promotes_the_same_model_once(models):
    """Its thread promotes again and again; for other settings it is another decision."""
    for fingerprint in ("a", "a", "b"):
        promote(models, 1, by="service", fingerprint=fingerprint)

    assert [p.fingerprint for p in models.promotions()] == ["a", "b"]


def test_the_history_is_bounded(models, monkeypatch):
    """The file is read every second."""
    monkeypatch.setattr(promotions, "MOST_KEPT", 5)
    for number in range(8):
        promote(models, 1 + number % 2)

    assert len(models.promotions()) == 5
    assert models.last_promotion().version == 2


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
def test_a_damaged_history_is_reported_once_and_the_blob_picker_is_used(
    models, config, caplog, text, says
):
    """The message has a remedy; the next promotion starts a new history."""
    promote(models, 1)
    (models.directory / PROMOTIONS_FILE).write_text(text)

    for _ in range(3):
        assert models.current(config).card.kind == "blob"

    (record,) = caplog.records
    assert says in record.message
    assert "livepick models promote" in record.message
    promote(models, 2)
    assert "starts again" in caplog.records[-1].message
    assert models.current(config).card.version == 2


def test_a_history_that_cannot_be_read_is_not_replaced(models, config, caplog):
    """It may be intact. The blob picker is used meanwhile, and the log says why."""
    promote(models, 1)
    whole = models.directory / PROMOTIONS_FILE
    whole.rename(models.directory.parent / "aside")
    whole.mkdir()

    assert models.current(config).card.kind == "blob"
    assert "cannot be read: Is a directory" in caplog.text
    with pytest.raises(LedgerWriteError, match="cannot be read: Is a directory"):
        promote(models, 2)


def test_each_rollback_goes_further_back(models, config):
    """The last one leads to the blob picker, which was used before any promotion."""
    for version in (1, 2, 3):
        promote(models, version, by="service")

    assert [roll_back(models, config) for _ in range(4)] == [2, 1, 0, None]
    assert models.current(config).card.kind == "blob"


def test_a_promotion_after_a_rollback_starts_from_there(models, config):
    """The model that was rolled back is skipped."""
    for version in (1, 2, 3):
        promote(models, version)
    roll_back(models, config)
    promote(models, 4)

    assert [roll_back(models, config) for _ in range(3)] == [2, 1, 0]


def test_a_promotion_of_an_old_model_can_be_undone(models, config):
    """A rollback undoes it like any other."""
    for version in (1, 2, 3, 1, 1):
        promote(models, version)

    assert [roll_back(models, config) for _ in range(4)] == [3, 2, 1, 0]


def test_a_rollback_skips_removed_models_and_those_for_another_particle(
    models, config, make_config, put_bundle
):
    """Only a model that can pick is a target."""
    put_bundle(models, make_config(particle={"diameter_angstrom": 200}), 7)
    for version in (1, 2, 7, 3):
        promote(models, version)
    shutil.rmtree(models.directory / "0002")

    assert [roll_back(models, config) for _ in range(2)] == [1, 0]


def test_promotions_of_two_processes_are_both_kept(models, config):
    """The service and a command may promote at the same time."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: promote(models, 1 + n % 6, why=str(n)), range(40)))

    assert sorted(int(p.why) for p in models.promotions()) == list(range(40))
