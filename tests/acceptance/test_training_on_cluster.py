"""A session that trains on a worker of a Dask cluster, with a stub in place of the trainer."""

import socket
import textwrap

import pytest

pytest.importorskip("distributed", reason="needs distributed, of the dask extra")

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


@pytest.fixture
def stub(tmp_path):
    """Return the folder of a package that is the trainer of the workers."""
    folder = tmp_path / "stub"
    package = folder / "livepick_trainer"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(textwrap.dedent(TRAINER))
    return str(folder)


@pytest.mark.slow
def test_a_training_on_the_cluster_survives_the_service_and_its_worker(
    make_cluster, make_session, stub
):
    """Its host is named; a new service adopts it; another worker continues it; it ends once."""
    cluster = make_cluster(by_file=True)
    session = make_session(
        bootstrap={"micrographs": 3, "minimum_picks": 30},
        training={"held_out_fraction": 0.34},
        retrain={"gate": "off"},
    )
    cluster.serve(session, heavy="cluster")
    run = session.state / "runs" / "0001"
    lock = run / "lock"
    host = socket.gethostname()
    cluster.start_scheduler()
    worker = cluster.start_worker("--heavy", PYTHONPATH=stub)
    session.start()
    session.drop(3)
    session.until((run / "progress.jsonl").exists, "a training")
    session.until(lambda: lock.read_text().endswith(f" {host}"), "its host in the lock")
    before = lock.read_text()
    session.until(lambda: session.status()["training"]["host"] == host, "its host")
    session.until(lambda: f", on {host}. Picking continues" in session.get("/"), "the page")

    session.process.kill()
    session.process.wait()
    session.start()
    adopting = "adopting its process, which is still running"
    session.until(lambda: adopting in session.log.read_text(), "adoption")
    assert lock.read_text() == before

    cluster.kill(worker)
    session.until(lambda: "the worker on" in session.log.read_text(), "the loss of the worker")
    cluster.start_worker("--heavy", PYTHONPATH=stub)
    session.until(lambda: lock.read_text() not in ("", before), "another trainer")

    (run / "go").touch()
    session.until(session.has_trained_model, "a model")
    session.until(
        lambda: {row.model_version for row in session.rows().values()} == {1}, "its picks"
    )
    assert session.picked() == 3
    assert sorted(path.name for path in session.state.joinpath("runs").iterdir()) == ["0001"]
    assert not (run / "place.json").exists()
    assert session.status()["training"]["host"] == ""
    assert session.stop() == 0
