"""``livepick check`` asks each worker of a cluster whether it fits."""

import dataclasses
import re

from livepick.config.engine_section import ClusterTls
from livepick.config.schema import Config
from livepick.core.contracts.cluster_view import NodeView
from livepick.core.contracts.device_aside import DeviceAside
from livepick.monitoring.preflight import cluster_workers as preflight


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
    (worker,) = preflight.cluster_workers(config(tmp_path, scheduler))
    assert worker.verdict == "ok"
    assert re.search(r"1 at a time.*livepick", worker.found)
    assert not (tmp_path / "state").exists()


def test_a_worker_that_does_not_fit_is_named_with_its_remedy(scheduler, tmp_path):
    settings = config(tmp_path, scheduler)
    (tmp_path / "in").rmdir()
    worker, whole = preflight.cluster_workers(settings)
    assert (worker.verdict, whole.verdict) == ("warning", "fault")
    assert f"does not see {tmp_path / 'in'}" in worker.found
    assert worker.remedy == "Mount the watched folder there, at the same path."


def test_a_worker_of_which_a_gpu_failed_is_a_warning_with_its_version_and_memory():
    aside = (DeviceAside("GPU 1", "CUDA failure 999"),)
    node = NodeView("tls://n1:1", "w1", "n1", "accepted", 2, 0, version="0.9", memory_bytes=3 << 29)
    assert preflight._of_node(node).found == "w1, 2 at a time, 1.5 GiB, livepick 0.9"
    check = preflight._of_node(dataclasses.replace(node, gpus_aside=aside))
    assert check.verdict == "warning"
    assert check.found.endswith("; GPU 1 is set aside: CUDA failure 999")
    assert "nvidia-smi" in check.remedy


def test_a_scheduler_that_does_not_answer_is_a_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "CONNECT_SECONDS", 0.3)
    (whole,) = preflight.cluster_workers(config(tmp_path, "tcp://127.0.0.1:1"))
    assert whole.verdict == "fault"
    assert "(tcp://127.0.0.1:1) is not connected" in whole.found


def test_a_tls_file_that_is_missing_is_a_fault(tmp_path):
    settings = config(tmp_path, "tcp://127.0.0.1:1")
    tls = ClusterTls(ca=tmp_path / "ca", certificate=tmp_path / "crt", key=tmp_path / "key")
    engine = settings.engine.model_copy(update={"scheduler": "tls://n1:1", "tls": tls})
    (whole,) = preflight.cluster_workers(settings.model_copy(update={"engine": engine}))
    assert whole.verdict == "fault"
    assert str(tmp_path / "ca") in whole.found
