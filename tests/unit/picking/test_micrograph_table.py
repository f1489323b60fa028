"""The session's table of figures, as other programs read it."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import starfile

from livepick.errors import OutputError
from livepick.ledger.columns import CTF_FIGURES, QUALITY_FIGURES
from livepick.ledger.rows import Measured
from livepick.picking.micrograph_table import CSV, STAR, MicrographTable

ROOT = Path("/data/avg")
NO_CTF = (None,) * len(CTF_FIGURES)


def measured(relative="a.mrc", *, contrast=4.25, ctf=NO_CTF, verdict="good", reason=""):
    figures = tuple(contrast if name == "contrast" else None for name in QUALITY_FIGURES)
    return Measured(ROOT, Path(relative), 12, 0.5, 3, "trained", figures, ctf, verdict, reason)


def test_star_and_csv_have_the_same_values(tmp_path):
    """Rows have names with spaces, reasons in words, and unknown values."""
    rows = [
        measured("grid 1/a.mrc"),
        measured("b.mrc", contrast=1.0, verdict="bad", reason="hardly more (1.0; bad up to 1.2)"),
    ]
    assert MicrographTable(tmp_path).write(rows)

    block = starfile.read(tmp_path / STAR, always_dict=True)["micrographs"]
    with (tmp_path / CSV).open() as file:
        table = list(csv.DictReader(file))
    assert list(block["rlnMicrographName"]) == [row["micrograph"] for row in table]
    assert list(block["rlnMicrographName"]) == ["/data/avg/grid 1/a.mrc", "/data/avg/b.mrc"]
    assert list(block["livepickContrast"]) == [float(row["contrast"]) for row in table]
    assert list(block["livepickQualityVerdict"]) == ["good", "bad"]
    assert [row["quality_reason"] for row in table] == ["", rows[1].reason]
    assert list(block["livepickQualityReason"]) == ["-", rows[1].reason]
    assert list(block["livepickModelVersion"]) == [3, 3]
    assert math.isnan(block["livepickIceRing"][0])
    assert table[0]["ice_ring"] == ""


def test_ctf_columns_appear_once_a_ctf_is_known(tmp_path):
    """Before that they are absent, never zero."""
    table = MicrographTable(tmp_path)
    table.write([measured()])
    assert "rlnDefocusU" not in starfile.read(tmp_path / STAR, always_dict=True)["micrographs"]

    table.write([measured(), measured("b.mrc", ctf=(12000.0, 11500.0, 30.0, 4.5))])
    block = starfile.read(tmp_path / STAR, always_dict=True)["micrographs"]
    assert np.isnan(block["rlnDefocusU"][0])
    assert block["rlnDefocusU"][1] == 12000
    assert block["rlnCtfMaxResolution"][1] == 4.5


def test_unchanged_table_is_not_written_again(tmp_path):
    """A table without rows is written too."""
    table = MicrographTable(tmp_path / "out")
    assert table.write([])
    assert not table.write([])
    assert len(starfile.read(tmp_path / "out" / STAR, always_dict=True)["micrographs"]) == 0


def test_failed_write_is_an_output_error(tmp_path):
    """An OutputError is retried."""
    (tmp_path / "out").write_text("a file in the way")
    with pytest.raises(OutputError, match=r"micrographs\.star"):
        MicrographTable(tmp_path / "out").write([measured()])
