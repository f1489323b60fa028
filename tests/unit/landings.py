"""Micrographs that land in a ledger, and their contents."""

from pathlib import Path

from livepick.core.formats.file_version import FileVersion

ROOT = Path("/data/avg")
A, B = Path("a.mrc"), Path("sub/b.mrc")
V1, V2 = FileVersion(100, 1, 7), FileVersion(200, 2, 7)


def claim_one(ledger, **kwargs):
    """Return the claim of the next micrograph."""
    (claim,) = ledger.claim(1, **kwargs)
    return claim
