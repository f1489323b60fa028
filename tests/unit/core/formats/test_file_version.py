"""Versions of files: times that a ledger cannot hold."""

import os

import pytest

from livepick.core.formats.file_version import FileVersion


@pytest.mark.parametrize("seconds", [13_569_465_600, -2_000_000_000, 0])
def test_a_file_of_any_year_is_read(tmp_path, seconds):
    """The year 2400: more nanoseconds than the ledger holds."""
    path = tmp_path / "a.mrc"
    path.write_bytes(b"x")
    os.utime(path, (seconds, seconds))
    version = FileVersion.of(path.stat())

    assert abs(version.mtime_ns) < 2**63
    assert version.describes(path.stat())
