"""``livepick list``: the sessions of an instrument."""

import http.client
import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from livepick.config.instrument_config import Instrument, load_instrument
from livepick.config.session_config_file import SESSION_CONFIG
from livepick.config.sessions_section import PLACEHOLDER, folder_above
from livepick.config.yaml_loader import parse_document, read_text
from livepick.errors import ConfigError
from livepick.host.foreign_files import parse_json
from livepick.host.lock import holder
from livepick.instrument.session_record import SessionRecord, read_summary
from livepick.instrument.session_search import SessionSearch
from livepick.instrument.session_view import WORDS, Snapshot, view_of
from livepick.monitoring.human_units import clock, span
from livepick.web.address_file import AddressFile
from livepick.web.service_socket import service_answer

__all__ = ["list"]

MOST_OLD = 5
"""Number of folders with old files only that are listed one by one."""

_STYLES = {"attention": "yellow", "bad": "bold red"}


def list(  # noqa: A001 - the name of the command
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="The instrument's configuration file.")
    ],
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, for scripts.")
    ] = False,
    show_all: Annotated[
        bool, typer.Option("--all", help="Also list folders with old files only, one by one.")
    ] = False,
) -> None:
    """List the sessions of an instrument, the newest first.

    Without a running service, the figures are those of when it ended.
    """
    if "sessions" not in parse_document(read_text(config), config).values:
        raise ConfigError(
            f"{config} is the config of one session", f"To see it: livepick status {config}"
        )
    instrument = load_instrument(config)
    snapshot = _of_service(instrument)
    runs = snapshot is not None
    values = snapshot if snapshot is not None else _of_folders(instrument)
    if as_json:
        typer.echo(json.dumps(values | {"service": "running" if runs else "stopped"}, indent=2))
    else:
        _print(values, instrument, runs=runs, show_all=show_all)


def _of_service(instrument: Instrument) -> dict[str, Any] | None:
    """Return what the running service says; None if none is running, or it does not answer."""
    root = folder_above(instrument.sessions.state)
    if holder(root / "sessions") is None or not AddressFile(root).read():
        return None
    try:
        values = parse_json(service_answer(root, "/sessions.json"))
    except (OSError, http.client.HTTPException, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _of_folders(instrument: Instrument) -> dict[str, Any]:
    """Return what the folders say."""
    look = SessionSearch(instrument, lambda _: None, writes=False).look()
    views = []
    for seen in look.sightings:
        summary, at, found_at = read_summary(seen.place.state)
        changed_at = 0.0 if seen.found is None else seen.found.changed_at
        began_at = changed_at if found_at is None else found_at
        record = SessionRecord(seen, began_at, summary=summary, summary_at=at)
        views.append(view_of(record, chosen=None))
    return Snapshot.of(instrument, views, listing=look.listing).as_json()


def _print(values: dict[str, Any], instrument: Instrument, *, runs: bool, show_all: bool) -> None:
    from rich.console import Console  # noqa: PLC0415 - not for --json
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    # A path is one word to copy, so no line is broken within one.
    console = Console(highlight=False, soft_wrap=True)
    top = values["headline"]
    console.print(Text(f"{top['sentence']} {top['remedy']}".strip(), _STYLES.get(top["level"], "")))
    if not runs:
        console.print(
            Text(
                "The service is not running, so nothing is picked. To start it: systemctl start"
                f" livepick@{instrument.name}, or livepick run {instrument.path}",
                "yellow",
            )
        )
    old = [each["name"] for each in values["sessions"] if each["state"] == "old"]
    if show_all or len(old) <= MOST_OLD:
        old = []
    shown = [each for each in values["sessions"] if each["name"] not in old]
    if shown:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("session", "state", "picked", "waiting", "failed", "last micrograph"):
            table.add_column(
                name,
                justify="right" if name in ("picked", "waiting", "failed") else "left",
                overflow="fold",
            )
        for each in shown:
            state = Text(WORDS.get(each["state"], each["state"]), _STYLES.get(each["level"], ""))
            if each["state"] != "picking" or each["level"] != "good":
                state.append(f"\n{each['sentence']}", "dim")
            table.add_row(
                Text(each["name"]),
                state,
                *(_number(each[name]) for name in ("picked", "waiting", "failed")),
                _ago(each["newest_at"]),
            )
        console.print(table)
    if old:
        what = (
            f"{len(old)} folders have old files only, and are not picked until a micrograph lands"
        )
        how = f"To list them: livepick list {instrument.path} --all; to pick one: livepick new"
        console.print(Text(f"{what}. {how} {instrument.path} NAME", "dim"))
    place = str(instrument.sessions.state / SESSION_CONFIG).replace(PLACEHOLDER, "NAME")
    console.print(
        Text(
            f"Of one session: livepick status {instrument.path} --session NAME, and so with all"
            f" other commands. Its config: {place}",
            "dim",
        )
    )


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _ago(at: float | None) -> str:
    if at is None:
        return "-"
    seconds = time.time() - at
    return f"{span(max(0.0, seconds))} ago" if seconds < 7200 else clock(at)
