"""Training runs and models after the loss of the ledger."""

import os
import time

import pytest

from factories import make_config, promote, publish_blob, publish_bundle
from livepick.core.contracts.bundle import bundle_name
from livepick.core.contracts.run import RUN, RUNS, RunSpec
from livepick.ledger.damage import Lost
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.reader import LedgerReader
from livepick.ledger.writer import LedgerWriter
from livepick.models.registry import MODELS, Models
from livepick.rebuild import begin_rebuilding
from livepick.retraining.fingerprints import drift_fingerprint
from livepick.retraining.restore_runs import runs_on_disk


class State:
    """A state folder with the blob picker, in which runs have left folders and bundles."""

    def __init__(self, folder):
        self.config = make_config(folder)
        self.settings = self.config.training_fingerprint()
        self.folder = self.config.state.directory
        self.models = Models(self.folder / MODELS)
        publish_blob(self.models.directory, config=self.config)

    def run(self, version, *, bundle=True, fingerprint=None):
        """Leave a run behind; return its folder."""
        fingerprint = fingerprint or self.settings
        folder = self.folder / RUNS / bundle_name(version)
        folder.mkdir(parents=True)
        RunSpec(
            version=version,
            parent=0,
            fingerprint=fingerprint,
            particle_fingerprint=self.config.particle_fingerprint(),
            models_directory=self.models.directory,
            particle=self.config.particle,
            training=self.config.training,
            seed_threshold=0.5,
            micrographs=[],
        ).write(folder)
        if bundle:
            publish_bundle(
                self.models.directory,
                config=self.config,
                version=version,
                fingerprint=fingerprint,
            )
        return folder

    def promote(self, version, fingerprint=None, **changes):
        promote(self.models, version, fingerprint=fingerprint or self.settings, **changes)

    def states(self):
        """Return the state of each run, as found on disk."""
        found = runs_on_disk(self.folder / RUNS, self.models, self.settings)
        return {run.version: run.state for run in found}


@pytest.fixture
def state(tmp_path):
    return State(tmp_path)


def test_without_runs_there_is_nothing_to_restore(state):
    assert state.states() == {}


def test_runs_are_what_their_bundles_and_the_history_of_promotions_say(state):
    """Promoted, kept aside, without a bundle, promoted: the last goes on in no way."""
    state.run(1)
    state.promote(1)
    state.run(2)
    state.run(3, bundle=False)
    state.run(4)
    state.promote(4)
    assert state.states() == {
        1: "promoted",
        2: "kept_aside",
        3: "superseded",
        4: "promoted",
    }


@pytest.mark.parametrize("bundle", [False, True])
def test_the_newest_run_goes_on(state, bundle):
    """Without a bundle it is continued; a bundle may not have been judged yet, so it is."""
    state.run(1, fingerprint="other")
    state.promote(1, fingerprint="other")
    state.run(2, bundle=bundle)
    assert state.states() == {1: "promoted", 2: "running"}


def test_a_run_because_of_drift_goes_on_though_a_model_is_chosen(state):
    state.run(1)
    state.promote(1)
    state.run(2, fingerprint=drift_fingerprint(state.settings, [state.settings]))
    assert state.states() == {1: "promoted", 2: "running"}


@pytest.mark.parametrize(("bundle", "becomes"), [(False, "superseded"), (True, "kept_aside")])
def test_the_newest_run_does_not_go_on_after_an_edit_of_the_config(state, bundle, becomes):
    state.run(1, bundle=bundle, fingerprint="of other settings")
    assert state.states() == {1: becomes}


def test_a_bundle_is_not_judged_again_after_another_was_chosen(state):
    """An operator has chosen: a run that nothing ends would count as under way for ever."""
    state.run(1, fingerprint="other")
    state.run(2)
    state.promote(1)
    assert state.states() == {1: "promoted", 2: "kept_aside"}


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe", b"[]", b'{"version": 1}'])
def test_a_run_that_cannot_be_read_is_left_out(state, content):
    """The others are restored."""
    state.run(1)
    state.promote(1)
    specification = state.run(2, bundle=False) / RUN
    if content is None:
        specification.unlink()
    else:
        specification.write_bytes(content)
    assert state.states() == {1: "promoted"}


def test_a_lost_ledger_changes_no_model(state):
    """The model in use, the one to roll back to, and the next version are as before."""
    for version in (1, 2, 3):
        state.run(version)
    state.promote(1)
    state.promote(3)
    before = [state.models.current(state.config), state.models.rollback_target(state.config)]
    assert [bundle.card.version for bundle in before] == [3, 1]

    with Database.writable(state.folder / LEDGER) as database:
        ledger = LedgerWriter(database)
        assert begin_rebuilding(ledger, Lost("a test", 1e9), state.config, state.models)
        runs = {run.version: run for run in LedgerReader(database).runs()}

    assert {v: run.state for v, run in runs.items()} == {
        1: "promoted",
        2: "kept_aside",
        3: "promoted",
    }
    assert all("the ledger was lost" in run.reason for run in runs.values())
    models = Models(state.models.directory)
    assert [models.current(state.config), models.rollback_target(state.config)] == before
    assert models.next_version(besides=state.folder / RUNS) == 4


def test_a_run_has_the_times_of_its_files(state):
    folder = state.run(1)
    state.promote(1)
    os.utime(folder / RUN, (1.6e9, 1.6e9))
    (run,) = runs_on_disk(state.folder / RUNS, state.models, state.settings)
    assert run.started_at == 1.6e9
    assert abs(run.ended_at - time.time()) < 3600


def test_a_start_that_ends_before_the_loss_is_recorded_leaves_that_to_the_next(state):
    """Here the first start is killed after it has begun the new ledger."""
    path = state.folder / LEDGER
    state.run(1)
    state.promote(1)
    path.write_bytes(b"damaged" * 1000)
    with Database.writable(path) as database:
        first = database.lost
    for is_first in (True, False):
        with Database.writable(path) as database:
            assert database.lost == (first if is_first else None)
            ledger = LedgerWriter(database)
            assert begin_rebuilding(ledger, database.lost, state.config, state.models)
            assert LedgerReader(database).rebuilt().why == first.why
