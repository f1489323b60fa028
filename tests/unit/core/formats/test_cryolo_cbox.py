"""crYOLO cbox files, by the rules of starfile and of napari-boxmanager, which crYOLO uses."""

import io
import re

import numpy as np
import pandas as pd
import pytest
import starfile
from picked_micrographs import picked

from livepick.core.formats.cryolo_cbox import write_cbox

COLUMNS = [
    "CoordinateX",
    "CoordinateY",
    "CoordinateZ",
    "Width",
    "Height",
    "Depth",
    "EstWidth",
    "EstHeight",
    "Confidence",
    "NumBoxes",
    "Angle",
]


def pystardb(data):
    """Return the tables as pyStarDB reads them: empty lines and comments do not count."""
    lines = [line for line in data.decode().splitlines() if line.strip() and line[0] != "#"]
    tables = {}
    for block in re.split(r"^(?=data_)", "\n".join(lines), flags=re.MULTILINE)[1:]:
        tag, *rest = block.splitlines()
        head = [line.split()[0] for line in rest if line.startswith("_")]
        rows = [line for line in rest if not line.startswith(("_", "loop_"))]
        if "loop_" not in rest:
            tables[tag[5:]] = dict(line.split() for line in rest)
        elif rows:
            text = io.StringIO("\n".join(rows))
            tables[tag[5:]] = pd.read_csv(text, names=head, header=None, sep=r"\s+")
        else:
            tables[tag[5:]] = pd.DataFrame(columns=head)
    return tables


def boxmanager_centres(table):
    """Return centres as napari-boxmanager computes them."""
    return np.column_stack(
        [
            table["_CoordinateX"] + table["_Width"] / 2,
            table["_CoordinateY"] + table["_Height"] / 2,
        ]
    )


def test_boxmanager_finds_centres_sizes_and_confidences():
    """A slice that is unknown, ``<NA>``, makes the file one of a micrograph, not of a tomogram."""
    tables = pystardb(write_cbox(picked((100.5, 50.25, 0.9), (3.125, 4, 0.25), box_px=64)))
    assert list(tables) == ["global", "cryolo", "cryolo_include"]
    assert tables["global"] == {"_cbox_format_version": "1.0"}

    boxes = tables["cryolo"]
    assert list(boxes) == [f"_{name}" for name in COLUMNS]
    np.testing.assert_allclose(boxmanager_centres(boxes), [[100.5, 50.25], [3.125, 4]], atol=0.001)
    for name in ("_Width", "_Height", "_EstWidth", "_EstHeight"):
        assert boxes[name].tolist() == [64, 64]
    assert boxes["_Confidence"].tolist() == pytest.approx([0.9, 0.25])
    for name in ("_CoordinateZ", "_Depth", "_NumBoxes", "_Angle"):
        assert boxes[name].isna().all()
    assert list(tables["cryolo_include"]) == ["_slice_index"]
    assert len(tables["cryolo_include"]) == 0


def test_starfile_reads_the_same(tmp_path):
    path = tmp_path / "a.cbox"
    path.write_bytes(write_cbox(picked((100.5, 50.25, 0.9), (3.125, 4, 0.25), box_px=64)))
    blocks = starfile.read(path, always_dict=True)
    assert blocks["global"] == {"cbox_format_version": 1.0}
    assert list(blocks["cryolo"]) == COLUMNS
    assert blocks["cryolo"]["CoordinateX"].tolist() == [68.5, -28.875]
    assert blocks["cryolo"]["CoordinateY"].tolist() == [18.25, -28]


def test_rows_of_a_tiff_are_turned_over():
    boxes = pystardb(write_cbox(picked((100.5, 50.25, 0.9), path="a.tif")))["cryolo"]
    np.testing.assert_allclose(boxmanager_centres(boxes), [[100.5, 248.75]], atol=0.001)


def test_a_micrograph_without_picks_has_the_columns():
    boxes = pystardb(write_cbox(picked()))["cryolo"]
    assert list(boxes) == [f"_{name}" for name in COLUMNS]
    assert len(boxes) == 0
