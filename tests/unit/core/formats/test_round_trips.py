"""Our own readers read back each file that we write, for any size, position, box and suffix.

The rule for a TIFF is undone by the test: the readers return positions as they are in the file.
"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picked_micrographs import cs_file, picked

from livepick.core.formats.cryolo_cbox import read_cbox, write_cbox
from livepick.core.formats.cryosparc_cs import read_cs
from livepick.core.formats.csv_coordinates import read_csv, write_csv
from livepick.core.formats.eman_box import read_box, write_box
from livepick.core.formats.eman_json import read_info, write_info
from livepick.core.formats.relion_star import coordinates_star, particles_star, read_star
from livepick.core.formats.text_lines import TextLines
from livepick.core.formats.topaz import read_topaz, write_topaz

SIZES = st.integers(1, 12_000)
SHAPES = st.tuples(SIZES, SIZES) | SIZES.map(lambda size: (size, size))
SUFFIXES = st.sampled_from([".mrc", ".tif", ".tiff", ".TIF"])


@st.composite
def micrographs(draw):
    """Return a micrograph with picks anywhere in it, up to the outer edges of its pixels."""
    height, width = draw(SHAPES)
    fraction = st.floats(0, 1, width=32)
    rows = draw(st.lists(st.tuples(fraction, fraction, fraction), max_size=8))
    return picked(
        *[(x * width - 0.5, y * height - 0.5, score) for x, y, score in rows],
        path=Path("/data/sub/mic_1").with_suffix(draw(SUFFIXES)),
        shape_px=(height, width),
        box_px=draw(st.floats(1, 700)),
    )


def one(found, micrograph):
    """Return the only entry of a file, or an empty one: a file without rows has no micrographs."""
    assert len(found) == (1 if len(micrograph.picks) else len(found))
    return next(iter(found.values()), None)


FORMATS = {
    "relion": (
        lambda m: one(read_star(m.path, TextLines(coordinates_star(m).decode())), m),
        True,
        0.5,
    ),
    "star-flipped": (
        lambda m: one(read_star(m.path, TextLines(particles_star(m, turned=True).decode())), m),
        True,
        0.5,
    ),
    "star": (
        lambda m: one(read_star(m.path, TextLines(particles_star(m, turned=False).decode())), m),
        False,
        0.5,
    ),
    "cryosparc": (
        lambda m: one(read_cs(m.path, cs_file(m)), m),
        False,
        0.01,
    ),
    "eman": (lambda m: read_box(m.path, TextLines(write_box(m).decode())), True, 0.5),
    "eman-json": (lambda m: read_info(m.path, write_info(m).decode()), True, 0.5),
    "cbox": (lambda m: read_cbox(m.path, TextLines(write_cbox(m).decode())), True, 0.01),
    "topaz": (lambda m: one(read_topaz(m.path, TextLines(write_topaz(m).decode())), m), False, 0.5),
    "csv": (lambda m: one(read_csv(m.path, TextLines(write_csv(m).decode())), m), False, 0.01),
}
"""Writer and reader of a format, if it has the rows of a TIFF turned over, and its tolerance."""

SCORES = {"relion", "star", "star-flipped", "cbox", "topaz", "csv"}
"""Formats whose readers return the scores."""


@pytest.mark.parametrize("name", FORMATS)
@settings(derandomize=True, deadline=None, max_examples=100, database=None)
@given(micrograph=micrographs())
def test_positions_are_read_back(name, micrograph):
    through, turned, tolerance_px = FORMATS[name]
    found = through(micrograph)
    picks, (height, width) = micrograph.picks, micrograph.shape_px
    if found is None:
        assert len(picks) == 0
        return
    y_px = found.y_px
    if turned and micrograph.path.suffix != ".mrc":
        y_px = height - 1 - y_px
    # A pick is kept as float32, which has steps of a thousandth of a pixel at 10 000.
    slack = 0.001
    np.testing.assert_allclose(found.x_px, picks.x_px, rtol=0, atol=tolerance_px + slack)
    np.testing.assert_allclose(y_px, picks.y_px, rtol=0, atol=tolerance_px + slack)
    if name in SCORES:
        np.testing.assert_allclose(found.score, picks.score, rtol=0, atol=1e-5)
    if tolerance_px == 0.5:
        assert (found.x_px == np.round(found.x_px)).all()
        assert (found.x_px >= 0).all()
        assert (found.x_px <= width - 1).all()
        assert (y_px >= 0).all()
        assert (y_px <= height - 1).all()
