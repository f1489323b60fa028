"""``livepick check`` asks each worker of a cluster whether it fits."""

import re

from livepick.config.engine_section import ClusterTls
from livepick.config.schema import Config
from livepick.monitoring.preflight import cluster as preflight
from livepick.picking.cluster import connection


def config(folder, scheduler) -> Config:
    (folder / "in").mkdir(exist_ok=True)
    return Config.model_validate(
        {
            "session": {"name": "s"},
            "watch": {"directories": [folder / "in"]},
            "particle": {"diameter_angstrom": 150.0},
            "picking": {"device": "cpu"},
            "engine": {"kind": "dask", "scheduler": scheduler},
            "output": {"directory": folder / "out"},
            "state": {"directory": folder / "state"},
        }
    )


def test_the_workers_that_fit_are_listed_before_the_first_start(scheduler, tmp_path):
    """The check leaves nothing behind: there is no state folder, nor a model in it."""
    pool, worker = preflight.cluster(config(tmp_path, scheduler))
    assert (pool.verdict, worker.verdict) == ("ok", "ok")
    assert pool.found == f"{scheduler}: 1 worker for 1 micrograph at a time"
    assert re.search(r"1 at a time.*livepick", worker.found)
    assert not (tmp_path / "state").exists()


def test_a_worker_that_does_not_fit_is_named_with_its_remedy(scheduler, tmp_path):
    settings = config(tmp_path, scheduler)
    (tmp_path / "in").rmdir()
    _, worker, whole = preflight.cluster(settings)
    assert (worker.verdict, whole.verdict) == ("warning", "fault")
    assert f"does not see {tmp_path / 'in'}" in worker.found
    assert worker.remedy == "Mount the watched folder there, at the same path."


def test_the_scheduler_is_connected_once(scheduler, tmp_path, monkeypatch):
    opened, open_one = [], connection.Connection.open

    async def count(self):
        opened.append(self)
        await open_one(self)

    monkeypatch.setattr(connection.Connection, "open", count)
    assert list(preflight.cluster(config(tmp_path, scheduler)))
    assert len(opened) == 1


def test_a_scheduler_that_does_not_answer_is_a_fault(tmp_path):
    """It is told at the first try, without waiting for another one."""
    (whole,) = preflight.cluster(config(tmp_path, "tcp://127.0.0.1:1"))
    assert whole.verdict == "fault"
    assert "(tcp://127.0.0.1:1) is not connected: Connection refused" in whole.found


def test_a_tls_file_that_is_missing_is_a_fault(tmp_path):
    settings = config(tmp_path, "tcp://127.0.0.1:1")
    tls = ClusterTls(ca=tmp_path / "ca", certificate=tmp_path / "crt", key=tmp_path / "key")
    engine = settings.engine.model_copy(update={"scheduler": "tls://n1:1", "tls": tls})
    (whole,) = preflight.cluster(settings.model_copy(update={"engine": engine}))
    assert whole.verdict == "fault"
    assert str(tmp_path / "ca") in whole.found
