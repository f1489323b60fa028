"""The output folder in several formats, kept as the ledger says."""

import csv
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from star_readers import gemmi_column, relion_table

from factories import make_config, make_result
from livepick.core.formats.coordinates import read_coordinates
from livepick.core.formats.file_version import FileVersion
from livepick.errors import ConfigError, EditedError, HeaderError, OutputError
from livepick.host import filesystem
from livepick.ledger.database import Database
from livepick.ledger.writer import LedgerWriter
from livepick.picking import (
    background_write,
    exports,
    file_check,
    finality,
    output_losses,
    output_sync,
)
from livepick.picking.exports import make_outputs
from livepick.picking.output_sync import Outputs
from livepick.picking.relion_project import PIPELINE

FORMATS = ["relion", "star", "cryosparc", "eman", "eman-json", "cbox", "topaz", "csv"]
PLACES = {
    "relion": "{}_autopick.star",
    "star": "star/{}.star",
    "eman": "eman/{}.box",
    "eman-json": "eman-json/info/{}_info.json",
    "cbox": "cbox/{}.cbox",
    "topaz": "topaz/{}.txt",
    "csv": "csv/{}.csv",
}
TABLES = {
    "autopick.star",
    "cryosparc/picks.cs",
    "cryosparc/picks.csg",
    "good_micrographs.star",
    "micrograph_quality.star",
    "micrographs.csv",
    "micrographs.star",
    "micrographs_ctf.star",
}


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch):
    monkeypatch.setattr(finality, "LOOK_SECONDS", 0.0)
    # A write is followed by a pause: of a minute for tables, and for all files on a busy machine.
    monkeypatch.setattr(output_sync, "LIST_SECONDS", 0.0)
    monkeypatch.setattr(output_sync, "TABLE_SECONDS", 0.0)
    monkeypatch.setattr(output_losses, "PAUSE_SHARE", 1e6)
    monkeypatch.setattr(background_write, "SHARE", 1e6)


class Folder:
    """The output folder of a session."""

    def __init__(self, folder, ledger, formats, watched="in", flip_tiff=True, **relion):
        self.ledger, self.out, self.watched = ledger, folder / "out", folder / watched
        config = make_config(
            folder,
            watch={"directories": [self.watched]},
            output={"formats": formats, "star": {"flip_tiff": flip_tiff}, "relion": relion},
        )
        self.outputs = make_outputs(
            lambda: config,
            ledger,
            roots=[self.watched, *ledger.reader.roots()],
            failed=lambda: None,
        )

    def start(self):
        """Bring all files up to date, as the service does from its start."""
        self.outputs.begin()
        self.outputs.sync(now=True)
        return self

    def pick(self, *names, version=0):
        """Pick micrographs as the dispatch loop does."""
        for name in names:
            self.ledger.arrivals.landed(self.watched, Path(name), FileVersion(1, 1, 1), 0.0)
        found = make_result(model_version=version, model_kind="trained" if version else "blob")
        for claim in self.ledger.claim(100):
            self.outputs.write(claim, found)
            self.ledger.picked(claim, found)
        self.outputs.sync(now=True)
        return self

    def files(self, folder=None):
        folder = folder or self.out
        return {
            str(p.relative_to(folder))
            for p in folder.rglob("*")
            if p.is_file() and ".livepick" not in p.parts
        }

    def rewrite(self, name, data):
        """Write a file as another version of livepick would."""
        self.outputs._folders[0].write(self.out / name, data)

    def inodes(self):
        return {name: (self.out / name).stat().st_ino for name in self.files()}


@pytest.fixture
def make(tmp_path, ledger, clock):
    clock.now = time.time()  # a session that ended long ago has only final picks

    def make(formats=FORMATS, **given):
        return Folder(tmp_path, ledger, formats, **given)

    return make


def places(*names):
    return {place.format(name) for place in PLACES.values() for name in names}


def test_each_format_has_a_file_for_each_micrograph(make):
    """``cryosparc`` has one for all."""
    folder = make().pick("a.mrc", "b.tif")
    assert folder.files() == places("a", "b") | TABLES
    table = np.load(folder.out / "cryosparc" / "picks.cs")
    assert {Path(path.decode()).name for path in table["location/micrograph_path"]} == {
        "a.mrc",
        "b.tif",
    }


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "cryosparc"])
def test_only_the_formats_of_the_config_are_written(make, name):
    folder = make([name]).pick("a.mrc")
    others = {"autopick.star"} if name == "relion" else set()
    tables = {file for file in TABLES if "micrograph" in file}
    assert folder.files() == {PLACES[name].format("a")} | others | tables


def test_picks_that_were_written_but_not_recorded_become_those_of_the_ledger(make):
    """The service was killed in between; the re-pick may fail or be cancelled at the next start."""
    formats = [name for name in FORMATS if name != "cryosparc"]
    folder = make(formats).pick("a.mrc", "b.mrc")
    before = {name: (folder.out / name).read_bytes() for name in places("a", "b")}
    folder.ledger.requeue.stale(1, repick="all", threshold=0.5)
    claim = folder.ledger.claim(1)[0]
    folder.outputs.write(claim, make_result([0.9, 0.8, 0.7], model_version=1))
    assert (folder.out / "a_autopick.star").read_bytes() != before["a_autopick.star"]

    folder.ledger.requeue.recover()
    again = make(formats).start()

    assert {name: (again.out / name).read_bytes() for name in places("a", "b")} == before


def test_files_of_a_failed_micrograph_are_removed_in_all_formats(make):
    """New content that cannot be read has no picks."""
    folder = make().pick("a.mrc", "b.mrc")
    folder.ledger.arrivals.landed(folder.watched, Path("a.mrc"), FileVersion(2, 2, 2), 1.0)
    (claim,) = folder.ledger.claim(1)
    folder.ledger.failed(claim, HeaderError("a.mrc has no header", "Look."))
    folder.outputs.reconcile(claim.root, claim.relative)
    folder.outputs.sync(now=True)

    assert folder.files() == places("b") | TABLES
    paths = np.load(folder.out / "cryosparc" / "picks.cs")["location/micrograph_path"]
    assert {Path(path.decode()).name for path in paths} == {"b.mrc"}
    assert "a.mrc" not in (folder.out / "autopick.star").read_text()


@pytest.mark.parametrize("name", PLACES)
def test_a_missing_file_of_one_format_is_written_again_without_touching_the_others(make, name):
    """From the ledger, at the next start."""
    folder = make().pick("a.mrc", "b.mrc")
    before = {file: (folder.out / file).read_bytes() for file in folder.files()}
    inodes = folder.inodes()
    missing = PLACES[name].format("a")
    (folder.out / missing).unlink()

    again = make().start()

    assert {file: (folder.out / file).read_bytes() for file in folder.files()} == before
    assert {**again.inodes(), missing: 0} == {**inodes, missing: 0}


def test_a_format_that_the_config_adds_is_written_for_all_micrographs(make):
    folder = make(["relion"]).pick("a.mrc", "b.mrc")
    make(["relion", "cbox"]).start()
    assert {"cbox/a.cbox", "cbox/b.cbox"} < folder.files()


def test_files_of_a_version_with_other_conventions_are_written_again(make, monkeypatch):
    """An output folder of the version before has a TIFF's picks upside down for RELION."""
    formats = [name for name in FORMATS if name != "cryosparc"]
    folder = make(formats).pick("a.tif", "b.mrc")
    before = {file: (folder.out / file).read_bytes() for file in folder.files()}
    for file in places("a", "b"):
        folder.rewrite(file, b"as the version before wrote it")

    monkeypatch.setattr(exports, "CONVENTIONS", 2)
    again = make(formats).start()
    assert {file: (folder.out / file).read_bytes() for file in folder.files()} == before

    inodes = again.inodes()
    after = make(formats).start()
    assert after.inodes() == inodes


def test_a_session_from_before_the_conventions_had_a_number_is_written_again(make, ledger):
    folder = make(["relion"]).pick("a.tif")
    file = folder.out / "a_autopick.star"
    wanted = file.read_bytes()
    folder.rewrite("a_autopick.star", b"upside down")
    ledger.session.written_as({})
    make(["relion"]).start()
    assert file.read_bytes() == wanted


def test_star_files_of_tiffs_follow_flip_tiff(make):
    folder = make(["star"]).pick("a.tif", "b.mrc")
    turned, mrc = ((folder.out / "star" / f"{name}.star").read_bytes() for name in "ab")
    make(["star"], flip_tiff=False).start()
    assert (folder.out / "star/a.star").read_bytes() != turned
    assert (folder.out / "star/b.star").read_bytes() == mrc


def test_a_format_that_comes_back_has_the_picks_of_today(make):
    """Its files stayed behind when the config left it out, and were not picked again."""
    folder = make(["relion", "csv"]).pick("a.mrc")
    wanted = (folder.out / "csv/a.csv").read_bytes()
    make(["relion"]).start()
    folder.rewrite("csv/a.csv", b"picks of long ago")
    make(["relion", "csv"]).start()
    assert (folder.out / "csv/a.csv").read_bytes() == wanted


def test_files_move_when_a_second_folder_is_watched(make):
    """Those that stayed behind would be imported twice."""
    formats = [name for name in FORMATS if name != "cryosparc"]
    folder = make(formats).pick("a.tif", "b.mrc")
    before = {file: (folder.out / file).read_bytes() for file in places("a", "b")}
    (folder.out / "csv/notes.csv").write_text("not of livepick")
    again = make(formats, watched="two/other").start()
    again.pick("a.mrc")
    after = {place.format(f"in/{name}") for place in PLACES.values() for name in "ab"}
    after = {
        *(file.replace("info/in/", "in/info/") for file in after),
        *(
            place.format("other/a").replace("info/other/", "other/info/")
            for place in PLACES.values()
        ),
    }
    assert again.files() - TABLES == after | {"csv/notes.csv"}
    assert (folder.out / "eman-json/in/info/a_info.json").read_bytes() == before[
        "eman-json/info/a_info.json"
    ]
    listed = {
        row[1]
        for row in relion_table((again.out / "autopick.star").read_text(), "coordinate_files")[1]
    }
    assert listed == {
        str(again.out / f"{name}_autopick.star") for name in ("in/a", "in/b", "other/a")
    }


def test_a_former_place_that_another_micrograph_has_now_is_kept(make):
    """``in/in/a.mrc`` was at ``in/a``, which is the place of ``in/a.mrc`` now."""
    make(["csv"]).pick("a.mrc", "in/a.mrc")
    again = make(["csv"], watched="two/other").start()
    assert again.files() - TABLES == {"csv/in/a.csv", "csv/in/in/a.csv"}
    assert "/in/a.mrc" in (again.out / "csv/in/a.csv").read_text()
    assert "/in/in/a.mrc" not in (again.out / "csv/in/a.csv").read_text()


def test_a_name_that_is_too_long_for_a_format_does_not_stop_the_others(make, caplog):
    """It was picked when the config had another format."""
    long = "x" * 245
    make(["eman"]).pick(f"{long}.mrc", "b.mrc")
    again = make(["eman", "relion", "csv"]).start()
    assert again.outputs.fault is None
    assert {"b_autopick.star", "csv/b.csv"} < again.files()
    assert f"{long}_autopick.star cannot be created" in caplog.text


def test_the_list_waits_until_the_files_in_it_are_written(make, monkeypatch):
    """RELION would not look for a missing one again."""
    monkeypatch.setattr(file_check, "BATCH", 1)
    monkeypatch.setattr(output_sync, "LIST_SECONDS", 0.0)
    folder = make().pick("a.mrc", "b.mrc", "c.mrc")
    for name in ("a_autopick.star", "b_autopick.star", "c_autopick.star", "autopick.star"):
        (folder.out / name).unlink()

    again = make()
    again.outputs.begin()
    seen = []
    while again.outputs.busy:
        seen.append({name for name in again.files() if name.endswith("autopick.star")})
        again.outputs.sync()
    assert [len(files) for files in seen] == [0, 1, 2]
    assert not any("autopick.star" in files for files in seen)
    again.outputs.sync(now=True)
    assert "autopick.star" in again.files()


class Held:
    """A table that takes until it is released, or fails."""

    def __init__(self):
        self.begun, self.release = threading.Event(), threading.Event()
        self.written, self.error = 0, None

    def write(self, ledger):
        self.begun.set()
        assert self.release.wait(30)
        if self.error is not None:
            raise self.error
        self.written += 1


@pytest.fixture
def held(ledger):
    table = Held()
    outputs = Outputs(
        [], ledger.reader, lambda: None, diameter_angstrom=lambda: 1.0, tables=[table]
    )
    yield outputs, table
    table.release.set()


def test_the_dispatch_thread_does_not_wait_for_a_table(held):
    """A session of 100,000 micrographs has tables that take seconds."""
    outputs, table = held
    outputs.sync()
    assert table.begun.wait(30)
    outputs.sync()
    assert table.written == 0
    table.release.set()
    outputs.figures_changed()
    outputs.sync(now=True)
    assert table.written == 2


def test_a_table_that_cannot_be_written_is_a_fault_of_the_output_folder(held):
    outputs, table = held
    table.release.set()
    table.error = OutputError("the disk is full", "Free space.")
    outputs.sync()
    give_up = time.monotonic() + 90
    while not outputs.down:
        assert time.monotonic() < give_up
        outputs.sync()
    table.error = None
    outputs.sync(now=True)
    assert table.written == 1
    assert not outputs.down


def turn(folder, monkeypatch, *, until=lambda: False, turns=20):
    """Let the dispatch loop turn for a while; each turn has its looks and writes."""
    monkeypatch.setattr(output_losses, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(output_losses, "SHARE", 1e6)
    for _ in range(turns):
        folder.outputs.sync()
        if until():
            break
        time.sleep(0.01)
    folder.outputs.sync(now=True)  # ends a write in progress


@pytest.mark.parametrize("name", PLACES)
def test_a_file_of_somebody_else_stays_and_the_picks_are_written_when_it_has_gone(
    make, monkeypatch, name
):
    """The micrograph is picked, the others are not affected, and RELION is not told of it."""
    folder = make()
    foreign = folder.out / PLACES[name].format("a")
    foreign.parent.mkdir(parents=True, exist_ok=True)
    foreign.write_text("by hand")
    folder.pick("a.mrc", "b.mrc")

    assert foreign.read_text() == "by hand"
    assert folder.files() == places("a", "b") | TABLES
    assert folder.ledger.reader.counts().picked == 2
    assert [error.path for error in folder.outputs.obstacles] == [str(foreign)]
    assert name not in folder.outputs.files(folder.watched, Path("a.mrc"))
    assert ("a.mrc" in (folder.out / "autopick.star").read_text()) == (name != "relion")
    again = make().start()
    assert foreign.read_text() == "by hand"
    assert [error.path for error in again.outputs.obstacles] == [str(foreign)]

    foreign.unlink()
    turn(again, monkeypatch)
    assert len(read_coordinates(foreign)) == 2
    assert again.outputs.obstacles == []
    assert "a.mrc" in (folder.out / "autopick.star").read_text()


@pytest.mark.parametrize("name", PLACES)
def test_a_file_of_somebody_else_stays_when_its_micrograph_fails(make, name):
    """Nobody knows whose it is."""
    folder = make()
    foreign = folder.out / PLACES[name].format("a")
    foreign.parent.mkdir(parents=True, exist_ok=True)
    foreign.write_text("by hand")
    folder.pick("b.mrc")
    folder.ledger.arrivals.landed(folder.watched, Path("a.mrc"), FileVersion(2, 2, 2), 1.0)
    (claim,) = folder.ledger.claim(1)
    folder.ledger.failed(claim, HeaderError("a.mrc has no header", "Look."))
    folder.outputs.reconcile(claim.root, claim.relative)
    folder.outputs.sync(now=True)
    make().start()
    assert foreign.read_text() == "by hand"


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_list_of_somebody_else_stays_and_the_others_are_written(make, monkeypatch, name):
    folder = make()
    foreign = folder.out / name
    foreign.parent.mkdir(parents=True, exist_ok=True)
    foreign.write_text("by hand")
    folder.pick("a.mrc")
    assert foreign.read_text() == "by hand"
    assert folder.outputs.fault is None
    assert [error.path for error in folder.outputs.obstacles] == [str(foreign)]
    without = {"cryosparc/picks.csg"} if name == "cryosparc/picks.cs" else set()
    assert folder.files() == places("a") | TABLES - without
    foreign.unlink()
    turn(folder, monkeypatch)
    assert folder.files() == places("a") | TABLES
    assert foreign.read_bytes() != b"by hand"


@pytest.mark.parametrize("name", PLACES)
def test_a_file_that_was_edited_is_kept_by_a_newer_model(make, name):
    """Curated picks are work. RELION keeps them in its list: they are of that micrograph."""
    folder = make().pick("a.mrc", "b.mrc")
    edited = folder.out / PLACES[name].format("a")
    edited.write_text("curated")
    folder.ledger.arrivals.landed(folder.watched, Path("a.mrc"), FileVersion(2, 2, 2), 1.0)
    folder.pick(version=1)
    assert edited.read_text() == "curated"
    assert [type(error) for error in folder.outputs.obstacles] == [EditedError]
    assert "a.mrc" in (folder.out / "autopick.star").read_text()
    assert folder.ledger.reader.counts().picked == 2


def contents(folder):
    """Return the content of each file; None for one that has the time when it was written.

    Files that are being written are left out.
    """
    return {
        file: None if file == "cryosparc/picks.csg" else (folder.out / file).read_bytes()
        for file in folder.files()
        if not Path(file).name.startswith(".")
    }


@pytest.mark.parametrize(
    "lost", [["a_autopick.star"], ["csv/b.csv", "autopick.star"], sorted(TABLES)]
)
def test_files_that_are_deleted_under_way_are_written_again(make, monkeypatch, lost):
    folder = make().pick("a.mrc", "b.mrc").start()
    before = contents(folder)
    for file in lost:
        (folder.out / file).unlink()
    turn(folder, monkeypatch, until=lambda: contents(folder) == before, turns=6000)
    assert contents(folder) == before


@pytest.mark.parametrize("how", ["emptied", "removed", "records too"])
def test_an_output_folder_that_is_emptied_under_way_is_written_again(make, monkeypatch, how):
    folder = make().pick("a.mrc", "b.mrc").start()
    before = folder.files()
    if how == "removed":
        shutil.rmtree(folder.out)
    else:
        for path in folder.out.glob("*" if how == "records too" else "[!.]*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    turn(folder, monkeypatch, until=lambda: folder.files() == before, turns=6000)
    assert folder.files() == before
    again = make().start()
    assert again.outputs.obstacles == []


def test_a_report_that_is_deleted_is_not_looked_for_for_ever(make, monkeypatch, caplog):
    """Nothing writes it again by itself."""
    folder = make().pick("a.mrc").start()
    folder.rewrite("session_report.html", b"report")
    (folder.out / "session_report.html").unlink()
    turn(folder, monkeypatch, until=lambda: "has been deleted" in caplog.text, turns=6000)
    turn(folder, monkeypatch, turns=50)
    assert caplog.text.count("has been deleted") == 1


@pytest.mark.parametrize("where", [".", "star", "eman-json/info"])
def test_a_file_where_a_folder_should_be_is_a_state_that_heals(make, monkeypatch, where):
    """No micrograph fails for it."""
    folder = make()
    if where == ".":
        shutil.rmtree(folder.out, ignore_errors=True)
    obstacle = folder.out / where
    obstacle.parent.mkdir(parents=True, exist_ok=True)
    obstacle.write_text("by hand")
    folder.ledger.arrivals.landed(folder.watched, Path("a.mrc"), FileVersion(1, 1, 1), 0.0)
    (claim,) = folder.ledger.claim(1)
    found = make_result(model_version=0, model_kind="blob")
    if where == ".":
        with pytest.raises(OutputError, match="in the way"):
            folder.outputs.write(claim, found)
        folder.ledger.released(claim)
    else:
        folder.outputs.write(claim, found)
        folder.ledger.picked(claim, found)
        assert [error.path for error in folder.outputs.obstacles] == [str(obstacle)]
    again = make().start()
    assert (again.outputs.fault is not None) == (where == ".")
    obstacle.unlink()
    turn(again, monkeypatch)
    again.pick()
    assert again.files() == places("a") | TABLES


def as_of_a_version_without_records(folder):
    """Make the folders those of a version that kept no record of its files."""
    shutil.rmtree(folder.out / ".livepick")
    (folder.out.parent / "state/output.json").unlink()
    form = folder.ledger.reader.written_as()
    del form["recorded"]
    folder.ledger.session.written_as(form)


@pytest.mark.parametrize("is_killed", [True, False])
def test_the_files_of_a_version_without_records_are_adopted(make, monkeypatch, clock, is_killed):
    """They are replaced by better picks, and removed with their micrograph."""
    monkeypatch.setattr(file_check, "BATCH", 1)
    folder = make().pick("a.mrc", "b.mrc")
    before = folder.inodes()
    as_of_a_version_without_records(folder)
    foreign = folder.out / "c_autopick.star"
    foreign.write_text("by hand")
    again = make()
    again.outputs.begin()
    clock.now = time.time() + 1
    again.pick("c.mrc")
    assert foreign.read_text() == "by hand"
    if is_killed:
        again.outputs.sync()
        again = make()
        again.outputs.begin()
    while again.outputs.busy:
        again.outputs.sync()
    again.outputs.sync(now=True)
    kept = {file: inode for file, inode in again.inodes().items() if file not in TABLES}
    kept = {file: inode for file, inode in kept.items() if file not in places("c")}
    assert kept == {file: inode for file, inode in before.items() if file not in TABLES}
    assert foreign.read_text() == "by hand"

    again = make()
    again.outputs.begin()
    again.ledger.arrivals.landed(again.watched, Path("a.mrc"), FileVersion(2, 2, 2), 1.0)
    again.pick(version=1)
    while again.outputs.busy:
        again.outputs.sync()
    assert "model 1 (trained)" in (again.out / "a_autopick.star").read_text()
    assert foreign.read_text() == "by hand"
    assert [error.path for error in again.outputs.obstacles] == [str(foreign)]


def test_a_new_pick_before_a_file_is_adopted_replaces_it(make):
    folder = make().pick("a.mrc")
    as_of_a_version_without_records(folder)
    again = make()
    again.outputs.begin()
    with again.ledger.database.transaction():
        again.ledger.database.change("update micrograph set state = 'queued'")
    again.pick(version=1)
    assert "model 1 (trained)" in (again.out / "a_autopick.star").read_text()
    assert again.outputs.obstacles == []


def test_a_lost_ledger_does_not_make_strangers_of_the_files(make, tmp_path):
    """The record in the folder says whose they are."""
    folder = make().pick("a.mrc")
    with Database.writable(tmp_path / "new.sqlite") as database:
        again = Folder(tmp_path, LedgerWriter(database), FORMATS)
        again.pick("a.mrc", version=1)
        assert again.outputs.obstacles == []
    assert "model 1 (trained)" in (folder.out / "a_autopick.star").read_text()


def test_a_second_session_on_the_folder_is_refused(make, tmp_path, ledger):
    """In the words of a config error, which systemd does not try again."""
    make().pick("a.mrc")
    config = make_config(
        tmp_path,
        watch={"directories": [tmp_path / "in"]},
        output={"formats": FORMATS},
        state={"directory": str(tmp_path / "other")},
        session={"name": "two"},
    )
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match="is the output folder of session"):
        make_outputs(lambda: config, ledger, roots=[], failed=lambda: None)


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / PIPELINE).touch()
    return folder


def test_a_project_whose_disk_is_not_mounted_at_the_start_is_waited_for(make, project, monkeypatch):
    """Nothing is written to the mount point."""
    (project / PIPELINE).unlink()
    folder = make(project=project, publish="all")
    folder.ledger.arrivals.landed(folder.watched, Path("a.mrc"), FileVersion(1, 1, 1), 0.0)
    (claim,) = folder.ledger.claim(1)
    with pytest.raises(OutputError, match=r"default_pipeline\.star is not there"):
        folder.outputs.write(claim, make_result(model_version=0, model_kind="blob"))
    assert list(project.iterdir()) == []
    folder.ledger.released(claim)
    (project / PIPELINE).touch()
    folder.pick()
    assert "a_autopick.star" in folder.files(project / "External/livepick")


def test_the_log_says_once_that_relion_waits_for_final_picks(make, project, caplog):
    """An empty list in the project would look like a fault."""
    caplog.set_level("INFO")
    folder = make(project=project).pick("a.mrc", "b.mrc").pick("c.mrc")
    assert caplog.text.count("those of 2 micrographs wait") == 1
    assert caplog.text.count("output.relion.publish: all") == 1
    assert "c.mrc" not in (project / "External/livepick/autopick.star").read_text()
    assert folder.outputs.fault is None


def test_only_relion_waits_for_final_picks(make, project):
    """Other formats get all picks at once; RELION gets them when the last training has failed."""
    folder = make(project=project).pick("a.mrc")
    job = project / "External/livepick"
    listed = {"autopick.star", "coords_suffix_autopick.star"}
    relion = {"good_micrographs.star", "micrographs.star", "micrographs_ctf.star"} | listed
    assert folder.files(job) == relion
    assert "a.mrc" not in (job / "autopick.star").read_text()
    others = places("a") - {"a_autopick.star"}
    assert folder.files() == others | TABLES - relion

    folder.ledger.session.run_changed(1, "f", "running")
    folder.outputs.sync(now=True)
    assert folder.files(job) == relion
    folder.ledger.session.run_changed(1, "f", "failed", reason="test")
    folder.outputs.sync(now=True)
    assert folder.files(job) == relion | {"a_autopick.star"}
    assert "a.mrc" in (job / "autopick.star").read_text()
    folder.pick("b.mrc")
    assert "b_autopick.star" in folder.files(job)
    assert "b.mrc" in (job / "autopick.star").read_text()


def test_with_all_relion_gets_provisional_picks_at_once(make, project):
    folder = make(project=project, publish="all").pick("a.mrc")
    job = project / "External/livepick"
    assert "a_autopick.star" in folder.files(job)
    assert "a.mrc" in (job / "autopick.star").read_text()


def test_picks_of_a_trained_model_are_final(make, project):
    folder = make(project=project).pick("a.mrc").pick("b.mrc", version=1)
    job = project / "External/livepick"
    assert {name for name in folder.files(job) if name.endswith("_autopick.star")} == {
        "b_autopick.star",
        "coords_suffix_autopick.star",
    }
    assert "a.mrc" not in (job / "autopick.star").read_text()
    assert "b.mrc" in (job / "autopick.star").read_text()


@pytest.mark.parametrize(
    "name",
    [
        "grid 1/mic 1",
        "b's c",
        "Bob's grid 3/x",
        "'quoted'",
        "krypton-µg_é_粒子",
        "粒" * 78,
        "x" * 236,
        "a.b.c",
        "#1",
        "data_1",
        "_1",
    ],
)
def test_names_arrive_in_every_format(make, project, tmp_path, name):
    """A name may have 240 bytes; RELION gets it to the letter, and finds the file by the list."""
    (tmp_path / "project" / "MotionCorr").mkdir()
    folder = make(watched="project/MotionCorr/job002", project=project, publish="all")
    folder.pick(f"{name}.mrc", "z.mrc")

    text = (project / "External/livepick/autopick.star").read_text()
    _, rows = relion_table(text, "coordinate_files")
    places = dict(rows)
    assert set(places) == {f"MotionCorr/job002/{name}.mrc", "MotionCorr/job002/z.mrc"}
    assert gemmi_column(text, "coordinate_files", "rlnMicrographName") == list(places)
    for listed, place in places.items():
        assert place == f"External/livepick/{listed[18:-4]}_autopick.star"
        assert len(read_coordinates(project / place)) == 2
    for table in ("micrographs.star", "good_micrographs.star"):
        text = (project / "External/livepick" / table).read_text()
        assert {row[0] for row in relion_table(text, "micrographs")[1]} == set(places)
        assert relion_table(text, "optics")[1] == [
            ["opticsGroup1", "1", "1.5", "1.5", "300", "2.7", "0.07"]
        ]
    parent, _, stem = name.rpartition("/")
    for form, suffix in (("star", ".star"), ("eman", ".box"), ("cbox", ".cbox"), ("csv", ".csv")):
        assert (folder.out / form / parent / f"{stem}{suffix}").is_file()
    assert (folder.out / "eman-json" / parent / "info" / f"{stem}_info.json").is_file()
    with (folder.out / "micrographs.csv").open() as file:
        listed = {row["micrograph"] for row in csv.DictReader(file)}
    assert listed == {str(project / place) for place in places}
    paths = np.load(folder.out / "cryosparc" / "picks.cs")["location/micrograph_path"]
    assert {path.decode() for path in paths} == listed


def test_a_project_above_an_output_folder_that_is_not_mounted_is_that_of_the_last_start(
    tmp_path, ledger, monkeypatch
):
    """Without it, the files would get other places and names."""
    share = tmp_path / "share"
    (share / "project").mkdir(parents=True)
    (share / "project" / PIPELINE).touch()
    mounts = tmp_path / "mountinfo"
    disk = "1 1 8:1 / / rw - ext4 /dev/disk rw\n"
    mounts.write_text(f"{disk}2 1 0:9 / {share} rw - nfs4 server:/x rw\n")
    monkeypatch.setattr(filesystem, "_MOUNTS", mounts)
    config = make_config(
        tmp_path,
        watch={"directories": [tmp_path / "in"]},
        output={"directory": str(share / "project/External/picks")},
    )

    def outputs():
        return make_outputs(lambda: config, ledger, roots=[tmp_path / "in"], failed=lambda: None)

    outputs().sync(now=True)
    lists = share / "project/External/picks"
    assert (lists / "coords_suffix_autopick.star").exists()

    share.rename(tmp_path / "hidden")
    share.mkdir()
    mounts.write_text(disk)
    away = outputs()
    away.sync(now=True)
    assert "is not mounted" in str(away.fault)
    assert list(share.iterdir()) == []

    share.rmdir()
    (tmp_path / "hidden").rename(share)
    mounts.write_text(f"{disk}2 1 0:9 / {share} rw - nfs4 server:/x rw\n")
    (lists / "coords_suffix_autopick.star").unlink()
    away.sync(now=True)
    assert away.fault is None
    assert (lists / "coords_suffix_autopick.star").exists()
