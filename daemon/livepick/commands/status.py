"""``livepick status``: where a session stands, from its ledger alone."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livepick.config import Config
from livepick.status import Status, read_status

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["status"]

_STATES = (
    ("picked", "green", "picked"),
    ("queued", "yellow", "queued"),
    ("picking", "yellow", "being picked"),
    ("stale", "yellow", "due again, by a newer model"),
    ("failed", "red", "failed"),
)

_NEWEST, _FAILURES = 8, 8


def status(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration file.")],
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, for scripts.")
    ] = False,
) -> None:
    """Show where a session stands, while the service runs or after.

    Before the first start there is nothing but zeros, and the model is null.
    """
    present = read_status(Config.load(config))
    if as_json:
        typer.echo(json.dumps(present.as_json(), indent=2))
        return
    if not present.started:
        typer.echo(f"{present.session}: not begun; start it with: livepick run {config}")
        return
    _show(present)


def _show(present: Status) -> None:
    from rich.console import Console  # noqa: PLC0415 - not for --json, nor for the service
    from rich.text import Text  # noqa: PLC0415

    console = Console()
    console.print(Text(present.session, style="bold"))
    console.print(_counts(present))
    model = present.model
    if model is not None:
        note = " (provisional picks)" if model.kind == "blob" else ""
        console.print(f"Model {model.version}, {model.kind}{note}, threshold {model.threshold:.3f}")
    console.print(Text(present.training.sentence))
    for finding in present.findings:
        console.print(Text(finding.sentence, style="yellow" if finding.is_fault else "dim"))
    for change in present.drift:
        console.print(Text(change.sentence, style="yellow"))
    if present.newest:
        console.print(_newest(present))
    if present.failures:
        console.print(_failures(present))


def _counts(present: Status) -> "Table":
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_column()
    for name, color, words in _STATES:
        count = getattr(present.counts, name)
        table.add_row(str(count), words, style=color if count else "dim")
    table.add_row(f"{present.particles:,}", "particles")
    judged = ", ".join(f"{count} {verdict}" for verdict, count in present.verdicts.items() if count)
    if judged:
        table.add_row("", f"quality: {judged} (micrographs.star says why)")
    return table


def _newest(present: Status) -> "Table":
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415

    table = Table(title="Newest", title_justify="left")
    table.add_column("micrograph", overflow="fold")
    table.add_column("state")
    table.add_column("picks", justify="right")
    table.add_column("model", justify="right")
    table.add_column("landed", justify="right")
    for row in present.newest[:_NEWEST]:
        table.add_row(
            Text(row.name),  # a file's name may hold what rich takes for markup
            row.state,
            "" if row.picks is None else str(row.picks),
            "" if row.model_version is None else str(row.model_version),
            f"{(time.time() - row.landed_at) / 60:.1f} min ago",
        )
    return table


def _failures(present: Status) -> "Table":
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415

    table = Table(title="Failed", title_justify="left", show_lines=True)
    table.add_column("micrograph", overflow="fold")
    table.add_column("reason", style="red")
    table.add_column("what happened, what to do", overflow="fold")
    for row in present.failures[:_FAILURES]:
        table.add_row(Text(row.name), row.reason, Text(f"{row.error}. {row.remedy}"))
    return table
