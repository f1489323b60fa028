"""``livepick check`` of a session whose micrographs are picked by a Dask cluster, by parts."""

import dataclasses

import pytest

from certificates import make_certificate, needs_openssl
from livepick.config.engine_section import EngineSettings
from livepick.core.contracts.cluster_view import ClusterView, NodeView
from livepick.core.contracts.device_aside import DeviceAside
from livepick.monitoring.preflight import cluster as checks

NODE = NodeView("tls://n1:1", "w1", "n1", "accepted", 2, 0, version="0.9", memory_bytes=3 << 29)


def view(*nodes):
    return ClusterView("tls://head:8786", is_connected=True, nodes=nodes)


@pytest.fixture
def config(make_config):
    def make(**engine):
        given = {"kind": "dask", "scheduler": "tcp://127.0.0.1:1"} | engine
        return make_config(engine=given)

    return make


def test_the_pool_is_named_and_only_workers_of_livepick_count():
    """Others would not know its jobs."""
    plain = dataclasses.replace(NODE, slots=0, state="refused")
    check = checks._pool(view(NODE, dataclasses.replace(NODE, slots=3), plain))
    assert check.verdict == "ok"
    assert check.found == "tls://head:8786: 2 workers for 5 micrographs at a time"
    check = checks._pool(view(plain))
    assert check.verdict == "warning"
    assert "has no livepick worker, so micrographs will wait" in check.found


def test_a_scheduler_that_is_not_connected_has_a_remedy_of_its_own():
    """Or the usual one, if its error has none."""
    check = checks._pool(ClusterView("tls://head:8786", fault="no TLS", remedy="Make one."))
    assert (check.verdict, check.remedy) == ("fault", "Make one.")
    assert check.found == "the scheduler (tls://head:8786) is not connected: no TLS"
    assert "Start it" in checks._pool(ClusterView("tls://head:8786", fault="refused")).remedy


def test_a_worker_is_named_with_its_memory_and_version_and_its_gpus_that_failed():
    assert checks._of_node(NODE).found == "w1, 2 at a time, 1.5 GiB, livepick 0.9"
    aside = (DeviceAside("GPU 1", "CUDA failure 999"),)
    check = checks._of_node(dataclasses.replace(NODE, heavy=True, gpus_aside=aside))
    assert check.verdict == "warning"
    assert check.found.endswith(", trains; GPU 1 is set aside: CUDA failure 999")
    assert "nvidia-smi" in check.remedy


def test_a_cluster_that_is_to_train_and_cannot_is_a_warning(config):
    """A worker that does not fit does not train either."""
    trains = dataclasses.replace(NODE, heavy=True)
    refused = dataclasses.replace(trains, state="refused")
    for nodes, count in (((NODE,), 1), ((refused,), 1), ((NODE, trains), 0)):
        found = list(checks._workers(config(heavy="cluster"), view(*nodes)))
        assert sum("offers to train" in check.found for check in found) == count
        assert all("to train" not in c.found for c in checks._workers(config(), view(*nodes)))


def test_a_file_system_that_hangs_is_named_and_nothing_waits_for_it(config, tmp_path, monkeypatch):
    def hangs(*given, **options):
        raise TimeoutError("no answer within 20 s")

    monkeypatch.setattr(checks, "call_isolated", hangs)
    settings = config(scheduler=None, scheduler_file=str(tmp_path / "scheduler.json"))
    (check,) = checks.cluster(settings)
    assert check.verdict == "fault"
    assert "could not be looked at: no answer within 20 s" in check.found


@needs_openssl
def test_certificates_that_end_soon_are_a_warning(monkeypatch, tmp_path):
    """Without them the whole pool stands still, at night."""
    certificate, key = make_certificate(tmp_path)
    engine = tls_engine(certificate, key)
    (check,) = checks._certificates(engine)
    assert check.verdict == "warning"
    assert "the certificates of the cluster end on 20" in check.found
    monkeypatch.setattr(checks, "SOON_SECONDS", 86400.0)
    assert list(checks._certificates(engine)) == []


@needs_openssl
def test_a_certificate_that_is_trusted_by_itself_is_no_fault(tmp_path):
    """OpenSSL tells the ends of authorities only."""
    assert (
        list(checks._certificates(tls_engine(*make_certificate(tmp_path, is_authority=False))))
        == []
    )


def tls_engine(certificate, key):
    tls = {"ca": certificate, "certificate": certificate, "key": key}
    return EngineSettings(kind="dask", scheduler="tls://head:8786", tls=tls)
