"""Presets: which files are micrographs."""

from pathlib import Path

import pytest

from livepick.config.sections import Watch
from livepick.errors import ConfigError
from livepick.ingest.presets import PRESETS, Rules, is_ignored_name, is_image_name, rules_for


def rules(**settings: object) -> Rules:
    return rules_for(Watch.model_validate({"directories": [Path("/in")], **settings}))


TREES = {
    "plain": (
        ["a.mrc", "b/c.TIF", "d.tiff", "GridSquare_1/Data/x.mrc", "PSII_PS_1.mrc"],
        ["X_noDW.mrc", "X_DWS.mrc", "X_ODD.mrc", "X_PS.mrc", "GridSquare_12.mrc"],
    ),
    "motioncor": (
        ["X.mrc", "X_DW.mrc"],
        ["X_DWS.mrc", "X_ODD.mrc", "X_EVN.mrc", "X_Stk.mrc", "X_Ctf.mrc", "X.tif"],
    ),
    "relion": (
        ["MotionCorr/job002/Movies/X.mrc", "PSII_0001.mrc"],
        ["X_noDW.mrc", "X_DW.mrc", "X_PS.mrc", "X_ODD.mrc", "X_EVN.mrc"],
    ),
    "warp": (
        ["average/X.mrc", "warp/average/X.mrc", "X.mrc"],
        ["average/odd/X.mrc", "odd/X.mrc", "even/X.mrc", "deconv/X.mrc", "frames/X.mrc"],
    ),
    "cryosparc": (
        ["J3/motioncorrected/0012_X_patch_aligned_doseweighted.mrc"],
        ["J3/motioncorrected/0012_X_patch_aligned.mrc", "0012_X_background.mrc"],
    ),
    "cryoem-services": (["job002/Movies/X_motion_corrected.mrc"], ["X_PS.mrc"]),
}


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_presets_distinguish_micrographs_from_other_files(preset: str) -> None:
    micrographs, others = TREES[preset]
    chosen = rules(preset=preset)
    assert [name for name in micrographs if not chosen.selects(name)] == []
    assert [name for name in others if chosen.selects(name)] == []


def test_names_of_files_in_transfer_are_not_image_names() -> None:
    for name in ("a.mrc", "b.MRC", "c.tif", "d.Tiff", "e.mrcs", "f.MRC.gz", "g.mrc.bz2"):
        assert is_image_name(name)
    for name in ("a.tif.gz", ".a.mrc", ".a.mrc.X1y2Zz", "a.mrc.part", "a.mrc.tmp", "a.eer", "mrc"):
        assert not is_image_name(name)
    for name in (".~tmp~", ".hidden", "x.filepart", "x.CRDOWNLOAD", "x.downloading", "x.partial"):
        assert is_ignored_name(name)


def test_globs_of_the_config_replace_those_of_the_preset() -> None:
    chosen = rules(
        preset="cryosparc", include=["good/**", "*.tif"], exclude=["**/bad_*", "x[0-9].*"]
    )
    assert [
        name
        for name in ("good/a/b.mrc", "q.TIF", "a.mrc", "good/bad_1.mrc", "x1.tif", "y/x1.tif")
        if chosen.selects(name)
    ] == ["good/a/b.mrc", "q.TIF"]


def test_globs_may_contain_regular_expression_characters() -> None:
    chosen = rules(include=["a(1)+.mrc", "[!a]?.mrc", "[ab"], exclude=[])
    assert chosen.selects("a(1)+.mrc")
    assert chosen.selects("sub/bc.mrc")
    assert not chosen.selects("ac.mrc")
    assert chosen.selects("[ab")
    assert not chosen.selects("a1.mrc")


@pytest.mark.parametrize(
    "glob",
    [
        *("*" * 50 + "x", "*a" * 60 + "b", "*?" * 40 + "x", "*[a]" * 40 + "b.mrc"),
        *("**/" * 40 + "x", "**/*a*/" * 30 + "b", "**a" * 50 + "b", "a*/**/" * 30 + "x"),
    ],
)
def test_a_glob_of_many_stars_ends(glob: str) -> None:
    """It took years: each star tried every part of the name."""
    chosen = rules(include=[glob], exclude=[])
    assert not chosen.selects("a" * 250)
    assert not chosen.selects("/".join(["a" * 100] * 32))


@pytest.mark.parametrize(
    ("glob", "taken", "other"),
    [
        ("*a*a*.mrc", "xaya.mrc", "xay.mrc"),
        ("*a*ab.mrc", "aaab.mrc", "aab/x.mrc"),
        ("**/a*b/**/c*.mrc", "x/ab/acb/q/c1.mrc", "x/ab/q/d.mrc"),
        ("a**b**c.mrc", "a/bb/c.mrc", "a/c.mrc"),
        ("**/a/**/a/x.mrc", "a/a/a/x.mrc", "b/a/x.mrc"),
    ],
)
def test_globs_of_several_stars(glob: str, taken: str, other: str) -> None:
    chosen = rules(include=[glob], exclude=[])
    assert chosen.selects(taken)
    assert not chosen.selects(other)


def test_invalid_glob_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="z-a"):
        rules(include=["[z-a].mrc"])


def test_sidecars_are_required_or_forbidden() -> None:
    beside = {"X.star", "Y.tmp"}
    relion, diamond = rules(preset="relion"), rules(preset="cryoem-services")
    assert relion.blocked("X.mrc", beside.__contains__) is None
    assert relion.blocked("Y.mrc", beside.__contains__) == "Y.star is missing"
    assert diamond.blocked("Y.mrc", beside.__contains__) == "Y.tmp still exists"
    assert rules(preset="relion", require_sidecar=".xml").require_sidecar == ".xml"
    assert relion.blocked("X.mrc.gz", beside.__contains__) is None
    assert {"a/X.mrc", "a/X.tif", "a/X.mrc.gz"} < set(relion.images_beside("a/X.star"))
    assert relion.images_beside("a/X.mrc") == []


def test_unweighted_sum_is_left_out_if_a_weighted_one_exists() -> None:
    motioncor = rules(preset="motioncor")
    left_out = motioncor.left_out("a/X.mrc", {"X_DW.mrc"}.__contains__)
    assert left_out is not None
    assert left_out.kind == "better_version"
    assert motioncor.left_out("X_DW.mrc", {"X_DW.mrc"}.__contains__) is None
    assert motioncor.left_out("Y.mrc", {"X_DW.mrc"}.__contains__) is None
    assert motioncor.may_give_way("X.mrc")
    assert not motioncor.may_give_way("X_DW.mrc")
    assert not rules(preset="motioncor", include=["*.mrc"]).may_give_way("X.mrc")
