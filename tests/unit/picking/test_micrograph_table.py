"""The session's micrographs and their figures, as other programs read them."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import starfile
from picked_micrographs import LedgerOf, measured

from livepick.config.sections import Microscope
from livepick.errors import OutputError
from livepick.picking.micrograph_table import CSV, GOOD, QUALITY, WITH_CTF, MicrographTable
from livepick.picking.output_folder import OutputFolder
from livepick.picking.relion_files import MICROGRAPHS
from livepick.picking.relion_project import RelionProject

CTF = (12000.0, 11500.0, 30.0, 4.5)


def write(table, *rows):
    return table.write(LedgerOf(measured=rows))


def blocks(path):
    return starfile.read(path, always_dict=True)


def test_star_and_csv_have_the_same_values(tmp_path):
    """Rows have names with spaces, reasons in words, and unknown values."""
    rows = [
        measured("grid 1/a.mrc"),
        measured("b.mrc", contrast=1.0, verdict="bad", reason="hardly more (1.0; bad up to 1.2)"),
    ]
    assert write(MicrographTable(OutputFolder(tmp_path)), *rows)

    block = blocks(tmp_path / QUALITY)["micrographs"]
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


def test_ctf_columns_of_figures_appear_once_a_ctf_is_known(tmp_path):
    """Before that they are absent, never zero."""
    table = MicrographTable(OutputFolder(tmp_path))
    write(table, measured())
    assert "rlnDefocusU" not in blocks(tmp_path / QUALITY)["micrographs"]

    write(table, measured(), measured("b.mrc", ctf=CTF))
    block = blocks(tmp_path / QUALITY)["micrographs"]
    assert np.isnan(block["rlnDefocusU"][0])
    assert block["rlnDefocusU"][1] == 12000
    assert block["rlnCtfMaxResolution"][1] == 4.5


def test_unchanged_tables_are_not_written_again(tmp_path):
    """Tables without rows are written too."""
    table = MicrographTable(OutputFolder(tmp_path / "out"))
    assert write(table)
    assert not write(table)
    assert len(blocks(tmp_path / "out" / QUALITY)["micrographs"]) == 0
    assert [len(block) for block in blocks(tmp_path / "out" / MICROGRAPHS).values()] == [0, 0]


def test_failed_write_is_an_output_error(tmp_path):
    """An OutputError is retried."""
    (tmp_path / "out").write_text("a file in the way")
    with pytest.raises(OutputError, match=r"out, a file, is in the way"):
        write(MicrographTable(OutputFolder(tmp_path / "out")), measured())


def test_lists_have_the_optics_that_relion_needs(tmp_path):
    """RELION 3.1 and later refuse a list without them."""
    optics = Microscope(voltage_kv=200, spherical_aberration_mm=1.4, amplitude_contrast=0.07)
    write(
        MicrographTable(OutputFolder(tmp_path), optics=lambda: optics),
        measured("a.mrc"),
        measured("b.mrc"),
    )

    for name in (MICROGRAPHS, GOOD):
        found = blocks(tmp_path / name)
        assert list(found) == ["optics", "micrographs"]
        assert found["optics"].to_dict("records") == [
            {
                "rlnOpticsGroupName": "opticsGroup1",
                "rlnOpticsGroup": 1,
                "rlnMicrographOriginalPixelSize": 1.5,
                "rlnMicrographPixelSize": 1.5,
                "rlnVoltage": 200,
                "rlnSphericalAberration": 1.4,
                "rlnAmplitudeContrast": 0.07,
            }
        ]
        assert found["micrographs"].to_dict("records") == [
            {"rlnMicrographName": "/data/avg/a.mrc", "rlnOpticsGroup": 1},
            {"rlnMicrographName": "/data/avg/b.mrc", "rlnOpticsGroup": 1},
        ]
        assert not any("livepick" in column for column in found["micrographs"])


def test_each_pixel_size_has_an_optics_group(tmp_path):
    """RELION joins particles by their groups, so a group keeps its number and is in both lists."""
    rows = [
        measured("a.mrc", pixel_size_angstrom=1.0625),
        measured("b.mrc", pixel_size_angstrom=0.85, verdict="bad", reason="dark"),
        measured("c.mrc", pixel_size_angstrom=1.0625),
        measured("d.mrc", pixel_size_angstrom=0.5),
    ]
    table, tables = MicrographTable(OutputFolder(tmp_path)), []
    for count in (2, 4):
        write(table, *rows[:count])
        tables.append(blocks(tmp_path / MICROGRAPHS)["optics"])
    for optics, sizes in zip(tables, ([1.0625, 0.85], [1.0625, 0.85, 0.5]), strict=True):
        assert optics["rlnOpticsGroup"].tolist() == list(range(1, len(sizes) + 1))
        assert optics["rlnOpticsGroupName"].is_unique
        assert optics["rlnMicrographPixelSize"].tolist() == sizes
        assert optics["rlnMicrographOriginalPixelSize"].tolist() == sizes

    everything, good = blocks(tmp_path / MICROGRAPHS), blocks(tmp_path / GOOD)
    assert good["optics"].equals(everything["optics"])
    assert everything["micrographs"]["rlnOpticsGroup"].tolist() == [1, 2, 1, 3]
    assert good["micrographs"].to_numpy().tolist() == [
        ["/data/avg/a.mrc", 1],
        ["/data/avg/c.mrc", 1],
        ["/data/avg/d.mrc", 3],
    ]


def test_lists_have_the_ctf_only_if_it_is_known_for_all_of_their_micrographs(tmp_path):
    """RELION reads a missing value as a defocus of zero."""
    write(
        MicrographTable(OutputFolder(tmp_path)),
        measured("a.mrc", ctf=CTF),
        measured("b.mrc", verdict="doubtful", reason="ice"),
        measured("c.mrc", ctf=(8000.0, 7000.0, -12.5, 3.25)),
    )
    assert list(blocks(tmp_path / MICROGRAPHS)["micrographs"]) == [
        "rlnMicrographName",
        "rlnOpticsGroup",
    ]
    good = blocks(tmp_path / GOOD)["micrographs"].set_index("rlnMicrographName")
    assert good.loc["/data/avg/a.mrc"].to_dict() == {
        "rlnOpticsGroup": 1,
        "rlnDefocusU": 12000,
        "rlnDefocusV": 11500,
        "rlnDefocusAngle": 30,
        "rlnCtfMaxResolution": 4.5,
    }
    assert good["rlnDefocusAngle"].tolist() == [30, -12.5]


def test_the_list_with_the_ctf_has_only_micrographs_with_one(tmp_path):
    """As the result of RELION's CTF estimation; a fit that is not trusted has no defocus."""
    write(
        MicrographTable(OutputFolder(tmp_path)),
        measured("a.mrc", ctf=CTF, ctf_source="fitted", ctf_score=0.45),
        measured("b.mrc", ctf_score=0.05),
        measured("c.mrc", pixel_size_angstrom=0.5, ctf=CTF, ctf_source="fitted", ctf_score=0.5),
    )
    found = blocks(tmp_path / WITH_CTF)
    assert found["optics"].equals(blocks(tmp_path / MICROGRAPHS)["optics"])
    assert found["micrographs"].to_dict("records") == [
        {
            "rlnMicrographName": f"/data/avg/{name}",
            "rlnOpticsGroup": group,
            "rlnDefocusU": 12000,
            "rlnDefocusV": 11500,
            "rlnCtfAstigmatism": 500,
            "rlnDefocusAngle": 30,
            "rlnCtfFigureOfMerit": score,
            "rlnCtfMaxResolution": 4.5,
        }
        for name, group, score in (("a.mrc", 1, 0.45), ("c.mrc", 2, 0.5))
    ]


def test_the_list_with_the_ctf_has_no_made_up_figures(tmp_path):
    """Other programs' figures of merit mean something else, and some report no resolution."""
    rows = [
        measured("a.mrc", ctf=CTF, ctf_source="fitted", ctf_score=0.45),
        measured("b.mrc", ctf=(*CTF[:3], None)),
    ]
    write(MicrographTable(OutputFolder(tmp_path)), *rows)
    found = blocks(tmp_path / WITH_CTF)["micrographs"]
    assert found["rlnDefocusU"].tolist() == [12000, 12000]
    assert not {"rlnCtfFigureOfMerit", "rlnCtfMaxResolution"} & set(found)


def test_relion_counts_the_angle_in_a_tiff_from_its_last_row(tmp_path):
    """It turns the rows over; what another program wrote is passed on."""
    rows = [
        measured("a.tif", ctf=CTF, ctf_source="fitted", ctf_score=0.45),
        measured("b.tif", ctf=CTF),
        measured("c.mrc", ctf=CTF, ctf_source="fitted", ctf_score=0.45),
    ]
    write(MicrographTable(OutputFolder(tmp_path)), *rows)
    for name in (MICROGRAPHS, GOOD, WITH_CTF, QUALITY):
        block = blocks(tmp_path / name)["micrographs"]
        assert block["rlnDefocusAngle"].tolist() == [-30, 30, 30]
    with (tmp_path / CSV).open() as file:
        table = list(csv.DictReader(file))
    assert [row["astigmatism_angle_degrees"] for row in table] == ["30", "30", "30"]
    assert [row["ctf_source"] for row in table] == ["fitted", "program", "fitted"]


def test_lists_in_a_project_have_names_below_it(tmp_path):
    """The lists are in the folder of the job, the figures in the output folder."""
    project = RelionProject(tmp_path, Path("External/livepick"))
    table = MicrographTable(
        OutputFolder(tmp_path / "out"), lists=OutputFolder(project.job_folder), project=project
    )
    root = tmp_path / "Micrographs"
    write(table, measured("b c.mrc", root=root), measured("é.mrc", root=root))

    for name in (MICROGRAPHS, GOOD):
        block = blocks(tmp_path / "External/livepick" / name)["micrographs"]
        assert block["rlnMicrographName"].tolist() == ["Micrographs/b c.mrc", "Micrographs/é.mrc"]
        assert '\n"Micrographs/é.mrc" 1\n' in (tmp_path / "External/livepick" / name).read_text()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {QUALITY, CSV, ".livepick"}
