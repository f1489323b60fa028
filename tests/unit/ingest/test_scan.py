"""The listing of a watched folder: what is found, and what is left out and counted."""

import os
import socket
import typing
from pathlib import Path

import pytest
from waiting import until
from watch_scene import WHOLE, header, watched

from livepick.config.sections import Watch
from livepick.ingest import scan as scan_module
from livepick.ingest.housekeeping import is_housekeeping_name
from livepick.ingest.presets import rules_for
from livepick.ingest.scan import Scan, examine_file
from livepick.ingest.skipped import SKIP_KINDS, SkipKind
from livepick.ledger.inbox import FilesSkipped


def scanned(root: Path, **settings: object) -> tuple[list[str], dict[str, int], Scan]:
    """Return the files found, the counts of those left out by kind, and the scan."""
    watch = Watch.model_validate({"directories": [root], **settings})
    rules = rules_for(watch)
    scan = Scan(root, rules, watch.follow_symlinks)
    found = sorted(one.relative for finds in scan for one in finds)
    counts: dict[str, int] = {}
    for files in scan.skipped.files():
        counts[files.kind] = counts.get(files.kind, 0) + files.count
    for relative in found:  # what events report is decided like what scans find
        assert examine_file(root, relative, rules, follow_symlinks=watch.follow_symlinks)
    return found, counts, scan


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(WHOLE)


def test_every_kind_has_words() -> None:
    assert list(SKIP_KINDS) == list(typing.get_args(SkipKind))
    for meaning in SKIP_KINDS.values():
        assert meaning.words[0].islower()
        assert meaning.remedy.endswith(".")


def test_links_are_counted_unless_they_are_followed(tmp_path: Path) -> None:
    root, other = tmp_path / "in", tmp_path / "other"
    put(root, "a.mrc")
    put(other, "deep/b.mrc")
    (root / "link.mrc").symlink_to(other / "deep/b.mrc")
    (root / "folder").symlink_to(other)
    (root / "notes.txt").symlink_to(other / "deep/b.mrc")
    (root / "broken.mrc").symlink_to(root / "gone.mrc")
    (root / "self.mrc").symlink_to(root / "self.mrc")
    (root / "up").symlink_to(root)
    found, counts, _ = scanned(root)
    assert found == ["a.mrc"]
    assert counts == {"link": 5}
    found, counts, _ = scanned(root, follow_symlinks=True)
    assert found == ["a.mrc", "folder/deep/b.mrc", "link.mrc"]
    assert counts == {"broken_link": 2, "link_loop": 1}


def test_what_cannot_be_a_micrograph_is_counted_by_kind(tmp_path: Path) -> None:
    put(
        tmp_path,
        *("a.mrc", "b.MRC", "c.mrc.gz", "d.mrcs", "folder.mrc/e.mrc"),
        *("f.eer", "g.dm4", "h.st", "i.mrc.zst", "j.tif.gz", "k.mrc.bak", "l.mrc "),
        *("u.mrc.1", "v.tif.0002", "w.mrc_old", "x.mrc.gpg", "y.rec", "z.mrc-backup", "z.h5"),
        *("m.mrc.part", "n.mrc.tmp", ".o.mrc.a1B2c3", "p.tif.filepart", "q.tmp/q.mrc"),
        *(".r.mrc", ".s/s.mrc"),
        *("._t.mrc", "#recycle/a.mrc"),
        *("notes.txt", "a.mrc.mdoc", "a.jpg", ".bashrc", "a.xml", "._notes"),
    )
    (tmp_path / "empty.mrc").touch()
    os.mkfifo(tmp_path / "pipe.mrc")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.tif"))
        found, counts, _ = scanned(tmp_path)
    assert found == ["a.mrc", "b.MRC", "c.mrc.gz", "d.mrcs", "folder.mrc/e.mrc"]
    assert counts == {
        "empty": 1,
        "other_format": 14,
        "transferring": 5,
        "hidden": 2,
        "housekeeping": 2,
        "special_file": 2,
    }


def test_products_are_counted_by_rule_with_an_example(tmp_path: Path) -> None:
    put(tmp_path, "X.mrc", "X_ctf.mrc", "Y_CTFFIND4.MRC", "X_intg.mrc", "Y_intg.mrc", "gain.mrc")
    put(tmp_path, "warp/average/Z.mrc", "warp/deconv/Z.mrc", "warp/powerspectrum/Z.mrc")
    found, _, scan = scanned(tmp_path)
    assert found == ["X.mrc", "Y_intg.mrc", "warp/average/Z.mrc"]
    rules = {files.rule: files.count for files in scan.skipped.files()}
    assert rules["power spectra or CTF fits"] == 3
    assert rules["gain references and defect maps"] == 1
    assert rules["other versions of a micrograph"] == 2
    assert scan.excluded == 6


@pytest.mark.parametrize(
    "name",
    [
        *("#recycle", "#Recycle", "@Recycle", "@eaDir", "#snapshot", "@Recently-Snapshot"),
        *("@tmp", ".@__thumb", ".snapshot", ".snapshots", "~snapshot", ".zfs", "@GMT-2026.11.01"),
        *("$RECYCLE.BIN", "System Volume Information", "RECYCLER", ".Trash-1000", ".Trashes"),
        *(".Spotlight-V100", ".fseventsd", ".DocumentRevisions-V100", ".TemporaryItems"),
        *("__MACOSX", ".AppleDouble", ".AppleDB", "Network Trash Folder", "lost+found"),
        *("Recycle Bin", "Network Recycle Bin 1", "trashbox", "files_trashbin", "files_versions"),
        *("Thumbnails", ".thumbnails", ".stversions", ".sync", ".~tmp~", ".recycle", ".gvfs"),
    ],
)
def test_folders_of_storage_systems_are_not_descended_into(tmp_path: Path, name: str) -> None:
    put(tmp_path, f"grid/{name}/deleted.mrc", "grid/a.mrc")
    found, counts, scan = scanned(tmp_path)
    assert found == ["grid/a.mrc"]
    assert counts == {"housekeeping": 1}
    assert scan.skipped.files()[0].example == f"grid/{name}/"
    rules = rules_for(Watch.model_validate({"directories": [tmp_path]}))
    assert examine_file(tmp_path, f"grid/{name}/deleted.mrc", rules, follow_symlinks=False) is None


@pytest.mark.parametrize("name", ["recycled_grid", "snapshot", "tmp", "#1", "@home", "trash"])
def test_folders_with_similar_names_are_watched(name: str) -> None:
    assert not is_housekeeping_name(name)


def test_unreadable_and_too_deep_folders_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.mrc", "closed/b.mrc", "1/2/3/c.mrc")
    scandir = os.scandir

    def refusing(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(scan_module.os, "scandir", refusing)
    monkeypatch.setattr(scan_module, "MAX_DEPTH", 2)
    found, counts, scan = scanned(tmp_path)
    assert found == ["a.mrc"]
    assert counts == {"unreadable": 1, "too_deep": 1}
    assert "Permission denied" in scan.skipped.files()[0].rule


def test_counts_do_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    put(tmp_path, *(f"X_{i}_ctf.mrc" for i in range(300)))
    _, _, scan = scanned(tmp_path)
    (only,) = scan.skipped.files()
    assert only.count == 300


def test_names_of_arbitrary_bytes_are_shown_escaped(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9\n_ctf.mrc"
    Path(os.fsdecode(name)).write_bytes(WHOLE)
    _, _, scan = scanned(tmp_path)
    example = scan.skipped.files()[0].example
    assert "\\xe9" in example
    example.encode()


def test_the_watcher_reports_the_counts_when_they_change(tmp_path: Path) -> None:
    put(tmp_path, "X.mrc", "X_ctf.mrc")
    with watched(tmp_path, mode="poll", rescan_seconds=0.2) as scene:

        def told() -> list[tuple[str, int]]:
            messages = [one for one in scene.messages if isinstance(one, FilesSkipped)]
            return [(files.kind, files.count) for one in messages[-1:] for files in one.files]

        until(lambda: told() == [("product", 1)], "the first counts")
        (tmp_path / "empty.mrc").touch()
        until(lambda: told() == [("product", 1), ("empty", 1)], "the empty file")
        assert [files.kind for files in scene.watcher.health().skipped] == ["product", "empty"]
        (tmp_path / "empty.mrc").write_bytes(WHOLE)
        until(lambda: scene.landed().count("empty.mrc") == 1, "the file")
        until(lambda: told() == [("product", 1)], "the counts afterwards")


def test_a_stack_of_one_image_lands_and_others_are_counted(tmp_path: Path) -> None:
    (tmp_path / "one.mrcs").write_bytes(WHOLE)
    (tmp_path / "movie.mrcs").write_bytes(header(depth=7) + bytes(9000))
    with watched(tmp_path, mode="poll", rescan_seconds=0.2) as scene:
        until(lambda: scene.landed() == ["one.mrcs"], "the micrograph")
        until(
            lambda: [files.kind for files in scene.watcher.health().skipped] == ["stack"],
            "the count",
        )
        assert scene.set_aside() == {}
        (tmp_path / "movie.mrcs").write_bytes(WHOLE)
        until(lambda: "movie.mrcs" in scene.landed(), "the file written again")
        until(lambda: not scene.watcher.health().skipped, "no count")


def test_the_average_beside_a_movie_is_no_product(tmp_path: Path) -> None:
    """X.mrc is the movie and X_intg.mrc the micrograph."""
    (tmp_path / "X.mrc").write_bytes(header(depth=7) + bytes(9000))
    (tmp_path / "X_intg.mrc").write_bytes(WHOLE)
    with watched(tmp_path, mode="poll", rescan_seconds=0.2) as scene:
        until(lambda: scene.landed() == ["X_intg.mrc"], "the micrograph")
        assert scene.set_aside() == {"X.mrc": "movie"}


def test_files_that_are_not_complete_are_counted_until_they_are(tmp_path: Path) -> None:
    """A short file, and one that waits for its sidecar; each lands when it is complete."""
    (tmp_path / "short.mrc").write_bytes(WHOLE[:-1])
    (tmp_path / "short.star").touch()
    (tmp_path / "alone.mrc").write_bytes(WHOLE)
    with watched(tmp_path, mode="poll", rescan_seconds=0.2, preset="relion") as scene:

        def counts() -> list[tuple[str, int]]:
            return [(files.kind, files.count) for files in scene.watcher.health().skipped]

        until(lambda: counts() == [("incomplete", 1), ("waiting", 1)], "the counts")
        (tmp_path / "short.mrc").write_bytes(WHOLE)
        (tmp_path / "alone.star").touch()
        until(lambda: sorted(scene.landed()) == ["alone.mrc", "short.mrc"], "the files")
        until(lambda: counts() == [], "no counts")


def test_events_take_no_more_than_scans_do(tmp_path: Path) -> None:
    """Folders and files that appear while inotify watches; the next scan is an hour away."""
    root = tmp_path / "in"
    root.mkdir()
    with watched(root) as scene:
        scene.wait_until_watched()
        put(tmp_path, "new/#recycle/a.mrc", "new/.snapshot/b.mrc", "new/average/c.mrc")
        put(tmp_path, "new/odd/c.mrc", "new/c_ctf.mrc", "new/average/c_intg.mrc")
        (tmp_path / "new/#recycle").rename(root / "#recycle")
        (tmp_path / "new").rename(root / "new")
        put(root, "later/deconv/d.mrc", "later/average/d.mrc", "later/average/d_CTF.mrc")
        put(root, "@eaDir/d.mrc")
        scene.wait_for("new/average/c.mrc", "later/average/d.mrc")
        put(root, "last.mrc")
        scene.wait_for("new/average/c.mrc", "later/average/d.mrc", "last.mrc")
