"""``livepick check`` of a session whose micrographs are picked by a Dask cluster."""

import asyncio

import pytest

distributed = pytest.importorskip("distributed", reason="needs distributed, of the dask extra")

from certificates import make_certificate, needs_openssl  # noqa: E402
from livepick.core.contracts.node import HEAVY, PICK  # noqa: E402
from livepick.monitoring.preflight import cluster as checks  # noqa: E402
from livepick.monitoring.preflight.cluster import cluster  # noqa: E402
from livepick.picking.cluster import scheduler  # noqa: E402
from livepick.picking.cluster.look_at_pool import Pool, look_at_pool  # noqa: E402

QUIET = {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"}


@pytest.fixture
def config(make_config):
    def make(**engine):
        given = {"kind": "dask", "scheduler": "tcp://127.0.0.1:1"} | engine
        return make_config(engine=given)

    return make


def found(config, monkeypatch, answer):
    def answered(function, *arguments, **options):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(checks, "call_isolated", answered)
    check = cluster(config)
    return check.verdict, f"{check.found}. {check.remedy}"


def test_the_pool_is_named(config, monkeypatch):
    pool = Pool("tls://head:8786", 2, 5, 1)
    assert found(config(), monkeypatch, pool)[0] == "ok"
    verdict, text = found(config(heavy="cluster"), monkeypatch, pool)
    assert verdict == "ok"
    assert "tls://head:8786: 2 workers for 5 micrographs at a time, 1 of which trains" in text


def test_a_pool_without_workers_is_a_warning(config, monkeypatch):
    """The service starts, and micrographs wait."""
    verdict, text = found(config(), monkeypatch, Pool("tls://head:8786", 0, 0, 0))
    assert (verdict, "has no livepick worker" in text) == ("warning", True)
    verdict, text = found(config(heavy="cluster"), monkeypatch, Pool("tls://head:8786", 1, 2, 0))
    assert (verdict, "none of them offers to train" in text) == ("warning", True)


def test_what_hinders_is_said(config, monkeypatch):
    verdict, text = found(config(), monkeypatch, ModuleNotFoundError("No module named 'dask'"))
    assert verdict == "fault"
    assert "Dask is not installed" in text
    verdict, text = found(config(), monkeypatch, TimeoutError("no answer within 60 s"))
    assert verdict == "fault"
    assert "could not be asked: no answer within 60 s" in text


@needs_openssl
def test_certificates_that_end_soon_are_a_warning(config, monkeypatch, tmp_path):
    """Without them the whole pool stands still, at night."""
    certificate, key = make_certificate(tmp_path)
    tls = {"ca": str(certificate), "certificate": str(certificate), "key": str(key)}
    ending = config(scheduler="tls://head:8786", tls=tls)
    verdict, text = found(ending, monkeypatch, Pool("tls://head:8786", 2, 5, 1))
    assert (verdict, "the certificates of the cluster end on 20" in text) == ("warning", True)
    monkeypatch.setattr(checks, "SOON_SECONDS", 86400.0)
    assert found(ending, monkeypatch, Pool("tls://head:8786", 2, 5, 1))[0] == "ok"


@needs_openssl
def test_a_certificate_that_is_trusted_by_itself_is_no_fault(config, monkeypatch, tmp_path):
    """OpenSSL tells the ends of authorities only."""
    certificate, key = make_certificate(tmp_path, is_authority=False)
    tls = {"ca": str(certificate), "certificate": str(certificate), "key": str(key)}
    engine = config(scheduler="tls://head:8786", tls=tls)
    assert found(engine, monkeypatch, Pool("tls://head:8786", 2, 5, 1))[0] == "ok"


def test_a_scheduler_that_is_not_there_is_a_fault(config, monkeypatch):
    monkeypatch.setattr(scheduler, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(
        checks, "call_isolated", lambda function, *given, **options: function(*given)
    )
    check = cluster(config())
    assert check.verdict == "fault"
    assert "tcp://127.0.0.1:1 does not answer" in check.found


def test_only_workers_of_livepick_count(config):
    """Others would not know its jobs."""

    async def run():
        async with distributed.Scheduler(**QUIET) as there:
            options = {"nthreads": 1, "dashboard_address": "127.0.0.1:0", "memory_limit": 0}
            offers = ({PICK: 3, HEAVY: 1}, {PICK: 2}, {})
            workers = [
                await distributed.Worker(there.address, resources=offer, **options)
                for offer in offers
            ]
            pool = await asyncio.to_thread(look_at_pool, config(scheduler=there.address).engine)
            assert pool == Pool(there.address, 2, 5, 1)
            for worker in workers:
                await worker.close()

    asyncio.run(run())
