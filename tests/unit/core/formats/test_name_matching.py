"""Matching of names despite what programs add to them, and by their folders."""

import time
from pathlib import Path

import pytest

from livepick.core.formats.name_matching import (
    listed_name,
    match_names,
    micrograph_name,
    micrograph_stem,
    nearest_name,
    plain_name,
    short_names,
)


@pytest.mark.parametrize("name", ["May.02.bin.mrc", "May.02.bin_autopick.star", "May.02.bin.csv"])
def test_stem_is_that_of_the_micrograph(name):
    """Dots within a micrograph's name stay; our marks and one extension are removed."""
    assert micrograph_stem(Path("a") / name) == "May.02.bin"
    assert micrograph_name(Path("a") / name) == "a/May.02.bin"


@pytest.mark.parametrize(
    "name",
    [
        "mic_7_DW",
        "mic_7_noDW",
        "mic_7_aligned_mic_DW",
        "mic_7_motion_corrected",
        "mic_7_motioncorrected_DW",
        "mic_7.frames_patch_aligned_doseweighted",
        "008578565574161745010_mic_7_patch_aligned_doseweighted",
        "mic_7_EER",
        "mic_7_EER_patch_aligned",
        "mic_7_Fractions_DW",
        "mic_7_BoxNet2Mask_20180918",
        "mic_7_topazpicks",
        "mic_7_extract",
        "mic_7_info",
        "mic_7_pick",
        "mic_7_DW_picks",
        "mic_7_autopick_checked",
        "mic_7_manualpick",
        "mic_7_truth",
    ],
)
def test_what_programs_add_is_not_part_of_the_plain_name(name):
    assert plain_name(name) == "mic_7"


@pytest.mark.parametrize("name", ["_dw", "20261123_mic", "info", "extract_1", "mic_checkedout"])
def test_other_words_stay_in_the_plain_name(name):
    assert plain_name(name) == name


@pytest.mark.parametrize(
    ("theirs", "ours"), [("D:\\data\\mic_3", "/d/mic_3"), ("Caf\u00e9", "/d/Cafe\u0301")]
)
def test_names_match_across_systems(theirs, ours):
    """Windows separates folders by backslashes, and macOS writes an accent as a letter."""
    assert match_names([theirs], [ours]).pairs == {ours: theirs}


@pytest.mark.parametrize("name", ["d/May.02.mrc", "d/May.02.TIFF", "d/May.02", "d/May.02_pick"])
def test_only_the_suffix_of_an_image_is_taken_from_a_listed_name(name):
    assert listed_name(name) == "d/May.02"


def test_names_match_despite_prefixes_and_endings():
    """Equal names match first; a name that fits two micrographs matches neither."""
    uid = "008578565574161745010_"
    theirs = ["mic_1", f"{uid}mic_2_patch_aligned_doseweighted", "20261123_mic", "mic_4"]
    ours = ["mic_1_DW", "mic_1", "mic_2_DW", "20261123_mic_DW", "mic_4_DW", "mic_4_noDW", "mic_5"]

    assert match_names(theirs, ours).pairs == {
        "mic_1": "mic_1",
        "mic_2_DW": f"{uid}mic_2_patch_aligned_doseweighted",
        "20261123_mic_DW": "20261123_mic",
    }
    assert match_names(["20261123104500_1"], ["20261124104500_1"]).pairs == {}  # two times
    assert match_names(["a"], ["a", "a"]).pairs == {}  # two folders have one
    tied = match_names(["a_DW", "a_aligned"], ["a"])
    assert tied.pairs == {}
    assert tied.ambiguous == {"a": ["a_DW", "a_aligned"]}


@pytest.mark.parametrize(
    ("theirs", "ours", "pairs"),
    [
        (
            ["Dataset1/001", "Dataset2/001"],
            ["/data/Dataset2/001", "/data/Dataset1/001"],
            {"/data/Dataset1/001": "Dataset1/001", "/data/Dataset2/001": "Dataset2/001"},
        ),
        (  # other folders above, and endings
            ["MotionCorr/job002/Dataset1/001", "MotionCorr/job002/Dataset2/001"],
            ["/data/Dataset1/001_DW", "/data/Dataset2/001_DW"],
            {
                "/data/Dataset1/001_DW": "MotionCorr/job002/Dataset1/001",
                "/data/Dataset2/001_DW": "MotionCorr/job002/Dataset2/001",
            },
        ),
        # The folder counts more than the ending.
        (["D1/001"], ["D1/001_DW", "D2/001"], {"D1/001_DW": "D1/001"}),
        # Folders of other names: the only one of its name matches, one of two does not.
        (["J12/motioncorrected/001"], ["/data/001"], {"/data/001": "J12/motioncorrected/001"}),
        (["X/001", "Y/001"], ["D1/001"], {}),
        (["D1/001", "X/001"], ["D1/001", "D2/001"], {"D1/001": "D1/001"}),
        ([""], ["a"], {}),
        ([], ["a"], {}),
    ],
)
def test_the_path_counts_first_and_the_stem_second(theirs, ours, pairs):
    """Two micrographs may have the same name in different folders."""
    assert match_names(theirs, ours).pairs == pairs


def test_many_micrographs_of_the_same_name_are_matched_quickly():
    """Each grid square may have a folder with the same names in it."""
    theirs = [f"MotionCorr/job002/square{square}/mic_1" for square in range(5000)]
    ours = [f"/data/session/square{square}/mic_1_DW" for square in range(5000)]
    start = time.process_time()

    pairs = match_names(theirs, ours).pairs

    assert len(pairs) == 5000
    assert pairs[ours[7]] == theirs[7]
    assert time.process_time() - start < 5


def test_the_nearest_name_is_named():
    assert nearest_name("mic_0001", ["mic_001", "other"]) == "mic_001"
    assert nearest_name("mic_0001", ["completely", "other"]) is None


def test_short_names_have_only_the_folders_that_tell_them_apart():
    assert short_names(["/d/a/001", "/d/b/001", "/d/b/002", "003"]) == {
        "/d/a/001": "a/001",
        "/d/b/001": "b/001",
        "/d/b/002": "002",
        "003": "003",
    }
