"""Start of the engine on a cluster: the state folder is marked, and Dask may be missing."""

import contextlib
from types import SimpleNamespace

import pytest

from livepick.config.engine_section import EngineSettings
from livepick.errors import ConfigError, LedgerWriteError
from livepick.models.bundle_on_disk import read_bundle
from livepick.models.registry import Models
from livepick.picking import start_cluster
from livepick.picking.start_cluster import question


@pytest.fixture
def config(make_config):
    engine = EngineSettings(kind="dask", scheduler="tcp://127.0.0.1:1")
    made = make_config()
    made.state.directory.mkdir(parents=True, exist_ok=True)
    return made.model_copy(update={"engine": engine})


@pytest.fixture
def executors(monkeypatch):
    """Return the executors that are made, which connect to nothing."""
    made = []

    class Executor:
        def __init__(self, engine, request, limits, *, session):
            self.request, self.stopped = request, False
            made.append(self)

        def shutdown(self):
            self.stopped = True

    module = SimpleNamespace(ClusterExecutor=Executor)
    monkeypatch.setattr(start_cluster.importlib, "import_module", lambda _: module)
    return made


def start(config, model=None):
    with contextlib.ExitStack() as ending:
        return start_cluster.start_cluster(config, lambda: model, ending)


def test_nodes_know_the_state_folder_by_a_token_that_stays(config, executors):
    start(config)
    first = question(config, None)
    assert len(first.token) == 32
    assert first.token_file.read_text().strip() == first.token
    start(config)
    assert question(config, None) == first
    assert [each.stopped for each in executors] == [True, True]


def test_before_the_first_start_a_node_is_asked_for_no_token(config):
    """``livepick check`` writes nothing."""
    asked = question(config, None)
    assert (asked.token, asked.bundle, asked.graph_sha256) == (None, None, None)
    assert asked.roots == tuple(config.watch.directories)


def test_nodes_are_asked_about_the_model_in_use(config, executors):
    bundle = Models(config.state.directory / "models").ensure_blob(config)
    start(config, read_bundle(bundle.path))
    asked = executors[0].request()
    assert (asked.bundle, asked.graph_sha256) == (bundle.path, bundle.card.graph_sha256)


def test_a_state_folder_that_takes_no_file_is_told(config, executors, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(start_cluster, "write_atomically", full)
    with pytest.raises(LedgerWriteError, match=r"cluster_token cannot be written: No space"):
        start(config)


def test_dask_that_is_not_installed_is_told_with_its_extra(config, monkeypatch):
    def absent(name):
        raise ImportError("No module named 'distributed'")

    monkeypatch.setattr(start_cluster.importlib, "import_module", absent)
    with pytest.raises(ConfigError, match=r"engine.kind is dask.*livepick\[dask\]"):
        start(config)
