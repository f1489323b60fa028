"""EMAN2 info files, by the rule of e2boxer.py: a list of centres with the kind of the box."""

import json

from picked_micrographs import picked

from livepick.core.formats.eman_json import write_info


def test_boxes_are_centres_in_whole_pixels():
    """EMAN2 has the kind ``manual`` for boxes that are to stay."""
    info = json.loads(write_info(picked((100.5, 50.25, 0.9), (3, 4, 0.8))))
    assert info == {"boxes": [[101, 50, "manual"], [3, 4, "manual"]]}
    assert all(type(number) is int for box in info["boxes"] for number in box[:2])


def test_rows_of_a_tiff_are_turned_over():
    """EMAN2 turns them over when it reads one."""
    info = json.loads(write_info(picked((100, 50, 0.9), path="a.tiff")))
    assert info["boxes"] == [[100, 249, "manual"]]


def test_a_micrograph_without_picks_has_an_empty_list():
    assert json.loads(write_info(picked())) == {"boxes": []}
