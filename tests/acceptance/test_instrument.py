"""The service of an instrument on real sessions: edits, ends, and faults of one of them."""

import contextlib
import signal

import psutil
import pytest
import yaml
from session import livepick

from day import Day, Plan
from livepick.config.yaml_edit import set_key
from livepick.config.yaml_loader import load_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def day(tmp_path):
    """Return an instrument whose sessions end by hand only."""
    made = Day(tmp_path, Plan(idle_seconds=3600))
    settings = yaml.safe_load(made.config.read_text())
    settings["sessions"]["at_once"] = 2
    made.config.write_text(yaml.safe_dump(settings))
    yield made
    made.end()


def process_of(day, name):
    """Return the process number of a session; None if it has none."""
    place = str(day.state / name)
    for child in psutil.Process(day.service.pid).children():
        with contextlib.suppress(psutil.Error):  # it ends just now
            if place in " ".join(child.cmdline()):
                return child.pid
    return None


def config_of(day, name):
    """Return the config file of a session."""
    return day.state / name / "session.yaml"


def edit(path, key, value):
    """Edit one setting, as a person does."""
    path.write_text(set_key(path.read_text(), path, key, value).text)


def picking(day, *names):
    """Wait until sessions pick, and return their process numbers."""
    for name in names:
        day.collect(name, 0, 2)
    for name in names:
        day.until(lambda name=name: day.state_of(name) == "picking", f"{name} picks")
    return [process_of(day, name) for name in names]


def test_what_is_wrong_with_one_session_touches_no_other(day):
    """A faulty edit stops nothing; a setting that needs a restart restarts one process alone."""
    day.start()
    first, second = picking(day, "s1", "s2")

    good = config_of(day, "s1").read_text()
    config_of(day, "s1").write_text(good.replace("watch:", "wotch:"))
    day.until(lambda: "wotch" in day.overview()["s1"]["sentence"], "the fault is shown")
    day.collect("s1", 2, 1)
    day.until(lambda: day.counts("s1").picked == 3, "s1 still picks with its last good config")
    assert [process_of(day, "s1"), process_of(day, "s2")] == [first, second]

    config_of(day, "s1").write_text(good)
    edit(config_of(day, "s1"), "watch.settle_seconds", 0.3)
    day.until(lambda: process_of(day, "s1") not in (first, None), "s1 was started again")
    day.until(lambda: day.state_of("s1") == "picking", "s1 picks again")
    assert process_of(day, "s2") == second


def test_a_file_in_the_sessions_folder_is_applied_and_a_faulty_one_is_named(day):
    """What the instrument says later reaches all but what was edited."""
    day.start()
    picking(day, "s1")
    (day.data / "s1" / "livepick.yaml").write_text("picking:\n  threshold: 0.5\n")
    day.until(lambda: load_config(config_of(day, "s1")).picking.threshold == 0.5, "it is applied")
    (day.data / "s1" / "livepick.yaml").write_text("output:\n  formats: [csv]\n")
    day.until(lambda: "line 2: output.formats" in day.overview()["s1"]["sentence"], "it is named")
    assert load_config(config_of(day, "s1")).picking.threshold == 0.5
    (day.data / "s1" / "livepick.yaml").unlink()

    edit(config_of(day, "s1"), "picking.threshold", 0.6)
    settings = yaml.safe_load(day.config.read_text())
    settings["picking"]["threshold"] = 0.7
    settings["picking"]["repick"] = "none"
    day.config.write_text(yaml.safe_dump(settings))
    day.service.send_signal(signal.SIGHUP)
    day.until(lambda: load_config(config_of(day, "s1")).picking.repick == "none", "it is merged")
    assert load_config(config_of(day, "s1")).picking.threshold == 0.6


def test_a_session_is_ended_and_reopened_by_its_name(day):
    """The report of one that is over is on the overview, and its micrographs wait for --undo."""
    day.start()
    _, second = picking(day, "s1", "s2")
    day.until(lambda: day.counts("s1").picked == 2, "s1 is picked")
    assert livepick("end", day.config, "s1").returncode == 0
    day.until(lambda: day.state_of("s1") == "over", "s1 is over")
    assert day.overview()["s1"]["has_report"]
    assert process_of(day, "s2") == second

    day.collect("s1", 2, 1)
    day.until(
        lambda: "livepick end --undo" in day.overview()["s1"]["remedy"], "the late file is said"
    )
    day.until(lambda: process_of(day, "s1") is None, "s1 has no process")
    assert livepick("end", "--undo", day.config, "s1").returncode == 0
    day.until(lambda: day.counts("s1").picked == 3, "s1 goes on")
    shown = livepick("list", day.config).stdout
    assert "s1" in shown
    assert "not running" not in shown


def test_a_folder_that_vanishes_and_comes_back_costs_nothing(day):
    """The session goes on when it is back; a folder without micrographs waits."""
    settings = yaml.safe_load(day.config.read_text())
    settings["sessions"]["output"] = str(day.place / "picks" / "{session}")
    day.config.write_text(yaml.safe_dump(settings))
    day.start()
    picking(day, "s1")
    (day.data / "s2").mkdir()
    day.until(lambda: day.state_of("s2") == "incomplete", "s2 has no micrographs yet")
    day.data.rename(day.data.with_name("away"))
    day.until(lambda: livepick("list", day.config).stdout.startswith(f"{day.data} has"), "said")
    day.data.with_name("away").rename(day.data)
    day.collect("s1", 2, 1)
    day.until(lambda: day.counts("s1").picked == 3, "s1 goes on")


def test_it_is_one_service_for_a_folder_of_states(day):
    """A second one is refused, and names the first."""
    day.start()
    other = day.place / "other.yaml"
    settings = yaml.safe_load(day.config.read_text())
    settings["web"]["listen"] = "127.0.0.1:0"
    other.write_text(yaml.safe_dump(settings))
    refused = livepick("run", other)
    assert refused.returncode == 75
    assert str(day.service.pid) in refused.stderr
