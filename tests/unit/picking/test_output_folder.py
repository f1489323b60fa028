"""A folder in which livepick replaces and removes only what it wrote itself."""

import errno
import os
import shutil
import subprocess
import sys
import time

import pytest

from livepick.errors import EditedError, MicrographError, OccupiedError, OutputError
from livepick.host import folder_files
from livepick.picking import output_folder as module
from livepick.picking.output_folder import OutputFolder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def folder(out):
    return OutputFolder(out)


def again(out):
    """Return the folder as the next start sees it."""
    found = OutputFolder(out)
    found.begin()
    return found


def names(place):
    return {
        str(path.relative_to(place))
        for path in place.rglob("*")
        if path.is_file() and ".livepick" not in path.parts
    }


def own_files(folder):
    """Return the files that livepick wrote, according to the record, and that are there."""
    return {path for path in folder.path.rglob("*") if folder.wrote(path)}


def test_files_are_written_replaced_and_removed_also_after_a_restart(out, folder):
    assert folder.write(out / "one/two/a.txt", b"1")
    assert again(out).write(out / "one/two/a.txt", b"2")
    assert (out / "one/two/a.txt").read_bytes() == b"2"
    assert again(out).remove(out / "one/two/a.txt")
    assert again(out).remove(out / "one/two/a.txt")
    assert again(out).remove(out / "no folder/a.txt")
    assert names(out) == set()


def test_an_unchanged_file_is_not_written_again(out, folder):
    folder.write(out / "a", b"1")
    inode = (out / "a").stat().st_ino
    assert not folder.write(out / "a", b"1")
    assert not again(out).write(out / "a", b"1")
    assert (out / "a").stat().st_ino == inode


def test_a_large_file_is_replaced_only_if_it_differs(out, folder):
    """It is written bit by bit, and nothing is left behind."""
    path = out / "picks.cs"

    def write(file):
        file.write(b"0" * 100_000)
        file.write(b"1")
        file.seek(0)
        file.write(b"2")

    assert folder.write_large_if_different(path, write)
    assert path.read_bytes() == b"2" + b"0" * 99_999 + b"1"
    inode = path.stat().st_ino
    assert not folder.write_large_if_different(path, write)
    assert path.stat().st_ino == inode
    assert folder.write_large_if_different(path, lambda file: file.write(b"3"))
    assert path.read_bytes() == b"3"
    assert names(out) == {"picks.cs"}


def test_a_large_file_that_fails_leaves_the_old_one(out, folder):
    path = out / "picks.cs"
    folder.write(path, b"old")

    def write(file):
        file.write(b"new")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match="No space"):
        folder.write_large_if_different(path, write)
    assert path.read_bytes() == b"old"
    assert names(out) == {"picks.cs"}


def test_a_file_of_somebody_else_is_neither_replaced_nor_removed(out, folder):
    """When it has gone, livepick's own can be written."""
    out.mkdir()
    (out / "a_autopick.star").write_bytes(b"by hand")
    with pytest.raises(OccupiedError, match=r"a_autopick\.star is a file that livepick did not"):
        folder.write(out / "a_autopick.star", b"picks")
    assert not folder.write_if_different(out / "a_autopick.star", b"picks")
    assert not folder.write_large_if_different(
        out / "a_autopick.star", lambda file: file.write(b"picks")
    )
    assert not folder.remove(out / "a_autopick.star")
    assert not folder.wrote(out / "a_autopick.star")
    assert (out / "a_autopick.star").read_bytes() == b"by hand"
    assert names(out) == {"a_autopick.star"}


def test_an_obstacle_is_kept_until_it_has_gone(out, folder):
    out.mkdir()
    (out / "a").write_bytes(b"by hand")
    folder.write_if_different(out / "a", b"list")
    (error,) = folder.obstacles
    assert error.path == str(out / "a")
    assert "Move or delete it" in error.remedy
    assert folder.freed() == []
    (out / "a").unlink()
    assert folder.freed() == [out / "a"]
    assert folder.obstacles == []
    assert folder.write_if_different(out / "a", b"list")


def test_an_edited_file_stays(out, folder):
    """A user who has curated the picks does not lose that work to a newer model."""
    folder.write(out / "a", b"picks")
    (out / "a").write_bytes(b"curated")
    for one in (folder, again(out)):
        with pytest.raises(EditedError, match="was changed after livepick wrote it"):
            one.write(out / "a", b"better picks")
        assert not one.remove(out / "a")
    assert (out / "a").read_bytes() == b"curated"


def test_a_file_with_another_time_and_the_same_content_is_livepicks(out, folder):
    """As after a copy of the folder to another disk."""
    folder.write(out / "a", b"picks")
    os.utime(out / "a", (1, 1))
    assert again(out).write(out / "a", b"better picks")


def test_a_file_with_the_content_to_be_written_is_livepicks(out, folder):
    """The record may be lost; the picks are the same."""
    out.mkdir()
    (out / "a").write_bytes(b"picks")
    assert not folder.write(out / "a", b"picks")
    assert folder.wrote(out / "a")
    assert again(out).write(out / "a", b"better picks")


KILLED = """
import os, sys
from pathlib import Path
from livepick.host import folder_files
from livepick.picking import output_folder
out, moment = Path(sys.argv[1]), sys.argv[2]
folder = output_folder.OutputFolder(out)
folder.begin()
put = output_folder.put_in_place
def die(*args, **kwargs):
    if moment == "after":
        put(*args, **kwargs)
    os.kill(os.getpid(), 9)
output_folder.put_in_place = die
folder.write(out / "a", sys.argv[3].encode())
"""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("had", [True, False])
def test_a_file_is_livepicks_whenever_the_service_is_killed(out, folder, moment, had):
    """Between the record and the rename, and after it; several times in a row."""
    if had:
        folder.write(out / "a", b"first")
    for content in ("second", "third"):
        subprocess.run([sys.executable, "-c", KILLED, out, moment, content], check=False)
    expected = {"after": {"a"}, "before": {"a"} if had else set()}[moment]
    following = again(out)
    following.sweep()
    assert names(out) == expected
    assert following.write(out / "a", b"last")
    assert (out / "a").read_bytes() == b"last"


@pytest.mark.parametrize("cut", range(2, 60, 7))
def test_a_record_that_was_cut_short_loses_only_its_last_line(out, folder, cut):
    folder.write(out / "a", b"1")
    folder.write(out / "b", b"2")
    record = out / ".livepick/written"
    record.write_bytes(record.read_bytes()[:-cut])
    following = again(out)
    assert following.wrote(out / "a")
    assert not following.wrote(out / "b")
    following.write(out / "c", b"3")
    assert again(out).wrote(out / "c")


def test_garbage_in_the_record_is_passed_over(out, folder):
    folder.write(out / "a", b"1")
    with (out / ".livepick/written").open("ab") as file:
        file.write(b"\x00\xff\t\tx\n+ a b c d\tname\t\n" + b"x" * 100_000 + b"\n")
    folder.write(out / "b", b"1")
    following = again(out)
    assert own_files(following) == {out / "a", out / "b"}


def test_the_record_is_compacted_at_the_start(out, folder):
    for number in range(11):
        folder.write(out / "list", b"%d" % number)
    record = out / ".livepick/written"
    record.write_bytes(record.read_bytes() * 100)
    folder.write(out / "a", b"1")
    before = record.stat().st_size
    following = again(out)
    assert record.stat().st_size < before / 100
    assert own_files(following) == {out / "list", out / "a"}
    assert again(out).write(out / "list", b"new")


def test_a_record_that_goes_while_the_service_runs_is_written_again(out, folder):
    folder.write(out / "a", b"1")
    (out / ".livepick/written").unlink()
    folder.write(out / "b", b"1")
    assert own_files(again(out)) == {out / "a", out / "b"}


def plant(kind, path, target):
    target.write_bytes(b"precious")
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "link":
        path.symlink_to(target)
    elif kind == "dangling":
        path.symlink_to(target.parent / "nothing")
    elif kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        os.link(target, path)


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "fifo", "hard link"])
def test_what_is_planted_in_place_of_a_file_is_not_followed(out, folder, tmp_path, kind):
    """Nothing is written or removed through it, and it stays."""
    target = tmp_path / "precious.star"
    plant(kind, out / "a", target)
    with pytest.raises(OccupiedError):
        folder.write(out / "a", b"picks")
    assert not folder.remove(out / "a")
    assert target.read_bytes() == b"precious"
    assert not (tmp_path / "nothing").exists()
    assert os.path.lexists(out / "a")


@pytest.mark.parametrize("kind", ["link", "dangling"])
def test_a_link_in_place_of_a_file_that_livepick_wrote_is_not_followed(out, folder, tmp_path, kind):
    folder.write(out / "a", b"picks")
    (out / "a").unlink()
    target = tmp_path / "precious.star"
    plant(kind, out / "a", target)
    with pytest.raises(OccupiedError, match="a link"):
        folder.write(out / "a", b"picks")
    assert not folder.remove(out / "a")
    assert target.read_bytes() == b"precious"
    assert not (tmp_path / "nothing").exists()
    assert (out / "a").is_symlink()


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "hard link"])
@pytest.mark.parametrize("below", ["grid", "grid/sub"])
def test_what_is_planted_in_place_of_a_folder_is_an_obstacle(out, folder, tmp_path, kind, below):
    """The files in it are not written; the others are."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a").write_bytes(b"precious")
    place = out / below
    if kind == "link":
        place.parent.mkdir(parents=True)
        place.symlink_to(elsewhere)
    else:
        plant(kind, place, tmp_path / "target")
    for path in (place / "a", place / "deep/a"):
        with pytest.raises(OccupiedError) as caught:
            folder.write(path, b"picks")
        assert caught.value.path == str(place)
        folder.remove(path)
    folder.write(out / "b", b"picks")
    assert (elsewhere / "a").read_bytes() == b"precious"
    assert {path.name for path in elsewhere.iterdir()} == {"a"}
    place.unlink()
    assert folder.freed() == [place]
    folder.write(place / "a", b"picks")
    assert (place / "a").read_bytes() == b"picks"


def test_a_link_that_comes_between_two_steps_is_not_followed(out, folder, tmp_path, monkeypatch):
    """Just before the rename."""
    (tmp_path / "precious").write_bytes(b"precious")
    put = module.put_in_place

    def race(opened, draft, name, *, new):
        (out / name).symlink_to(tmp_path / "precious")
        put(opened, draft, name, new=new)

    monkeypatch.setattr(module, "put_in_place", race)
    with pytest.raises(OccupiedError):
        folder.write(out / "a", b"picks")
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (out / "a").is_symlink()
    assert [path.name for path in out.glob("[!.]*")] == ["a"]


def test_a_file_that_comes_between_two_steps_stays_where_renaming_always_replaces(
    out, folder, monkeypatch
):
    """As on NFS, which has no rename without replacing."""
    monkeypatch.setattr(folder_files, "_rename", None)
    put = module.put_in_place

    def race(opened, draft, name, *, new):
        (out / name).write_bytes(b"by hand")
        put(opened, draft, name, new=new)

    monkeypatch.setattr(module, "put_in_place", race)
    with pytest.raises(OccupiedError):
        folder.write(out / "a", b"picks")
    assert (out / "a").read_bytes() == b"by hand"


def test_the_folder_itself_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    folder = OutputFolder(tmp_path / "out")
    folder.begin()
    folder.write(tmp_path / "out/grid/a", b"1")
    (tmp_path / "disk/grid/.livepick-0a.tmp").touch()
    assert folder.sweep() == 1
    assert names(tmp_path / "disk") == {"grid/a"}


@pytest.mark.parametrize("kind", ["link", "dangling", "hard link"])
def test_a_planted_record_folder_is_refused(out, folder, tmp_path, kind):
    target = tmp_path / "target"
    target.mkdir()
    out.mkdir()
    if kind == "link":
        (out / ".livepick").symlink_to(target)
    else:
        plant(kind, out / ".livepick", tmp_path / "precious")
    with pytest.raises(OutputError, match=r"\.livepick"):
        folder.write(out / "a", b"1")
    assert list(target.iterdir()) == []
    assert names(out) - {".livepick"} == set()


def test_a_planted_record_is_not_followed(out, folder, tmp_path):
    (out / ".livepick").mkdir(parents=True)
    (tmp_path / "precious").write_bytes(b"precious")
    (out / ".livepick/written").symlink_to(tmp_path / "precious")
    with pytest.raises(OutputError, match=r"\.livepick"):
        folder.write(out / "a", b"1")
    assert (tmp_path / "precious").read_bytes() == b"precious"


@pytest.mark.parametrize("kind", ["file", "dangling"])
def test_a_file_where_the_folder_should_be_is_a_state_that_heals(out, folder, tmp_path, kind):
    if kind == "file":
        out.write_bytes(b"a file")
    else:
        out.symlink_to(tmp_path / "nothing")
    with pytest.raises(OutputError, match=rf"{out}, a (file|link to nothing), is in the way") as e:
        folder.write(out / "a", b"1")
    assert e.value.retryable
    assert names(tmp_path) == ({"out"} if kind == "file" else set())
    out.unlink()
    folder.write(out / "a", b"1")
    assert (out / "a").read_bytes() == b"1"


def test_a_file_where_a_parent_of_the_folder_should_be_is_named(tmp_path):
    (tmp_path / "share").write_bytes(b"a file")
    folder = OutputFolder(tmp_path / "share/session/out")
    with pytest.raises(OutputError, match=rf"{tmp_path}/share, a file, is in the way"):
        folder.write(folder.path / "a", b"1")
    (tmp_path / "share").unlink()
    folder.write(folder.path / "a", b"1")


def test_a_folder_that_is_removed_under_way_is_made_again(out, folder):
    """With all the files that were in it, as far as they are written."""
    folder.write(out / "a", b"1")
    folder.write(out / "b", b"1")
    shutil.rmtree(out)
    assert folder.missing(10.0, 10.0) == [out / "a"]
    folder.write(out / "a", b"1")
    assert own_files(again(out)) == {out / "a"}


@pytest.mark.parametrize("limits", [(0.0, 10.0), (10.0, 0.0)])
def test_files_that_were_deleted_are_found_in_bounded_time(out, folder, limits):
    """Neither the disk nor the processor is used for longer in one look."""
    for number in range(50):
        folder.write(out / f"{number}", b"1")
    while folder.missing(*limits):
        pass
    (out / "49").unlink()
    looks = 0
    while not (found := folder.missing(*limits)):
        looks += 1
        assert looks < 120
    assert found == [out / "49"]
    folder.forget(out / "49")
    assert folder.missing(10.0, 10.0) == folder.missing(10.0, 10.0) == []


def test_a_name_that_is_too_long_is_an_error_of_the_micrograph(out, folder):
    """It cannot have a file, and need not have one removed."""
    path = out / ("x" * 256)
    with pytest.raises(MicrographError) as caught:
        folder.write(path, b"")
    assert not caught.value.retryable
    folder.remove(path)


def test_full_disk_leaves_the_old_file_whole(out, folder, monkeypatch):
    """Nothing is half-written, and the error is retryable."""
    folder.write(out / "a.txt", b"before")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for write in (folder.write, folder.write_if_different):
        with pytest.raises(OutputError, match="No space left") as caught:
            write(out / "a.txt", b"after")
        assert caught.value.retryable
    assert [path.read_bytes() for path in out.glob("[!.]*")] == [b"before"]
    monkeypatch.undo()
    folder.write(out / "a.txt", b"after")


def test_a_sub_folder_that_may_not_be_written_is_an_obstacle(out, folder, monkeypatch):
    """It belongs to another user, say; the other micrographs are not affected."""
    folder.write(out / "b/a", b"1")
    (out / "locked").mkdir()
    locked = (out / "locked").stat().st_ino
    make = module.draft

    def draft(opened):
        if os.fstat(opened).st_ino == locked:
            raise PermissionError(errno.EACCES, "Permission denied")
        return make(opened)

    monkeypatch.setattr(module, "draft", draft)
    with pytest.raises(OccupiedError, match=r"locked cannot be written: Permission denied"):
        folder.write(out / "locked/a", b"1")
    folder.write(out / "b/b", b"1")
    monkeypatch.undo()
    folder.write(out / "locked/a", b"1")


def test_a_file_that_cannot_be_read_is_an_obstacle(out, folder, monkeypatch):
    folder.write(out / "a", b"1")
    os.utime(out / "a", (1, 1))

    def refuse(opened, name):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(module, "open_file", refuse)
    with pytest.raises(OccupiedError):
        folder.write(out / "a", b"2")
    assert (out / "a").read_bytes() == b"1"


def test_sweep_removes_only_our_unfinished_files(out, folder, tmp_path):
    """Sub-folders are swept; links, and files of other programs, stay."""
    sub = out / "sub"
    sub.mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in (".livepick-abc.tmp", "other.tmp", ".livepick-notes.tmp", "a_autopick.star"):
        (sub / name).touch()
        (elsewhere / name).touch()
    (out / "link").symlink_to(elsewhere)
    assert folder.sweep() == 1
    assert {path.name for path in sub.iterdir()} == {
        "other.tmp",
        ".livepick-notes.tmp",
        "a_autopick.star",
    }
    assert len(list(elsewhere.iterdir())) == 4
    assert OutputFolder(tmp_path / "missing").sweep() == 0


def test_files_of_a_version_without_a_record_are_adopted(out, folder):
    """After that, they are replaced; what was edited since then is not."""
    out.mkdir()
    for name in ("a", "b"):
        (out / name).write_bytes(b"old")
        folder.adopt(out / name)
    (out / "b").write_bytes(b"edited")
    following = again(out)
    assert following.write(out / "a", b"new")
    with pytest.raises(EditedError):
        following.write(out / "b", b"new")


def test_lists_of_a_version_without_a_record_are_adopted(out, folder):
    """Later ones are somebody else's."""
    out.mkdir()
    (out / "autopick.star").write_bytes(b"old")
    folder.adopt_lists()
    assert folder.write_if_different(out / "autopick.star", b"new")
    time.sleep(0.02)
    (out / "micrographs.star").write_bytes(b"by hand")
    assert not folder.write_if_different(out / "micrographs.star", b"new")


def test_two_commands_at_a_time_know_each_others_files(out):
    """Two ``livepick pick`` into one folder write the same list."""
    one, two = OutputFolder(out), OutputFolder(out)
    one.write(out / "x", b"1")
    two.write(out / "y", b"1")
    one.write(out / "list", b"1")
    two.write(out / "list", b"2")
    one.write(out / "list", b"3")
    assert (out / "list").read_bytes() == b"3"
    assert one.obstacles == two.obstacles == []


def test_a_list_that_was_edited_counts_as_somebody_elses(out, folder):
    """RELION would not hear of new micrographs: somebody must act."""
    folder.write_if_different(out / "autopick.star", b"1")
    (out / "autopick.star").write_bytes(b"edited")
    assert not folder.write_if_different(out / "autopick.star", b"2")
    assert (out / "autopick.star").read_bytes() == b"edited"
    assert [type(error) for error in folder.obstacles] == [OccupiedError]
