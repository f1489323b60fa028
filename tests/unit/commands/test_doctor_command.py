"""``livepick doctor``: one text about a session, whatever is wrong with it."""

import os
import time
from pathlib import Path

import pytest

from livepick import cli
from livepick.config.last_known_good import save_config_copy
from livepick.config.yaml_loader import load_config
from livepick.core.contracts.run import RUNS
from livepick.core.formats.file_version import FileVersion
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.rows import Failure
from livepick.ledger.session_rows import SkippedFiles
from livepick.ledger.writer import LedgerWriter
from livepick.monitoring.doctor import machine, sections
from livepick.monitoring.doctor.secrets import without_secrets
from livepick.monitoring.doctor.sections import Section, report

TITLES = [
    "Versions", "Machine", "GPU", "Config", "Service", "Heartbeats and metrics", "systemd",
    "Ledger", "Last errors", "Files left out", "Training", "Folders and file systems", "Limits",
    "Log",
]  # fmt: skip


@pytest.fixture(autouse=True)
def programs(monkeypatch):
    """Answer for the programs of the system, which take seconds."""
    monkeypatch.setattr(machine, "_answer", lambda command: f"(answer of {command[0]})")


@pytest.fixture
def begun(config_file):
    config = load_config(config_file)
    with Database.writable(config.state.directory / LEDGER) as database:
        ledger = LedgerWriter(database)
        ledger.session.begin("krios2")
        save_config_copy(config)
        root = config.watch.directories[0]
        ledger.arrivals.set_aside(
            root,
            Path("movie.mrc"),
            FileVersion(1, 2, 3),
            time.time(),
            Failure("movie", "movie.mrc has 40 sections", "Watch the sums"),
        )
        ledger.session.skipped(root, [SkippedFiles("link", 3, "a.mrc")])
    return config_file


def examined(path, capsys):
    """Return the text of the command, which must succeed, by section."""
    assert cli.main(["doctor", str(path)]) == 0
    text = capsys.readouterr().out
    parts = dict(part.split(" ==\n", 1) for part in text.split("\n== ")[1:])
    assert list(parts) == TITLES
    return parts


def test_a_session_is_described(begun, capsys):
    parts = examined(begun, capsys)
    assert "numpy " in parts["Versions"]
    assert ": valid" in parts["Config"]
    assert "diameter_angstrom" in parts["Config"]
    assert parts["Service"].startswith("stopped: ")
    assert "failed, movie: 1" in parts["Ledger"]
    assert "[movie] movie.mrc has 40 sections. Watch the sums" in parts["Last errors"]
    assert "links, which are not followed: 3" in parts["Files left out"]
    assert "free inodes" in parts["Folders and file systems"]
    assert "max_user_watches" in parts["Limits"]
    assert "unavailable" not in "".join(parts.values())


def test_the_end_of_the_latest_log_of_the_trainer_is_shown(begun, capsys):
    runs = load_config(begun).state.directory / RUNS
    for number, written_at in (("0001", 2e9), ("0002", 1e9)):
        (runs / number).mkdir(parents=True)
        log = runs / number / "trainer.log"
        log.write_text("".join(f"line {n} of {number}\n" for n in range(10_000)))
        os.utime(log, (written_at, written_at))
    shown = examined(begun, capsys)["Training"].splitlines()
    assert "end of " in shown[-31]
    assert (shown[-30], shown[-1]) == ("line 9970 of 0001", "line 9999 of 0001")


def test_nothing_is_written(begun, capsys):
    folder = begun.parent
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    examined(begun, capsys)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_running_service_is_described_with_its_processes(begun, capsys):
    config = load_config(begun)
    with Database.writable(config.state.directory / LEDGER):
        parts = examined(begun, capsys)
    assert f"{os.getpid()}: " in parts["Service"]
    assert "open files" in parts["Service"]


@pytest.mark.parametrize(
    "text", ["", "a: [", "particle: {}", "\0", "- 1", "watch: {directories: 7}"]
)
def test_a_broken_config_is_shown_with_its_fault(config_file, capsys, text):
    config_file.write_text(text)
    parts = examined(config_file, capsys)
    assert ": valid" not in parts["Config"]
    assert "no settings are known" in parts["Config"]
    assert "unavailable" in parts["Ledger"]


def test_a_missing_or_unreadable_config_is_no_failure(tmp_path, capsys):
    assert "no settings are known" in examined(tmp_path / "none.yaml", capsys)["Config"]
    assert "no settings are known" in examined(tmp_path, capsys)["Config"]
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00\x80")
    assert "no settings are known" in examined(tmp_path / "bytes.yaml", capsys)["Config"]


def test_the_settings_in_use_are_taken_if_an_edit_has_a_fault(begun, capsys):
    begun.write_text(begun.read_text().replace("diameter_angstrom: ", "diameter_angstrom: -"))
    parts = examined(begun, capsys)
    assert "the sections below use the settings that were last in use" in parts["Config"]
    assert "failed, movie: 1" in parts["Ledger"]


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000, None])
def test_a_broken_ledger_spoils_only_its_sections(begun, capsys, content):
    ledger = load_config(begun).state.directory / LEDGER
    ledger.unlink()
    if content is not None:
        ledger.write_bytes(content)
    parts = examined(begun, capsys)
    assert "unavailable" in parts["Ledger"]
    assert "free inodes" in parts["Folders and file systems"]
    if content is not None:
        assert ledger.read_bytes() == content


def test_a_section_that_hangs_or_fails_says_so(monkeypatch):
    def hang():
        yield "before"
        time.sleep(60)

    def fail():
        yield "first"
        raise RecursionError("too deep")

    text = report([Section("B", fail), Section("C", lambda: ["\udcff"])])
    assert "first\n(unavailable: RecursionError: too deep)" in text
    assert "\\xff" in text
    monkeypatch.setattr(sections, "SECONDS", 3.0)
    text = report([Section("A", hang)])
    assert "before\n(unavailable: no answer within 3 s)" in text


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("url: https://me:hunter2@host/x", "hunter2"),
        ("listen: smb://hunter2@host/x", "hunter2"),
        ("password: hunter2", "hunter2"),
        ("  db_password: 'hunter2 with words'", "hunter2"),
        ("CRYOSPARC_PASSWORD=hunter2", "hunter2"),
        ("CRYOSPARC_LICENSE_ID=hunter2", "hunter2"),
        ('on_picked: [send, --token, hunter2, "--x"]', "hunter2"),
        ('on_picked: ["send", "--api-key=hunter2"]', "hunter2"),
        ("send --password hunter2 now", "hunter2"),
        ("Authorization: Bearer hunter2hunter2", "hunter2"),
        ("admin: $2b$12$abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQ", "abcdefgh"),
        ("https://host/hook?token=hunter2&x=1", "hunter2"),
        ("-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----", "hunter2"),
        ("directory: /home/hunter2/data", "hunter2"),
        ("mail: hunter2@lab.example.org", "hunter2"),
    ],
)
def test_secrets_and_names_are_removed(text, hidden):
    assert hidden not in without_secrets(text)


def test_what_is_no_secret_stays():
    text = (
        "output: {directory: /data/krios1, formats: [relion]}\n"
        "livepick@krios.service: active\nkeys: 3\npassword_file: \n"
    )
    assert without_secrets(text) == text
