"""The address of a scheduler, from its file too, and the versions that it must have."""

import asyncio
import platform
import socket
from importlib.metadata import version

import pytest

distributed = pytest.importorskip("distributed", reason="needs distributed, of the dask extra")

import livepick  # noqa: E402
from certificates import make_cluster_tls, needs_openssl  # noqa: E402
from livepick.errors import EngineError  # noqa: E402
from livepick.picking.cluster import scheduler  # noqa: E402
from livepick.picking.cluster.scheduler import (  # noqa: E402
    AwayError,
    SchedulerPlace,
    refuse_versions,
    versions_there,
)
from livepick.picking.cluster.security import cluster_security  # noqa: E402

SAME = {
    "python": platform.python_version() + ".final.0",
    "dask": version("dask"),
    "distributed": version("distributed"),
    "livepick": livepick.__version__,
}


def test_the_file_is_read_each_time(tmp_path):
    """A scheduler that is started again has another address."""
    place = SchedulerPlace(file=tmp_path / "scheduler.json")
    with pytest.raises(AwayError, match=r"scheduler.json cannot be read: No such file"):
        place.read()
    place.file.write_text('{"address": "tls://one:1"}')
    assert place.read() == "tls://one:1"
    place.file.write_text('{"address": "tls://two:2", "workers": {}}')
    assert place.read() == "tls://two:2"


@pytest.mark.parametrize("text", ["", '{"addr', "[]", "{}", "7"])
def test_a_file_that_is_being_written_is_waited_for(tmp_path, text):
    place = SchedulerPlace(file=tmp_path / "scheduler.json")
    place.file.write_text(text)
    with pytest.raises(AwayError, match=r"is not a scheduler file, or is being written"):
        place.read()


def test_the_same_versions_are_accepted():
    refuse_versions("tls://head:8786", SAME)


@pytest.mark.parametrize(
    ("name", "theirs", "words"),
    [
        ("livepick", None, r"has livepick \(not installed\), and this machine has"),
        ("livepick", "0.0.1", r"tls://head:8786 has livepick 0.0.1, and"),
        ("distributed", "2024.1.0", r"has distributed 2024.1.0, and"),
        ("dask", "2024.1.0", r"has dask 2024.1.0, and"),
        ("python", "3.9.2.final.0", r"has Python 3.9, and"),
    ],
)
def test_another_version_at_the_scheduler_is_refused(name, theirs, words):
    """It unpickles the tasks that pass through it."""
    with pytest.raises(EngineError, match=words) as caught:
        refuse_versions("tls://head:8786", SAME | {name: theirs})
    assert not isinstance(caught.value, AwayError)
    assert "Install the same versions" in caught.value.remedy


def test_a_scheduler_that_is_not_there_is_waited_for(monkeypatch):
    monkeypatch.setattr(scheduler, "CONNECT_FRACTION", 1 / scheduler.ANSWER_SECONDS)
    with socket.socket() as closed:  # bound, so that no other program gets the port; not listening
        closed.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(AwayError, match=f"{address} does not answer: .*refused"):
            asyncio.run(versions_there(address, cluster_security(None)))


@needs_openssl
def test_certificates_of_another_authority_end_the_try(tmp_path):
    """They do not become right by waiting."""
    ours, theirs = make_cluster_tls(tmp_path / "ours"), make_cluster_tls(tmp_path / "theirs")
    security = distributed.Security(
        require_encryption=True,
        tls_ca_file=str(theirs.ca),
        tls_scheduler_cert=str(theirs.certificate),
        tls_scheduler_key=str(theirs.key),
    )

    async def run():
        options = {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"}
        async with distributed.Scheduler(protocol="tls", security=security, **options) as there:
            found = await versions_there(there.address, cluster_security(theirs))
            assert found["livepick"] == livepick.__version__
            for mixed in (ours, ours.model_copy(update={"ca": theirs.ca})):
                with pytest.raises(EngineError, match=r"do not accept each other's TLS") as caught:
                    await versions_there(there.address, cluster_security(mixed))
                assert not isinstance(caught.value, AwayError)
                assert "certificate of the same authority" in caught.value.remedy

    asyncio.run(run())
