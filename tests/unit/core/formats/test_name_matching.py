"""Matching of names despite what programs add to them."""

from pathlib import Path

import pytest

from livepick.core.formats.name_matching import match_names, micrograph_stem


@pytest.mark.parametrize("name", ["May.02.bin.mrc", "May.02.bin_autopick.star", "May.02.bin.csv"])
def test_stem_is_that_of_the_micrograph(name):
    """Dots within a micrograph's name stay; our marks and one extension are removed."""
    assert micrograph_stem(Path("a") / name) == "May.02.bin"


def test_names_match_despite_prefixes_and_endings():
    """Equal names match first; a name that fits two micrographs matches neither."""
    uid = "008578565574161745010_"
    theirs = ["mic_1", f"{uid}mic_2_patch_aligned_doseweighted", "20261123_mic", "mic_4"]
    ours = ["mic_1_DW", "mic_1", "mic_2_DW", "20261123_mic_DW", "mic_4_DW", "mic_4_noDW", "mic_5"]

    assert match_names(theirs, ours) == {
        "mic_1": "mic_1",
        "mic_2_DW": f"{uid}mic_2_patch_aligned_doseweighted",
        "20261123_mic_DW": "20261123_mic",
    }
    assert match_names(["a"], ["a", "a"]) == {}  # two folders have one
    assert match_names(["a_DW", "a_aligned"], ["a"]) == {}
