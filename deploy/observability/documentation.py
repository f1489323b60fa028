"""Generated parts of deploy/README.md: the table of metrics, and the runbook of each alert."""

import textwrap
from collections.abc import Iterable

from prometheus_client import Metric

from livepick.config.schema import Config
from livepick.core.contracts.cluster_view import ClusterView
from livepick.host.gpus import Gpu
from livepick.instrument.metrics import InstrumentMetrics
from livepick.monitoring.metrics.exporter import Metrics
from observability.alert import Alert

__all__ = ["exposed", "exposed_by_instruments", "metrics_table", "runbooks", "with_parts"]

MOST_VALUES = 8
"""Maximum number of label values to list; for more, only their number is given."""

OPEN_LABELS = frozenset({"gpu", "kind", "root", "version"})
"""Labels whose values are not known beforehand, as are all labels of info metrics."""

CONFIG = Config.model_validate(
    {
        "session": {"name": "example"},
        "watch": {"directories": ["micrographs"]},
        "particle": {"diameter_angstrom": 150},
        "output": {"directory": "coordinates"},
        "state": {"directory": "state"},
    }
)


def exposed() -> list[Metric]:
    """Return all metric families, including those without a series until the service is up."""
    metrics = Metrics()
    metrics.session.describe(version="", python="", session="", started_at=0)
    metrics.session.use_config(CONFIG, read_at=0)
    metrics.ingest.folder_available(0, available=True)
    metrics.training.use_model(version=0, kind="blob", promoted_at=0)
    metrics.host.gpus([Gpu(0, memory_used_bytes=0, memory_size_bytes=0, busy=0)])
    metrics.cluster.show(ClusterView(""))
    return list(metrics.registry.collect())


def exposed_by_instruments() -> list[Metric]:
    """Return the metric families of the service of an instrument."""
    metrics = InstrumentMetrics()
    metrics.describe("")
    return list(metrics.registry.collect())


def metrics_table() -> str:
    """Return a table with a row per metric: name, type, labels and the question it answers."""
    rows = ["| metric | type | labels | question |", "| --- | --- | --- | --- |"]
    families = {family.name: family for family in (*exposed_by_instruments(), *exposed())}
    for _, family in sorted(families.items()):
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        rows.append(
            f"| `{family.name}{suffix}` | {family.type} | {_labels(family)} |"
            f" {family.documentation} |"
        )
    return "\n".join(rows)


def _labels(family: Metric) -> str:
    values: dict[str, list[str]] = {}
    for sample in family.samples:
        for name, value in sample.labels.items():
            if name != "le" and value not in values.setdefault(name, []):
                values[name].append(value)
    return "; ".join(
        f"`{name}`" + ("" if family.type == "info" or name in OPEN_LABELS else _shown(of))
        for name, of in values.items()
    )


def _shown(values: list[str]) -> str:
    if len(values) > MOST_VALUES:
        return f" ({len(values)} values)"
    return f" ({', '.join(values)})"


def runbooks(alerts: Iterable[Alert]) -> str:
    """Return the runbook text, with a section for each alert."""
    sections = []
    for alert in alerts:
        said = f"*{alert.severity}*, after {alert.lasting}. {alert.runbook}"
        lines = textwrap.fill(said, 100, break_long_words=False, break_on_hyphens=False)
        sections.append(f"### {alert.name}\n\n{lines}")
    return "\n\n".join(sections)


def with_parts(text: str, parts: dict[str, str]) -> str:
    """Return a text with the parts between ``<!-- NAME -->`` and ``<!-- end -->`` replaced."""
    for name, part in parts.items():
        head, mark, rest = text.partition(f"<!-- {name} -->\n")
        _, end, tail = rest.partition("\n<!-- end -->")
        if not mark or not end:
            raise ValueError(f"deploy/README.md has no place for {name}")
        text = head + mark + part + end + tail
    return text
