"""RELION STAR files that we write, as another program reads them."""

import errno
from pathlib import Path

import numpy as np
import pytest
import starfile

from livepick.core.formats.coordinates import read_coordinates
from livepick.core.formats.relion_star import MODELS_BLOCK
from livepick.core.formats.star import star_tables
from livepick.core.imaging.picks import Picks
from livepick.errors import MicrographError, OutputError
from livepick.host import atomic_files
from livepick.ledger.rows import Visible
from livepick.picking import coordinate_files as star_module
from livepick.picking.coordinate_files import CoordinateFiles

ROOT = Path("/data/avg")
RELION = Path(__file__).parents[2] / "data" / "relion31_autopick.star"
"""As RELION 3.1 writes it, with its trailing blanks."""


@pytest.fixture
def star(tmp_path):
    return CoordinateFiles(tmp_path / "out", [ROOT])


def picks(*rows):
    table = np.array(rows, dtype=np.float32).reshape(-1, 3)
    return Picks(table[:, 0], table[:, 1], table[:, 2])


def visible(relative, root=ROOT):
    return Visible(1, root, Path(relative), 0.5, 1, "trained")


def test_coordinates_have_relions_columns(star):
    """Columns, order and types are those of a file that RELION wrote."""
    star.write(ROOT, Path("a.mrc"), picks((839.125, 19.979, 0.625)), version=1, kind="trained")

    ours, theirs = starfile.read(star.directory / "a_autopick.star"), starfile.read(RELION)
    assert list(ours.columns) == list(theirs.columns)
    assert list(ours.dtypes) == list(theirs.dtypes)
    np.testing.assert_allclose(ours.to_numpy()[0], [839.125, 19.979, 0.625, 0, 0], atol=1e-5)


def test_coordinates_are_read_back_unchanged(star):
    """The precision is a ten-thousandth of a pixel, also for a large detector."""
    given = picks((11519.87, 8183.91, 1.0), (0.0, 0.125, 0.02))
    star.write(ROOT, Path("a.mrc"), given, version=1, kind="trained")

    read = read_coordinates(star.place(ROOT, Path("a.mrc")))
    np.testing.assert_allclose(read.x_px, given.x_px, atol=1e-4)
    np.testing.assert_allclose(read.y_px, given.y_px, atol=1e-4)


def test_micrograph_without_picks_has_a_file_without_rows(star):
    """The file shows that the micrograph was picked."""
    star.write(ROOT, Path("a.mrc"), picks(), version=0, kind="blob")

    table = starfile.read(star.directory / "a_autopick.star")
    assert len(table) == 0
    assert "rlnCoordinateX" in table.columns


def test_comments_name_the_model_and_contain_no_star_keyword(star):
    """RELION recognizes ``data_``, ``loop_`` and ``# version`` anywhere in a line."""
    star.write(ROOT, Path("a.mrc"), picks((1, 2, 0.5)), version=7, kind="trained")
    star.write_list([visible("a.mrc")])

    for path in star.directory.iterdir():
        lines = path.read_text().splitlines()
        comments = [line for line in lines if line.startswith("#")]
        assert comments[0] == "# version 30001"
        for word in ("data_", "loop_", "# version"):
            assert not any(word in comment for comment in comments[1:])
        assert path.read_text().endswith("\n\n")
    assert "model 7 (trained)" in (star.directory / "a_autopick.star").read_text()


def test_folder_tree_is_mirrored(star):
    """Two micrographs of one name in different folders have their own files."""
    for folder, x in (("one", 1.0), ("two", 2.0)):
        star.write(ROOT, Path(folder, "a.b.mrc"), picks((x, 0, 0.5)), version=0, kind="blob")

    found = {path.relative_to(star.directory) for path in star.directory.rglob("*.star")}
    assert found == {Path("one/a.b_autopick.star"), Path("two/a.b_autopick.star")}


@pytest.mark.parametrize(
    ("roots", "branches"),
    [
        (["/x/avg"], ["."]),
        (["/x/avg", "/y/sums"], ["avg", "sums"]),
        (["/x/avg", "/y/avg", "/z"], ["x/avg", "y/avg", "z"]),
    ],
)
def test_several_watched_folders_do_not_collide(tmp_path, roots, branches):
    """Each has a folder with its own name, and its parents' names where those are equal."""
    star = CoordinateFiles(tmp_path, [Path(root) for root in roots])
    places = [star.place(Path(root), Path("a.mrc")) for root in roots]
    assert places == [tmp_path / branch / "a_autopick.star" for branch in branches]


def test_list_names_micrographs_and_their_coordinates(star):
    """Names may contain spaces; an unchanged list is not written again."""
    entries = [visible("a.mrc"), visible("grid 1/b's.mrc")]
    assert star.write_list(entries)
    assert not star.write_list(entries)

    block = starfile.read(star.directory / "autopick.star", always_dict=True)["coordinate_files"]
    assert next(iter(block["rlnMicrographName"])) == "/data/avg/a.mrc"
    assert next(iter(block["rlnMicrographCoordinates"])) == str(star.directory / "a_autopick.star")
    lines = (star.directory / "autopick.star").read_text().splitlines()
    assert any(line.startswith('"/data/avg/grid 1/b\'s.mrc" "') for line in lines)


def test_list_names_the_model_of_each_micrograph(star):
    """The models are in a second block, for starfile and for our own reader."""
    star.write_list([visible("a.mrc"), Visible(2, ROOT, Path("grid 1/b.mrc"), 0.5, 0, "blob")])

    path = star.directory / "autopick.star"
    blocks = starfile.read(path, always_dict=True)
    places, models = star_tables(path.read_text())
    assert list(blocks) == [places.name, models.name] == ["coordinate_files", MODELS_BLOCK]
    assert blocks[MODELS_BLOCK].to_numpy().tolist() == [
        ["/data/avg/a.mrc", 1, "trained"],
        ["/data/avg/grid 1/b.mrc", 0, "blob"],
    ]
    assert models.column("rlnMicrographName") == places.column("rlnMicrographName")
    assert models.column("livepickModelVersion") == ["1", "0"]
    assert models.column("livepickModelKind") == ["trained", "blob"]


def test_first_block_of_the_list_ends_at_an_empty_line(star):
    """RELION stops reading there."""
    star.write_list([visible("a.mrc")])

    text = (star.directory / "autopick.star").read_text()
    rows = text.partition("_rlnMicrographCoordinates #2\n")[2].partition("\n\n")[0]
    assert len(rows.splitlines()) == 1
    assert "autopick.star" in rows


def test_empty_list_is_valid(star):
    """A session begins with one."""
    star.write_list([])
    blocks = starfile.read(star.directory / "autopick.star", always_dict=True)
    assert [len(block) for block in blocks.values()] == [0, 0]


@pytest.mark.parametrize("name", ["a\nb.mrc", 'a"b.mrc', "a\udce9.mrc", "x" * 250 + ".mrc"])
def test_impossible_file_names_are_an_error_of_the_micrograph(star, name):
    """A retry does not help, so the error must differ from that of a full disk."""
    with pytest.raises(MicrographError) as caught:
        star.write(ROOT, Path(name), picks(), version=0, kind="blob")
    assert not caught.value.retryable
    star.remove(ROOT, Path(name))


def test_full_disk_leaves_the_old_file_whole(star, monkeypatch):
    """Nothing is half-written, and the error is retryable."""
    star.write(ROOT, Path("a.mrc"), picks((1, 2, 0.5)), version=0, kind="blob")
    before = star.place(ROOT, Path("a.mrc")).read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic_files.os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        star.write(ROOT, Path("a.mrc"), picks(), version=1, kind="trained")
    assert [path.read_bytes() for path in star.directory.iterdir()] == [before]


def test_sweep_removes_only_our_unfinished_files(star):
    """Sub-folders are swept; files of other programs stay."""
    folder = star.directory / "sub"
    folder.mkdir(parents=True)
    for name in (".livepick-abc.tmp", "other.tmp", "a_autopick.star"):
        (folder / name).touch()
    assert star.sweep() == 1
    assert {path.name for path in folder.iterdir()} == {"other.tmp", "a_autopick.star"}


def test_removing_a_missing_file_is_not_an_error(star):
    """The result is the same."""
    star.write(ROOT, Path("a.mrc"), picks(), version=0, kind="blob")
    assert not star.is_missing(ROOT, Path("a.mrc"))
    star.remove(ROOT, Path("a.mrc"))
    star.remove(ROOT, Path("a.mrc"))
    assert star.is_missing(ROOT, Path("a.mrc"))
    assert star_module.SUFFIX == "_autopick.star"
