"""Rounding, clipping, turned rows and boxes, which several formats share."""

import numpy as np
import pytest
from picked_micrographs import picked

HEIGHT, WIDTH = SHAPE = (301, 400)


def whole(x, y, *, path="a.mrc", turned=True):
    return picked((x, y, 1), path=path, shape_px=SHAPE).whole_xy(turned=turned)[0].tolist()


@pytest.mark.parametrize(
    ("given", "pixel"),
    [
        (10.0, 10),
        (10.49, 10),
        (10.5, 11),
        (11.5, 12),  # not to the even number, as Python's round does
        (0.5, 1),
        (0.49, 0),
        (-0.5, 0),
        (-0.51, 0),
        (-7.0, 0),
    ],
)
def test_halves_are_rounded_up_and_negative_ones_clipped(given, pixel):
    """``floor(v + 0.5)``, inside the image."""
    assert whole(given, 0, turned=False) == [pixel, 0]
    assert whole(0, given, turned=False) == [0, pixel]


@pytest.mark.parametrize(
    ("given", "pixel"), [(-1.0, -1), (-1.49, -1), (-1.51, -2), (-0.6, -1), (-0.5, 0), (5, 0)]
)
def test_the_last_pixel_is_the_size_minus_one(given, pixel):
    """``given`` and ``pixel`` are counted from the size."""
    assert whole(WIDTH + given, 0, turned=False)[0] == WIDTH + min(pixel, -1)
    assert whole(0, HEIGHT + given, turned=False)[1] == HEIGHT + min(pixel, -1)


@pytest.mark.parametrize("name", ["a.tif", "a.tiff", "A.TIF", "a.b.Tiff"])
def test_rows_of_a_tiff_are_turned_over_before_rounding(name):
    """Turned afterwards, a half would be rounded to the other side."""
    assert whole(7, 0, path=name) == [7, HEIGHT - 1]
    assert whole(7, HEIGHT - 1, path=name) == [7, 0]
    assert whole(7, 2.5, path=name) == [7, 298]  # 297.5; 301 - 1 - 3 is 297
    assert whole(7, -0.5, path=name) == [7, HEIGHT - 1]
    assert whole(7, HEIGHT - 0.5, path=name) == [7, 0]
    assert whole(7, 2.5, path=name, turned=False) == [7, 3]


@pytest.mark.parametrize("name", ["a.mrc", "a.tif.mrc", "tif", "a.mrcs"])
def test_rows_of_other_files_stay(name):
    assert whole(7, 2.5, path=name) == [7, 3]


def test_positions_that_are_not_rounded_are_turned_over_too():
    """They keep their fractions, and are not clipped."""
    one = picked((7.25, 2.25, 1), (-0.25, 300.75, 1), path="a.tif", shape_px=SHAPE)
    assert one.xy(turned=True).tolist() == [[7.25, 297.75], [-0.25, -0.75]]
    assert one.xy(turned=False).tolist() == [[7.25, 2.25], [-0.25, 300.75]]


def test_a_micrograph_without_picks_has_empty_arrays():
    one = picked()
    assert one.xy(turned=True).shape == one.whole_xy(turned=True).shape == (0, 2)
    assert one.whole_xy(turned=True).dtype == np.int64


@pytest.mark.parametrize("pixel_size_angstrom", [0.5, 0.647, 1.0, 1.3, 7.77, 500.0])
def test_a_box_is_even_and_one_and_a_half_diameters_wide(pixel_size_angstrom):
    """An odd box has its centre in other places in EMAN2 and RELION."""
    one = picked(pixel_size_angstrom=pixel_size_angstrom, box_px=151 / pixel_size_angstrom)
    assert one.box_px % 2 == 0
    assert one.box_px == pytest.approx(max(2, 151 / pixel_size_angstrom), abs=1)
