"""Names that users rely on are those of before: a dashboard or a script still works.

``tests/data/names_before_rooms.json`` was written at commit bd63626 by the same functions, and has
got further names since. To remove a name on purpose, remove it there, and say so in the changelog.
"""

import ast
import dataclasses
import json
import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import typer.main
from kept_names import gone, names_in_json, names_in_type

import livepick
import livepick_trainer
from factories import make_card
from livepick import cli
from livepick.commands import status as status_command
from livepick.config.schema import Config
from livepick.config.sessions_section import Overview, Sessions
from livepick.core.contracts.before_and_after import BeforeAndAfter
from livepick.core.contracts.bundle import ModelCard
from livepick.core.contracts.cluster_view import ClusterView, NodeView
from livepick.core.contracts.device_aside import DeviceAside
from livepick.core.contracts.finding import Finding
from livepick.core.contracts.held_out_labels import HeldOutLabels
from livepick.core.contracts.progress import Progress
from livepick.core.contracts.run import RunSpec
from livepick.core.contracts.training_report import HeldOutFigures
from livepick.instrument.metrics import InstrumentMetrics
from livepick.ledger.session_end import SessionEnd
from livepick.ledger.timeline import Timeline
from livepick.models.promotions import Promotion, append_promotion
from livepick.models.summary import ModelSummary
from livepick.monitoring.headline import Headline
from livepick.monitoring.metrics.exporter import Metrics
from livepick.monitoring.problem import Problem
from livepick.monitoring.status import Row, Status
from livepick.monitoring.training_status import TrainingStatus
from livepick.retraining.eta import RunProgress
from livepick.web import routes as routes_of
from livepick.web.client import ServiceStatus
from livepick.web.timeline_plots import timeline_plots

PROMOTION = Promotion(version=1, at=0, by="operator", why="", fingerprint="")

CARD = make_card()


def test_metrics_have_their_names_kinds_and_labels():
    registry = Metrics().registry
    today = [
        f"{collector._type} {collector._name}{{{','.join(collector._labelnames)}}}"
        for collector in registry._collector_to_names
        if hasattr(collector, "_labelnames")  # one has no metric, and makes others count
    ]
    assert gone("metrics", today) == []


def test_labels_have_their_values():
    """As they are exported from the start, all zero."""
    today = [
        f"{sample.name}{sample.labels}"
        for family in Metrics().registry.collect()
        for sample in family.samples
        if "le" not in sample.labels and family.type != "info"
    ]
    assert gone("label values", today) == []


def test_settings_have_their_keys():
    assert gone("config keys", names_in_type(Config)) == []


def test_an_instrument_has_its_settings_and_metrics():
    keys = [
        *("sessions", *(f"sessions.{name}" for name in Sessions.model_fields)),
        *("overview", *(f"overview.{name}" for name in Overview.model_fields)),
    ]
    assert gone("instrument's config keys", keys) == []
    today = [
        f"{collector._type} {collector._name}{{{','.join(collector._labelnames)}}}"
        for collector in InstrumentMetrics().registry._collector_to_names
        if hasattr(collector, "_labelnames")
    ]
    assert gone("instrument's metrics", today) == []


def command_words(command, name=""):
    """Yield a command, its arguments and options, and those of its subcommands."""
    yield name
    for parameter in command.params:
        is_option = parameter.param_type_name == "option"
        words = parameter.opts if is_option else [parameter.metavar or parameter.name.upper()]
        yield from (f"{name} {word}" for word in words)
    for word, inner in getattr(command, "commands", {}).items():
        yield from command_words(inner, f"{name} {word}")


def test_commands_have_their_arguments_and_options():
    today = []
    for name in cli.COMMANDS:
        application = typer.main.get_command(cli._application([name]))
        today += command_words(application.commands[name], name)
    assert gone("commands", today) == []


def test_the_ledger_has_its_tables_and_columns():
    (script,) = Path(livepick.__file__).parent.rglob("schema.sql")
    with sqlite3.connect(":memory:") as database:
        database.executescript(script.read_text())
        today = database.execute(
            "select m.name || '.' || c.name from sqlite_master m, pragma_table_info(m.name) c"
            " where m.type in ('table', 'view')"
        ).fetchall()
    database.close()
    assert gone("ledger", [name for (name,) in today]) == []


FILE_NAME = re.compile(
    r"[\w.-]+\.(json|jsonl|star|csv|sqlite|yaml|address|onnx|png|npz|npy|log)|session_report\.html"
)


def test_files_have_their_names():
    """Files in the output folder and in the state folder have the names in the code."""
    today = set()
    for package in (livepick, livepick_trainer):
        for path in Path(package.__file__).parent.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    today |= {node.value} if FILE_NAME.fullmatch(node.value) else set()
    assert gone("file names", today) == []


@pytest.mark.parametrize(
    ("group", "kind"),
    [
        ("model.json", ModelCard),
        ("run.json", RunSpec),
        ("progress.jsonl", Progress),
        ("held_out.json", HeldOutLabels),
        ("headline.json", Headline),
        ("before_and_after.json", BeforeAndAfter),
    ],
)
def test_files_for_programs_have_their_keys(group, kind):
    assert gone(group, names_in_type(kind)) == []


def test_the_history_of_promotions_has_its_keys(tmp_path):
    append_promotion(tmp_path, PROMOTION)
    today = names_in_json(json.loads((tmp_path / "champion.json").read_bytes()))
    assert gone("champion.json", today) == []


def full_status():
    """Return a status in which nothing is empty."""
    finding = Finding(kind="overfitting", evidence="", remedy="")
    return dataclasses.replace(
        Status(session="s"),
        end=SessionEnd("s", 0.0, "person"),
        model=CARD,
        training=TrainingStatus("training", "", 2, RunProgress(stage="train")),
        findings=(finding,),
        drift=(finding,),
        failures=[Row("a.mrc", "failed", None, None, 0, "", "", "")],
    )


def test_status_prints_its_keys(config_file, monkeypatch, capsys):
    problem = Problem("no_gpu", "attention", "", "")
    node = NodeView("", "", "", "accepted", 1, 0, gpus_aside=(DeviceAside("", ""),))
    cluster = ClusterView("", is_connected=True, nodes=(node,))
    answer = ServiceStatus("running", "", (problem,), "", cluster)
    monkeypatch.setattr(status_command, "read_status", lambda _config: full_status())
    monkeypatch.setattr(status_command, "service_status", lambda _config, _path: answer)
    assert cli.main(["status", str(config_file), "--json"]) == 0
    assert gone("status --json", names_in_json(json.loads(capsys.readouterr().out))) == []


def test_models_list_prints_its_keys():
    entry = ModelSummary(CARD, True, True, HeldOutFigures(1, "blob", 1, 1, 1), (), (PROMOTION,))
    assert gone("models list --json", names_in_json({"models": [entry.as_json()]})) == []


def test_check_prints_its_keys(config_file, capsys):
    cli.main(["check", str(config_file), "--json"])
    assert gone("check --json", names_in_json(json.loads(capsys.readouterr().out))) == []


def test_evaluate_prints_its_keys(tmp_path, capsys):
    path = tmp_path / "mic.csv"
    path.write_text("x_px,y_px,score\n13,14,0.9\n")
    assert cli.main(["evaluate", str(path), str(path), "--radius-px", "5", "--json"]) == 0
    assert gone("evaluate --json", names_in_json(json.loads(capsys.readouterr().out))) == []


def test_the_data_of_the_plots_have_their_keys():
    number = np.arange(2.0)
    columns = {field.name: number for field in dataclasses.fields(Timeline)}
    keys = names_in_json(timeline_plots(Timeline(**columns)))
    assert gone("timeline.json", keys) == []


def test_the_page_has_its_addresses():
    """Programs use some of them, and people have links to others."""
    routes = [
        *routes_of.for_programs(None, None, None, None),
        *routes_of.for_page(None, None, None),
        *routes_of.for_report(None, None),
        *routes_of.for_timeline(None, None),
        *routes_of.for_micrographs(None, None, None),
        *routes_of.for_pictures(None, None, None),
    ]
    assert gone("routes", [route.path for route in routes]) == []
