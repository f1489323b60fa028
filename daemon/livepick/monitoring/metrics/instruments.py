"""Creation of Prometheus instruments; the only module that imports the client library.

The help text of an instrument is the operator's question that it answers. Label values come from
short fixed lists, never from a file, a user or an error's text. Timestamps are in unix seconds and
are 0 until the first event: dashboards subtract them from ``time()``.
"""

import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    Metric,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from livepick import errors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "CONTENT_TYPE",
    "ERROR_REASONS",
    "ERROR_STAGES",
    "ErrorCounter",
    "ErrorStage",
    "InstrumentFactory",
    "LargeHistogram",
    "RunningTotal",
]

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

ErrorStage = Literal["ingest", "pick", "export", "train"]
ERROR_STAGES: tuple[ErrorStage, ...] = ("ingest", "pick", "export", "train")
"""Stages in which an error can occur."""


def _reasons(root: type[errors.LivepickError]) -> set[str]:
    return {root.reason}.union(*(_reasons(child) for child in root.__subclasses__()))


ERROR_REASONS = tuple(sorted(_reasons(errors.LivepickError)))
"""``reason`` of every livepick error class, and ``internal`` for all other exceptions."""


class LargeHistogram(Histogram):
    """A histogram of which hundreds of values are observed at once."""

    def observe_all(self, values: "Sequence[float] | NDArray[np.float32]") -> None:
        """Observe many values, at the cost of a few: each bucket is increased once."""
        import numpy as np  # noqa: PLC0415 - the service of an instrument works without it

        exact = np.asarray(values, dtype=np.float64)  # as ``observe`` compares them
        buckets = np.searchsorted(self._upper_bounds, exact, side="left")
        for bucket, count in enumerate(np.bincount(buckets).tolist()):
            if count:
                self._buckets[bucket].inc(count)
        self._sum.inc(float(exact.sum()))


_Labelled = TypeVar("_Labelled", Counter, Gauge, LargeHistogram)


class _First(Collector):
    """Collects nothing, and makes other parts count what they have put off."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def collect(self) -> Iterable[Metric]:
        for call in self.calls:
            call()
        return []


class InstrumentFactory:
    """Creates instruments named ``livepick_…`` in a registry of its own.

    Labels are given with all their values, as ``state=("busy", "idle")``. Every combination is
    exported as zero from the start, so that rates are correct from the first event. A label whose
    values are not known beforehand is given as ``()``; its series appear when they are set.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the series
        self.registry = CollectorRegistry()
        self._first = _First()
        self.registry.register(self._first)  # before all others, so it is collected first

    def before_scrape(self, count: Callable[[], None]) -> None:
        """Call a function at the begin of each scrape, to count what it has put off until then."""
        self._first.calls.append(count)

    def counter(self, name: str, question: str, /, **labels: Collection[str]) -> Counter:
        """Return a new counter; Prometheus appends ``_total`` to its name."""
        return _with_zeros(
            Counter(f"livepick_{name}", question, labels, registry=self.registry), labels
        )

    def gauge(self, name: str, question: str, /, **labels: Collection[str]) -> Gauge:
        """Return a new gauge."""
        return _with_zeros(
            Gauge(f"livepick_{name}", question, labels, registry=self.registry), labels
        )

    def histogram(
        self, name: str, question: str, buckets: tuple[float, ...], /, **labels: Collection[str]
    ) -> LargeHistogram:
        """Return a new histogram with these upper bounds of its buckets."""
        histogram = LargeHistogram(
            f"livepick_{name}", question, labels, buckets=buckets, registry=self.registry
        )
        return _with_zeros(histogram, labels)

    def info(self, name: str, question: str, /) -> Info:
        """Return a new info metric; Prometheus appends ``_info`` to its name."""
        return Info(f"livepick_{name}", question, registry=self.registry)

    def exposition(self) -> bytes:
        """Return the text that Prometheus scrapes."""
        return generate_latest(self.registry)


def _with_zeros(instrument: _Labelled, labels: dict[str, Collection[str]]) -> _Labelled:
    if labels:
        for values in itertools.product(*labels.values()):
            instrument.labels(*values)
    return instrument


class ErrorCounter:
    """Errors of all subjects, by stage and reason."""

    def __init__(self, make: InstrumentFactory) -> None:
        self._errors = make.counter(
            "errors", "What goes wrong, and where?", stage=ERROR_STAGES, reason=ERROR_REASONS
        )

    def count(self, stage: ErrorStage, reason: str) -> None:
        """Count an error; a reason outside ``ERROR_REASONS`` counts as ``internal``."""
        self._errors.labels(stage, reason if reason in ERROR_REASONS else "internal").inc()


class RunningTotal:
    """A counter that follows a total which another part has counted since the start."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._total = 0

    def raise_to(self, total: int) -> None:
        """Raise the counter by the increase since the last call."""
        self._counter.inc(total - self._total)
        self._total = total
