"""Draw the dashboards as pictures, from a real session that a real Prometheus watches.

    python tests/draw_dashboards.py OUT [--seconds 60]

There is no Grafana in it: panels are drawn in their places with the answers to their queries, so
that it can be seen what fits on a screen, and which panel is empty or has another unit than its
limits. It needs Debian's ``prometheus`` and ``chromium``.
"""

import argparse
import html
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parent
sys.path[:0] = [str(TESTS), str(TESTS / "acceptance"), str(TESTS.parent / "deploy")]

from chromium import chromium  # noqa: E402 - after the path
from monitoring import Prometheus  # noqa: E402
from session import Session  # noqa: E402

BOARDS = TESTS.parent / "deploy" / "grafana" / "dashboards"
WIDTH_PX, ROW_PX, GAP_PX = 1900, 30, 8
"""Width of the picture, and Grafana's height of a grid row and the gap between two."""

FILLS = {"$__rate_interval": "10s", "$job": ".+", "$instance": ".+", "$instrument": ".*"}
COLOURS = ("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9")
STYLE = (
    "body{margin:0;background:#111217;color:#ccccdc;font:13px sans-serif;position:relative}"
    ".p{position:absolute;background:#181b1f;border:1px solid #2c2f33;overflow:hidden;"
    "box-sizing:border-box;padding:4px 8px}.big{font-size:28px;text-align:center}"
    "b{display:block;font-weight:500}table{font-size:12px}td{padding-right:14px}"
    "svg{width:100%;height:70%}small{color:#9a9aab}.row{padding:6px;font-weight:600}"
)


def main() -> None:
    """Let a session run for some time, and draw its dashboards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=int, default=60)
    given = parser.parse_args()
    given.out.mkdir(exist_ok=True)
    program = shutil.which("prometheus") or sys.exit("needs prometheus")
    with tempfile.TemporaryDirectory(prefix="livepick-boards-") as name:
        session = Session(Path(name))
        session.start()
        prometheus = Prometheus(program, Path(name) / "prometheus", target=session.address, scale=1)
        try:
            end = time.monotonic() + given.seconds
            first = 1
            while time.monotonic() < end:
                session.drop(1, first=first, bad=first % 4 == 0)
                first += 1
                time.sleep(2)
            with chromium() as browser:
                for path in sorted(BOARDS.glob("*.json")):
                    page = browser.new_page(viewport={"width": WIDTH_PX, "height": 1080})
                    page.set_content(drawn(json.loads(path.read_text()), prometheus, given.seconds))
                    page.screenshot(path=given.out / f"{path.stem}.png", full_page=True)
        finally:
            prometheus.close()
            session.end()


def drawn(board: dict, prometheus: Prometheus, seconds: int) -> str:
    """Return a dashboard as HTML; folded rows stay folded."""
    parts = [(panel["gridPos"], content(panel, prometheus, seconds)) for panel in board["panels"]]
    height = max(place["y"] + place["h"] for place, _ in parts) * (ROW_PX + GAP_PX)
    boxes = "".join(
        f'<div class="p" style="left:{place["x"] * WIDTH_PX / 24:.0f}px;'
        f"top:{place['y'] * (ROW_PX + GAP_PX)}px;width:{place['w'] * WIDTH_PX / 24 - GAP_PX:.0f}px;"
        f'height:{place["h"] * (ROW_PX + GAP_PX) - GAP_PX}px">{text}</div>'
        for place, text in parts
    )
    return f"<style>{STYLE}</style><body style='height:{height}px'>{boxes}</body>"


def content(panel: dict, prometheus: Prometheus, seconds: int) -> str:
    """Return the inside of a panel as HTML."""
    title = html.escape(panel["title"])
    if panel["type"] == "row":
        folded = f" (folded: {len(panel['panels'])} panels)" if panel.get("panels") else ""
        return f'<div class="row">{title}{folded}</div>'
    unit = panel["fieldConfig"]["defaults"]["unit"]
    if panel["type"] in ("stat", "gauge"):
        return f"<b>{title}</b>{stat(panel, prometheus, unit)}"
    if panel["type"] == "table":
        return f"<b>{title}</b>{table(panel, prometheus)}"
    return f"<b>{title} <small>{unit}</small></b>{plot(panel, prometheus, seconds)}"


def expression(target: dict) -> str:
    """Return the query of a panel, all services being selected."""
    text: str = target["expr"]
    for name, value in (FILLS | {"$session": ".*"}).items():
        text = text.replace(name, value)
    return text


def stat(panel: dict, prometheus: Prometheus, unit: str) -> str:
    """Return the one value of a panel, in the colour of its thresholds."""
    found = prometheus.ask("query", query=expression(panel["targets"][0]))["result"]
    if not found:
        return '<div class="big">-</div>'
    value = float(found[0]["value"][1])
    defaults = panel["fieldConfig"]["defaults"]
    colour = "text"
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            colour = step["color"]
    legend = panel["targets"][0].get("legendFormat", "")
    words = {k: v["text"] for m in defaults.get("mappings", []) for k, v in m["options"].items()}
    text = words.get(f"{value:g}") or (f"{value:.0%}" if unit == "percentunit" else f"{value:.4g}")
    if panel["options"].get("textMode") == "name":
        text = legend
        for label, word in found[0]["metric"].items():
            text = text.replace(f"{{{{{label}}}}}", word)
    shade = {"text": "#ccccdc", "yellow": "#f2cc0c"}.get(colour, colour)
    return f'<div class="big" style="color:{shade}">{html.escape(text)}</div>'


def table(panel: dict, prometheus: Prometheus) -> str:
    """Return the labels of each series in a table."""
    found = prometheus.ask("query", query=expression(panel["targets"][0]))["result"]
    hidden = {"__name__", "job", "alertstate"}
    rows = [{k: v for k, v in one["metric"].items() if k not in hidden} for one in found]
    names = sorted({name for row in rows for name in row})
    head = "".join(f"<td><small>{html.escape(name)}</small></td>" for name in names)
    lines = "".join(
        "<tr>" + "".join(f"<td>{html.escape(row.get(n, ''))}</td>" for n in names) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{lines}</table>" if rows else "<small>none</small>"


def plot(panel: dict, prometheus: Prometheus, seconds: int) -> str:
    """Return curves, or the last bins of a heatmap, as SVG with the range of the values."""
    now, curves = time.time(), []
    for target in panel["targets"]:
        answer = prometheus.ask(
            "query_range", query=expression(target), start=now - seconds, end=now, step="1"
        )
        for one in answer["result"]:
            points = [(float(at), float(v)) for at, v in one["values"] if v not in ("NaN", "+Inf")]
            label = ", ".join(
                v for k, v in one["metric"].items() if k not in ("__name__", "job", "instance")
            )
            if points:
                curves.append((label or target.get("legendFormat", ""), points))
    if not curves:
        return '<div class="big">no data</div>'
    most = max(v for _, points in curves for _, v in points) or 1
    least = min(0.0, *(v for _, points in curves for _, v in points))
    lines = ""
    for number, (_, points) in enumerate(curves):
        across, up = 600 / seconds, 96 / (most - least)
        path = " ".join(
            f"{across * (at - now + seconds):.1f},{100 - up * (v - least):.1f}" for at, v in points
        )
        colour = COLOURS[number % len(COLOURS)]
        lines += f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{path}"/>'
    names = " · ".join(html.escape(label) for label, _ in curves[:8])
    return (
        f'<svg viewBox="0 0 600 100" preserveAspectRatio="none">{lines}</svg>'
        f"<small>{least:.3g} to {most:.3g}: {names}</small>"
    )


if __name__ == "__main__":
    main()
