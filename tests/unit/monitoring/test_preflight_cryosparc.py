"""Checks by ``livepick check`` of cryoSPARC's exposures."""

from pathlib import Path

import numpy as np
import pytest

from livepick.config.output_sections import CryosparcOutput, Output
from livepick.monitoring.preflight.cryosparc import cryosparc


def tried(exposures, formats=("cryosparc",)):
    output = Output(
        directory=Path("/out"),
        formats=list(formats),
        cryosparc=CryosparcOutput(exposures=exposures),
    )
    return list(cryosparc(output))


@pytest.fixture
def exposures(tmp_path):
    path = tmp_path / "exposures.cs"
    rows = np.array(
        [(1, b"J1/a.mrc"), (2, b"J1/b.mrc")], [("uid", "<u8"), ("micrograph_blob/path", "S8")]
    )
    with path.open("wb") as file:
        np.save(file, rows)
    return path


def test_a_session_without_exposures_has_no_check():
    assert tried(None) == []


def test_exposures_that_can_be_read_are_counted(exposures):
    (check,) = tried(exposures)
    assert (check.verdict, check.found) == ("ok", f"{exposures} with 2 exposures")


def test_a_missing_file_is_a_fault(tmp_path):
    """The service would not start."""
    (check,) = tried(tmp_path / "missing.cs")
    assert check.verdict == "fault"
    assert "missing.cs, which cannot be read: No such file" in check.found
    assert "exposures.cs" in check.remedy


def test_another_file_is_a_fault(tmp_path):
    path = tmp_path / "micrographs.star"
    path.write_text("data_\n")
    (check,) = tried(path)
    assert check.verdict == "fault"
    assert str(path) in check.found


def test_exposures_without_the_format_are_a_warning(exposures):
    (check,) = tried(exposures, ["relion"])
    assert check.verdict == "warning"
    assert "does not have cryosparc" in check.found
