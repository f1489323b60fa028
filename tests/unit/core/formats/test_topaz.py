"""Topaz coordinates, by the rule of ``topaz convert``: a table that pandas reads, tab by tab."""

import io

import numpy as np
import pandas as pd
import pytest
from picked_micrographs import picked

from livepick.core.formats.coordinates import read_all_positions
from livepick.core.formats.topaz import write_topaz


def topaz_table(data):
    """Return the table as Topaz reads it."""
    return pd.read_csv(io.BytesIO(data), sep="\t", dtype={"image_name": str})


def test_topaz_reads_names_centres_and_scores():
    """The name is that of the file without its suffix, which Topaz adds itself."""
    table = topaz_table(
        write_topaz(picked((100.5, 50.25, 0.9), (3, 4, 0.125), path="/d/sub/mic.1.mrc"))
    )
    assert list(table) == ["image_name", "x_coord", "y_coord", "score"]
    assert table["image_name"].tolist() == ["mic.1", "mic.1"]
    assert table["x_coord"].tolist() == [101, 3]
    assert table["y_coord"].tolist() == [50, 4]
    assert table["x_coord"].dtype == table["y_coord"].dtype == np.int64
    assert table["score"].tolist() == pytest.approx([0.9, 0.125])


def test_rows_of_a_tiff_stay():
    """Topaz reads a TIFF in the order of the file."""
    table = topaz_table(write_topaz(picked((100, 50, 0.9), path="a.tif")))
    assert (table["x_coord"][0], table["y_coord"][0]) == (100, 50)


@pytest.mark.parametrize("name", ["a b", "b's c", "'a", "#1", "µg_é_粒子", "001", "a,b", "NA_1"])
def test_names_are_read_back(name):
    table = topaz_table(write_topaz(picked((1, 2, 0.9), path=f"{name}.mrc")))
    assert table["image_name"].tolist() == [name]


def test_a_micrograph_without_picks_has_the_columns():
    table = topaz_table(write_topaz(picked()))
    assert list(table) == ["image_name", "x_coord", "y_coord", "score"]
    assert len(table) == 0


def test_names_with_dots_stay_apart(tmp_path):
    """Topaz writes names without a suffix, so what follows a dot belongs to the name."""
    names = ["May08_03.05.02", "May08_03.05.03", "May08_03.15.bin"]
    tables = [write_topaz(picked((1, 2, 0.5), path=f"{name}.mrc")).decode() for name in names]
    for name, table in zip(names, tables, strict=True):
        (tmp_path / f"{name}.txt").write_text(table)
    joined = tmp_path / "joined.tab"

    assert set(read_all_positions(tmp_path)) == set(names)
    joined.write_text(tables[0] + "".join(table.partition("\n")[2] for table in tables[1:]))
    assert set(read_all_positions(joined)) == set(names)
