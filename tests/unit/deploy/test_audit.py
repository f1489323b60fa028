"""``make audit``: findings fail, and an audit that was not done says so."""

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / ".ci" / "audit.py"

CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}
FOUND = {
    "name": "pillow",
    "version": "1.0",
    "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}, {"id": "CVE-2", "fix_versions": []}],
}
UNKNOWN = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}


@pytest.fixture
def audit(monkeypatch):
    """Return a function that runs the script on an answer of pip-audit."""
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(answer):
        def answered(command, **_):
            if isinstance(answer, Exception):
                raise answer
            assert "constraints.txt" in " ".join(command)
            return subprocess.CompletedProcess(command, 1, answer, "Traceback\nno network")

        monkeypatch.setattr(subprocess, "run", answered)
        return module.main()

    return run


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (json.dumps({"dependencies": [CLEAN]}), 0, "audit: 1 packages, no known vulnerabilities"),
        (json.dumps({"dependencies": [CLEAN, FOUND]}), 1, "pillow 1.0: CVE-1; fixed in 1.1"),
        (json.dumps({"dependencies": [CLEAN, FOUND]}), 1, "CVE-2; fixed in none yet"),
        (json.dumps({"dependencies": [CLEAN, UNKNOWN]}), 0, "audit: not compared: torch"),
        (json.dumps({"dependencies": [UNKNOWN] * 3}), 0, "NOT DONE: the service does not know 3"),
        ("", 0, "NOT DONE: no network"),
        (subprocess.TimeoutExpired("pip-audit", 1), 0, "NOT DONE: no answer"),
    ],
)
def test_an_audit_says_what_was_found_or_that_it_was_not_done(audit, capsys, answer, status, said):
    assert audit(answer) == status
    assert said in capsys.readouterr().out
