"""Files in deploy/ are up to date, and Prometheus' own tools accept them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from livepick.monitoring.metrics.instruments import ERROR_REASONS
from observability.alert import RECORDED, condition, in_promql, rules
from observability.alerts import ALERTS
from observability.documentation import exposed, exposed_by_instruments
from observability.instrument_alerts import INSTRUMENT_ALERTS

DEPLOY = Path(__file__).parents[3] / "deploy"
TESTS = DEPLOY / "alerts" / "tests" / "livepick_test.yml"


def needs(program, package):
    """Skip if a program is missing, and name its Debian package."""
    return pytest.mark.skipif(
        shutil.which(program) is None, reason=f"{program} is missing (Debian's {package})"
    )


def run(*command):
    """Run a program to its end; return its status and its output."""
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def made():
    """Return the files that generate.py makes, by path."""
    sys.path.insert(0, str(DEPLOY))
    try:
        import generate  # noqa: PLC0415 - a script, found by this path alone
    finally:
        sys.path.remove(str(DEPLOY))
    return generate.files()


def test_generated_files_are_up_to_date(made):
    """After a change of a metric, an alert or a panel, run deploy/generate.py."""
    stale = [str(path) for path, text in made.items() if (DEPLOY / path).read_text() != text]

    assert stale == [], "run: PYTHONPATH=daemon python deploy/generate.py"


def test_every_metric_is_in_the_documentation():
    """The table has its type, and a question or a sentence."""
    readme = (DEPLOY / "README.md").read_text()
    rows = dict(re.findall(r"^\| `(livepick_\w+)` \| (.*) \|$", readme, re.MULTILINE))

    for family in {each.name: each for each in (*exposed_by_instruments(), *exposed())}.values():
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        kind, _, question = rows.pop(family.name + suffix).split(" | ")
        assert kind == family.type
        assert question.strip()[-1] in "?."
    assert rows == {}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_says_what_to_do(alert):
    """It says what happened and where to look, and has a remedy and its own section."""
    (group,) = yaml.safe_load((DEPLOY / "alerts" / "livepick.yml").read_text())["groups"]
    (rule,) = [rule for rule in group["rules"] if rule.get("alert") == alert.name]
    notes = rule["annotations"]
    sections = re.findall(r"^### (\w+)$", (DEPLOY / "README.md").read_text(), re.MULTILINE)

    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert "{{ $labels.instance }}" in notes["summary"]
    assert len(re.findall(r"[.?;:] ?", notes["summary"])) >= 2
    assert alert.name in sections
    assert notes["description"] == " ".join(alert.runbook.split())
    assert notes["dashboard"] == f"livepick-{alert.dashboard}"


def test_no_link_of_an_alert_leads_to_a_file_or_to_localhost():
    """A mail is read on another machine. The page says its own URL."""
    text = (DEPLOY / "alerts" / "livepick.yml").read_text()
    assert "file://" not in text
    assert "localhost" not in text
    assert text.count("livepick_session_info") == 2 * len(ALERTS)  # page_url and session


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_only_the_service_itself_is_told_of_after_the_session(alert):
    """All others are silent once it is over; that of an instrument has many sessions."""
    of_the_service = {each.name for each in INSTRUMENT_ALERTS} | {
        "LivepickDown",
        "LivepickUnhealthy",
        "LivepickUnexpectedErrors",
        "LivepickConfigRefused",
    }
    is_silenced = condition(alert).endswith("livepick_session_ended == 1")
    assert is_silenced == (alert.name not in of_the_service)


def test_every_alert_has_a_test_of_its_own():
    """The alert fires in it."""
    fired = re.findall(r'alertname="(Livepick\w+)"', TESTS.read_text())

    assert {alert.name for alert in ALERTS} == set(fired)


def test_a_metric_in_an_alert_exists():
    """An alert on an unknown metric would never fire."""
    families = [*exposed(), *exposed_by_instruments()]
    samples = {sample.name for family in families for sample in family.samples}
    texts = [*map(condition, ALERTS), *RECORDED.values()]
    used = {name for text in texts for name in re.findall(r"livepick_\w+", text)}

    assert used - samples == set()


def test_a_reason_in_a_runbook_exists():
    """It is one of the reasons that a micrograph can fail for."""
    (alert,) = (alert for alert in ALERTS if alert.name == "LivepickMicrographsFail")
    named = set(re.findall(r"`(\w+)`[:,]", alert.runbook))

    assert {"incomplete", "header"} < named
    assert named <= set(ERROR_REASONS)


def test_minutes_can_be_scaled_to_seconds():
    """Windows and thresholds are divided; nothing else is."""
    expr = "increase(x_total[30m]) > 0.05 and y > seconds(15m)"

    assert in_promql(expr) == "increase(x_total[30m]) > 0.05 and y > 900"
    assert in_promql(expr, 60) == "increase(x_total[30000ms]) > 0.05 and y > 15"


@needs("promtool", "prometheus")
def test_promtool_takes_rules_and_config(tmp_path):
    """It also accepts the rules with scaled times."""
    fast = tmp_path / "fast.yml"
    fast.write_text(rules(ALERTS, scale=60))

    for command in (
        ("rules", DEPLOY / "alerts" / "livepick.yml"),
        ("rules", fast),
        ("config", DEPLOY / "prometheus" / "prometheus.yml"),
        ("web-config", DEPLOY / "prometheus" / "web.yml"),
    ):
        status, said = run("promtool", "check", *command)
        assert (status, "SUCCESS" in said) == (0, True), said


@needs("promtool", "prometheus")
def test_alerts_fire_on_their_cause_and_fall_silent():
    """Promtool runs the tests of the rules, minute by minute."""
    status, said = run("promtool", "test", "rules", TESTS)

    assert status == 0, said


def test_an_alert_that_may_fire_forever_inhibits_nothing():
    """A machine without a GPU fires LivepickOnCpu by default; silenced, it would still inhibit."""
    config = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yml").read_text())
    hides = " ".join(m for rule in config["inhibit_rules"] for m in rule["source_matchers"])
    named = set(re.findall(r"Livepick\w+", hides))

    assert "LivepickOnCpu" not in named
    assert named <= {alert.name for alert in ALERTS}


@needs("amtool", "prometheus-alertmanager")
@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "operator"), ("warning", "mail"), ("info", "nobody")]
)
def test_alertmanager_sends_an_alert_by_its_severity(severity, receiver):
    """Critical: mail and webhook to the operator; warning: mail to the staff; info: nobody."""
    config = DEPLOY / "alertmanager" / "alertmanager.yml"

    checked, said = run("amtool", "check-config", config)
    status, routed = run(
        "amtool", "config", "routes", "test", f"--config.file={config}", f"severity={severity}"
    )

    assert checked == 0, said
    assert (status, routed.splitlines()[0]) == (0, receiver)


def test_the_pictures_are_in_the_documentation_and_are_small():
    """They are downloaded with every clone."""
    root = DEPLOY.parent
    pages = [*root.glob("*.md"), *root.glob("daemon/*.md"), *DEPLOY.glob("*.md")]
    named = {
        (page.parent / name).resolve()
        for page in pages
        for name in re.findall(r"\]\(([\w./]*pictures/[\w-]+\.png)\)", page.read_text())
    }

    assert named == set((DEPLOY / "pictures").iterdir())
    assert sum(path.stat().st_size for path in named) < 600_000
