"""A state folder is told from another one at the same path."""

import dataclasses

import pytest

from livepick.errors import StateFolderGoneError
from livepick.ledger.check import LedgerCheck
from livepick.ledger.database import LEDGER, Database
from livepick.monitoring.start_waits import passes


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def database(state):
    with Database.writable(state / LEDGER) as database:
        yield database


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "another ledger"])
def test_a_folder_that_is_renamed_is_waited_for(database, state, there):
    check = LedgerCheck([database])
    assert check.loss_of_folder() is None
    away = state.rename(state.with_name("away"))
    if there != "nothing":
        state.mkdir()
    if there == "another ledger":
        (state / LEDGER).touch()
    error = check.loss_of_folder()
    assert isinstance(error, StateFolderGoneError)
    assert passes(error, is_managed=False)
    assert str(state) in error.what
    if there == "another ledger":
        (state / LEDGER).unlink()
    if there != "nothing":
        state.rmdir()
    away.rename(state)
    assert check.loss_of_folder() is None


def test_a_ledger_removed_in_the_same_folder_is_no_loss_of_the_folder(database, state):
    (state / LEDGER).unlink()
    check = LedgerCheck([database])
    assert check.loss_of_folder() is None
    assert "was removed or replaced" in check.damage().what


def test_a_disk_that_is_mounted_again_may_have_another_number(database):
    """The ledger on it is the same file."""
    place = database.place
    again = dataclasses.replace(
        place, folder=(place.folder[0] + 1, 2), ledger=(place.ledger[0] + 1, place.ledger[1])
    )
    again.refuse_other_folder()
