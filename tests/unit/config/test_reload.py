"""Detection of config edits, their effects, and the report of a rejected edit."""

import os
from types import SimpleNamespace

import pytest

from livepick.config.reload import (
    MISSING_POLLS,
    ConfigFile,
    ConfigReloader,
    compare,
    describe,
    read_again,
)
from livepick.config.schema import Config
from livepick.config.yaml_loader import load_config
from livepick.errors import ConfigError, ModelError
from livepick.host.systemd import Systemd
from livepick.monitoring.metrics.exporter import Metrics
from livepick.monitoring.supervisor import Supervisor

TEXT = """\
session: {name: krios1}
watch: {directories: [in]}
particle: {diameter_angstrom: 150}
picking: {threshold: auto}
output: {directory: out}
state: {directory: state}
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "session.yaml"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize(
    ("edit", "shapes"),
    [
        ({"training": {"threads": 3, "device": "cpu", "gpu_memory_fraction": 0.1}}, False),
        ({"training": {"time_limit_minutes": 1}}, False),
        ({"picking": {"threshold": 0.1, "repick": "all"}}, False),
        ({"retrain": {"gate": "off", "on_drift": True}}, False),
        ({"micrograph": {"ctf": "/ctf"}}, False),
        ({"training": {"generation": 2}}, True),
        ({"training": {"seed": 2}}, True),
        ({"bootstrap": {"classes": {"accept": [1]}}}, True),
        ({"particle": {"contrast": "bright", "diameter_angstrom": 150}}, True),
        ({"particle": {"edge_fraction": 0.5, "diameter_angstrom": 150}}, True),
    ],
)
def test_settings_with_the_effect_retrain_are_those_in_the_fingerprint(make_config, edit, shapes):
    """Live settings do not change the fingerprint; settings that shape a model do."""
    old = make_config()
    new = Config.model_validate(old.model_dump(exclude_defaults=True) | edit)

    changes = compare(old, new)

    assert changes
    assert {change.effect for change in changes} == {"retrain" if shapes else "live"}
    assert (new.training_fingerprint() != old.training_fingerprint()) == shapes


def test_one_line_describes_the_changes_and_their_effects(path):
    old = load_config(path)
    path.write_text(TEXT.replace("auto", "0.05") + "training: {generation: 2}\n")

    fresh, changes = read_again(path, old)

    assert fresh.training.generation == 2
    assert describe(changes) == (
        "training.generation from 1 to 2 (retrain), picking.threshold from auto to 0.05 (live): "
        "live settings take effect with the next micrograph or training; "
        "a model with the new settings is looked up, and trained if there is none"
    )
    assert describe(()) == "nothing has changed"


def test_a_change_that_needs_a_restart_rejects_the_whole_edit(path):
    """The error names the settings, and the number of other changes that wait."""
    old = load_config(path)
    path.write_text(TEXT.replace("auto", "0.05").replace("krios1", "krios2") + "web: {}\n")

    with pytest.raises(ConfigError) as caught:
        read_again(path, old)

    assert str(caught.value) == (
        f"{path} needs a restart for session.name from krios1 to krios2."
        " Restart the service, or undo the change. 1 other change waits for the restart."
    )


def test_an_edit_is_due_once_the_file_is_unchanged_between_polls(path):
    """It is not due while it is written, and it is due only once."""
    file = ConfigFile(path)
    looks = [file.is_due()]
    path.write_text(TEXT + "#")
    looks.append(file.is_due())
    path.write_text(TEXT + "# more")
    looks += [file.is_due(), file.is_due(), file.is_due()]

    assert looks == [False, False, False, True, False]


def test_a_file_renamed_over_the_config_is_an_edit(path):
    """Editors do this; size and time may be the same, and the file may be gone for a moment."""
    file = ConfigFile(path)
    before = path.stat()
    path.rename(path.with_suffix(".bak"))
    assert not file.is_due()
    path.write_text(TEXT)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert [file.is_due(), file.is_due()] == [False, True]


def test_a_link_changed_to_another_file_is_an_edit(path):
    link, other = path.with_name("today.yaml"), path.with_name("other.yaml")
    link.symlink_to(path.name)
    file = ConfigFile(link)
    other.write_text(TEXT + "#")
    link.unlink()
    link.symlink_to(other.name)

    assert [file.is_due(), file.is_due()] == [False, True]


def test_a_missing_file_is_reported_once_and_read_when_it_is_back(path):
    """Reading it then raises the error."""
    file = ConfigFile(path)
    path.rename(path.with_suffix(".bak"))
    looks = [file.is_due() for _ in range(MISSING_POLLS + 3)]
    assert (looks.index(True), looks.count(True)) == (MISSING_POLLS - 1, 1)

    path.with_suffix(".bak").rename(path)
    assert [file.is_due(), file.is_due()] == [False, True]


def test_a_file_read_on_a_signal_is_not_read_again(path):
    file = ConfigFile(path)
    path.write_text(TEXT + "#")
    file.take()

    assert [file.is_due(), file.is_due()] == [False, False]


class Told:
    """A reloader, what it has applied, and what the supervisor shows of it."""

    def __init__(self, path):
        self.path = path
        self.metrics = Metrics()
        self.applied = []
        self.apply = None
        config, systemd = load_config(path), Systemd({})
        self.supervisor = Supervisor(
            config,
            systemd=systemd,
            metrics=self.metrics,
            ledger=SimpleNamespace(rebuilt=lambda: None),
            watcher=SimpleNamespace(health=lambda: SimpleNamespace(folders=[])),
            dispatch=SimpleNamespace(
                ledger_fault=None, engine_fault=None, left_behind=0, devices_aside=()
            ),
            outputs=SimpleNamespace(fault=None, obstacles=()),
            gpu_monitor=SimpleNamespace(gpus=()),
            provider="CUDAExecutionProvider",
            workers=1,
            drifted=lambda sentence: None,
        )
        self.reloader = ConfigReloader(
            config,
            ConfigFile(path),
            systemd=systemd,
            apply=lambda *given: (self.apply or self.applied.append)(given),
            accepted=self.supervisor.use_config,
            rejected=self.supervisor.config_rejected,
        )

    def edit(self, text, apply=None):
        self.path.write_text(text)
        self.apply = apply
        self.reloader.reload()

    def sample(self, name, **labels):
        return self.metrics.registry.get_sample_value(f"livepick_config_{name}", labels)

    @property
    def problems(self):
        return self.supervisor._problems()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TEXT.replace("threshold", "treshold"), "treshold"),
        (TEXT.replace("150", "large"), "diameter_angstrom"),
        (TEXT.replace("{name: krios1}", "{name: krios1"), "line 2"),
        (TEXT.replace("directory: out", "directory: elsewhere"), "restart"),
    ],
)
def test_a_rejected_edit_is_shown_until_the_file_is_correct(path, caplog, text, said):
    """It is on the page, in the metrics and in the log, until the file equals the config in use."""
    told = Told(path)

    told.edit(text)
    (problem,) = told.problems
    assert problem.level == "attention"
    assert said in problem.sentence + problem.remedy
    assert "\n" not in problem.sentence
    assert said in caplog.text
    assert "reload: failed, the previous config stays in use" in caplog.text
    assert told.sample("last_reload_successful") == 0
    assert told.sample("reloads_total", result="failure") == 1
    assert told.applied == []

    told.edit(TEXT)
    assert told.problems == ()
    assert told.sample("last_reload_successful") == 1
    assert told.sample("reloads_total", result="success") == 1
    assert told.applied == []


def test_an_edit_that_cannot_be_applied_changes_nothing(path):
    """For example on a full disk; the next edit is compared with the config in use."""
    told = Told(path)

    def fail(_):
        raise ModelError("the blob picker could not be written", "Free space.")

    told.edit(TEXT.replace("150", "200"), fail)
    assert told.problems[0].remedy == "Free space."
    assert told.sample("last_reload_successful") == 0

    told.edit(TEXT.replace("150", "200"))
    ((config, changes),) = told.applied
    assert [str(change) for change in changes] == [
        "particle.diameter_angstrom from 150.0 to 200.0 (retrain)"
    ]
    assert told.reloader.config is config
    assert told.supervisor._config is config
    assert told.sample("info", **_information(config)) == 1


def _information(config):
    return {
        "diameter_angstrom": f"{config.particle.diameter_angstrom:g}",
        "device": config.picking.device,
        "threshold": str(config.picking.threshold),
        "training_fingerprint": config.training_fingerprint(),
    }


def test_an_edit_that_meets_an_unexpected_error_is_rejected(path):
    """The service continues with the previous settings."""
    told = Told(path)
    told.edit(TEXT.replace("150", "151"), apply=lambda _: next(iter(())))

    assert told.problems[0].kind == "config_refused"
    assert told.sample("last_reload_successful") == 0
    assert told.reloader._unexpected.count_of("config") == 1
