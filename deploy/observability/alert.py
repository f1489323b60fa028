"""Alerts, and the rules file that Prometheus reads.

Windows and thresholds are written as durations: ``[30m]``, and ``seconds(15m)`` for a number of
seconds. A test can therefore scale the same rules, so that a minute becomes a second.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import yaml

__all__ = ["AT_REST", "RECORDED", "Alert", "condition", "in_promql", "rules"]

Severity = Literal["critical", "warning", "info"]
"""Severity: ``critical`` calls the operator, ``warning`` needs a check today, ``info`` is for
information."""

_SAME = "on (job, instance)"

_AFTER_THE_END = f"unless {_SAME} livepick_session_ended == 1"
"""Condition that silences the alerts of a session that is over."""

_IN_USE = f"""
    unless {_SAME} time() - (livepick_last_micrograph_picked_timestamp_seconds > 0) > seconds(6h)
    """
"""Condition that silences an alert on past micrographs when none has been picked for hours."""

AT_REST = "livepick:stopped_on_purpose"
"""Recorded series: 1 while a service is down that was stopped on purpose."""

_STOPPED = "livepick_stopped_on_purpose"

RECORDED = {
    # What the service said last, and, once it is gone, what was recorded before: a range leaves out
    # the marks of series that have ended, and goes on however long it is down.
    AT_REST: f"""
        last_over_time({_STOPPED}[5m]) or last_over_time({AT_REST}[2h])
        """,
}
"""Series that the rules record, with their expressions."""

_INFO = "livepick_session_info|livepick_instrument_info"
_OF_SERVICE = f"last_over_time({{__name__=~'{_INFO}',job='%s',instance='%s'}}[1d])"
_WITH_INFO = f'{{{{ with printf "{_OF_SERVICE}" $labels.job $labels.instance | query }}}}'
_PAGE_URL = (
    f'{_WITH_INFO}{{{{ . | first | label "page_url" }}}}'
    "{{ else }}http://{{ $labels.instance }}/{{ end }}"
)
"""Link to livepick's page: the service says its URL (``web.external_url``)."""

_SESSION = f'{_WITH_INFO}{{{{ . | first | label "session" }}}}{{{{ end }}}}'
"""Name of the session; empty for the service of an instrument."""

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
    """Section in deploy/README.md: meaning, usual causes, and remedies. Also in the mail."""
    after_the_end: bool = False
    """True if it also fires when the session is over."""
    in_use: bool = False
    """True if it is about past micrographs: it ends when none has been picked for six hours."""

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


def condition(alert: Alert) -> str:
    """Return the condition of an alert with what silences it, still with ``seconds(15m)``."""
    expr = alert.expr
    if alert.in_use:
        expr = f"({expr}) {_IN_USE}"
    return expr if alert.after_the_end else f"({expr}) {_AFTER_THE_END}"


def rules(
    alerts: Iterable[Alert],
    *,
    scale: float = 1.0,
    runbooks: str = "",
    dashboards: str = "",
) -> str:
    """Return the text of the rules file.

    Parameters
    ----------
    alerts
        The alerts.
    scale
        Factor by which all times are shortened.
    runbooks, dashboards
        URLs of deploy/README.md and of Grafana's dashboards (``https://grafana.example/d``); empty:
        there are no such links, as the rules cannot know them.
    """
    recorded = [{"record": name, "expr": in_promql(expr, scale)} for name, expr in RECORDED.items()]
    group = {
        "name": "livepick",
        "rules": recorded
        + [
            {
                "alert": alert.name,
                "expr": in_promql(condition(alert), scale),
                "for": _duration(alert.lasting, scale),
                "labels": {"severity": alert.severity},
                "annotations": _annotations(alert, runbooks, dashboards),
            }
            for alert in alerts
        ],
    }
    head = "# Made by deploy/generate.py from deploy/observability/*_alerts.py: edit those.\n"
    return head + yaml.safe_dump({"groups": [group]}, sort_keys=False, width=100)


def _annotations(alert: Alert, runbooks: str, dashboards: str) -> dict[str, str]:
    notes = {
        "summary": " ".join(alert.summary.split()),
        "description": " ".join(alert.runbook.split()),
        "page_url": _PAGE_URL,
        "session": _SESSION,
        "dashboard": f"livepick-{alert.dashboard}",
    }
    if runbooks:
        notes["runbook_url"] = f"{runbooks}#{alert.anchor}"
    if dashboards:
        notes["dashboard_url"] = (
            f"{dashboards}/livepick-{alert.dashboard}?var-instance={{{{ $labels.instance }}}}"
        )
    return notes
