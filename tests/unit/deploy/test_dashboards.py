"""The dashboards follow the rules of Grafana's dashboard linter, and use exported metrics.

The rules are those of github.com/grafana/dashboard-linter, docs/rules; it is no program that this
project could install.
"""

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from livepick.core.imaging.quality_limits import CTF_LIMITS, LIMITS
from observability.documentation import exposed
from observability.frame import ANNOTATIONS

DEPLOY = Path(__file__).parents[3] / "deploy"
GRAFANA = DEPLOY / "grafana"
PROMTOOL = shutil.which("promtool")

BOARDS = {
    path.stem: json.loads(path.read_text()) for path in (GRAFANA / "dashboards").glob("*.json")
}

SELECTION = ('job=~"$job"', 'instance=~"$instance"', 'instrument=~"$instrument"')


def panels(board):
    """Return all panels but the rows, also those of folded rows."""
    every = [part for panel in board["panels"] for part in (panel, *panel.get("panels", ()))]
    return [panel for panel in every if panel["type"] != "row"]


EVERY_PANEL = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, board in BOARDS.items()
    for panel in panels(board)
]
QUERIES = [
    pytest.param(target["expr"], id=f"{name}: {panel['title']} {target['refId']}")
    for name, board in BOARDS.items()
    for panel in panels(board)
    for target in panel["targets"]
]


def test_there_are_three():
    """Alerts link to their addresses."""
    assert {board["uid"] for board in BOARDS.values()} == {
        "livepick-session", "livepick-pipeline", "livepick-training",
    }  # fmt: skip


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_a_dashboard_has_its_variables_and_annotations(board):
    """Rules: template-* (datasource, job, instance, label-promql, reload), uneditable."""
    variables = {each["name"]: each for each in board["templating"]["list"]}

    assert board["editable"] is False
    assert board["schemaVersion"] >= 39
    source = variables.pop("datasource")
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    assert set(variables) == {"job", "instance", "instrument", "session"}
    for name, each in variables.items():
        assert each["type"] == "query"
        assert each["label"]
        assert each["datasource"] == {"type": "prometheus", "uid": "$datasource"}
        assert each["multi"]
        assert each["includeAll"]
        assert each["allValue"] == (".+" if name in ("job", "instance") else ".*")
        assert each["refresh"] == 2
        assert re.fullmatch(rf"label_values\(livepick_\w+(\{{.*\}})?, {name}\)",
                            each["query"]["query"])  # fmt: skip
    marks = board["annotations"]["list"]
    assert [mark["name"] for mark in marks] == list(ANNOTATIONS)
    assert all(mark["useValueForTime"] and "* 1000" in mark["expr"] for mark in marks)


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_panels_do_not_overlap(board):
    """Each panel has its own number, and fits in 24 columns."""
    rows = [panel for panel in board["panels"] if panel["type"] == "row"]
    numbers = [panel["id"] for panel in (*panels(board), *rows)]
    assert len(set(numbers)) == len(numbers)
    assert_apart([panel["gridPos"] for panel in board["panels"]])
    for row in rows:
        assert_apart([panel["gridPos"] for panel in (row, *row.get("panels", ()))])


def assert_apart(places):
    """Check that no two of these places overlap, and that all fit in 24 columns."""
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert beside, (one, other)


def test_what_an_operator_looks_at_is_on_two_screens():
    """A screen of 1080 lines shows 25 rows of 38 pixels; the rest of the board is folded."""
    board = BOARDS["session"]
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    folded = [panel for panel in board["panels"] if panel.get("collapsed")]

    assert bottom <= 50
    assert sum(len(row["panels"]) for row in folded) > 20


def test_a_share_has_the_unit_of_its_limits():
    """A panel in percent does not say limits as fractions, and the reverse."""
    limits = {limit.figure: limit.range for limit in (*LIMITS, *CTF_LIMITS)}
    for panel in panels(BOARDS["session"]):
        for name in re.findall(r"livepick_micrograph_(\w+)_bucket", panel["targets"][0]["expr"]):
            is_percent = panel["fieldConfig"]["defaults"]["unit"] == "percentunit"
            if name in limits:
                assert ("%" in limits[name]) == is_percent, name


def test_more_micrographs_for_the_training_are_not_red():
    """The share of those that it waits for turns green when it is whole."""
    (panel,) = [
        panel
        for panel in panels(BOARDS["training"])
        if panel["title"] == "Micrographs toward the first training"
    ]
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]

    assert [(step["value"], step["color"]) for step in steps] == [(None, "text"), (1, "green")]


def test_the_session_dashboard_links_the_page_of_each_session():
    (panel,) = [each for each in panels(BOARDS["session"]) if each["title"] == "Sessions"]
    links = [
        one["value"][0]["url"]
        for override in panel["fieldConfig"]["overrides"]
        for one in override["properties"]
        if one["id"] == "links" and override["matcher"]["options"] == "page_url"
    ]

    assert links == ["${__value.raw}"]


@pytest.mark.parametrize("panel", EVERY_PANEL)
def test_a_panel_says_what_it_shows(panel):
    """Rules: panel-datasource, panel-title-description, panel-units, panel-no-targets."""
    assert panel["datasource"] == {"type": "prometheus", "uid": "$datasource"}
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])


@pytest.mark.parametrize("expr", QUERIES)
def test_a_query_is_restricted_to_the_selection(expr):
    """Rules: target-job, target-instance, target-rate-interval, target-counter-agg."""
    selectors = re.findall(r"\b(?:livepick_\w+|ALERTS|up|scrape_\w+)\b(?:\{([^{}]*)\})?", expr)
    counters = [
        sample.name for family in exposed() if family.type == "counter" for sample in family.samples
    ]

    assert selectors
    assert all(part in selector for selector in selectors for part in SELECTION)
    # What a service that is down would hide is asked for without its session.
    of_session = "livepick_session_info{" in expr and 'session=~"$session"' in expr
    assert of_session != bool(re.search(r"\b(ALERTS|up)\{", expr))
    assert re.findall(r"\b(?:rate|irate)\([^\[]*\[(?!\$__rate_interval\])", expr) == []
    for use in re.finditer("|".join(rf"\b{name}\b" for name in set(counters)), expr):
        before = expr[: use.start()]
        assert re.search(r"\b(rate|irate|increase)\($", before), use.group()


def test_a_metric_in_a_dashboard_exists():
    """So do the labels that a query uses."""
    labels = {}
    for family in exposed():
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    for parameter in QUERIES:
        (expr,) = parameter.values
        for name, matchers in re.findall(r"\b(livepick_\w+)\{([^{}]*)\}", expr):
            asked = set(re.findall(r"(\w+)=", matchers)) - {"job", "instance", "instrument"}
            assert asked <= labels[name], name


def test_every_quality_figure_is_on_the_session_dashboard():
    """The verdict is there too, and the limits of figures."""
    shown = {
        name: panel["description"]
        for panel in panels(BOARDS["session"])
        for target in panel["targets"]
        for name in re.findall(r"\blivepick_micrograph_(\w+)\{", target["expr"])
    }
    exported = {
        family.name.removeprefix("livepick_micrograph_")
        for family in exposed()
        if family.name.startswith("livepick_micrograph_") and family.type == "histogram"
    }

    assert {f"{figure}_bucket" for figure in exported} <= set(shown)
    assert "quality_verdicts_total" in shown
    for limit in (*LIMITS, *CTF_LIMITS):
        assert "Doubtful" in shown[f"{limit.figure}_bucket"]


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing (Debian's prometheus)")
def test_every_query_is_promql(tmp_path):
    """Rule: target-promql. promtool reads them as recording rules."""
    queries = [parameter.values[0].replace("$__rate_interval", "5m") for parameter in QUERIES]
    rules = [
        {"record": f"query:number{number}", "expr": expr} for number, expr in enumerate(queries)
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))

    ran = subprocess.run(
        [PROMTOOL, "check", "rules", file], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr


def test_the_stack_names_existing_files():
    """Mounted files exist, every image is pinned, and provisioning has the right folders."""
    stack = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/livepick.yml").read_text())
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/livepick.yml").read_text())
    scrape = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())

    mounts = {}
    for service in stack["services"].values():
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
        for volume in service["volumes"]:
            source, target, *_ = volume.split(":")
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source
                mounts[target] = source
            else:
                assert source in stack["volumes"]
    assert mounts[provider["providers"][0]["options"]["path"]] == "./grafana/dashboards"
    assert [source["type"] for source in sources["datasources"]] == ["prometheus", "alertmanager"]
    for rules in scrape["rule_files"]:
        assert (DEPLOY / "prometheus" / rules).exists()
    assert [job["job_name"] for job in scrape["scrape_configs"]] == ["livepick"]
