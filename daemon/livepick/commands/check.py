"""``livepick check``: check a config and the machine before the service is started."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from livepick.commands.session_option import SessionOption, named_config
from livepick.config.instrument_config import is_instrument, load_instrument
from livepick.config.web_config import check_exposure, read_protection
from livepick.config.yaml_loader import load_config
from livepick.errors import ConfigError
from livepick.monitoring.preflight.check import Check
from livepick.monitoring.preflight.environment import check_environment
from livepick.monitoring.preflight.instrument import check_instrument

__all__ = ["check"]

_MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "fault": ("FAULT", "bold red")}


def check(
    config_path: Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration file.")],
    *,
    session: SessionOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of lines.")
    ] = False,
) -> None:
    """Check a config, and everything that the service will need.

    Prints one line per check. The exit status is 0, 1 if a check failed (a warning is not a
    failure), or 78 if the config itself is invalid.
    """
    try:
        config_path = named_config(config_path, session, or_instrument=True)
        tests = _checks(config_path)
    except ConfigError as error:
        if as_json:
            _print_json(str(error), [])
        raise
    console = Console(highlight=False, soft_wrap=True)
    tried: list[Check] = []
    if not as_json:
        console.print(_line(Check("configuration", "ok", str(config_path))))
    for result in tests:
        tried.append(result)
        if not as_json:
            console.print(_line(result))
    if as_json:
        _print_json(None, tried)
    else:
        console.print(_summary(tried))
    if any(result.verdict == "fault" for result in tried):
        raise typer.Exit(1)


def _checks(path: Path) -> Iterator[Check]:
    """Return the checks of a config, that of a session or of an instrument.

    Raises
    ------
    ConfigError
        The config is not valid.
    """
    if is_instrument(path):
        instrument = load_instrument(path)
        web, checks = instrument.web, check_instrument(instrument)
    else:
        config = load_config(path)
        web, checks = config.web, check_environment(config, path)
    check_exposure(web, read_protection(web), host=web.host)
    return iter(checks)


def _line(result: Check) -> Text:
    mark, style = _MARKS[result.verdict]
    line = Text.assemble((f"{mark:<8}", style), f"{result.name}: {result.found}")
    if result.remedy:
        line.append(f"\n{'':<8}{result.remedy}", "" if result.verdict == "fault" else "dim")
    return line


def _summary(tried: list[Check]) -> str:
    counts = Counter(result.verdict for result in tried)
    said = [
        f"{counts[verdict]} {verdict}{'s' if counts[verdict] > 1 else ''}"
        for verdict in ("fault", "warning")
        if counts[verdict]
    ]
    return ", ".join(["not ready" if counts["fault"] else "ready", *said])


def _print_json(config_fault: str | None, tried: list[Check]) -> None:
    ready = config_fault is None and all(result.verdict != "fault" for result in tried)
    report = {
        "ready": ready,
        "config_fault": config_fault,
        "checks": [dataclasses.asdict(result) for result in tried],
    }
    typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
