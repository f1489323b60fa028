"""The end of a certificate authority, after which nobody trusts its certificates."""

import ssl
from pathlib import Path

__all__ = ["SOON_SECONDS", "authority_ends_at"]

SOON_SECONDS = 30 * 86400.0
"""Time before the end in which somebody should be told."""


def authority_ends_at(file: Path) -> float | None:
    """Return the unix seconds at which the first authority of a file ends; None if it has none.

    A certificate that is trusted by itself, and signs no others, is not an authority.

    Parameters
    ----------
    file
        Certificates of authorities, in PEM format.

    Raises
    ------
    OSError
        The file cannot be read, or has no certificate at all.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(file)
    ends = [str(each["notAfter"]) for each in context.get_ca_certs()]
    return min((float(ssl.cert_time_to_seconds(end)) for end in ends), default=None)
