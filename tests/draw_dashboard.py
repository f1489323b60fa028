"""A Grafana dashboard, drawn from the data of a Prometheus: a picture without a Grafana server.

It draws single values, curves, heat maps and tables where the dashboard has them, with units,
colours of thresholds and legends, so that a person sees if a panel says something. It is no
Grafana: fonts and details differ. Panels in collapsed rows are left out, as they are there.
"""

import json
import re
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Panel = dict[str, Any]
Series = dict[str, Any]

GRID_INCHES = (0.55, 0.36)
"""Width and height of a unit of Grafana's grid, of which a dashboard is 24 wide."""

COLOURS = {"green": "#37872d", "yellow": "#b58a00", "red": "#c4162a", "text": "#222222"}
RATE_WINDOW = "60s"
"""Value of ``$__rate_interval``."""

FILLS = {
    "$__rate_interval": RATE_WINDOW,
    "$job": ".+",
    "$instance": ".+",
    "$instrument": ".*",
    "$session": ".*",
}
STEPS = 120
"""Number of points of a curve."""


def draw_dashboard(board: Path, prometheus: str, seconds: float, picture: Path) -> None:
    """Draw a dashboard.

    Parameters
    ----------
    board
        Its JSON.
    prometheus
        Address of the server, as ``http://127.0.0.1:9090``.
    seconds
        Length of the time axis, until now.
    picture
        PNG to write.
    """
    panels = json.loads(board.read_text())["panels"]
    rows_high = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = Figure(figsize=(24 * GRID_INCHES[0], rows_high * GRID_INCHES[1]), dpi=70)
    with mpl.rc_context({"font.size": 7, "axes.titlesize": 8}):
        for panel in panels:
            _draw(figure, panel, rows_high, _Data(prometheus, time.time(), seconds))
        figure.savefig(picture)


class _Data:
    """Answers of a Prometheus to the queries of panels."""

    def __init__(self, address: str, now: float, seconds: float) -> None:
        self._address, self.now, self.seconds = address, now, seconds

    def of(self, panel: Panel) -> list[tuple[str, Series]]:
        """Return the series of a panel, each with the text of its legend."""
        found = []
        for target in panel.get("targets", []):
            query = target["expr"]
            for name, value in FILLS.items():
                query = query.replace(name, value)
            values: dict[str, Any] = {"query": query}
            if not target.get("instant"):
                span = {"start": self.now - self.seconds, "end": self.now}
                values |= span | {"step": self.seconds / STEPS}
            path = "query" if target.get("instant") else "query_range"
            url = f"{self._address}/api/v1/{path}?{urllib.parse.urlencode(values)}"
            with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - the caller's
                result = json.load(answer)["data"]["result"]
            legend = target.get("legendFormat", "")
            found += [(_legend(legend, one["metric"]), one) for one in result]
        return found


def _legend(text: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda name: labels.get(name[1], ""), text).strip()


def _draw(figure: Figure, panel: Panel, rows_high: int, data: _Data) -> None:
    place = panel["gridPos"]
    left, width = place["x"] / 24, place["w"] / 24
    bottom = 1 - (place["y"] + place["h"]) / rows_high
    height = place["h"] / rows_high
    kind = panel["type"]
    if kind == "row":
        words = f"{panel['title']}{' (collapsed)' if panel.get('collapsed') else ''}"
        figure.text(0.005, bottom + height / 3, words, weight="bold")
        return
    margin = {"timeseries": (0.16, 0.2), "heatmap": (0.16, 0.2)}.get(kind, (0.02, 0.02))
    axes = figure.add_axes(
        (
            left + margin[0] * width,
            bottom + margin[1] * height,
            width * (0.96 - margin[0]),
            height * (0.8 - margin[1]),
        )
    )
    axes.set_title(panel["title"], loc="left")
    series = data.of(panel)
    if not series:
        axes.text(0.5, 0.5, "no data", ha="center", va="center", color="grey")
        axes.set_axis_off()
        return
    {"timeseries": _curves, "heatmap": _heat, "table": _table}.get(kind, _value)(
        axes, panel, series
    )


def _value(axes: Axes, panel: Panel, series: list[tuple[str, Series]]) -> None:
    """Draw a single value in the colour of its threshold."""
    axes.set_axis_off()
    options = panel["fieldConfig"]["defaults"]
    legend, one = series[0]
    value = float((one.get("value") or one["values"][-1])[1])
    colour = "text"
    for step in options.get("thresholds", {}).get("steps", []):
        if step["value"] is None or value >= step["value"]:
            colour = step["color"]
    words = _with_unit(value, options.get("unit", "short"))
    for mapping in options.get("mappings", []):
        known = mapping.get("options", {}).get(f"{value:g}", {})
        words, colour = known.get("text", words), known.get("color", colour)
    if panel.get("options", {}).get("textMode") == "name":
        words = legend
    axes.text(0.5, 0.5, words, ha="center", va="center", size=17, color=COLOURS.get(colour, colour))


def _curves(axes: Axes, panel: Panel, series: list[tuple[str, Series]]) -> None:
    options = panel["fieldConfig"]["defaults"]
    for legend, one in series:
        at, values = _points(one)
        axes.plot(at, values, label=legend or None, linewidth=1.2)
    for step in options.get("thresholds", {}).get("steps", []):
        if step["value"] is not None:
            axes.axhline(step["value"], color=COLOURS.get(step["color"]), linestyle="--", alpha=0.4)
    unit = options.get("unit", "short")
    axes.yaxis.set_major_formatter(lambda value, _: _with_unit(value, unit))
    axes.xaxis.set_major_formatter(
        lambda days, _: time.strftime("%H:%M", time.gmtime(86400 * days))
    )
    axes.tick_params(labelsize=6)
    if any(legend for legend, _ in series):
        axes.legend(fontsize=5, loc="best")


def _heat(axes: Axes, panel: Panel, series: list[tuple[str, Series]]) -> None:
    """Draw a histogram over time: each row of the picture is a bucket."""
    buckets = sorted(series, key=lambda one: float(one[1]["metric"].get("le", "inf")))
    at, _ = _points(buckets[0][1])
    below = np.array([_points(one)[1][-len(at) :] for _, one in buckets if len(_points(one)[1])])
    counts = np.diff(below, axis=0, prepend=0)
    axes.imshow(counts, aspect="auto", origin="lower", cmap="Oranges", interpolation="nearest")
    labels = [one["metric"].get("le", "") for _, one in buckets]
    ticks = range(0, len(labels), max(1, len(labels) // 5))
    axes.set_yticks(list(ticks), [labels[tick] for tick in ticks], fontsize=6)
    axes.set_xticks([])


def _table(axes: Axes, panel: Panel, series: list[tuple[str, Series]]) -> None:
    axes.set_axis_off()
    hidden = {"__name__", "job", "alertstate"}
    names = sorted({name for _, one in series for name in one["metric"]} - hidden)
    cells = [[one["metric"].get(name, "")[:40] for name in names] for _, one in series[:6]]
    table = axes.table(cells, colLabels=names, loc="upper center")
    table.auto_set_font_size(False)
    table.set_fontsize(5)


def _points(one: Series) -> tuple[np.ndarray, np.ndarray]:
    points = one.get("values") or [one["value"]]
    at = [float(at) / 86400 for at, _ in points]  # matplotlib counts days
    return np.asarray(at), np.array([float(value) for _, value in points])


def _with_unit(value: float, unit: str) -> str:
    """Return a number as Grafana writes it with a unit, in short."""
    if unit == "percentunit":
        return f"{100 * value:.0f} %"
    if unit in ("s", "dtdurations"):
        for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
            if abs(value) >= size:
                return f"{value / size:.3g} {name}"
        return f"{value:.3g} s"
    if unit in ("bytes", "decbytes"):
        return f"{value / 2**30:.3g} GiB"
    suffix = unit.removeprefix("suffix:")
    return f"{value:,.4g}" + ("" if unit in ("short", "none") else f" {suffix}")
