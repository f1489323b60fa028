"""TLS of a cluster, and the refusal of one that others can reach without it."""

import pytest

pytest.importorskip("distributed", reason="needs distributed, of the dask extra")

from certificates import make_certificate, needs_openssl
from livepick.config.engine_section import ClusterTls
from livepick.errors import ConfigError
from livepick.picking.cluster.security import cluster_security, refuse_open

TLS = ClusterTls(ca="/t/ca.pem", certificate="/t/certificate.pem", key="/t/key.pem")


def refused(address, tls=None, *, insecure=False):
    with pytest.raises(ConfigError) as caught:
        refuse_open(address, tls, insecure=insecure, accept="--insecure")
    return str(caught.value)


@pytest.mark.parametrize("host", ["10.0.0.7", "head", "head.example.org", "[fd00::7]"])
def test_an_open_scheduler_on_another_machine_is_refused_unless_it_is_accepted(host):
    address = f"tcp://{host}:8786"
    text = refused(address)
    assert f"{address} is not encrypted" in text
    assert "runs programs as the user of livepick" in text
    assert "accept it with --insecure" in text
    refuse_open(address, None, insecure=True, accept="--insecure")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_an_open_scheduler_on_this_machine_is_accepted(host):
    refuse_open(f"tcp://{host}:8786", None, insecure=False, accept="--insecure")


def test_address_and_tls_files_must_match():
    """Accepting an open scheduler does not accept files that are not used."""
    refuse_open("tls://head:8786", TLS, insecure=False, accept="--insecure")
    assert "is encrypted, and no TLS files are given" in refused("tls://head:8786", insecure=True)
    assert "head:8786 is not encrypted" in refused("tcp://head:8786", TLS, insecure=True)


@pytest.mark.parametrize(
    "address", ["head", "head:8786", "http://head:8786", "tls://:8786", "tls://head", "tcp://h:x"]
)
def test_what_is_not_the_address_of_a_scheduler_is_refused(address):
    assert refused(address, insecure=True).startswith(
        f"the address of the scheduler is {address!r}. Give it as tls://HOST:PORT"
    )


@needs_openssl
def test_files_that_cannot_be_used_are_named(tmp_path):
    """Dask itself would say neither which file it is, nor that the key is of another one."""
    one, key = make_certificate(tmp_path, "one")
    _, other_key = make_certificate(tmp_path, "other")
    good = ClusterTls(ca=one, certificate=one, key=key)
    assert cluster_security(good).require_encryption
    missing = good.model_copy(update={"ca": tmp_path / "away.pem"})
    with pytest.raises(ConfigError, match=r"away.pem cannot be read: No such file or directory"):
        cluster_security(missing)
    with pytest.raises(ConfigError, match=r"other.key cannot be used: .*mismatch"):
        cluster_security(good.model_copy(update={"key": other_key}))
    (tmp_path / "text").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"text, .* cannot be used"):
        cluster_security(good.model_copy(update={"ca": tmp_path / "text"}))


def test_without_files_nothing_is_encrypted():
    assert not cluster_security(None).require_encryption
