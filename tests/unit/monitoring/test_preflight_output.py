"""The preflight checks of the output folder: whose it is, and what is in the way there."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from factories import make_config, make_result
from livepick.core.formats.file_version import FileVersion
from livepick.host import filesystem
from livepick.ledger.database import LEDGER, SCHEMA_VERSION, Database
from livepick.ledger.writer import LedgerWriter
from livepick.monitoring.preflight.output import output_folder
from livepick.picking.exports import make_outputs
from livepick.picking.relion_project import PIPELINE

FORMATS = ["relion", "star", "cryosparc", "eman", "eman-json", "cbox", "topaz", "csv"]


class Scene:
    """A session with a micrograph."""

    def __init__(self, folder, **sections):
        self.folder = folder
        self.out = folder / "out"
        (folder / "in").mkdir(exist_ok=True)
        (folder / "in/a.mrc").write_bytes(b"x" * 2000)
        (folder / "in/b.mrc").write_bytes(b"x" * 2000)
        self.config = make_config(
            folder,
            watch={"directories": [folder / "in"]},
            output={"formats": FORMATS, **sections.pop("output", {})},
            **sections,
        )

    def checks(self):
        """Return the checks by name, and make sure that they have changed nothing."""
        before = self.tree()
        found = {check.name: check for check in output_folder(self.config)}
        assert self.tree() == before
        return found

    def tree(self):
        files = (path for path in self.folder.rglob("*") if not path.match("state/*"))
        return {path: path.lstat().st_mtime_ns for path in files if path.name != "state"}

    def run(self, *names):
        """Pick micrographs, as the service does."""
        state = self.config.state.directory
        state.mkdir(exist_ok=True)
        with Database.writable(state / LEDGER) as database:
            ledger = LedgerWriter(database)
            roots = self.config.watch.directories
            outputs = make_outputs(lambda: self.config, ledger, roots=roots, failed=lambda: None)
            for name in names:
                ledger.arrivals.landed(roots[0], Path(name), FileVersion(1, 1, 1), 0.0)
            for claim in ledger.claim(100):
                outputs.write(claim, make_result(model_version=0, model_kind="blob"))
                ledger.picked(claim, make_result(model_version=0, model_kind="blob"))
            outputs.sync(now=True)
        return self


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def test_a_new_folder_and_that_of_the_session_are_fine(scene):
    assert {check.verdict for check in scene.checks().values()} == {"ok"}
    scene.run("a.mrc", "b.mrc")
    assert {check.verdict for check in scene.checks().values()} == {"ok"}


@pytest.mark.parametrize(
    "name",
    [
        "a_autopick.star",
        "star/a.star",
        "eman/a.box",
        "eman-json/info/a_info.json",
        "cbox/a.cbox",
        "topaz/a.txt",
        "csv/a.csv",
        "autopick.star",
        "micrographs.star",
        "good_micrographs.star",
        "micrograph_quality.star",
        "micrographs.csv",
        "cryosparc/picks.cs",
        "cryosparc/picks.csg",
    ],
)
@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_what_is_in_the_way_of_a_file_is_a_fault(scene, name, kind):
    """It is named. The service starts all the same, and says the same."""
    path = scene.out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "file":
        path.write_text("by hand")
    elif kind == "link":
        path.symlink_to(scene.folder / "nothing")
    else:
        path.mkdir()
    check = scene.checks()["files in the way"]
    assert check.verdict == "fault"
    assert f"{path} is a {kind} that livepick did not write" in check.found
    assert "move or delete it" in check.remedy


@pytest.mark.parametrize("name", ["star", "eman-json/info", "cryosparc"])
def test_a_file_where_a_folder_should_be_is_a_fault(scene, name):
    path = scene.out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("by hand")
    check = scene.checks()["files in the way"]
    assert (check.verdict, check.found.split(" is ")[0]) == ("fault", str(path))
    assert "more" not in check.found.rpartition("as it is")[2]


def test_a_file_that_was_edited_is_a_warning(scene):
    scene.run("a.mrc")
    (scene.out / "a_autopick.star").write_text("curated")
    check = scene.checks()["files in the way"]
    assert check.verdict == "warning"
    assert "was changed after livepick wrote it" in check.found


def test_the_files_of_a_version_without_records_are_not_in_the_way(scene):
    """Those of micrographs that it has not picked are."""
    scene.run("a.mrc")
    state = scene.config.state.directory
    shutil.rmtree(scene.out / ".livepick")
    (state / "output.json").unlink()
    with Database.writable(state / LEDGER) as database:
        ledger = LedgerWriter(database)
        form = ledger.reader.written_as()
        del form["recorded"]
        ledger.session.written_as(form)
    assert {check.verdict for check in scene.checks().values()} == {"ok"}
    (scene.out / "b_autopick.star").write_text("by hand")
    assert "b_autopick.star" in scene.checks()["files in the way"].found


def test_the_files_of_an_earlier_version_are_not_in_the_way(scene):
    """Its ledger can be read by ``livepick run`` only."""
    scene.run("a.mrc")
    state = scene.config.state.directory
    shutil.rmtree(scene.out / ".livepick")
    (state / "output.json").unlink()
    with sqlite3.connect(state / LEDGER) as connection:
        connection.execute(f"pragma user_version = {SCHEMA_VERSION}")
    connection.close()
    checks = scene.checks()
    assert {check.verdict for check in checks.values()} == {"ok"}
    assert "earlier version" in checks["files in the way"].found


@pytest.mark.parametrize(("first", "second"), [("out", "out"), ("out", "out/b"), ("out/b", "out")])
def test_the_folder_of_another_session_is_a_fault(tmp_path, first, second):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one = Scene(
        tmp_path / "one",
        session={"name": "first"},
        output={"directory": str(tmp_path / first)},
    ).run("a.mrc")
    two = Scene(tmp_path / "two", output={"directory": str(tmp_path / second)})
    check = two.checks()["output folder"]
    assert check.verdict == "fault"
    assert "the output folder of session first" in check.found
    assert "owner.json" in check.remedy
    assert one.checks()["output folder"].verdict == "ok"


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_in_the_place_of_the_folder_is_a_fault(scene, kind):
    if kind == "file":
        scene.out.write_text("")
    else:
        scene.out.symlink_to(scene.folder / "nothing")
    check = scene.checks()["output folder"]
    assert check.verdict == "fault"
    assert str(scene.out) in check.found


def test_a_share_that_is_not_mounted_is_a_fault(scene, monkeypatch):
    mounts = scene.folder / "mountinfo"
    mounts.write_text(
        f"1 1 8:1 / / rw - ext4 /dev/disk rw\n2 1 0:9 / {scene.out} rw - nfs4 server:/x rw\n"
    )
    monkeypatch.setattr(filesystem, "_MOUNTS", mounts)
    scene.run("a.mrc")
    assert scene.checks()["output folder"].verdict == "ok"
    shutil.rmtree(scene.out)
    scene.out.mkdir()
    mounts.write_text("1 1 8:1 / / rw - ext4 /dev/disk rw\n")
    check = scene.checks()["output folder"]
    assert (check.verdict, "is not mounted" in check.found) == ("fault", True)


def test_the_folder_of_a_relion_job_must_be_writable(tmp_path):
    """It is not the output folder, which is checked besides."""
    project = tmp_path / "project"
    project.mkdir()
    (project / PIPELINE).touch()
    (project / "External").write_text("")
    scene = Scene(tmp_path, output={"relion": {"project": str(project)}})
    checks = scene.checks()
    assert checks["output folder"].verdict == "ok"
    assert checks["RELION job folder"].verdict == "fault"
    (project / "External").unlink()
    (project / "External/livepick").mkdir(parents=True)
    (project / "External/livepick/autopick.star").write_text("by hand")
    assert "autopick.star" in scene.checks()["files in the way"].found


def test_a_damaged_owner_file_is_a_fault(scene):
    scene.run("a.mrc")
    (scene.out / ".livepick/owner.json").write_text(json.dumps(["not an owner"]))
    assert "owner.json is damaged" in scene.checks()["output folder"].found
