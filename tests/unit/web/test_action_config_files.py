"""Changes through the page of config files as people write them, and of files that resist."""

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
from acting_browser import BASE, Browser

from livepick.config.edit_history import read_edits
from livepick.config.yaml_loader import load_config

COMMENTS = "".join(f"# note {number}\n" for number in range(5000))

MOUNT = Path(shutil.which("mount") or "/bin/mount")

ANCHORED = BASE.replace(
    "bootstrap: {picks: blob}\n",
    "bootstrap: &first {picks: blob}  # as last week\npicking: &picking\n  # of the lab\n"
    "  repick: none\n",
)


def read(path):
    """Return the text of a file with its line ends."""
    return path.read_bytes().decode()


@pytest.mark.parametrize(
    "text",
    [
        BASE.replace("\n", "\r\n"),
        BASE + "picking:\n\trepick: none\n".replace("\t", "  ") + "#\ta tab in a comment\n",
        BASE.rstrip("\n"),
        ANCHORED,
        COMMENTS + BASE,
        BASE + COMMENTS,
        "---\n" + BASE,
        "\ufeff" + BASE,
        BASE + "picking: {repick: none, threshold: 0.7}   # both\n",
    ],
    ids=["windows", "tab", "no-end", "anchors", "head", "tail", "document", "bom", "braces"],
)
def test_a_config_is_edited_and_the_edit_undone(tmp_path, text):
    """All that is not the setting stays: line ends, comments, anchors, and the order."""
    made = Browser(tmp_path)
    try:
        made.file.write_bytes(text.encode())
        before = load_config(made.file)
        made.sign_in()
        _, shown = made.propose("threshold", value="0.41")
        assert shown.count('class="new"') <= 3
        assert made.confirm("threshold", shown)[0] == 200
        assert load_config(made.file).picking.threshold == 0.41
        after = read(made.file)
        lines = [line.strip() for line in text.splitlines() if "threshold" not in line]
        kept = [line.strip() for line in after.splitlines() if "threshold" not in line]
        assert [line for line in kept if line not in ("", "picking:")] == [
            line for line in lines if line not in ("", "picking:")
        ]
        assert ("\r\n" in after) == ("\r\n" in text)
        assert after.startswith("\ufeff") == text.startswith("\ufeff")

        _, shown = made.propose("undo", edit="1")
        assert made.confirm("undo", shown)[0] == 200
        assert load_config(made.file).model_dump() == before.model_dump()
    finally:
        made.close()


def test_tabs_as_indentation_are_a_fault_that_is_said(ada):
    """YAML forbids them, so neither livepick nor the page can read the file."""
    ada.file.write_text(BASE + "picking:\n\trepick: none\n")
    text = read(ada.file)
    status, shown = ada.propose("threshold", value="0.41")
    assert (status, "line 11" in shown or "tab" in shown) == (409, True)
    assert read(ada.file) == text


@pytest.mark.parametrize("is_relative", [True, False])
def test_a_link_stays_a_link_and_the_file_behind_it_is_edited(tmp_path, is_relative):
    """As where the configs of a lab are in a repository."""
    made = Browser(tmp_path)
    try:
        real = tmp_path / "repository" / "s.yaml"
        real.parent.mkdir()
        # Its folders are named from where the link is.
        real.write_text(BASE)
        made.file.unlink()
        made.file.symlink_to("repository/s.yaml" if is_relative else real)
        made.sign_in()
        _, shown = made.propose("threshold", value="0.41")
        assert made.confirm("threshold", shown)[0] == 200
        assert made.file.is_symlink()
        assert "threshold: 0.41" in real.read_text()
    finally:
        made.close()


def test_the_permissions_and_the_owner_of_the_file_stay(ada):
    ada.file.chmod(0o640)
    _, shown = ada.propose("threshold", value="0.41")
    assert ada.confirm("threshold", shown)[0] == 200
    assert ada.file.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in ada.file.parent.iterdir() if "s.yaml" in path.name) == [
        "s.yaml"
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_file_on_a_read_only_mount_is_said(tmp_path):
    """Nothing is in the history then, and the page goes on."""
    folder = tmp_path / "etc"
    folder.mkdir()
    made = Browser(folder)
    try:
        made.sign_in()
        _, shown = made.propose("threshold", value="0.41")
        subprocess.run([str(MOUNT), "--bind", folder, folder], check=True, capture_output=True)
        try:
            subprocess.run(
                [str(MOUNT), "-o", "remount,bind,ro", folder], check=True, capture_output=True
            )
            status, text = made.confirm("threshold", shown)
        finally:
            subprocess.run([f"{MOUNT.parent}/umount", folder], check=True)
        assert status == 400
        assert "could not be written" in text
        assert "Ask someone who may write it" in text
        assert read(made.file) == BASE
        assert read_edits(made.state) == []
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no mount here: {error.stderr!r}")
    finally:
        made.close()


def test_of_two_people_at_once_one_is_asked_again(tmp_path):
    """Both have seen the same file; one change is made, and the other person gets its diff."""
    one = Browser(tmp_path)
    try:
        one.sign_in("Ada")
        cookies = {"Ada": one.cookie}
        one.sign_in("Bob")
        cookies["Bob"] = one.cookie
        shown, answers = {}, {}
        for name, value in (("Ada", "0.3"), ("Bob", "0.7")):
            one.cookie = cookies[name]
            shown[name] = one.hidden(one.propose("threshold", value=value)[1])

        def confirm(name):
            headers = {"Cookie": cookies[name]}
            answers[name], _ = one.send(
                "POST", "/actions/threshold/confirm", shown[name], headers=headers
            )

        both = [threading.Thread(target=confirm, args=(name,)) for name in cookies]
        for each in both:
            each.start()
        for each in both:
            each.join()
        assert sorted(answers.values()) == [200, 409]
        (edit,) = read_edits(one.state)
        assert answers[edit.by] == 200
        assert load_config(one.file).picking.threshold == {"Ada": 0.3, "Bob": 0.7}[edit.by]
    finally:
        one.close()


def test_a_very_long_config_is_edited_in_time(tmp_path):
    """The page waits for seconds only, and its other actions with it; CPU time of this process."""
    made = Browser(tmp_path)
    try:
        made.file.write_text(COMMENTS + BASE)
        made.sign_in()
        before = time.process_time()
        _, shown = made.propose("threshold", value="0.41")
        assert made.confirm("threshold", shown)[0] == 200
        assert time.process_time() - before < 20
        assert len(shown) < 20_000
    finally:
        made.close()
