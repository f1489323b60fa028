"""CSV files of coordinates, as pandas and Python's csv module read them."""

import io
from pathlib import Path

import pandas as pd
import pytest
from picked_micrographs import picked

from livepick.core.formats.csv_coordinates import read_csv, write_csv
from livepick.core.formats.text_lines import TextLines


def test_the_columns_have_positions_as_picked():
    """Neither rounded nor clipped, in the rows as stored, for a TIFF as well."""
    for path in ("/d/a.mrc", "/d/a.tif"):
        data = write_csv(picked((100.5, 50.25, 0.9), (-0.25, 299.4, 0.125), path=path))
        table = pd.read_csv(io.BytesIO(data))
        assert list(table) == ["micrograph", "x_px", "y_px", "score"]
        assert table["micrograph"].tolist() == [path, path]
        assert table["x_px"].tolist() == [100.5, -0.25]
        assert table["y_px"].tolist() == [50.25, 299.4]
        assert table["score"].tolist() == pytest.approx([0.9, 0.125])


@pytest.mark.parametrize(
    "name", ["a b.mrc", "b's c.mrc", "a,b.mrc", "'a.mrc", "#1.mrc", "µg_é_粒子.mrc", "a;b.mrc"]
)
def test_names_are_read_back(name):
    """Those with a comma are in quotes."""
    path = f"/data/{name}"
    data = write_csv(picked((1, 2, 0.9), path=path))
    assert pd.read_csv(io.BytesIO(data))["micrograph"].tolist() == [path]
    assert list(read_csv(Path("a.csv"), TextLines(data.decode()))) == [path]


def test_a_micrograph_without_picks_has_the_columns():
    assert write_csv(picked()) == b"micrograph,x_px,y_px,score\n"
