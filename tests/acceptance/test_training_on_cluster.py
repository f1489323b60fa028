"""A session that trains on a worker of a Dask cluster, with a stub in place of the trainer."""

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="needs distributed, of the dask extra")

BIN = Path(sys.executable).parent

TRAINER = """
    import dataclasses, sys, time
    from pathlib import Path
    from livepick.core.contracts.bundle import GRAPH, publish, read_card
    from livepick.core.contracts.run import RunSpec
    folder = Path(sys.argv[1])
    with (folder / "progress.jsonl").open("a") as file:
        file.write('{"at": 1, "stage": "prepare", "done": 1, "total": 2}\\n')
    while not (folder / "go").exists():
        time.sleep(0.05)
    spec = RunSpec.read(folder)
    first = spec.models_directory / "0000"
    card = dataclasses.replace(
        read_card(first), version=1, kind="trained", fingerprint=spec.fingerprint,
        run=folder.name, parent=spec.parent,
    )
    publish(spec.models_directory, card, {GRAPH: (first / GRAPH).read_bytes()})
"""
"""Trains until a file is there; the network is that of the first picker."""


class Cluster:
    """A scheduler of this machine, and workers on which the stub is installed."""

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.processes = []
        package = folder / "stub" / "livepick_trainer"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(textwrap.dedent(TRAINER))
        self._start(
            *("dask", "scheduler", "--host", "127.0.0.1", "--port", "0"),
            *("--scheduler-file", self.file, "--no-dashboard"),
            *("--dashboard-address", "127.0.0.1:0"),
        )

    def start_worker(self):
        return self._start(
            *("livepick", "worker", "--scheduler-file", self.file, "--device", "cpu"),
            *("--workers", "1", "--heavy"),
        )

    def _start(self, program, *options):
        with (self.folder / "cluster.log").open("ab") as log:
            process = subprocess.Popen(
                [BIN / program, *options],
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONPATH": str(self.folder / "stub")},
            )
        self.processes.append(process)
        return process


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    for process in cluster.processes:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_training_on_the_cluster_survives_the_service_and_its_worker(cluster, make_session):
    """Its host is named; a new service adopts it; another worker continues it; it ends once."""
    session = make_session(
        engine={"kind": "dask", "scheduler_file": str(cluster.file), "heavy": "cluster"},
        bootstrap={"micrographs": 3, "minimum_picks": 30},
        training={"held_out_fraction": 0.34},
        retrain={"gate": "off"},
    )
    del session.settings["picking"]["workers"]
    session.save()
    run = session.state / "runs" / "0001"
    lock = run / "lock"
    host = socket.gethostname()
    worker = cluster.start_worker()
    session.start()
    session.drop(3)
    session.until((run / "progress.jsonl").exists, "a training")
    before = lock.read_text()
    assert before.endswith(f" {host}")
    session.until(lambda: session.status()["training"]["host"] == host, "its host")
    assert f", on {host}. Picking continues" in session.get("/")

    session.process.kill()
    session.process.wait()
    session.start()
    session.until(lambda: "adopting its trainer" in session.log.read_text(), "adoption")
    assert lock.read_text() == before

    worker.kill()
    session.until(lambda: "the worker on" in session.log.read_text(), "the loss of the worker")
    cluster.start_worker()
    session.until(lambda: lock.read_text() != before, "another trainer")

    (run / "go").touch()
    session.until(session.has_trained_model, "a model")
    session.until(lambda: session.picked() == 3, "all picked with it")
    assert sorted(path.name for path in session.state.joinpath("runs").iterdir()) == ["0001"]
    assert not (run / "place.json").exists()
    assert session.status()["training"]["host"] == ""
    assert session.stop() == 0
