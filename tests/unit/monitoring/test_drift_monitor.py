"""Which micrographs of a ledger are compared, and when a drift is reported."""

import logging
from pathlib import Path

import numpy as np
import pytest

from factories import make_result
from livepick.core.evaluation.drift_test import DRIFT_FIGURES, DRIFT_KINDS, REFERENCE, WINDOW
from livepick.core.formats.file_version import FileVersion
from livepick.monitoring.drift_monitor import CHECK_SECONDS, DriftMonitor, read_drift
from livepick.monitoring.metrics.exporter import Metrics
from livepick.monitoring.status import read_status


class Microscope:
    """Lands micrographs and has them picked at once."""

    def __init__(self, ledger, clock):
        self.ledger, self.clock = ledger, clock
        self.rng = np.random.default_rng(1)
        self.landed = 0

    def land(self, count, *, picks=60, version=1, kind="trained", threshold=0.5, doubtful=0):
        for _ in range(count):
            self.clock.now += 1
            self.landed += 1
            place = Path(f"m{self.landed:05d}.mrc")
            self.ledger.arrivals.landed(Path("/m"), place, FileVersion(1, 1, 1), self.clock.now)
        self.pick(
            count, picks=picks, version=version, kind=kind, threshold=threshold, doubtful=doubtful
        )

    def pick(self, count, *, picks=60, version=1, kind="trained", threshold=0.5, doubtful=0):
        for claim in self.ledger.claim(count):
            number = self.rng.poisson(picks)
            score = np.sort(self.rng.uniform(0.5, 1, number).astype(np.float32))[::-1]
            score = np.append(score, np.full(doubtful, 0.1, np.float32))
            found = make_result(score, model_version=version, model_kind=kind, threshold=threshold)
            self.ledger.picked(claim, found)


@pytest.fixture
def microscope(ledger, clock):
    return Microscope(ledger, clock)


@pytest.fixture
def told():
    return []


@pytest.fixture
def monitor(ledger, clock, told):
    return DriftMonitor(ledger.reader, drifted=told.append, clock=clock)


def kinds(drift):
    return [change.kind for change in drift.changes]


def test_a_drift_is_reported_once_when_it_begins_and_logged_when_it_ends(
    ledger, microscope, monitor, told, caplog
):
    """The number of checks in between does not matter."""
    caplog.set_level(logging.INFO, logger="livepick.monitoring.drift_monitor")
    ledger.session.use_model(1, "trained", "particle")
    microscope.land(REFERENCE + WINDOW)
    assert monitor.check().measures
    assert told == []
    for _ in range(3):
        microscope.land(WINDOW, picks=25)
        assert "fewer_picks" in kinds(monitor.check())
    assert len(told) == 1
    assert "picks of the first 50 of model 1" in told[0]
    microscope.land(WINDOW)
    assert monitor.check().changes == ()
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in lines] == ["WARNING", "INFO"]
    assert lines[0][1].startswith(f"drift: {told[0]}; ")
    assert lines[1][1] == "drift: ended: fewer picks"


def test_a_drift_stays_while_it_is_nearly_over(ledger, microscope, monitor):
    """Seven tenths of the picks are enough to keep a finding, but not to begin one.

    ``livepick status`` compares for the first time.
    """
    ledger.session.use_model(1, "trained", "particle")
    microscope.land(REFERENCE + WINDOW)
    microscope.land(WINDOW, picks=25)
    monitor.check()
    microscope.land(WINDOW, picks=42)
    assert kinds(monitor.check()) == ["fewer_picks"]
    assert read_drift(ledger.reader).changes == ()


def test_a_second_drift_is_reported_again(ledger, microscope, monitor, told):
    ledger.session.use_model(1, "trained", "particle")
    for picks in (60, 60, 60, 25, 60, 25):
        microscope.land(WINDOW, picks=picks)
        monitor.check()
    assert len(told) == 2


def test_the_ledger_is_read_seldom(ledger, microscope, monitor, clock, monkeypatch):
    """Candidates are read only after a new micrograph, and rows at most every few seconds."""
    ledger.session.use_model(1, "trained", "particle")
    microscope.land(REFERENCE + WINDOW)
    monitor.check()
    asked = []
    monkeypatch.setattr(ledger.reader, "candidates", asked.append)
    monkeypatch.setattr(ledger.reader, "model", lambda: asked.append("model"))
    clock.now += CHECK_SECONDS / 2
    monitor.check()
    assert asked == []
    monkeypatch.undo()
    monkeypatch.setattr(ledger.reader, "candidates", asked.append)
    clock.now += CHECK_SECONDS
    assert monitor.check().measures
    assert asked == []


def test_micrographs_from_before_the_training_are_not_in_the_reference(ledger, microscope):
    """A network scores its training data higher; micrographs that arrived later count."""
    microscope.land(60, kind="blob", version=0)
    ledger.session.run_changed(1, "fingerprint", "running")
    microscope.land(REFERENCE, kind="blob", version=0)
    ledger.session.run_changed(1, "fingerprint", "promoted")
    ledger.session.use_model(1, "trained", "particle")
    ledger.requeue.stale(1, repick="provisional", threshold=0.5)
    microscope.pick(60, picks=200)
    microscope.pick(REFERENCE, picks=60)
    microscope.land(WINDOW, picks=60)
    drift = read_drift(ledger.reader)
    assert drift.measures
    assert drift.changes == ()


@pytest.mark.parametrize("kind", ["blob", "general"])
def test_a_first_picker_is_not_watched(ledger, microscope, kind):
    ledger.session.use_model(0, kind, "particle")
    microscope.land(REFERENCE + WINDOW, version=0, kind=kind)
    microscope.land(WINDOW, version=0, kind=kind, picks=10)
    assert not read_drift(ledger.reader).measures


def test_a_changed_threshold_is_not_drift(ledger, microscope):
    """Scores are uniform from 0.5 on: 0.75 halves the picks of the same micrographs."""
    ledger.session.use_model(1, "trained", "particle")
    microscope.land(REFERENCE)
    microscope.land(WINDOW, threshold=0.75)
    assert read_drift(ledger.reader).measures
    assert read_drift(ledger.reader).changes == ()


def test_candidates_below_the_threshold_do_not_count(ledger, microscope):
    ledger.session.use_model(1, "trained", "particle")
    microscope.land(REFERENCE)
    microscope.land(WINDOW, doubtful=300)
    assert read_drift(ledger.reader).measures
    assert read_drift(ledger.reader).changes == ()


def test_another_model_begins_without_the_findings_of_the_one_before(ledger, microscope, monitor):
    """An existing finding has lower limits, so seven tenths of the picks would keep it."""
    ledger.session.use_model(1, "trained", "particle")
    microscope.land(REFERENCE + WINDOW)
    microscope.land(WINDOW, picks=25)
    assert monitor.check().changes
    ledger.session.use_model(2, "trained", "particle")
    microscope.land(REFERENCE, version=2)
    microscope.land(WINDOW, version=2, picks=42)
    drift = monitor.check()
    assert 0.7 < drift.size("picks") < 1
    assert drift.changes == ()


def test_another_model_ends_the_drift_of_the_one_before(ledger, microscope, monitor, told):
    ledger.session.use_model(1, "trained", "particle")
    microscope.land(REFERENCE + WINDOW)
    microscope.land(WINDOW, picks=25)
    assert monitor.check().changes
    microscope.clock.now += CHECK_SECONDS
    ledger.session.use_model(2, "trained", "particle")
    assert monitor.check().changes == ()
    microscope.land(REFERENCE + WINDOW, version=2, picks=25)
    assert monitor.check().changes == ()
    assert len(told) == 1


def test_a_micrograph_that_is_being_picked_again_delays_the_check(
    ledger, microscope, monitor, monkeypatch
):
    """Its candidates are missing for a moment; the next check has them."""
    ledger.session.use_model(1, "trained", "particle")
    microscope.land(REFERENCE + WINDOW)
    with monkeypatch.context() as gone:
        gone.setattr(ledger.reader, "candidates", lambda _: None)
        assert not monitor.check().measures
        assert not read_drift(ledger.reader).measures
    microscope.clock.now += CHECK_SECONDS
    assert monitor.check().measures


def test_the_status_has_the_drift_without_a_service(make_config, ledger, microscope):
    ledger.session.use_model(1, "trained", "particle")
    microscope.land(REFERENCE + WINDOW)
    microscope.land(WINDOW, picks=25)
    (entry,) = read_status(make_config(), ledger.reader).as_json()["drift"]
    assert entry["finding"] == "fewer_picks"
    assert "median" in entry["evidence"]
    assert entry["remedy"]


def test_metrics_have_every_figure_and_finding_from_the_start(ledger, microscope):
    metrics = Metrics()
    sample = metrics.registry.get_sample_value
    for figure in DRIFT_FIGURES:
        assert sample("livepick_drift_score", {"figure": figure}) == 0
    for kind in DRIFT_KINDS:
        assert sample("livepick_drift_active", {"finding": kind}) == 0
    ledger.session.use_model(1, "trained", "particle")
    microscope.land(REFERENCE + WINDOW)
    microscope.land(WINDOW, picks=25)
    metrics.training.drifted(read_drift(ledger.reader))
    assert sample("livepick_drift_active", {"finding": "fewer_picks"}) == 1
    assert sample("livepick_drift_active", {"finding": "more_picks"}) == 0
    assert sample("livepick_drift_score", {"figure": "picks"}) > 1
    assert 0 < sample("livepick_score_drift_psi") < 0.25
