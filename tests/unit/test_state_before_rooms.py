"""A session begun with an earlier livepick is continued by this one."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from livepick.config.last_known_good import read_config_copy
from livepick.core.contracts.job import Job
from livepick.core.contracts.progress import ProgressReader
from livepick.core.contracts.run import RUNS
from livepick.core.evaluation.model_comparison import Difference
from livepick.core.formats.file_version import FileVersion
from livepick.core.imaging.quality import CtfFigures
from livepick.ledger.database import LEDGER, Database, newest_version
from livepick.ledger.page_queries import PageQueries
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import Arrival, Counts
from livepick.ledger.writer import LedgerWriter
from livepick.models.bundle_on_disk import verify_graph
from livepick.models.registry import MODELS, Models
from livepick.models.summary import differing_settings, summarize_models
from livepick.monitoring.health import Health
from livepick.monitoring.status import read_status
from livepick.picking.tasks import pick
from livepick.retraining.run_store import Runs
from livepick.web.page import Sections, Sources
from livepick.web.training_view import view_training

WRITTEN = Path(__file__).parents[1] / "data" / "state_before_rooms" / "state"

FOLDER = "/srv/session"
"""Folder of the session that the state was written in."""


@pytest.fixture
def state(tmp_path):
    """Return a copy of the state folder whose paths lie below ``tmp_path``."""
    copy = shutil.copytree(WRITTEN, tmp_path / "state")
    for path in (path for path in copy.rglob("*") if path.suffix in {".json", ".yaml"}):
        path.write_text(path.read_text().replace(FOLDER, str(tmp_path)))
    with closing(sqlite3.connect(copy / LEDGER)) as connection, connection:
        connection.execute(
            "update micrograph set root = replace(root, ?, ?)", (FOLDER, str(tmp_path))
        )
    return copy


@pytest.fixture
def config(state):
    """Return the settings that were last in force."""
    return read_config_copy(state).config


@pytest.fixture
def ledger(state):
    """Return the ledger, opened by a service that starts."""
    with Database.writable(state / LEDGER) as database:
        yield LedgerWriter(database)


def test_the_settings_are_those_that_were_in_force(config, tmp_path):
    assert config.session.name == "before-rooms"
    assert list(config.watch.directories) == [tmp_path / "raw"]
    assert config.particle.diameter_angstrom == 150


def test_the_ledger_has_the_same_micrographs(ledger, state, tmp_path):
    """It is migrated to the present version; a copy of the former one is kept."""
    rows = {str(row.relative): row for row in ledger.reader.recent()}

    assert ledger.database.version() == newest_version()
    assert [path.name for path in state.glob(f"{LEDGER}.version-*")] == [f"{LEDGER}.version-3"]
    assert ledger.reader.counts() == Counts(queued=1, picked=2, failed=1, stale=1)
    assert {name: (row.state, row.model_version) for name, row in rows.items()} == {
        "a.mrc": ("picked", 1),
        "b.mrc": ("picked", 1),
        "c.mrc": ("queued", 0),
        "failed.mrc": ("failed", None),
        "queued.mrc": ("queued", None),
    }
    assert rows["a.mrc"].path == tmp_path / "raw" / "a.mrc"
    assert rows["a.mrc"].ctf == CtfFigures(12_000.0, 11_500.0, 30.0, 5.0)
    assert rows["a.mrc"].pick_count == len(ledger.reader.candidates(rows["a.mrc"].id).above(0.45))
    assert rows["failed.mrc"].error == "failed.mrc is constant"
    assert len(ledger.reader.last_collected()) == 5
    assert len(PageQueries(ledger.database).timeline()) == 3


def test_runs_come_with_the_judgement_of_the_gate(ledger):
    """Its JSON is that of the earlier livepick; here it is a value."""
    kept_aside, promoted = ledger.reader.runs()
    judgement = kept_aside.judgement

    assert (promoted.version, promoted.state) == (1, "promoted")
    assert (promoted.judgement.current, promoted.judgement.decision.outcome) == (0, "better")
    assert (kept_aside.version, kept_aside.state) == (2, "kept_aside")
    assert (judgement.candidate, judgement.current) == (2, 1)
    assert (judgement.decision.promote, judgement.decision.outcome) == (False, "worse")
    assert judgement.decision.sentence == kept_aside.reason
    assert judgement.comparison.average_precision == Difference(
        *map(pytest.approx, (0.81, 0.92, -0.11, -0.13, -0.09))
    )
    assert (ledger.reader.model().version, ledger.reader.model().kind) == (1, "trained")
    assert ledger.reader.session().name == "before-rooms"


def test_the_promoted_model_picks_and_can_be_rolled_back(state, config, caplog):
    """The next model gets the next number; nothing is warned about."""
    models = Models(state / MODELS)

    assert [bundle.card.kind for bundle in models.bundles()] == ["blob", "trained", "trained"]
    for bundle in models.bundles():
        verify_graph(bundle.path, bundle.card)
    assert models.current(config).card.version == 1
    assert models.last_promotion().by == "service"
    assert models.rollback_target(config).card.version == 0
    assert models.trained(config.training_fingerprint()).card.version == 1
    assert models.next_version(besides=state / RUNS) == 3
    assert [entry.figures.average_precision for entry in summarize_models(models, config)[1:]] == [
        0.9,
        0.8,
    ]
    assert differing_settings(config, 1) == []
    assert caplog.records == []


def test_runs_and_their_progress_can_be_read(state, config, tmp_path):
    """Held-out micrographs of a run are never used for training."""
    runs = Runs(state / RUNS)
    lines = ProgressReader(state / RUNS / "0001").new()

    assert runs.latest(config.training_fingerprint()) == state / RUNS / "0001"
    assert runs.held_out() == {tmp_path / "raw" / "a.mrc"}
    assert runs.trained_on() == {tmp_path / "raw" / name for name in ("b.mrc", "c.mrc")}
    assert [line.stage for line in lines] == ["prepare", "train", "train", "train", "done"]


@pytest.mark.usefixtures("ledger")
def test_status_and_page_show_the_last_judgement(state, config):
    """The page has its figures, the curves of its training and the findings."""
    with Database.read_only(state / LEDGER) as database:
        reader = LedgerReader(database)
        status = read_status(config, reader)
        sources = Sources(
            lambda: status,
            lambda: Health(ok=True, seconds_since={}),
            lambda: config,
            reader,
            PageQueries(database),
        )
        view = view_training(config, reader.runs(), sources.queries)
        training = Sections(sources).parts()["training"]

    assert (status.model.version, status.training.state) == (1, "trained")
    assert status.verdict.startswith("Model 2 was not promoted over model 1: average precision")
    assert (view.version, view.gate.candidate, view.gate.current) == (2, 2, 1)
    assert [len(attempt.epochs) for attempt in view.attempts] == [3]
    for words in ("average precision", "0.810", "0.920", "-0.110", "still fall"):
        assert words in training


def test_picking_continues(state, config, ledger, tmp_path):
    """A new arrival goes before the one that the current model is to pick again."""
    assert ledger.requeue.recover() == 0
    root, name = tmp_path / "raw", Path("queued.mrc")
    version = write_discs(root / name)
    assert ledger.arrivals.landed(root, name, version, 1_790_001_000.0) is Arrival.CHANGED
    first, second = ledger.claim(5)
    assert (first.relative, first.repick) == (name, False)
    assert (second.relative, second.repick) == (Path("c.mrc"), True)

    current = Models(state / MODELS).current(config)
    ledger.picked(first, pick(Job(first.path, first.version, current.path)))

    row = ledger.reader.get(first.id)
    assert (row.state, row.model_version, row.pick_count) == ("picked", 1, 4)
    assert ledger.reader.counts() == Counts(picking=1, picked=3, failed=1)


def write_discs(path):
    """Write a micrograph with four particles; return its content as the watcher sees it."""
    random = np.random.default_rng(1)
    y, x = np.mgrid[:256, :256]
    image = random.normal(10, 1, (256, 256)).astype(np.float32)
    for place in ((70, 60), (70, 180), (180, 60), (180, 180)):
        image[np.hypot(x - place[0], y - place[1]) < 13] -= 3
    path.parent.mkdir()
    with mrcfile.new(path, image) as mrc:
        mrc.voxel_size = 5.0
    return FileVersion.of(path.stat())
