"""Certificates and keys in files, as OpenSSL loads them."""

import ssl
from pathlib import Path

__all__ = ["load_tls_files"]


def load_tls_files(
    context: ssl.SSLContext, certificate: Path, key: Path, authority: Path | None
) -> None:
    """Load a certificate with its key, and the certificates of an authority.

    Parameters
    ----------
    context
        TLS context that gets them.
    certificate, key
        Files in PEM format; the key has no password.
    authority
        File in PEM format; None: the certificates of others are not checked.

    Raises
    ------
    ValueError
        They cannot be used, for the reason in its text.
    """
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
        if authority is not None:
            context.load_verify_locations(authority)
    except (OSError, ValueError) as error:  # OpenSSL's errors are of OSError
        why = getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)
        raise ValueError(why) from error


def _no_password() -> str:
    raise ValueError("the key has a password")
