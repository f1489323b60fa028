"""Common parts of the three dashboards: variables, annotations, links, rows."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    AnnotationQuery,
    DashboardCursorSync,
    DashboardLinkType,
    GridPos,
    Panel,
    RowPanel,
    VariableHide,
    VariableModel,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from observability.panels import SOURCE, selected

__all__ = ["ANNOTATIONS", "Folded", "board"]

TAG = "livepick"

ANNOTATIONS = {
    "session start": ("livepick_session_started_timestamp_seconds", "blue"),
    "promotion": ("livepick_model_promoted_timestamp_seconds", "green"),
    "reload": ("livepick_config_last_reload_success_timestamp_seconds", "orange"),
}
"""Annotations at the time given by a metric, and their colours."""


@dataclass(frozen=True, slots=True)
class Folded:
    """Panels of a row that is closed until somebody opens it: its queries do not run before."""

    panels: Sequence[Builder[Panel]]


class _Marks(AnnotationQuery):
    """An annotation whose time is the value of its query, which the SDK has no field for."""

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {
            "useValueForTime": True,
            "titleFormat": self.name,
            "textFormat": "{{instrument}}",
            "step": "60s",
        }


class _MarksBuilder(Builder[AnnotationQuery]):
    def __init__(self, name: str, metric: str, colour: str) -> None:
        self._made = _Marks(
            name=name,
            datasource=SOURCE,
            enable=True,
            icon_color=colour,
            expr=selected(f"{metric}{{@}} * 1000"),
        )

    def build(self) -> AnnotationQuery:
        """Return the annotation."""
        return self._made


def _choice(name: str, label: str, metric: str, *, others: str, hidden: bool = False) -> (
    dashboard.QueryVariable
):  # fmt: skip
    """Return a variable with the values of a label; all values are selected by default."""
    query: dict[str, object] = {"query": f"label_values({metric}, {name})", "refId": name}
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(others)
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
        .hide(VariableHide.HIDE_VARIABLE if hidden else VariableHide.DONT_HIDE)
    )


def _variables() -> list[Builder[VariableModel]]:
    source = dashboard.DatasourceVariable("datasource").label("source").type("prometheus")
    services = 'livepick_build_info{job=~"$job", instrument=~"$instrument"}'
    sessions = 'livepick_session_info{job=~"$job", instrument=~"$instrument"}'
    return [
        source,
        # The label is missing if the scrape config of a service sets no instrument.
        _choice("instrument", "microscope", 'livepick_build_info{job=~"$job"}', others=".*"),
        _choice("session", "session", sessions, others=".*"),
        _choice("instance", "service", services, others=".+"),
        _choice("job", "job", "livepick_build_info", others=".+", hidden=True),
    ]


def board(
    name: str,
    description: str,
    rows: Mapping[str, Sequence[Builder[Panel]] | Folded],
    *,
    span: str,
) -> str:
    """Return a dashboard as JSON.

    Parameters
    ----------
    name
        Name of the dashboard, for example ``Session``.
    rows
        Panels by the title of their row; they fill lines of 24 columns.
    span
        Start of the time range, for example ``now-6h``.
    """
    made = (
        dashboard.Dashboard(f"livepick / {name}")
        .uid(f"livepick-{name.lower()}")
        .description(description)
        .tags([TAG])
        .readonly()
        .time(span, "now")
        .timezone("browser")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("livepick")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(include_vars=True)
            .keep_time(keep_time=True)
        )
    )
    for variable in _variables():
        made = made.with_variable(variable)
    for mark, (metric, colour) in ANNOTATIONS.items():
        made = made.annotation(_MarksBuilder(mark, metric, colour))
    for title, panels in rows.items():
        row = dashboard.Row(title)
        if isinstance(panels, Folded):
            for panel in panels.panels:
                row = row.with_panel(panel)
            made = made.with_row(row)
            continue
        made = made.with_row(row)
        for panel in panels:
            made = made.with_panel(panel)
    whole = made.build()
    _place(whole.panels or [])
    return json.dumps(whole, cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _place(parts: Sequence[Panel | RowPanel]) -> None:
    """Give each panel a number, and close the gaps that the SDK leaves below folded rows."""
    numbers = itertools.count(1)
    gap = 0
    for part in parts:
        part.id_val = next(numbers)
        place = cast("GridPos", part.grid_pos)
        place.y -= gap
        if isinstance(part, RowPanel) and part.panels:
            for panel in part.panels:
                panel.id_val = next(numbers)
                cast("GridPos", panel.grid_pos).y -= gap
            places = [cast("GridPos", panel.grid_pos) for panel in part.panels]
            gap += max(each.y + each.h for each in places) - place.y - 1
