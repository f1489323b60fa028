"""An alert, and the rules file that Prometheus reads.

Windows and thresholds in seconds are written as one would say them: ``[30m]``, and ``seconds(15m)``
for a number. So a test can have the very same rules with a minute as long as a second.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import yaml

__all__ = ["DASHBOARDS", "RUNBOOKS", "Alert", "in_promql", "rules"]

Severity = Literal["critical", "warning", "info"]
"""Call the operator; look at it today; know it."""

RUNBOOKS = "file:///opt/livepick/deploy/README.md"
"""Where deploy/README.md is to be had; ``generate.py --runbooks`` names another place."""

DASHBOARDS = "http://localhost:3000/d"
"""Grafana's dashboards; ``generate.py --dashboards`` names another place."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """Something that somebody is to be told of, and what to do about it."""

    name: str
    severity: Severity
    expr: str
    """PromQL, but for ``seconds(15m)``."""
    lasting: str
    """How long it must be so, as ``5m``."""
    dashboard: Literal["session", "pipeline", "training"]
    """Where to look first."""
    summary: str
    """What happened and what to do, in one or two sentences; a template of Prometheus."""
    runbook: str
    """The section in deploy/README.md: what it means, the usual causes, and their remedies."""

    @property
    def anchor(self) -> str:
        """Of its section in deploy/README.md."""
        return self.name.lower()


def in_promql(text: str, scale: float = 1.0) -> str:
    """Return an expression as Prometheus reads it, its times divided by ``scale``."""

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
    """Return the rules file."""
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
    head = "# Made by deploy/generate.py from deploy/observability/alerts.py: edit that.\n"
    return head + yaml.safe_dump({"groups": [group]}, sort_keys=False, width=100)
