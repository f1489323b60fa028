"""Write the generated files in deploy/: alert rules, dashboards, and parts of README.md.

Run it after a change of livepick.monitoring.metrics or of observability/::

    PYTHONPATH=daemon python deploy/generate.py

It needs the development environment: grafana-foundation-sdk is pinned, because another version
writes dashboards for another Grafana. To use your own addresses::

    python deploy/generate.py --dashboards https://grafana.example/d --runbooks https://…/README.md
"""

import argparse
from pathlib import Path

from observability.alert import rules
from observability.alerts import ALERTS
from observability.documentation import metrics_table, runbooks, with_parts
from observability.pipeline_board import pipeline_board
from observability.session_board import session_board
from observability.training_board import training_board

HERE = Path(__file__).parent


def files(*, dashboard_url: str = "", runbook_url: str = "") -> dict[Path, str]:
    """Return the text of each generated file, by its path below deploy/."""
    readme = (HERE / "README.md").read_text()
    parts = {"metrics": metrics_table(), "runbooks": runbooks(ALERTS)}
    return {
        Path("README.md"): with_parts(readme, parts),
        Path("alerts/livepick.yml"): rules(ALERTS, runbooks=runbook_url, dashboards=dashboard_url),
        Path("grafana/dashboards/session.json"): session_board(),
        Path("grafana/dashboards/pipeline.json"): pipeline_board(),
        Path("grafana/dashboards/training.json"): training_board(),
    }


def main() -> None:
    """Write all files."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--dashboards", default="", help="URL of Grafana's dashboards")
    arguments.add_argument("--runbooks", default="", help="URL of this README.md")
    given = arguments.parse_args()
    made = files(dashboard_url=given.dashboards, runbook_url=given.runbooks)
    for path, text in made.items():
        (HERE / path).write_text(text)


if __name__ == "__main__":
    main()
