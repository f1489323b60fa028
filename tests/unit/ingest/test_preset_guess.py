"""The guess at the program that writes the micrographs of a folder."""

import pytest

from livepick.ingest.preset_guess import guess_preset, guess_preset_by_names


@pytest.mark.parametrize(
    ("preset", "names"),
    [
        ("plain", ["a.mrc", "b.mrc", "c.tif"]),
        ("plain", ["a.tiff"]),
        ("motioncor", ["a.mrc", "a_DW.mrc", "b.mrc", "b_DW.mrc"]),
        # The second is still being written.
        ("motioncor", ["a.mrc", "a_DW.mrc", "b.mrc"]),
        ("relion", ["job002/Movies/a.mrc", "job002/Movies/a.star", "job002/Movies/b.mrc"]),
        # RELION runs MotionCor, too.
        ("relion", ["a.mrc", "a_DW.mrc", "a.star", "b.mrc", "b.star"]),
        ("warp", ["average/a.mrc", "average/b.mrc", "deconv/a.mrc", "a.xml"]),
        (
            "cryosparc",
            [
                "J2/motioncorrected/1_a_patch_aligned.mrc",
                "J2/motioncorrected/1_a_patch_aligned_doseweighted.mrc",
                "J2/motioncorrected/1_a_background.mrc",
            ],
        ),
        ("cryoem-services", ["a.mrc", "b.mrc", "b.tmp"]),
    ],
)
def test_a_program_is_known_by_the_names_of_its_files(preset, names):
    assert guess_preset_by_names(names).preset == preset


def test_a_star_of_the_session_is_not_one_of_each_micrograph():
    """As a list beside them."""
    names = ["micrographs.star", *(f"{n}.mrc" for n in range(10))]

    assert guess_preset_by_names(names).preset == "plain"


def test_the_guess_says_why():
    guess = guess_preset_by_names(["a.mrc", "a.star", "b.mrc"])

    assert (guess.reason, guess.images) == ("1 of 2 images have a .star beside them", 2)


def test_a_folder_without_images_is_plain(tmp_path):
    """Also one that is missing."""
    for folder in (tmp_path, tmp_path / "missing"):
        assert guess_preset(folder).reason == "there are no images yet"


def test_names_are_taken_from_sub_folders_but_not_from_hidden_ones(tmp_path):
    for name in ("x/average/a.mrc", ".hidden/b.mrc", "c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"0")

    guess = guess_preset(tmp_path)

    assert (guess.preset, guess.images) == ("warp", 1)
