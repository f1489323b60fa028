"""``livepick status``: show a session from its ledger, and from its service if that is running.

Problems come first, worded as on the page. Everything in the ledger is also shown without the
service. If the config has a fault, the settings in use are used.
"""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livepick.commands.cluster_status import cluster_status
from livepick.commands.session_option import SessionOption, named_config
from livepick.config.last_known_good import Settings, read_config_copy, read_settings
from livepick.core.contracts.bundle import is_provisional
from livepick.core.formats.header import NOTE_WORDS
from livepick.errors import EXIT_CONFIG, ConfigError
from livepick.ingest.skipped import SkippedView
from livepick.ledger.session_config import session_config
from livepick.monitoring.class_status import (
    classes_sentence,
    freshness_sentence,
    noise_sentence,
    view_hint,
)
from livepick.monitoring.end_status import end_remedy, end_sentence
from livepick.monitoring.particle_status import particle_sentence
from livepick.monitoring.problem import (
    Problem,
    config_invalid,
    config_refused,
)
from livepick.monitoring.status import Row, Status, read_status
from livepick.web.client import ServiceStatus, service_status

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

__all__ = ["status"]

_STATES = (
    ("picked", "green", "picked"),
    ("queued", "yellow", "queued"),
    ("picking", "yellow", "being picked"),
    ("stale", "yellow", "to be picked again by a newer model"),
    ("failed", "red", "failed"),
)

_NEWEST, _FAILURES = 8, 8

_COLORS = {"bad": "bold red", "attention": "yellow"}

EVERY = 2.0
"""Seconds between two updates of ``--watch``, by default."""


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """Snapshot of a session."""

    status: Status
    service: ServiceStatus
    problems: tuple[Problem, ...]
    fault: ConfigError | None
    """Fault of the config file, if any."""

    def as_json(self) -> dict[str, Any]:
        """Return the snapshot as JSON-serializable values. Scripts rely on this format."""
        service = {
            "state": self.service.state,
            "sentence": self.service.sentence,
            "page": self.service.address,
        }
        problems = [
            {"level": problem.level, "sentence": problem.sentence, "remedy": problem.remedy}
            for problem in self.problems
        ]
        cluster = None if self.service.cluster is None else self.service.cluster.as_json()
        return self.status.as_json() | {
            "service": service,
            "cluster": cluster,
            "problems": problems,
        }


def status(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration file.")],
    seconds: Annotated[
        float | None,
        typer.Argument(
            metavar="[SECONDS]",
            min=0.1,
            help=f"With --watch: seconds between two updates; the default is {EVERY:g}.",
        ),
    ] = None,
    *,
    session: SessionOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, for scripts.")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Repeat every SECONDS until Ctrl-C: in place on a terminal, otherwise one after"
            " the other; with --json, one line each time.",
        ),
    ] = False,
) -> None:
    """Show the state and the problems of a session, while its service runs or afterwards.

    Before the first start, all counts are zero and the model is null.
    """
    if seconds is not None and not watch:
        raise typer.BadParameter(f"{seconds:g} needs --watch", param_hint="SECONDS")
    config = named_config(config, session)
    if watch:
        _watch(config, EVERY if seconds is None else seconds, as_json=as_json)
        return
    seen = _snapshot(read_settings(config), config)
    if as_json:
        typer.echo(json.dumps(seen.as_json(), indent=2))
    else:
        from rich.console import Console  # noqa: PLC0415 - not for --json, nor for the service

        Console().print(_report(seen, config))
    if seen.fault is not None:
        raise typer.Exit(EXIT_CONFIG)


def _snapshot(settings: Settings, path: Path) -> _Snapshot:
    config = session_config(settings.config)
    service = service_status(config, path)
    problems = service.problems
    is_refused = any(problem.kind == "config_refused" for problem in problems)
    if settings.fault is None and is_refused:  # for example because it needs a restart
        former = read_config_copy(config.state.directory)
        config = config if former is None else session_config(former.config)
    status = read_status(config)
    if settings.fault is not None:
        runs = service.state not in ("stopped", "ended")
        said = config_refused(settings.fault) if runs else config_invalid(settings.fault)
        # The service may report an earlier edit.
        others = tuple(problem for problem in problems if problem.kind != "config_refused")
        problems = (*others, said)
    return _Snapshot(status, service, problems, settings.fault)


def _watch(path: Path, seconds: float, *, as_json: bool) -> None:
    """Show the status repeatedly until Ctrl-C, which does not count as a failure."""
    settings = read_settings(path)

    def snapshot() -> _Snapshot:
        nonlocal settings
        try:
            settings = read_settings(path)
        except ConfigError as fault:  # the service keeps the previous settings too
            settings = dataclasses.replace(settings, fault=fault)
        return _snapshot(settings, path)

    with contextlib.suppress(KeyboardInterrupt):
        if as_json:
            _repeat(lambda: typer.echo(json.dumps(snapshot().as_json())), seconds)
        else:
            _watch_reports(lambda: _report(snapshot(), path), seconds)


def _watch_reports(snapshot: Callable[[], "Group"], seconds: float) -> None:
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.live import Live  # noqa: PLC0415

    console = Console()
    if not console.is_terminal:
        _repeat(lambda: console.print(snapshot(), ""), seconds)
        return
    with Live(snapshot(), console=console, auto_refresh=False) as live:
        _repeat(lambda: live.update(snapshot(), refresh=True), seconds)


def _repeat(show: Callable[[], None], seconds: float) -> None:
    while True:
        show()
        time.sleep(seconds)


def _report(seen: _Snapshot, config: Path) -> "Group":
    from rich.console import Group, RenderableType  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415

    present = seen.status
    problems = [
        Text.assemble((problem.sentence, _COLORS[problem.level]), f" {problem.remedy}")
        for problem in seen.problems
    ]
    if not present.started:
        begin = f"{present.session}: not started yet. To start it: livepick run {config}"
        return Group(*problems, Text(begin))
    parts: list[RenderableType] = [
        Text(present.session, style="bold"),
        *problems,
        *_activity(seen),
    ]
    if seen.service.address:
        parts.append(Text(f"The page: {seen.service.address}", style="dim"))
    parts += [*cluster_status(seen.service.cluster), "", _counts(present)]
    particle = present.particle
    if particle is not None:
        doubt = particle.contradiction or particle.is_asking or particle.fault
        parts.append(Text(particle_sentence(particle), style="yellow" if doubt else ""))
    model = present.model
    if model is not None:
        note = " (provisional picks)" if is_provisional(model.kind) else ""
        fixed = (
            ""
            if present.fixed_threshold is None
            else f" (picking.threshold; the model's own is {model.threshold:.3f})"
        )
        threshold = f"threshold {present.threshold:.3f}{fixed}"
        parts.append(Text(f"Model {model.version}, {model.kind}{note}, {threshold}"))
    parts.append(Text(present.training.sentence))
    parts += _class_averages(present)
    parts += [
        Text(finding.sentence, style="yellow" if finding.is_fault else "dim")
        for finding in present.findings
    ]
    parts += [Text(change.sentence, style="yellow") for change in present.drift]
    if present.skipped:
        parts.append(_skipped(present))
    if present.newest:
        parts.append(_newest(present))
    if present.failures:
        parts.append(_failures("Failures", present.failures))
    if present.repick_failures:
        title = "Not picked again: these micrographs keep their picks of an older model"
        parts.append(_failures(title, present.repick_failures))
    return Group(*parts)


def _activity(seen: _Snapshot) -> "list[Text]":
    """Return what the service does, or that the session is over."""
    from rich.text import Text  # noqa: PLC0415 - as above

    end, counts = seen.status.end, seen.status.counts
    if end is not None:
        return [Text(f"{end_sentence(end, counts)} {end_remedy(end, counts)}", style="green")]
    if not seen.service.sentence:
        return []
    well = "green" if seen.service.state == "running" and not seen.problems else ""
    return [Text(seen.service.sentence, style=well)]


def _class_averages(present: Status) -> "list[Text]":
    """Return what the class averages of the newest picks show; nothing before the first ones."""
    from rich.text import Text  # noqa: PLC0415 - as above

    classes = present.classes
    if classes.latest is None:
        return []
    sentence = f"{classes_sentence(classes)} {freshness_sentence(classes)}".strip()
    noise, hint = noise_sentence(classes.latest), view_hint(classes.latest)
    style = "yellow" if classes.latest.view_state == "one_view" else "dim"
    styled = [Text(sentence), Text(noise, style="yellow"), Text(hint, style=style)]
    return [text for text in styled if text]


def _counts(present: Status) -> "Table":
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_column()
    for name, color, words in _STATES:
        count = getattr(present.counts, name)
        table.add_row(str(count), words, style=color if count else "dim")
    if present.repicks_failed:
        words = "of the picked could not be picked again by the newer model"
        table.add_row(str(present.repicks_failed), words, style="yellow")
    for kind, words in NOTE_WORDS.items():
        if present.notes.get(kind):
            table.add_row(str(present.notes[kind]), f"of the picked are {words}", style="yellow")
    table.add_row(f"{present.particles:,}", "particles")
    judged = ", ".join(f"{count} {verdict}" for verdict, count in present.verdicts.items() if count)
    if judged:
        table.add_row("", f"quality: {judged} (reasons in micrographs.csv)")
    return table


def _skipped(present: Status) -> "Text":
    """Return the files that were left out; what micrographs may be lost by is conspicuous."""
    from rich.text import Text  # noqa: PLC0415 - as above

    lines = Text("Left out of the watched folders:")
    for view in map(SkippedView.of, present.skipped):
        style = "yellow" if view.is_suspicious else "dim"
        lines.append(f"\n  {view.words}. {view.remedy}", style)
    return lines


def _newest(present: Status) -> "Table":
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415

    table = Table(title="Newest micrographs", title_justify="left")
    table.add_column("micrograph", overflow="fold")
    table.add_column("state")
    table.add_column("picks", justify="right")
    table.add_column("model", justify="right")
    table.add_column("arrived", justify="right")
    for row in present.newest[:_NEWEST]:
        table.add_row(
            Text(row.name),  # a file name may contain text that rich reads as markup
            row.state,
            "" if row.picks is None else str(row.picks),
            "" if row.model_version is None else str(row.model_version),
            f"{(time.time() - row.landed_at) / 60:.1f} min ago",
        )
    return table


def _failures(title: str, rows: Sequence[Row]) -> "Table":
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=title, title_justify="left", show_lines=True)
    table.add_column("micrograph", overflow="fold")
    table.add_column("reason", style="red")
    table.add_column("error and remedy", overflow="fold")
    for row in rows[:_FAILURES]:
        table.add_row(Text(row.name), row.reason, Text(f"{row.error}. {row.remedy}"))
    return table
