"""Certificates for tests, made with openssl."""

import shutil
import subprocess
from pathlib import Path

import pytest

from livepick.config.engine_section import ClusterTls

OPENSSL = shutil.which("openssl")

MAKE_CLUSTER_CERTIFICATES = Path(__file__).parents[1] / "deploy" / "dask" / "make-certificates.sh"

needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")


def make_certificate(
    folder: Path,
    name: str = "server",
    *,
    is_authority: bool = True,
    names: str = "DNS:localhost,IP:127.0.0.1",
) -> tuple[Path, Path]:
    """Write a self-signed certificate for localhost and its key, and return both paths."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    subprocess.run(
        [
            *(str(OPENSSL), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName={names}"),
            *(() if is_authority else ("-addext", "basicConstraints=critical,CA:FALSE")),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


def make_cluster_tls(folder: Path) -> ClusterTls:
    """Write the certificates of a cluster by its script, and return their paths."""
    subprocess.run([str(MAKE_CLUSTER_CERTIFICATES), str(folder)], check=True, capture_output=True)
    ca, certificate, key = (folder / name for name in ("ca.pem", "certificate.pem", "key.pem"))
    return ClusterTls(ca=ca, certificate=certificate, key=key)
