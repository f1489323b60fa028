"""Alerts, and the rules file that Prometheus reads.

Windows and thresholds are written as durations: ``[30m]``, and ``seconds(15m)`` for a number of
seconds. A test can therefore scale the same rules, so that a minute becomes a second.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import yaml

__all__ = ["DASHBOARDS", "RUNBOOKS", "Alert", "in_promql", "rules"]

Severity = Literal["critical", "warning", "info"]
"""Severity: ``critical`` calls the operator, ``warning`` needs a check today, ``info`` is for
information."""

RUNBOOKS = "file:///opt/livepick/deploy/README.md"
"""URL of deploy/README.md; ``generate.py --runbooks`` sets another one."""

DASHBOARDS = "http://localhost:3000/d"
"""URL of Grafana's dashboards; ``generate.py --dashboards`` sets another one."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """Alert with its condition, text and runbook."""

    name: str
    severity: Severity
    expr: str
    """Condition in PromQL, extended by ``seconds(15m)``."""
    lasting: str
    """Time for which the condition must hold, for example ``5m``."""
    dashboard: Literal["session", "pipeline", "training"]
    """Dashboard to open first."""
    summary: str
    """Event and advice, in one or two sentences; a Prometheus template."""
    runbook: str
    """Section in deploy/README.md: meaning, usual causes, and remedies."""

    @property
    def anchor(self) -> str:
        """Anchor of the section in deploy/README.md."""
        return self.name.lower()


def in_promql(text: str, scale: float = 1.0) -> str:
    """Return an expression in plain PromQL, with its times divided by ``scale``."""

    def window(found: re.Match[str]) -> str:
        return f"[{_duration(found[1] + found[2], scale)}]"

    def number(found: re.Match[str]) -> str:
        return f"{_seconds(found[1]) / scale:g}"

    text = re.sub(r"\[(\d+)([smhd])\]", window, text)
    return " ".join(re.sub(r"seconds\((\d+[smhd])\)", number, text).split())


def _seconds(duration: str) -> float:
    return float(duration[:-1]) * _SECONDS[duration[-1]]


def _duration(duration: str, scale: float) -> str:
    return duration if scale == 1 else f"{max(round(_seconds(duration) / scale * 1000), 1)}ms"


def rules(
    alerts: Iterable[Alert],
    *,
    scale: float = 1.0,
    runbooks: str = RUNBOOKS,
    dashboards: str = DASHBOARDS,
) -> str:
    """Return the text of the rules file."""
    group = {
        "name": "livepick",
        "rules": [
            {
                "alert": alert.name,
                "expr": in_promql(alert.expr, scale),
                "for": _duration(alert.lasting, scale),
                "labels": {"severity": alert.severity},
                "annotations": {
                    "summary": " ".join(alert.summary.split()),
                    "runbook_url": f"{runbooks}#{alert.anchor}",
                    "dashboard_url": f"{dashboards}/livepick-{alert.dashboard}"
                    "?var-instance={{ $labels.instance }}",
                },
            }
            for alert in alerts
        ],
    }
    head = "# Made by deploy/generate.py from deploy/observability/*_alerts.py: edit those.\n"
    return head + yaml.safe_dump({"groups": [group]}, sort_keys=False, width=100)
