"""Encryption of a Dask cluster, and the refusal of one that others can reach unencrypted.

Whoever can send a task to a scheduler or to a worker runs code there, as the user of that process.
TLS in Dask is mutual: both sides show a certificate of the cluster's own authority, and its key is
what lets somebody in. Host names are not compared, so one certificate serves all machines.
"""

import ssl
from typing import Any

from distributed import Security

from livepick.config.engine_section import ClusterTls, scheduler_host
from livepick.errors import ConfigError
from livepick.host.loopback import is_loopback
from livepick.host.tls_files import load_tls_files

__all__ = ["cluster_security", "refuse_open"]

ENCRYPTED, OPEN = "tls", "tcp"
"""Schemes of the addresses of a cluster."""

_Security: Any = Security
"""Dask's class; its parameters have no types."""


def cluster_security(tls: ClusterTls | None) -> Any:
    """Return a ``distributed.Security`` to connect and to listen with, as client and as worker.

    Parameters
    ----------
    tls
        Files of the cluster's TLS; None: without encryption.

    Raises
    ------
    ConfigError
        A file cannot be read, or the certificate does not match its key.
    """
    if tls is None:
        return _Security(require_encryption=False)
    _try(tls)
    ca, certificate, key = str(tls.ca), str(tls.certificate), str(tls.key)
    return _Security(
        require_encryption=True,
        tls_ca_file=ca,
        tls_client_cert=certificate,
        tls_client_key=key,
        tls_worker_cert=certificate,
        tls_worker_key=key,
    )


def refuse_open(address: str, tls: ClusterTls | None, *, insecure: bool, accept: str) -> None:
    """Refuse an address that is not encrypted, or does not match the TLS files.

    Parameters
    ----------
    address
        Address of a scheduler, such as ``tls://host:8786``.
    tls
        Files of the cluster's TLS.
    insecure
        True to accept a scheduler that other machines can reach without encryption.
    accept
        Words for accepting it, such as ``--insecure``.

    Raises
    ------
    ConfigError
        The address cannot be used like this.
    """
    scheme, host = address.partition("://")[0], scheduler_host(address)
    if scheme not in (ENCRYPTED, OPEN) or not host or not address.rpartition(":")[2].isdecimal():
        raise ConfigError(
            f"the address of the scheduler is {address!r}",
            "Give it as tls://HOST:PORT, as the scheduler logs it at its start.",
        )
    if scheme == ENCRYPTED and tls is None:
        raise ConfigError(
            f"the scheduler {address} is encrypted, and no TLS files are given",
            "Give the authority's certificate, a certificate and its key;"
            " deploy/dask/make-certificates.sh makes them.",
        )
    if scheme == OPEN and tls is not None:
        raise ConfigError(
            f"TLS files are given, and the scheduler {address} is not encrypted",
            "Start the scheduler with its TLS files, and use the tls:// address; or leave the files"
            " out.",
        )
    if scheme == OPEN and not insecure and not is_loopback(host):
        raise ConfigError(
            f"the scheduler {address} is not encrypted, and whoever reaches it or a worker runs"
            " programs as the user of livepick",
            f"Use TLS (deploy/cluster.md), or accept it with {accept} in a network that only"
            " trusted people can reach.",
        )


def _try(tls: ClusterTls) -> None:
    """Load the files, because Dask's own message names none of them. Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = (tls.ca, tls.certificate, tls.key)
    for path in files:
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"the TLS file {path} cannot be read: {error.strerror}",
                "Check the path, and that this user may read the file.",
            ) from error
    try:
        load_tls_files(context, tls.certificate, tls.key, tls.ca)
    except ValueError as error:
        raise ConfigError(
            f"the TLS files {', '.join(map(str, files))} cannot be used: {error}",
            "Give the authority's certificate, a certificate of it and its own key, in PEM format"
            " and without a password.",
        ) from error
