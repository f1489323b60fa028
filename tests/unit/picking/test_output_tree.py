"""The tree of the output folder: where the files of a micrograph are."""

from pathlib import Path

import pytest
from picked_micrographs import ROOT

from livepick.errors import MicrographError
from livepick.picking.output_tree import Branches


@pytest.mark.parametrize(
    ("roots", "branches"),
    [
        (["/x/avg"], ["."]),
        (["/x/avg", "/x/avg"], [".", "."]),
        (["/x/avg", "/y/sums"], ["avg", "sums"]),
        (["/x/avg", "/y/avg", "/z"], ["x/avg", "y/avg", "z"]),
    ],
)
def test_several_watched_folders_do_not_collide(roots, branches):
    """Each has a folder with its own name, and its parents' names where those are equal."""
    tree = Branches([Path(root) for root in roots])
    places = [tree.place(Path(root), Path("sub/a.b.mrc")) for root in roots]
    assert places == [Path(branch, "sub/a.b") for branch in branches]


def test_a_watched_folder_of_later_has_a_folder_of_its_name():
    """It was not known when the tree was made."""
    assert Branches([ROOT]).place(Path("/data/new"), Path("a.mrc")) == Path("new/a")


@pytest.mark.parametrize("name", ["a\nb.mrc", 'a"b.mrc', "a\udce9.mrc", "a\x7f.mrc"])
def test_names_that_no_star_file_can_contain_are_refused(name):
    """A retry does not help, so the error must differ from that of a full disk."""
    with pytest.raises(MicrographError) as caught:
        Branches([ROOT]).place(ROOT, Path(name))
    assert not caught.value.retryable


@pytest.mark.parametrize("name", ["a b.mrc", "b's.mrc", "b's c.mrc", "krypton-µg_é_粒子.mrc", "#1"])
def test_names_with_spaces_apostrophes_and_unicode_are_kept(name):
    assert Branches([ROOT]).place(ROOT, Path(name)).name == Path(name).stem


def test_equal_names_have_places_of_their_own_whatever_their_folder_or_compression() -> None:
    roots = [Path("/a/in"), Path("/b/in")]
    branches = Branches(roots)
    names = ["x.mrc", "g1/x.mrc", "g2/x.mrc.gz", "x.y.mrc.bz2"]
    places = {branches.place(root, Path(name)) for root in roots for name in names}
    assert len(places) == len(roots) * len(names)
    assert branches.place(roots[0], Path("g2/x.mrc.gz")) == Path("a/in/g2/x")
    assert branches.place(roots[0], Path("x.y.mrc.bz2")) == Path("a/in/x.y")
