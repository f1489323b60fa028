"""Products of micrographs are left out, and micrographs with similar names are not."""

from pathlib import Path

import pytest

from livepick.config.sections import Watch
from livepick.ingest.presets import LeftOut, Rules, rules_for


def rules(**settings: object) -> Rules:
    return rules_for(Watch.model_validate({"directories": [Path("/in")], **settings}))


PLAIN = rules()

PRODUCTS = [
    "X_ctf.mrc",
    "X_CTF.MRC",
    "X_Ctf.mrc",
    "X_ctffind4.mrc",
    "X_CTFFIND5.mrc",
    "X_gctf.mrc",
    "X.ctf.mrc",
    "X_forctf.mrc",
    "X_pspec.mrc",
    "X_power_spectrum.mrc",
    "X_avrot.mrc",
    "X_ctf_diag_2D.mrc",
    "X_diagnostic_output.mrc",
    "X_psd.mrc",
    "X_fft.tif",
    "X_PS.mrc",
    "X_noDW.mrc",
    "X_DWS.mrc",
    "X_ODD.mrc",
    "X_EVN.mrc",
    "X_EVEN.mrc",
    "X_Stk.mrc",
    "X_patch_aligned.mrc",
    "X_background.mrc",
    "X_thumb.mrc",
    "X_thumbnail.tif",
    "X_mask.mrc",
    "X_ctf.mrc.gz",
    "gain.mrc",
    "default_gain.tif",
    "session_GainRef.mrc",
    "gain_ref_20261101.mrc",
    "K3-20261101_gain_reference_x1.m1.mrc",
    "CountRef_K3.mrc",
    "SuperRef_grid1.mrc",
    "dark.mrc",
    "X_defects.tif",
    "GridSquare_12.mrc",
    "GridSquare_1234567_20261101_120000.mrc",
    "Atlas_1.mrc",
    "Tile_18019_0_1.mrc",
    "FoilHole_1234567_20261101_120000.mrc",
]

MICROGRAPHS = [
    "PSII_PS_1.mrc",
    "PSII.mrc",
    "gain_of_function_001.mrc",
    "gain_of_function/x.mrc",
    "gain/x_0001.mrc",
    "dark_state_12.mrc",
    "darkfield_12.mrc",
    "mask1_0001.mrc",
    "ctf_corrected_0001.mrc",
    "CTF19_0001.mrc",
    "odd/x.mrc",
    "average/x.mrc",
    "X_intg.mrc",
    "X_DW.mrc",
    "X_aligned.mrc",
    "X_aligned_mic_DW.mrc",
    "X_fractions.mrc",
    "X_patch_aligned_doseweighted.mrc",
    "X_sum.mrc",
    "X_avg.mrc",
    "X_bin2.mrc",
    "X_denoised.mrc",
    "X_ps.mrc",
    "FoilHole_1_Data_2_3_20261101_120000.mrc",
    "GridSquare_92_Data_FoilHole_92_Data_92_922_20181109_1515_aligned_mic_DW.mrc",
    "09mar16a_00012gr_00002en.mrc",
]


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_left_out_wherever_they_are(name: str) -> None:
    for relative in (name, f"grid 1/{name}"):
        left_out = PLAIN.left_out(relative)
        assert left_out is not None
        assert left_out.kind == "product"
        assert left_out.rule


@pytest.mark.parametrize("name", MICROGRAPHS)
def test_micrographs_with_similar_names_are_taken(name: str) -> None:
    assert PLAIN.left_out(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "X_intg.mrc",
        "X_INTG.MRC",
        "X_intg.tif",
        "X_deconv.mrc",
        "X_denoised.mrc",
        "X_bin2.mrc",
        "X_lowpass.mrc",
        "X_raw.mrc",
        "X_ps.mrc",
        "X_nodw.mrc",
        "X_odd.mrc",
        "X_stk.mrc",
        "X_half1.mrc",
        "X_segmented.mrc",
        "X_pow.mrc",
        "X_rotav.mrc",
        "X_phase_flipped.mrc",
        "X_score.mrc",
        "X_copy.mrc",
        "X_bak.mrc",
    ],
)
def test_ambiguous_names_are_products_only_beside_their_micrograph(name: str) -> None:
    for beside in ("X.mrc", "X_DW.mrc", "X_patch_aligned_doseweighted.mrc", "X.mrc.gz"):
        left_out = PLAIN.left_out(f"a/{name}", {beside, name}.__contains__)
        assert left_out is not None
        assert left_out.kind == "product", beside
    for beside in ("Y.mrc", "X.txt", "X.mrcs", "X2.mrc"):
        assert PLAIN.left_out(f"a/{name}", {beside, name}.__contains__) is None, beside


def test_what_is_itself_left_out_has_no_products() -> None:
    """A raw movie X.tif, which the preset does not take, does not make X_intg.mrc a product."""
    motioncor = rules(preset="motioncor")
    assert motioncor.left_out("X_intg.mrc", {"X.tif"}.__contains__) is None
    assert motioncor.left_out("X_intg.mrc", {"X.mrc"}.__contains__) is not None
    chosen = rules(include=["*_intg.mrc"])
    assert chosen.left_out("X_intg.mrc", {"X.mrc", "X_intg.mrc"}.__contains__) is None


def test_folders_of_products_are_beside_the_micrographs_or_the_averages() -> None:
    for folder in ("odd", "EVEN", "deconv", "denoised", "mask", "powerspectrum"):
        above = {"../average"}
        left_out = PLAIN.left_out(f"a/{folder}/X.mrc", above.__contains__)
        assert left_out is not None
        assert left_out.kind == "product"
        assert PLAIN.left_out(f"{folder}/X.mrc", {"../X.mrc"}.__contains__) is not None
        assert PLAIN.left_out(f"{folder}/X.mrc", {"../Y.mrc"}.__contains__) is None
    assert PLAIN.left_out("average/X.mrc", {"../average"}.__contains__) is None


def test_globs_of_the_config_replace_the_rules() -> None:
    assert rules(exclude=[]).left_out("X_ctf.mrc") is None
    assert rules(exclude=["*_bad.*"]).left_out("a/X_bad.mrc") == LeftOut("excluded", "*_bad.*")
    assert rules(preset="relion").left_out("X_DW.mrc") == LeftOut("product", "*_DW.*")
    assert rules(preset="motioncor").left_out("X.tif") == LeftOut("not_included")


def test_a_compressed_micrograph_is_chosen_as_the_plain_one() -> None:
    for preset, name in (
        ("plain", "X.mrc.gz"),
        ("motioncor", "X.MRC.bz2"),
        ("warp", "a/average/X.mrc.gz"),
        ("cryosparc", "X_patch_aligned_doseweighted.mrc.gz"),
    ):
        assert rules(preset=preset).left_out(name) is None
    assert rules(include=["*.mrc.gz"]).selects("X.mrc.gz")
    assert not rules(include=["*.mrc.gz"]).selects("X.mrc")
    assert not rules(exclude=["*_1.mrc"]).selects("X_1.mrc.gz")
    beside = {"X.mrc"}.__contains__
    assert PLAIN.left_out("X.mrc.gz", beside) == LeftOut("better_version")
    both = {"Y.mrc.gz", "Y.mrc.bz2"}.__contains__
    assert PLAIN.left_out("Y.mrc.bz2", both) == LeftOut("better_version")
    assert PLAIN.left_out("Y.mrc.gz", both) is None
    motioncor = rules(preset="motioncor")
    assert motioncor.left_out("X.mrc.gz", {"X_DW.mrc.gz"}.__contains__) is not None


@pytest.mark.parametrize(
    "name",
    [
        "X (1).mrc",
        "X(2).mrc",
        "X - Copy.mrc",
        "X - Copy (3).mrc",
        "X copy 2.mrc",
        "Copy of X.mrc",
        "Copie de X.mrc",
        "X - Copie.mrc",
        "X - コピー (2).mrc",
        "X (copy).mrc",
        "X (another copy).mrc",
        "X (3rd copy).mrc",
        "X (Kopie 2).mrc",
        "X.sync-conflict-20261101-120000-ABCDEFG.mrc",
        "X (conflicted copy 2026-11-01).mrc",
        "X_conflict-20261101-120000.mrc",
    ],
)
def test_copies_are_left_out_beside_their_original(name: str) -> None:
    left_out = PLAIN.left_out(name, {"X.mrc"}.__contains__)
    assert left_out == LeftOut("product", "copies of a micrograph")
    assert PLAIN.left_out(name, {"Y.mrc"}.__contains__) is None
