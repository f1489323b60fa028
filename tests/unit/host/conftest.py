"""A machine for tests, with the files of ``/proc`` and of control groups that they write."""

import pytest

from livepick.host import control_groups, memory


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return a function that writes a file below ``proc`` or ``cgroup``; there are no others."""
    monkeypatch.setattr(memory, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(control_groups, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(control_groups, "_CONTROL_GROUPS", tmp_path / "cgroup")

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write
