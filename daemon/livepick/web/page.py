"""Parts of the page, each rendered separately, so that unchanged parts are not sent again.

All parts are rendered together, at most once a second, however many clients there are. The figures
over time are the only part that reads a row of every micrograph; they are made again only after a
write to the ledger. Their plots are drawn by the browser, which fetches the data.
"""

import functools
import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from livepick.config.alert_thresholds import LATEST
from livepick.config.schema import Config
from livepick.core.contracts.before_and_after import EXAMPLES
from livepick.core.formats.header import NOTE_WORDS, printable
from livepick.ingest.skipped import SkippedView
from livepick.ledger.page_queries import PageQueries
from livepick.ledger.reader import LedgerReader
from livepick.models.registry import MODELS, Models
from livepick.models.summary import summarize_models
from livepick.monitoring.disk_usage import disk_usages
from livepick.monitoring.headline import Headline, headline
from livepick.monitoring.health import Health
from livepick.monitoring.human_units import zone
from livepick.monitoring.pace import Pace, pace_of
from livepick.monitoring.status import Status
from livepick.picking.downloads import Downloads
from livepick.web.classes_view import view_classes
from livepick.web.jinja import render_template
from livepick.web.micrograph_view import Tile, tile_of
from livepick.web.particle_view import view_particle
from livepick.web.session_files import shown_files
from livepick.web.timeline_plots import figure_summaries, timeline_plots
from livepick.web.training_view import run_activity, view_training

__all__ = ["NEWEST", "SECTIONS", "WHOLE", "Sections", "Sources", "Span"]

SECTIONS: Final = (
    "glance",
    "newest",
    "classes",
    "trends",
    "training",
    "models",
    "failures",
    "outputs",
)
"""Parts in page order, by the name of their template."""

NEWEST = 12
"""Number of micrographs in the strip."""

HISTORY = 12
"""Number of latest promotions shown."""

CACHE_SECONDS = 1.0

Span = tuple[float, float]
"""Begin and end of a span of time, in unix seconds."""

WHOLE: Final[Span] = (float("-inf"), float("inf"))
"""Span of the whole session."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Data sources of the page; all are safe to use from any thread."""

    status: Callable[[], Status]
    health: Callable[[], Health]
    config: Callable[[], Config]
    """Function that returns the settings in force."""
    ledger: LedgerReader
    queries: PageQueries
    settings_text: Callable[[], str] = str
    """Function that returns the text of the config file."""


class Sections:
    """Renders the parts of the page.

    Parameters
    ----------
    sources
        Data sources.
    has_actions
        True to show links to the pages on which people change something.
    """

    def __init__(self, sources: Sources, *, has_actions: bool = False) -> None:
        self._sources = sources
        self._has_actions = has_actions
        self._models = Models(sources.config().state.directory / MODELS)
        self._lock = threading.Lock()
        self._parts: dict[str, str] = {}
        self._made_at = float("-inf")
        self._figures: tuple[int, str] | None = None
        self._plots: tuple[int, bytes] | None = None
        self.downloads = functools.cache(
            lambda: Downloads(sources.config, sources.ledger, sources.queries.filtered)
        )
        """Function that returns the source of downloads."""

    def prepare(self) -> None:
        """Read what takes long in a session of 100,000 micrographs, before the first request."""
        self._sources.queries.timeline()

    def page(self, other_port: Callable[[int], str]) -> str:
        """Return the whole page.

        Parameters
        ----------
        other_port
            Returns the URL of another port of the host, as the browser sees it.
        """
        parts = self.parts()
        config = self._sources.config()
        overview = config.web.overview_url or ""
        if overview.startswith(":"):
            overview = other_port(int(overview[1:]))
        return render_template(
            "index.html",
            parts={name: (parts[name], digest(parts[name])) for name in SECTIONS},
            session=config.session.name,
            overview=overview,
            now=(now := time.time()),
            zone=zone(now),
            has_actions=self._has_actions,
        )

    def parts(self) -> dict[str, str]:
        """Return the HTML of every part, by name."""
        with self._lock:
            if time.monotonic() - self._made_at > CACHE_SECONDS:
                self._parts = self._make()
                self._made_at = time.monotonic()
            return self._parts

    def _make(self) -> dict[str, str]:
        sources, config = self._sources, self._sources.config()
        ledger, status, now = sources.ledger, sources.status(), time.time()
        pace = self.pace(now)
        top = self._headline(status, pace, now)
        tiles = [self._tile(row.id) for row in ledger.latest(NEWEST, picked=True)]
        shown = [tile for tile in tiles if tile is not None]
        threshold = shown[0].row.threshold if shown else None
        activity = run_activity(status.training)
        history = self._models.promotions()[::-1]
        return {
            "glance": render_template(
                "glance.html",
                top=top,
                status=status,
                pace=pace,
                threshold=threshold,
                disks=disk_usages(status.disks),
                particle=view_particle(status.particle),
                has_actions=self._has_actions,
                activity=activity,
                now=now,
            ),
            "newest": render_template("newest.html", tiles=shown),
            "classes": self._classes(status),
            "trends": self._trends(),
            "training": render_template(
                "training.html",
                status=status,
                view=view_training(config, ledger.runs(), sources.queries),
                has_actions=self._has_actions,
                activity=activity,
                now=now,
                by_operator=history[0] if history and history[0].by == "operator" else None,
                wanted_pairs=EXAMPLES,
            ),
            "models": render_template(
                "models.html",
                has_actions=self._has_actions,
                entries=summarize_models(self._models, config)[::-1],
                history=history[:HISTORY],
            ),
            "failures": _failures(status),
            "outputs": self._outputs(status),
        }

    def pace(self, now: float) -> Pace:
        """Return the recent pace of the session."""
        ledger, hourly = self._sources.ledger, self._sources.queries.hourly(now)
        return pace_of(ledger.latest(LATEST), hourly, collected=ledger.last_collected())

    def _headline(self, status: Status, pace: Pace, now: float) -> Headline:
        sources = self._sources
        folders = " and ".join(map(printable, sources.config().watch.directories))
        return headline(status, sources.health(), pace, now=now, folders=folders)

    def headline(self) -> Headline:
        """Return the headline of the page."""
        now = time.time()
        return self._headline(self._sources.status(), self.pace(now), now)

    def _classes(self, status: Status) -> str:
        view = view_classes(status.classes, self._sources.config().state.directory)
        return render_template(
            "classes.html",
            classes=view,
            picture=f"classes/{view.number}.png?v={view.version}",
        )

    def _outputs(self, status: Status) -> str:
        config = self._sources.config()
        files = shown_files(config, self.downloads()) if status.counts.picked else []
        return render_template(
            "outputs.html",
            files=files,
            folder=str(config.output.directory),
            is_closed=status.end is not None and status.end.report is not None,
        )

    def _trends(self) -> str:
        counter = self._sources.queries.change_counter()
        if self._figures is None or self._figures[0] != counter:
            queries = self._sources.queries
            html = render_template(
                "trends.html",
                summaries=figure_summaries(queries.timeline()),
                not_fitted=queries.not_fitted(),
            )
            self._figures = (counter, html)
        return self._figures[1]

    def timeline(self, span: Span) -> bytes:
        """Return the data of the plots over time as JSON, for the micrographs of a span."""
        if span != WHOLE:
            return _json(timeline_plots(self._sources.queries.timeline().between(*span)))
        counter = self._sources.queries.change_counter()
        if self._plots is None or self._plots[0] != counter:
            data = _json(timeline_plots(self._sources.queries.timeline()))
            self._plots = (counter, data)
        return self._plots[1]

    def _tile(self, micrograph_id: int) -> Tile | None:
        row = self._sources.ledger.get(micrograph_id)
        if row is None:
            return None
        return tile_of(row, self._sources.ledger, self._sources.config().particle.diameter_angstrom)


def _json(data: object) -> bytes:
    return json.dumps(data, separators=(",", ":"), allow_nan=False).encode()


def digest(html: str) -> str:
    """Return a short hash of a part, to tell whether it has changed."""
    return hashlib.blake2s(printable(html).encode(), digest_size=6).hexdigest()


def _failures(status: Status) -> str:
    """Return the HTML for failed micrographs, files that were left out, and odd headers."""
    return render_template(
        "failures.html",
        status=status,
        skipped=list(map(SkippedView.of, status.skipped)),
        notes=[
            {"count": status.notes[kind], "words": words}
            for kind, words in NOTE_WORDS.items()
            if kind in status.notes
        ],
    )
