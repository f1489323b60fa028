"""Checks by ``livepick check`` of the program that is called with the picks."""

from pathlib import Path

import pytest

from livepick.config.output_sections import Output
from livepick.monitoring.preflight.on_picked import on_picked


def tried(*command):
    output = Output(directory=Path("/out"), on_picked=list(command) or None)
    return list(on_picked(output))


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program"
    path.write_text("#!/bin/sh\ntouch called\n")
    path.chmod(0o755)
    return path


def test_a_session_without_a_program_has_no_check():
    assert tried() == []


def test_a_program_that_can_be_started_is_not_started(program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (check,) = tried(str(program), "--session", "missing")
    assert (check.verdict, check.found) == ("ok", str(program))
    assert not (tmp_path / "called").exists()


def test_a_program_may_be_on_the_path():
    (check,) = tried("sh")
    assert check.verdict == "ok"


def test_a_program_that_is_missing_is_a_fault(tmp_path):
    (check,) = tried(str(tmp_path / "missing"))
    assert (check.verdict, check.name) == ("fault", "output.on_picked")
    assert check.found == f"{tmp_path}/missing does not exist, or is not a file"


def test_a_folder_is_not_a_program(tmp_path):
    (check,) = tried(str(tmp_path))
    assert check.verdict == "fault"


def test_a_name_that_is_not_on_the_path_is_a_fault():
    (check,) = tried("no-such-program-here")
    assert check.found == "no-such-program-here is not on the PATH"


def test_a_program_that_is_not_executable_is_a_fault(program):
    program.chmod(0o644)
    (check,) = tried(str(program))
    assert (check.found, check.remedy) == (
        f"{program} is not executable",
        f"Make it so: chmod a+x {program}.",
    )
