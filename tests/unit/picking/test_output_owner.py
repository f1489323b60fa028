"""The owner of an output folder: one session."""

import json
import shutil

import pytest

from livepick.errors import NotOwnerError, OutputError
from livepick.host import filesystem
from livepick.picking import output_owner, output_root
from livepick.picking.output_folder import OutputFolder
from livepick.picking.output_owner import Owner, Ownership
from livepick.picking.session_memory import SessionMemory


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch):
    monkeypatch.setattr(output_root, "OWNER_SECONDS", 0.0)


@pytest.fixture
def session(tmp_path):
    """Return a function that returns the output folder of a session as its next start sees it."""

    def session(name, out=None, *, state=None):
        state = state or tmp_path / f"state of {name}"
        state.mkdir(exist_ok=True)
        ownership = Ownership.of_session(name, SessionMemory(state))
        return OutputFolder(out or tmp_path / "out", ownership)

    return session


def test_a_session_owns_the_folder_that_it_writes_to_also_after_a_restart(session):
    for _ in range(2):
        folder = session("one")
        folder.begin()
        folder.write(folder.path / "a", b"1")
    owner = json.loads((folder.path / ".livepick/owner.json").read_text())
    assert owner["session"] == "one"
    assert not folder.was_lost()


def test_a_second_session_is_refused_with_the_name_of_the_first(session, tmp_path):
    folder = session("one")
    folder.write(folder.path / "a", b"1")
    two = session("two")
    with pytest.raises(NotOwnerError) as caught:
        two.begin()
    assert f"is the output folder of session one (state folder {tmp_path}/state of one on" in str(
        caught.value
    )
    assert "output.directory" in caught.value.remedy
    assert f"delete {folder.path}/.livepick/owner.json" in caught.value.remedy
    with pytest.raises(NotOwnerError):
        two.write(two.path / "b", b"2")
    assert not (two.path / "b").exists()
    folder.write(folder.path / "a", b"1 again")


@pytest.mark.parametrize("way", ["link", "dots", "parent link"])
def test_the_same_folder_by_another_path_is_refused(session, tmp_path, way):
    folder = session("one")
    folder.write(folder.path / "a", b"1")
    (tmp_path / "link").symlink_to(folder.path)
    (tmp_path / "up").symlink_to(tmp_path)
    path = {
        "link": tmp_path / "link",
        "dots": tmp_path / "out/../out",
        "parent link": tmp_path / "up/out",
    }[way]
    with pytest.raises(NotOwnerError, match="session one"):
        session("two", path).begin()


@pytest.mark.parametrize(("first", "second"), [("out", "out/b"), ("out/a/b", "out")])
def test_a_folder_inside_or_around_that_of_another_session_is_refused(
    session, tmp_path, first, second
):
    """Files of the two could get one place."""
    folder = session("one", tmp_path / first)
    folder.write(folder.path / "a", b"1")
    two = session("two", tmp_path / second)
    with pytest.raises(NotOwnerError, match="session one"):
        two.begin()


def test_a_folder_inside_is_refused_while_running_too(session, tmp_path):
    folder = session("one")
    folder.write(folder.path / "a", b"1")
    two = session("two", tmp_path / "out/b")
    with pytest.raises(NotOwnerError, match="session one"):
        two.write(two.path / "a", b"2")


def test_folders_of_one_session_may_be_inside_one_another(session, tmp_path):
    """As a RELION project that is the output folder, with the job below."""
    for _ in range(2):
        for path in (tmp_path / "out", tmp_path / "out/External/livepick"):
            folder = session("one", path)
            folder.begin()
            folder.write(path / "a", b"1")


def test_folders_beside_one_another_are_not_refused(session, tmp_path):
    for name in ("one", "two"):
        folder = session(name, tmp_path / "picks" / name)
        folder.begin()
        folder.write(folder.path / "a", b"1")


def test_a_session_whose_owner_file_was_deleted_gives_way(session):
    """The documented way out: the other one takes the folder over, and the first one stops."""
    one = session("one")
    one.write(one.path / "a", b"1")
    (one.path / ".livepick/owner.json").unlink()
    two = session("two")
    two.begin()
    two.write(two.path / "a", b"2")
    with pytest.raises(NotOwnerError, match="session two"):
        one.write(one.path / "a", b"1")


def test_a_state_folder_that_was_made_again_takes_its_output_over(session, tmp_path):
    """To start over, the operator has deleted the state folder; its files are replaced."""
    one = session("one")
    one.write(one.path / "a", b"1")
    shutil.rmtree(tmp_path / "state of one")
    again = session("one")
    again.begin()
    assert again.write(again.path / "a", b"2")


def test_a_state_folder_that_was_moved_keeps_its_output(session, tmp_path):
    one = session("one")
    one.write(one.path / "a", b"1")
    (tmp_path / "state of one").rename(tmp_path / "moved")
    again = session("one", state=tmp_path / "moved")
    again.begin()
    assert again.write(again.path / "a", b"2")
    assert str(tmp_path / "moved") in (again.path / ".livepick/owner.json").read_text()


def test_a_copy_of_a_state_folder_is_refused(session, tmp_path):
    """Two services would write as the same session."""
    one = session("one")
    one.write(one.path / "a", b"1")
    shutil.copytree(tmp_path / "state of one", tmp_path / "copy")
    with pytest.raises(NotOwnerError, match="is a copy of"):
        session("one", state=tmp_path / "copy").begin()


def test_a_session_of_the_same_id_on_another_machine_takes_over_and_the_first_stops(
    session, tmp_path, monkeypatch
):
    """The state folder was moved there; a service that was forgotten here would overwrite files."""
    one = session("one")
    one.write(one.path / "a", b"1")
    shutil.copytree(tmp_path / "state of one", tmp_path / "there")
    monkeypatch.setattr(output_owner.socket, "gethostname", lambda: "elsewhere")
    other = session("one", state=tmp_path / "there")
    other.begin()
    other.write(other.path / "a", b"2")
    assert "elsewhere" in (other.path / ".livepick/owner.json").read_text()
    with pytest.raises(NotOwnerError, match="elsewhere"):
        one.write(one.path / "a", b"3")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"id": 1}', b"\xff", b"[" * 100_000])
def test_a_damaged_owner_file_is_said(session, content):
    one = session("one")
    one.write(one.path / "a", b"1")
    (one.path / ".livepick/owner.json").write_bytes(content)
    with pytest.raises(OutputError, match=r"owner\.json is damaged"):
        session("one").write(one.path / "a", b"2")
    (one.path / ".livepick/owner.json").unlink()
    session("one").write(one.path / "a", b"2")


def test_a_damaged_memory_of_the_session_starts_over(session, tmp_path):
    one = session("one")
    one.write(one.path / "a", b"1")
    for content in (b"", b"[]", b"{", b'{"id": 5, "folders": []}'):
        (tmp_path / "state of one/output.json").write_bytes(content)
        again = session("one")
        again.begin()
        again.write(again.path / "b", content)


def test_what_a_command_wrote_is_not_the_folder_of_a_session(session, tmp_path):
    """``livepick pick`` may write there again, but not into the folder of a session."""
    command = Ownership(Owner.of_command("livepick pick"))
    for content in (b"1", b"2"):
        OutputFolder(tmp_path / "out", command).write(tmp_path / "out/a", content)
    with pytest.raises(NotOwnerError, match="is the output folder of livepick pick"):
        session("one").begin()
    folder = session("two", tmp_path / "other")
    folder.write(folder.path / "a", b"1")
    with pytest.raises(NotOwnerError, match="session two"):
        OutputFolder(folder.path, command).begin()


@pytest.fixture
def mounts(tmp_path, monkeypatch):
    """Return a function that sets the mounts of this machine."""

    def mounts(**shares):
        number = 900
        lines = [f"1 1 8:1 / {place} rw - ext4 /dev/disk rw" for place in ("/",)]
        for share, source in shares.items():
            number += 1
            lines.append(f"{number} 1 0:{number} / {tmp_path / share} rw - nfs4 {source} rw")
        (tmp_path / "mountinfo").write_text("\n".join(lines) + "\n")

    monkeypatch.setattr(filesystem, "_MOUNTS", tmp_path / "mountinfo")
    return mounts


def unmount(share):
    """Take the content of a share away, as an unmount does; return what brings it back."""
    hidden = share.with_name("hidden")
    share.rename(hidden)
    share.mkdir()

    def mount():
        shutil.rmtree(share)
        hidden.rename(share)

    return mount


@pytest.mark.parametrize("below", ["", "session/out"])
def test_nothing_is_written_below_the_mount_point_of_a_share_that_is_gone(
    session, tmp_path, mounts, below
):
    """It would fill the system disk, and be hidden when the share is back."""
    mounts(share="server:/export")
    share = tmp_path / "share"
    share.mkdir()
    one = session("one", share / below)
    one.write(one.path / "a", b"1")
    mount = unmount(share)
    mounts()
    for folder in (one, session("one", share / below)):
        with pytest.raises(OutputError, match=r"is not mounted: it was on server:/export") as e:
            folder.write(folder.path / "b", b"2")
        assert e.value.retryable
    assert list(share.iterdir()) == []
    mount()
    mounts(share="server:/export")
    one.write(one.path / "b", b"2")
    assert {path.name for path in one.path.glob("[!.]*")} == {"a", "b"}


def test_a_share_that_is_not_mounted_at_the_first_start_is_known_from_fstab(
    session, tmp_path, mounts, monkeypatch
):
    """Before that, nothing is known about the folder."""
    share = tmp_path / "share"
    share.mkdir()
    fstab = tmp_path / "fstab"
    fstab.write_text(f"# comment\n\n/dev/disk / ext4 x 0 1\nserver:/export {share} nfs4 rw 0 0\n")
    monkeypatch.setattr(filesystem, "_FSTAB", fstab)
    mounts()
    one = session("one", share / "session/out")
    with pytest.raises(OutputError, match="/etc/fstab has a mount for"):
        one.write(one.path / "a", b"1")
    assert list(share.iterdir()) == []
    mounts(share="server:/export")
    one.write(one.path / "a", b"1")


def test_another_mount_of_the_same_file_system_is_not_an_unmount(session, tmp_path, mounts):
    """Systemd makes one for the folders that a unit may write to; a command sees none."""
    mounts(out="/dev/disk")
    lines = (tmp_path / "mountinfo").read_text().replace("nfs4", "ext4")
    (tmp_path / "mountinfo").write_text(lines)
    one = session("one")
    one.write(one.path / "a", b"1")
    mounts()
    shutil.rmtree(one.path)
    one.write(one.path / "a", b"1")
    assert one.was_lost()


def test_a_folder_that_moved_to_another_disk_for_good_is_said(session, tmp_path, mounts):
    """Or the operator says so, by deleting what the session remembers."""
    mounts(out="server:/export")
    one = session("one")
    one.write(one.path / "a", b"1")
    mounts()
    shutil.rmtree(one.path)
    with pytest.raises(OutputError) as caught:
        one.write(one.path / "a", b"1")
    memory = tmp_path / "state of one/output.json"
    assert f"delete {memory}" in caught.value.remedy
    memory.unlink()
    again = session("one")
    again.begin()
    again.write(again.path / "a", b"1")


def test_a_new_mount_over_the_folder_is_used(session, tmp_path, mounts):
    mounts()
    one = session("one")
    one.write(one.path / "a", b"1")
    shutil.rmtree(one.path)
    mounts(out="server:/export")
    one.path.mkdir()
    one.write(one.path / "a", b"1")
    assert one.was_lost()


@pytest.mark.parametrize("command_first", [True, False])
@pytest.mark.parametrize("below", ["out/External/job012", "."])
def test_the_folder_of_a_command_may_be_inside_or_around_that_of_a_session(
    session, tmp_path, command_first, below
):
    """As that of a job in a RELION project."""
    command = Ownership(Owner.of_command("livepick relion-job"))
    folders = [OutputFolder(tmp_path / below, command), session("one")]
    for folder in folders if command_first else reversed(folders):
        folder.begin()
        folder.write(folder.path / "autopick.star", b"1")
