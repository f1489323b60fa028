"""Sources of a run's seeds, reasons to wait, and what a run takes from earlier ones."""

import dataclasses
import json
import shutil

import pytest
from planned_session import picks_of

from factories import make_card
from livepick.config.training_sections import StartFrom
from livepick.core.contracts.bundle import GRAPH, WEIGHTS, publish, sha256
from livepick.core.contracts.run import RUNS, START, RunSpec, RunStart
from livepick.errors import TrainerError
from livepick.ledger.database import LEDGER, Database
from livepick.monitoring.status import read_status

# --- the session's own picks ----------------------------------------------------------------------


def test_bad_micrographs_do_not_count(begin):
    """They are mostly masked, or have no pick above the threshold."""
    session = begin()
    session.add(2)
    session.add(masked_fraction=0.6)
    session.add(picks=50, score=0.4)
    session.add(1)
    assert "3 of 5 micrographs are suitable for training, and 5 are needed" in session.plan()

    session.add(2)
    spec = session.plan()

    assert [m.path.stem for m in spec.micrographs] == ["0", "1", "4", "5", "6"]
    assert (spec.seeds_from, spec.parent, spec.seed_threshold) == ("blob", 0, 0.5)


def test_a_session_of_bad_micrographs_reports_why_it_waits(begin):
    """It waits however many there are."""
    session = begin()
    session.add(40, masked_fraction=0.9)

    assert "0 of 40 micrographs are suitable for training" in session.plan()
    assert "mostly masked" in session.plan()


def test_training_waits_for_more_micrographs_if_picks_are_few(begin):
    """The sentence has both numbers: those found and those needed."""
    session = begin()
    session.add(5, picks=15)
    assert (
        session.plan()
        == "Training waits for more micrographs: 5 have 75 picks, and 100 are needed."
    )

    session.add(2, picks=15)
    assert len(session.plan().micrographs) == 7


def test_the_status_says_why_training_waits(begin):
    """The sentence is that of the source of the seeds, until there are enough."""
    session = begin()
    Database.writable(session.config.state.directory / LEDGER).close()
    assert "when 5 micrographs are picked; 0 are picked" in _sentence(session)
    session.add(5, picks=15)
    session.plan()
    assert "have 75 picks, and 100 are needed" in _sentence(session)
    session.add(2, picks=15)
    session.plan()
    assert "Training starts" in _sentence(session)  # that ledger knows of no run


def _sentence(session):
    return read_status(session.config).training.sentence


def test_nothing_is_read_again_while_nothing_changes(begin, monkeypatch):
    """The thread checks every second; sessions have tens of thousands of micrographs."""
    session = begin()
    session.add(5, picks=15)
    session.planner.open_run(())
    monkeypatch.setattr(session, "picked_rows", None)

    session.planner.open_run(())


# --- what was held out stays so -------------------------------------------------------------------


def test_held_out_micrographs_are_never_trained_on(begin):
    """Later runs hold out the same ones, and new ones that no run has trained on."""
    session = begin(training={"held_out_fraction": 0.2})
    session.add(5)
    order = session.plan()
    first = _held_out(order)
    assert len(first) == 1
    learned = {m.path for m in order.micrographs} - first
    for generation, fraction, expected in ((2, 0.4, 2), (3, 0.2, 2), (4, 0.6, 3)):
        training = session.config.training.model_copy(
            update={"generation": generation, "held_out_fraction": fraction}
        )
        session.add(6)
        session.planner = session.start(training=training)
        order = session.plan()
        now = _held_out(order)
        assert len(now) == expected
        assert first <= now
        assert not now & learned
        first = now
        learned |= {m.path for m in order.micrographs} - now


def test_a_run_waits_if_all_micrographs_are_held_out(begin):
    """More micrographs are needed, and the sentence says so."""
    session = begin(training={"held_out_fraction": 0.6})
    session.add(5)
    assert len(_held_out(session.plan())) == 3
    bootstrap = session.config.bootstrap.model_copy(update={"micrographs": 3, "minimum_picks": 10})
    held_out = _held_out(RunSpec.read(session.config.state.directory / RUNS / "0001"))
    session.rows = [row for row in session.rows if row.path in held_out]
    session.planner = session.start(bootstrap=bootstrap)

    assert "none is left to train on" in session.plan()


def _held_out(spec):
    return {m.path for m in spec.micrographs if m.held_out}


# --- a run that continues another -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "change", "continues"),
    [
        ("bootstrap", {"classes": {"accept": [3]}}, True),
        ("training", {"epochs": 40}, True),
        ("training", {"held_out_fraction": 0.4}, True),
        ("training", {"seed": 2}, False),
        ("training", {"generation": 2}, False),
        ("training", {"normalize": False}, False),
        ("training", {"lowpass_angstrom": 20.0}, False),
        ("bootstrap", {"minimum_picks": 90}, False),
        ("particle", {"min_distance_fraction": 0.7}, False),
        ("particle", {"edge_fraction": 0.5}, False),
    ],
)
def test_a_run_continues_one_with_the_same_seeds(begin, put_bundle, section, change, continues):
    """It takes over micrographs and seeds, whichever model is current; others start anew."""
    session = begin()
    session.add(5)
    earlier = session.plan()
    session.found = {number: picks_of(60) for number in session.found}
    old = getattr(session.config, section)
    new = type(old).model_validate(old.model_dump() | change)
    session.planner = session.start(**{section: new})
    put_bundle(session.models, session.config, 1, "blob")
    session.rows = [dataclasses.replace(row, model_version=1) for row in session.rows]

    spec = session.plan()

    assert spec.continues == ("0001" if continues else None)
    same = [m.seeds for m in spec.micrographs] == [m.seeds for m in earlier.micrographs]
    assert same == continues
    assert (spec.parent == earlier.parent) == continues
    assert _held_out(earlier) <= _held_out(spec)


@pytest.mark.parametrize(("change", "used"), [({}, True), ({"generation": 2}, False)])
def test_decisions_on_classes_hold_for_their_own_sorting_only(begin, change, used, caplog):
    """A run that sorts anew has other classes under the same numbers, so it leaves them out."""
    session = begin()
    session.add(5)
    session.plan()
    decided = {"classes": {"accept": [3], "reject": [1]}}
    bootstrap = type(session.config.bootstrap).model_validate(
        session.config.bootstrap.model_dump() | decided
    )
    training = session.config.training.model_copy(update=change)
    session.planner = session.start(bootstrap=bootstrap, training=training)

    found = session.plan().bootstrap.classes

    assert (found.accept, found.reject) == (([3], [1]) if used else ([], []))
    assert ("bootstrap.classes, which has numbers of earlier ones" in caplog.text) != used


def test_the_run_that_got_furthest_is_continued(begin):
    """A newer one with the same seeds may have been killed before its first stage ended."""
    session = begin()
    session.add(5)
    session.plan()
    runs = session.config.state.directory / RUNS
    (runs / "0001" / "classify").mkdir()
    for epochs, expected in ((40, "0001"), (41, "0001")):
        training = session.config.training.model_copy(update={"epochs": epochs})
        session.planner = session.start(training=training)
        assert session.plan().continues == expected


def test_an_order_of_an_earlier_version_is_read(begin):
    """It lacks fields that newer versions write."""
    session = begin()
    session.add(5)
    spec = session.plan()
    path = session.config.state.directory / RUNS / "0001" / "run.json"
    order = json.loads(path.read_bytes())
    del order["unmatched"]
    path.write_text(json.dumps(order))

    assert RunSpec.read(path.parent) == spec


def test_a_run_waits_until_the_particle_is_certain(begin):
    """It begins as soon as that is so, without another micrograph."""
    session = begin()
    session.add(5)
    session.particle_waits = "Training waits until the particle's size is measured."
    assert session.plan() == session.particle_waits
    session.particle_waits = None
    assert session.planner.open_run(()) is not None


# --- weights to start from ------------------------------------------------------------------------


@pytest.fixture
def other(tmp_path):
    """Return the folder of a bundle of another session, with weights."""
    card = make_card(weights_sha256=sha256(b"weights"))
    return publish(tmp_path / "other", card, {GRAPH: b"graph", WEIGHTS: b"weights"})


def test_a_run_keeps_the_weights_that_it_starts_from(begin, other):
    """It starts from them whatever becomes of the bundle, and names them."""
    session = begin(training={"start": {"model": other}})
    session.add(5)
    spec = session.plan()
    folder = session.config.state.directory / RUNS / "0001"
    shutil.rmtree(other)

    assert spec.start == RunStart(
        source=str(other), livepick_version="test", sha256=sha256(b"weights")
    )
    assert spec.read_start(folder) == b"weights"
    assert session.start().open_run(()) == folder


def test_a_run_notices_that_its_weights_were_changed(begin, other):
    session = begin(training={"start": {"model": other}})
    session.add(5)
    spec = session.plan()
    folder = session.config.state.directory / RUNS / "0001"

    (folder / START).write_bytes(b"others")
    with pytest.raises(TrainerError, match=r"was to start from model .*other/0001"):
        spec.read_start(folder)
    (folder / START).unlink()
    with pytest.raises(TrainerError, match=r"start.npz cannot be read"):
        spec.read_start(folder)


def test_training_does_not_start_without_the_weights(begin, other):
    """The status says why, and the run starts when they are back."""
    content = (other / WEIGHTS).read_bytes()
    (other / WEIGHTS).unlink()
    session = begin(training={"start": {"model": other}})
    session.add(5)
    assert session.plan().startswith(f"Training cannot start: a training cannot start from {other}")

    (other / WEIGHTS).write_bytes(content)
    session.planner = session.start()
    assert session.plan().start is not None


def test_another_start_takes_over_seeds_and_classes(begin, other):
    """It affects only what comes after the classes."""
    session = begin()
    session.add(5)
    assert session.plan().start.name == "the general model"
    training = session.config.training.model_copy(update={"start": StartFrom(model=other)})
    session.planner = session.start(training=training)

    spec = session.plan()

    assert (spec.continues, spec.start.name) == ("0001", f"model {other}")
