"""Panel types, and helpers for the queries in them.

In a query ``@`` stands for the selection of the dashboard's variables. ``livepick_session_info``
restricts each query to the time and service of the selected session: a service has one session at a
time, so its metrics need no session label.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DynamicConfigValue,
    Panel,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

__all__ = [
    "OLDEST_WAITS",
    "SOURCE",
    "Scale",
    "curves",
    "distribution",
    "figure",
    "listing",
    "quantile",
    "selected",
    "within",
]

SOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")

SELECTED = 'job=~"$job", instance=~"$instance", instrument=~"$instrument"'

SESSION = 'livepick_session_info{@, session=~"$session"}'

OLDEST_WAITS = """
(time() - (livepick_oldest_pending_timestamp_seconds{@} > 0)) or 0 * livepick_healthy{@}
"""
"""Query for the waiting time of the oldest micrograph without picks, in seconds; 0 if none waits.
"""

SLOW = "5m"
"""Minimum step of hourly rates: at one micrograph a minute, a 15-second step would mean little."""

HEIGHT_FIGURE, HEIGHT_CURVES = 3, 8

_HIDDEN = DynamicConfigValue(id_val="custom.hidden", value=True)


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from which a figure is yellow and red."""

    yellow: float | None
    red: float | None
    good: str = "green"
    """Colour below both values. ``red`` or ``text`` if more is better: green begins at field
    ``red``."""

    def thresholds(self) -> dashboard.ThresholdsConfig:
        """Return the scale as a Grafana thresholds config."""
        last = "red" if self.good == "green" else "green"
        steps = [Threshold(value=None, color=self.good)]
        if self.yellow is not None:
            steps.append(Threshold(value=self.yellow, color="yellow"))
        if self.red is not None:
            steps.append(Threshold(value=self.red, color=last))
        return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


PLAIN = Scale(None, None, good="text")


def selected(expr: str) -> str:
    """Return a query with ``@`` replaced by the selection of the dashboard's variables."""
    return " ".join(expr.replace("@", SELECTED).split())


def within(expr: str) -> str:
    """Return a query restricted to the selected sessions."""
    return selected(f"({' '.join(expr.split())}) and on (job, instance) {SESSION}")


def quantile(part: float, histogram: str) -> str:
    """Return the query for a quantile of a histogram, by its labels."""
    return f"histogram_quantile({part}, rate({histogram}_bucket{{@}}[$__rate_interval]))"


def _query(expr: str, legend: str, number: int = 0) -> prometheus.Dataquery:
    query = prometheus.Dataquery().datasource(SOURCE).expr(expr)
    return query.legend_format(legend).ref_id(chr(ord("A") + number))


def figure(
    title: str,
    description: str,
    expr: str,
    *,
    unit: str = "short",
    scale: Scale = PLAIN,
    words: dict[float, str] | None = None,
    name: str = "",
    slow: bool = False,
    of_session: bool = True,
    width: int = 4,
) -> Builder[Panel]:
    """Return a panel with one large current value; it is empty if the service does not respond.

    Parameters
    ----------
    words
        Text to show instead of values.
    name
        Legend to show instead of the value.
    slow
        True for a rate per hour.
    of_session
        True to restrict the query to the selected sessions. Use False for panels that must work
        while a service is down, because it then does not export which session it has.
    """
    asked = within(expr) if of_session else selected(expr)
    shown = looks.BigValueTextMode.NAME if name else looks.BigValueTextMode.AUTO
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .with_target(_query(asked, name or "{{instrument}}").instant())
        .unit(unit)
        .thresholds(scale.thresholds())
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False))
        .graph_mode(looks.BigValueGraphMode.NONE)
        .color_mode(looks.BigValueColorMode.VALUE)
        .text_mode(shown)
        .no_value("-")
        .height(HEIGHT_FIGURE)
        .span(width)
    )
    if words:
        texts = {f"{value:g}": ValueMappingResult(text=text) for value, text in words.items()}
        panel = panel.mappings([ValueMap(texts)])
    return panel.interval(SLOW) if slow else panel


def curves(
    title: str,
    description: str,
    queries: Sequence[tuple[str, str]],
    *,
    unit: str = "short",
    least: float | None = 0,
    most: float | None = None,
    slow: bool = False,
    width: int = 8,
) -> Builder[Panel]:
    """Return a panel with curves over time, from queries with their legends."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .fill_opacity(8)
        .show_points(looks.VisibilityMode.NEVER)
        .tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI))
        .legend(
            common.VizLegendOptions()
            .display_mode(looks.LegendDisplayMode.LIST)
            .placement(looks.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
        )
        .height(HEIGHT_CURVES)
        .span(width)
    )
    for number, (expr, legend) in enumerate(queries):
        panel = panel.with_target(_query(within(expr), "{{instrument}} " + legend, number))
    if least is not None:
        panel = panel.min(least)
    if most is not None:
        panel = panel.max(most)
    return panel.interval(SLOW) if slow else panel


def distribution(
    title: str, description: str, histogram: str, *, unit: str, width: int = 8
) -> Builder[Panel]:
    """Return a heatmap over time of a histogram without other labels."""
    buckets = within(f"increase({histogram}_bucket{{@}}[$__rate_interval])")
    expr = f"sum by (le) ({buckets})"
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .with_target(_query(expr, "{{le}}").format(PromQueryFormat.HEATMAP))
        .unit(unit)
        .calculate(calculate=False)
        .interval(SLOW)
        .height(HEIGHT_CURVES)
        .span(width)
    )


def listing(
    title: str,
    description: str,
    expr: str,
    *,
    of_session: bool = True,
    height: int = 6,
    width: int = 24,
    hidden: Sequence[str] = (),
    link: str = "",
) -> Builder[Panel]:
    """Return a table panel of the current labels.

    Parameters
    ----------
    hidden
        Labels without a column.
    link
        Label whose value is an address to open.
    """
    query = (
        _query(within(expr) if of_session else selected(expr), "")
        .format(PromQueryFormat.TABLE)
        .instant()
    )
    without = "|".join(("Time", "Value", "__name__", "job", "alertstate", *hidden))
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .with_target(query)
        .unit("short")
        .no_value("none")
        .height(height)
        .span(width)
        .override_by_regexp(f"/^({without})$/", [_HIDDEN])
    )
    if link:
        opens = {"title": "Open the page", "url": "${__value.raw}", "targetBlank": True}
        panel = panel.override_by_name(link, [DynamicConfigValue(id_val="links", value=[opens])])
    return panel
