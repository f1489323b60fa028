"""Session report: a whole session in one HTML file, stored next to its data.

The file loads nothing: style, plots with the script that draws them, and pictures are embedded, so
it still opens in ten years, without a network and without livepick. A reader that runs no script
shows the same figures in a table. A command makes it in a process of its own, from the same
sources as the page: the ledger, read-only, and the model folders. It can therefore be made while
the service runs, or afterwards. Pictures of micrographs are rendered in this process; the service
leaves that to its workers.
"""

import base64
import hashlib
import platform
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Final

from livepick import __version__
from livepick.classes.class_folders import picture_of
from livepick.config.schema import Config
from livepick.core.contracts.before_and_after import BeforeAndAfter
from livepick.core.contracts.bundle import bundle_name
from livepick.core.contracts.class_averages import CLASSES as CLASSES_FOLDER
from livepick.core.contracts.finding import Finding
from livepick.core.contracts.run import RUNS
from livepick.core.contracts.training_report import (
    ClassVerdict,
    read_classes,
    read_findings,
)
from livepick.core.evaluation.drift_test import Drift
from livepick.core.formats.header import printable
from livepick.core.imaging.quality_limits import QualityVerdict
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.page_queries import PageQueries
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import Counts, MicrographRow
from livepick.ledger.session_end import SessionEnd
from livepick.ledger.session_rows import RunRow, Session
from livepick.ledger.timeline import Timeline
from livepick.models.promotions import Promotion
from livepick.models.registry import MODELS, Models
from livepick.models.summary import ModelSummary, summarize_models
from livepick.monitoring.class_status import ClassesStatus
from livepick.monitoring.drift_monitor import read_drift
from livepick.monitoring.end_status import how_it_ended
from livepick.monitoring.human_units import clock, span
from livepick.monitoring.session_statistics import FigureRow, Ranking, rank
from livepick.monitoring.status import Status, read_status
from livepick.web.classes_view import ClassesView, view_classes
from livepick.web.embedded_pictures import RankedMicrograph, draw, embedded
from livepick.web.jinja import render_template
from livepick.web.particle_view import view_particle
from livepick.web.timeline_plots import FigureSummary, figure_summaries, timeline_plots
from livepick.web.training_view import CLASSES, GateView, gate_of

__all__ = ["RunSummary", "SessionReport", "collect", "to_html"]

MOST_PICTURES = 12
"""Maximum number of micrographs with a picture: half of them the best, half the worst."""

MOST_FAILURES = 100
"""Maximum number of failures that are listed; all are counted by reason."""

MOST_DRAWN_RUNS = 6
"""Number of latest trainings whose curves and classes are embedded; each takes half a megabyte."""

CURVES = "curves.png"
"""File in a bundle with its learning curves."""

_ENDS: Final = {
    "running": "running",
    "promoted": "promoted",
    "kept_aside": "not promoted",
    "failed": "failed",
    "superseded": "stopped, because the config was edited",
}


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One training run."""

    run: RunRow
    end: str
    """Outcome of the run, as text."""
    findings: tuple[Finding[str], ...]
    classes: tuple[ClassVerdict, ...]
    gate: GateView | None
    change: BeforeAndAfter | None
    """Picks of the model and of the one before; None if the gate has kept nothing about them."""
    curves_png: str
    """Picture as a ``data:`` URI, like the next field; empty without a picture."""
    classes_png: str


@dataclass(frozen=True, slots=True)
class SessionReport:
    """Content of the report."""

    config: Config
    settings: str
    """Text of the config file."""
    made_at: float
    """Time of the report, in unix seconds."""
    status: Status
    session: Session | None
    """Session in the ledger; None if it has not begun."""
    landed_first: float | None
    landed_last: float | None
    picked_last: float | None
    plots: dict[str, Any]
    """Data of the plots over time."""
    summaries: tuple[FigureSummary, ...]
    """Distribution of the figures that have plots."""
    not_fitted: Mapping[str, int]
    """Reasons that micrographs have no CTF fit, such as too large pixels, and their numbers."""
    figures: tuple[FigureRow, ...]
    best: tuple[RankedMicrograph, ...]
    worst: tuple[RankedMicrograph, ...]
    failures: tuple[MicrographRow, ...]
    """Latest failures, latest first, at most ``MOST_FAILURES``."""
    reasons: tuple[tuple[str, int], ...]
    """Number of failures by reason, the most frequent first."""
    entries: tuple[ModelSummary, ...]
    history: tuple[Promotion, ...]
    """Promotions, latest first."""
    trainings: tuple[RunSummary, ...]
    """Trainings, in the order in which they began."""
    drift: Drift
    classes: ClassesView
    """Latest class averages."""
    classes_png: str = ""
    """Their picture as a ``data:`` URI; empty without a picture."""

    @property
    def end(self) -> str:
        """When and by whom or what the session was ended; empty if it is not over."""
        end = self.status.end
        if end is None:
            return ""
        how = how_it_ended(end)
        hours = self.config.session.end_after_hours
        if end.reason == "idle" and hours is not None:
            how += f" for {span(3600 * hours)}"
        return f"The session is over since {clock(end.at)}, {how}."

    @property
    def left(self) -> str:
        """Micrographs without picks at the end of the session; empty if there are none."""
        end = self.status.end
        if end is None or not end.left:
            return ""
        were = "1 micrograph was" if end.left == 1 else f"{end.left:,} micrographs were"
        return f"{were} left without picks."

    @property
    def counts(self) -> Counts:
        """Number of micrographs by state."""
        return self.status.counts

    @property
    def verdicts(self) -> tuple[tuple[QualityVerdict, int], ...]:
        """Number of micrographs by verdict."""
        return tuple(self.status.verdicts.items())


def collect(
    config: Config,
    settings: str,
    *,
    pictures: bool = True,
    now: float | None = None,
    end: SessionEnd | None = None,
) -> SessionReport:
    """Return the report content for the session of ``config``.

    Parameters
    ----------
    config
        Config of the session.
    settings
        Text that the config was read from.
    pictures
        True to draw the best and the worst micrographs; each file is read completely.
    now
        Current time, in unix seconds.
    end
        End of the session, if this is its closing report; None: as the state folder says.

    Raises
    ------
    LedgerError
        The ledger exists but cannot be read.
    """
    made_at = time.time() if now is None else now
    path = config.state.directory / LEDGER
    if not path.is_file():
        return _empty_report(config, settings, made_at)
    with Database.read_only(path) as database:
        report = _collect(config, settings, database, made_at, pictures=pictures)
    if end is None:
        return report
    return replace(report, status=replace(report.status, end=end))


def _empty_report(config: Config, settings: str, made_at: float) -> SessionReport:
    return SessionReport(
        config=config,
        settings=settings,
        made_at=made_at,
        status=read_status(config),
        session=None,
        landed_first=None,
        landed_last=None,
        picked_last=None,
        plots=timeline_plots(Timeline.empty()),
        summaries=figure_summaries(Timeline.empty()),
        not_fitted={},
        figures=(),
        best=(),
        worst=(),
        failures=(),
        reasons=(),
        entries=(),
        history=(),
        trainings=(),
        drift=Drift(),
        classes=view_classes(ClassesStatus(), config.state.directory),
    )


def _collect(
    config: Config, settings: str, database: Database, made_at: float, *, pictures: bool
) -> SessionReport:
    ledger, queries = LedgerReader(database), PageQueries(database)
    drift = read_drift(ledger)
    status = read_status(config, ledger, drift=drift)
    landings = queries.last_landings(max(1, status.counts.total))
    failed = ledger.recent(max(1, status.counts.failed), state="failed")
    timeline = queries.timeline()
    ranking: Ranking = rank(ledger.with_picks(), MOST_PICTURES // 2)
    state = config.state.directory
    models = Models(state / MODELS)
    classes = view_classes(status.classes, state)
    return SessionReport(
        config=config,
        settings=settings,
        made_at=made_at,
        status=status,
        session=ledger.session(),
        landed_first=landings[0] if landings else None,
        landed_last=landings[-1] if landings else None,
        picked_last=ledger.last_picked_at(),
        plots=timeline_plots(timeline),
        summaries=figure_summaries(timeline),
        not_fitted=queries.not_fitted(),
        figures=ranking.figures,
        best=_pictured(ranking.best, ledger, config, pictures=pictures),
        worst=_pictured(ranking.worst, ledger, config, pictures=pictures),
        failures=tuple(failed[:MOST_FAILURES]),
        reasons=tuple(Counter(row.reason or "" for row in failed).most_common()),
        entries=tuple(summarize_models(models, config)[::-1]),
        history=tuple(models.promotions()[::-1]),
        trainings=_trainings(models, ledger.runs()),
        drift=drift,
        classes=classes,
        classes_png=embedded(picture_of(state / CLASSES_FOLDER, classes.number)),
    )


def _pictured(
    numbers: Sequence[int], ledger: LedgerReader, config: Config, *, pictures: bool
) -> tuple[RankedMicrograph, ...]:
    rows = (ledger.get(number) for number in numbers)
    return tuple(draw(row, ledger, config, pictures=pictures) for row in rows if row is not None)


def _trainings(models: Models, runs: Sequence[RunRow]) -> tuple[RunSummary, ...]:
    drawn = {run.version for run in runs[:MOST_DRAWN_RUNS]}
    return tuple(
        _training(models.directory / bundle_name(run.version), run, drawn=run.version in drawn)
        for run in reversed(runs)
    )


def _training(bundle: Path, run: RunRow, *, drawn: bool) -> RunSummary:
    return RunSummary(
        run=run,
        end=_ENDS[run.state],
        findings=read_findings(bundle),
        classes=read_classes(bundle),
        gate=gate_of(run.judgement),
        change=BeforeAndAfter.read(bundle.parents[1] / RUNS / bundle.name),
        curves_png=embedded(bundle / CURVES) if drawn else "",
        classes_png=embedded(bundle / CLASSES) if drawn else "",
    )


def to_html(report: SessionReport) -> bytes:
    """Return the report as HTML. Names are escaped; bytes that are not UTF-8 become escapes."""
    html = render_template(
        "session_report.html",
        report=report,
        summaries=report.summaries,
        not_fitted=report.not_fitted,
        script=(script := _script()),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        uplot_style=_text("uplot", "uplot.min.css"),
        entries=report.entries,
        history=report.history,
        most_drawn_runs=MOST_DRAWN_RUNS,
        version=__version__,
        host=platform.node(),
        particle=view_particle(report.status.particle),
        classes=report.classes,
        picture=report.classes_png,
        has_actions=False,
    )
    return printable(html).encode()


def _script() -> str:
    """Return the script that draws the plots, with the library that it uses and its licence."""
    header, _, library = _text("uplot", "uplot.min.js").partition("*/")
    version = header.rpartition("(")[2].partition(")")[0]  # its address would look like a request
    licence = _text("uplot", "LICENSE").strip()
    plots = _text("templates", "plots.js")
    return f"/* uPlot {version}\n{licence} */\n{library.strip()}\n{plots}"


def _text(folder: str, name: str) -> str:
    return resources.files("livepick.web").joinpath(folder, name).read_text()
