"""``livepick status``: the order of its output, faults in the config, and ``--watch``."""

import dataclasses
import json
from pathlib import Path

import pytest

from factories import make_card, make_class_averages, make_result
from livepick import cli
from livepick.commands import status as command
from livepick.config.last_known_good import save_config_copy
from livepick.config.yaml_loader import load_config
from livepick.core.contracts.cluster_view import ClusterView, NodeView
from livepick.core.contracts.device_aside import DeviceAside
from livepick.core.formats.file_version import FileVersion
from livepick.errors import ConfigError
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.session_rows import SkippedFiles
from livepick.ledger.writer import LedgerWriter
from livepick.monitoring.problem import Problem, config_refused
from livepick.web.client import ServiceStatus


@pytest.fixture
def ctrl_c_after(monkeypatch):
    """Return a function that simulates Ctrl-C in the n-th pause, and records pauses."""

    def after(count):
        pauses = []

        def sleep(seconds):
            pauses.append(seconds)
            if len(pauses) == count:
                raise KeyboardInterrupt

        monkeypatch.setattr(command.time, "sleep", sleep)
        return pauses

    return after


def test_piped_one_report_follows_the_other_until_ctrl_c(config_file, ctrl_c_after, capsys):
    """Ctrl-C is the normal end, not a failure."""
    pauses = ctrl_c_after(3)

    assert cli.main(["status", str(config_file), "--watch", "7"]) == 0
    assert pauses == [7, 7, 7]
    assert capsys.readouterr().out.count("krios2: not started yet") == 3


def test_json_is_a_line_each_time(config_file, ctrl_c_after, capsys):
    ctrl_c_after(2)

    assert cli.main(["status", "--watch", "--json", str(config_file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["session"] for line in lines] == ["krios2", "krios2"]


def test_on_a_terminal_it_is_drawn_in_place(config_file, ctrl_c_after, capsys, monkeypatch):
    """The cursor goes up and the line is cleared before the next report."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    ctrl_c_after(3)

    assert cli.main(["status", str(config_file), "--watch"]) == 0
    assert "\x1b[2K" in capsys.readouterr().out


def test_a_faulty_edit_does_not_end_it(config_file, ctrl_c_after, capsys, monkeypatch):
    """As in the service, the previous settings stay, and the fault is shown."""
    ctrl_c_after(2)
    looked = command.read_status

    def edit_badly(config):
        config_file.write_text("session: [")
        return looked(config)

    monkeypatch.setattr(command, "read_status", edit_badly)

    assert cli.main(["status", str(config_file), "--watch"]) == 0
    out = printed(capsys)
    assert out.count("not started yet") == 2
    assert out.count("The config is invalid") == 1


def test_seconds_are_for_watch_only(config_file, capsys):
    assert cli.main(["status", str(config_file), "5"]) == 2
    assert "--watch" in capsys.readouterr().err


GONE = Problem("folder_gone", "bad", "The watched folder /in is missing: gone.", "Mount it again.")
SMALL = Problem("no_gpu", "attention", "No GPU is available.", "It is slower.")


@pytest.fixture
def begun(config_file):
    """Return the config file of a session that has a ledger, and a copy of the settings in use."""
    config = load_config(config_file)
    with Database.writable(config.state.directory / LEDGER) as database:
        LedgerWriter(database).session.begin("krios2")
        save_config_copy(config)
    return config_file


@pytest.fixture
def answer(monkeypatch):
    """Return a function that sets the answer of the service."""

    def set_answer(state, sentence, *problems):
        said = ServiceStatus(state, sentence, problems, "http://127.0.0.1:9/")
        monkeypatch.setattr(command, "service_status", lambda config, path: said)

    return set_answer


def printed(capsys):
    """Return the output as one line."""
    return " ".join(capsys.readouterr().out.split())


def test_what_is_wrong_comes_first_with_what_to_do(begun, answer, capsys):
    """Then the activity and the counts; a problem does not make the command fail."""
    answer("running", "Picked so far: 0 of 0 micrographs.", GONE, SMALL)

    assert cli.main(["status", str(begun)]) == 0
    assert printed(capsys).startswith(
        f"krios2 {GONE.sentence} {GONE.remedy} {SMALL.sentence} {SMALL.remedy}"
        " Picked so far: 0 of 0 micrographs. The page: http://127.0.0.1:9/ 0 picked"
    )


def test_scripts_get_problems_and_the_state_of_the_service(begun, answer, capsys):
    """The JSON has them beside the status."""
    answer("running", "Picked so far.", GONE)

    assert cli.main(["status", str(begun), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["problems"] == [{"level": "bad", "sentence": GONE.sentence, "remedy": GONE.remedy}]
    assert said["service"] == {
        "state": "running", "sentence": "Picked so far.", "page": "http://127.0.0.1:9/",
    }  # fmt: skip
    assert said["micrographs"]["picked"] == 0


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("auto", "trained, threshold 0.412"),
        (0.6, "trained, threshold 0.600 (picking.threshold; the model's own is 0.412)"),
    ],
)
def test_the_threshold_in_force_is_shown(begun, capsys, monkeypatch, setting, words):
    """The model's own is named too if ``picking.threshold`` overrides it."""
    begun.write_text(f"{begun.read_text()}picking: {{threshold: {setting}}}\n")
    card = make_card(threshold=0.412)
    read = command.read_status

    def with_model(config):
        return dataclasses.replace(read(config), model=card)

    monkeypatch.setattr(command, "read_status", with_model)

    assert cli.main(["status", str(begun)]) == 0
    assert words in printed(capsys)
    assert cli.main(["status", str(begun), "--json"]) == 0
    model = json.loads(capsys.readouterr().out)["model"]
    assert model["threshold"] == (0.412 if setting == "auto" else setting)
    assert model["own_threshold"] == 0.412


def test_a_stopped_session_is_not_a_problem(begun, capsys):
    assert cli.main(["status", str(begun)]) == 0
    assert (
        "The service is not running. To continue the session: systemctl start livepick"
        in printed(capsys)
    )

    assert cli.main(["status", str(begun), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["problems"], said["service"]["state"]) == ([], "stopped")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("running", "The edited config was rejected, and the previous settings still apply: "),
        ("stopped", "this report uses the settings that were last valid: "),
    ],
)
def test_a_fault_of_the_config_is_shown_with_the_status(begun, answer, capsys, state, words):
    """The exit status is the same for every command."""
    answer(state, "All that goes on.")
    begun.write_text(begun.read_text().replace("150", "large"))

    assert cli.main(["status", str(begun)]) == 78
    out = printed(capsys)
    assert words in out
    assert "it must be auto or a number between 20 and 2000 Å" in out
    assert "Fix the file" in out
    assert "0 picked" in out


def test_a_fault_that_the_service_reports_is_shown_once(begun, answer, capsys):
    """The fault in the file is shown; the service needs a second to read it."""
    answer("running", "", config_refused(ConfigError("line 8: it is wrong", "Fix it.")))
    begun.write_text(begun.read_text().replace("150", "large"))

    assert cli.main(["status", str(begun), "--json"]) == 78
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert "it must be auto or a number between 20 and 2000 Å" in problem["sentence"]


def test_an_edit_that_the_service_refuses_is_not_shown_as_in_use(begun, answer, capsys):
    """An edit that needs a restart is not a fault."""
    answer("running", "", config_refused(ConfigError("it needs a restart", "Restart it.")))
    begun.write_text(begun.read_text().replace("krios2", "krios3"))

    assert cli.main(["status", str(begun)]) == 0
    out = printed(capsys)
    assert out.startswith("krios2 ")
    assert "it needs a restart. Restart it." in out


def test_a_fault_without_a_copy_of_the_settings_names_the_running_service(config_file, capsys):
    config_file.write_text("session: [")

    for arguments in (["status"], ["status", "--watch"], ["report"]):
        assert cli.main([*arguments, str(config_file)]) == 78
        said = capsys.readouterr()
        assert said.out == ""
        assert "A running service continues with the previous settings" in said.err


def test_a_report_is_written_past_a_fault(begun, tmp_path, capsys):
    """It has the settings that were last in use, and names the fault."""
    begun.write_text(begun.read_text().replace("150", "large"))

    assert cli.main(["report", str(begun), "--output", str(tmp_path / "r.html")]) == 78
    assert "A copy of the settings in use" in (tmp_path / "r.html").read_text()
    assert "the settings that were last valid" in capsys.readouterr().err


def test_newest_are_those_that_landed_last(begun, capsys):
    """Old micrographs that are picked again are not new."""
    root = begun.parent / "in"
    with Database.writable(load_config(begun).state.directory / LEDGER) as database:
        ledger = LedgerWriter(database)
        for number in (1, 2, 3):
            version = FileVersion(100, number, number)
            ledger.arrivals.landed(root, Path(f"{number}.mrc"), version, 1000.0 * number)
        for claim in ledger.claim(1):  # the oldest
            ledger.picked(claim, make_result())

    assert cli.main(["status", str(begun)]) == 0
    out = printed(capsys)
    assert [out.index(f"{number}.mrc") for number in (3, 2, 1)] == sorted(
        out.index(f"{number}.mrc") for number in (1, 2, 3)
    )


def test_files_left_out_are_shown_with_what_would_take_them(begun, capsys):
    config = load_config(begun)
    root = config.watch.directories[0]
    counts = [SkippedFiles("link", 3, "a.mrc"), SkippedFiles("of another version", 1, "b.mrc")]
    with Database.writable(config.state.directory / LEDGER) as database:
        session = LedgerWriter(database).session
        session.skipped(root, counts)
        session.skipped(root.parent / "watched before", [SkippedFiles("empty", 9, "c.mrc")])

    assert cli.main(["status", str(begun)]) == 0
    said = printed(capsys)
    assert (
        "Left out of the watched folders: links, which are not followed: 3, such as a.mrc. Set"
        " watch.follow_symlinks: true."
    ) in said
    assert "c.mrc" not in said

    assert cli.main(["status", str(begun), "--json"]) == 0
    link, other = json.loads(capsys.readouterr().out)["skipped"]
    assert (link["kind"], link["count"], link["example"]) == ("link", 3, "a.mrc")
    assert link["remedy"] == "Set watch.follow_symlinks: true."
    assert other["kind"] == "of another version"


def test_a_cluster_is_shown_with_its_workers(begun, capsys, monkeypatch):
    """Scripts get the reason and the remedy of each; without a cluster, null."""
    gpu = DeviceAside("GPU 1", "CUDA failure 999")
    nodes = (
        NodeView("tls://n1:1", "w1", "n1", "accepted", 2, 1, version="0.9", memory_bytes=3 << 29),
        NodeView("tls://n2:1", "w2", "n2", "set_aside", 4, 0, "lost", "Look.", gpus_aside=(gpu,)),
    )

    def answer(cluster):
        said = ServiceStatus("running", "Picking.", (), "", cluster)
        monkeypatch.setattr(command, "service_status", lambda config, path: said)
        assert cli.main(["status", str(begun)]) == 0
        text = printed(capsys)
        assert cli.main(["status", str(begun), "--json"]) == 0
        return text, json.loads(capsys.readouterr().out)["cluster"]

    assert answer(None)[1] is None
    text, found = answer(ClusterView("tls://n0:1", is_connected=True, nodes=nodes))
    assert "Cluster tls://n0:1: 1 of 2 workers accepted, 2 micrographs at a time" in text
    assert "set aside" in text
    assert "1.5 GiB" in text
    assert (found["connected"], found["slots"]) == (True, 2)
    assert found["nodes"][0]["memory_bytes"] == 3 << 29
    other = found["nodes"][1]
    assert (other["state"], other["reason"], other["remedy"]) == ("set_aside", "lost", "Look.")
    assert other["gpus_set_aside"] == [{"name": "GPU 1", "reason": "CUDA failure 999"}]
    text, found = answer(ClusterView("tls://n0:1", fault="no answer"))
    assert "The scheduler tls://n0:1 is not connected" in text
    assert (found["connected"], found["fault"], found["nodes"]) == (False, "no answer", [])


def test_class_averages_are_shown_with_what_they_are_of(config_file, tmp_path, capsys):
    row = make_class_averages(
        number=1,
        last_id=1,
        micrographs=1,
        particles=400,
        good_particles=300,
        classes=8,
        good_classes=6,
        model_version=0,
        view_state="one_view",
        view_fraction=0.9,
        views=2,
    )
    with Database.writable(tmp_path / "state" / LEDGER) as database:
        ledger = LedgerWriter(database)
        ledger.session.begin("krios2")
        for name in ("1.mrc", "2.mrc"):
            ledger.arrivals.landed(tmp_path, Path(name), FileVersion(1, 1, 1), 900.0)
        for claim in ledger.claim(2):
            ledger.picked(claim, make_result())
        ledger.session.classes_made(row)

    assert cli.main(["status", str(config_file)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "75 % of the picks are in class averages that show a particle" in said
    assert "1 micrograph was picked since" in said
    assert "90 % of the particles in good classes show one view" in said
    assert cli.main(["status", str(config_file), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)["class_averages"]
    assert (values["number"], values["last_micrograph"], values["newer_micrographs"]) == (
        1,
        "1.mrc",
        1,
    )
