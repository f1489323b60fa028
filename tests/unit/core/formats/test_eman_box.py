"""EMAN box files, by the rule of EMAN2 and RELION: the centre is the corner plus half the box."""

from pathlib import Path

import pytest
from picked_micrographs import picked

from livepick.core.formats.eman_box import read_box, write_box
from livepick.core.formats.text_lines import TextLines


def centres(data):
    """Return centres, as e2boxer.py and RELION's import read them: whole numbers."""
    rows = [[int(word) for word in line.split("\t")] for line in data.decode().splitlines()]
    return [(x + width // 2, y + height // 2) for x, y, width, height in rows]


def test_a_line_has_the_corner_and_the_box():
    """The corner may lie outside the image; RELION and EMAN2 decide what to do with it."""
    data = write_box(picked((100.5, 50.25, 0.9), (3, 4, 0.8), box_px=64))
    assert data == b"69\t18\t64\t64\n-29\t-28\t64\t64\n"


@pytest.mark.parametrize("box_px", [2, 30, 64, 150.7, 151])
def test_centres_are_whole_pixels_whatever_the_box(box_px):
    data = write_box(picked((100.5, 50.25, 0.9), (0, 299, 0.8), box_px=box_px))
    assert centres(data) == [(101, 50), (0, 299)]


def test_rows_of_a_tiff_are_turned_over():
    """EMAN2 turns them over when it reads one."""
    assert centres(write_box(picked((100, 50, 0.9), path="a.tif"))) == [(100, 249)]


def test_a_micrograph_without_picks_has_an_empty_file():
    assert write_box(picked()) == b""
    assert len(read_box(Path("a.box"), TextLines(""))) == 0
