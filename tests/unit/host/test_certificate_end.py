"""The end of a certificate authority."""

import time

import pytest

from certificates import make_certificate, needs_openssl
from livepick.host.certificate_end import authority_ends_at


@needs_openssl
def test_the_end_of_an_authority_is_read(tmp_path):
    """The test's certificate is valid for two days."""
    certificate, _ = make_certificate(tmp_path)
    assert authority_ends_at(certificate) == pytest.approx(time.time() + 2 * 86400, abs=600)


@needs_openssl
def test_a_certificate_that_is_trusted_by_itself_has_no_known_end(tmp_path):
    """Dask accepts it, so a worker that has it must start."""
    certificate, _ = make_certificate(tmp_path, is_authority=False)
    assert authority_ends_at(certificate) is None


def test_a_file_without_a_certificate_is_an_error(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(OSError, match=r"certificate|PEM|NO_CERTIFICATE"):
        authority_ends_at(tmp_path / "ca.pem")
