"""``livepick models``: list, show, promote and remove the models of a session.

All data are in the state folder, so the commands work whether or not the service is running. The
service checks the pointer to the current model every second.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from livepick.commands.session_option import SessionOption, named_config
from livepick.config.schema import Config
from livepick.config.yaml_loader import load_config
from livepick.errors import ModelError
from livepick.ledger.session_config import session_config
from livepick.ledger.session_end import waits_for_reopening
from livepick.models.bundle_on_disk import Bundle
from livepick.models.prune import prune
from livepick.models.registry import MODELS, Models
from livepick.models.summary import ModelSummary, differing_settings, summarize_models
from livepick.picking.promote_by_person import promote_by_person, rollback_bundle

__all__ = ["models"]

models = typer.Typer(
    help="List, show, promote, roll back and remove the models of a session.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration file.")]
_Version = Annotated[
    int, typer.Argument(metavar="N", min=0, help="Number of the model, as in models list.")
]
_Note = Annotated[str, typer.Option(metavar="TEXT", help="Reason, stored with the promotion.")]


@models.command("list")
def list_models(
    config_path: _Config,
    *,
    session: SessionOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, for scripts.")
    ] = False,
) -> None:
    """List the models of a session; a star marks the current one."""
    config_path = named_config(config_path, session)
    config, registry = _open(config_path)
    found = summarize_models(registry, config)
    if as_json:
        typer.echo(json.dumps({"models": [entry.as_json() for entry in found]}, indent=2))
    elif found:
        _console().print(_table(found))
    else:
        typer.echo(f"{config.session.name}: no models yet; the service creates the first one")


@models.command("show")
def show_model(config_path: _Config, version: _Version, *, session: SessionOption = None) -> None:
    """Show everything that is known about a model."""
    config_path = named_config(config_path, session)
    config, registry = _open(config_path)
    found = (entry for entry in summarize_models(registry, config) if entry.card.version == version)
    entry = next(found, None)
    if entry is None:
        raise ModelError(
            f"there is no model {version} in {registry.directory}",
            f"List the models: livepick models list {config_path}",
        )
    console = _console()
    for line in [*_described(entry), *_promotions(entry), *_settings(entry, config)]:
        console.print(line)


@models.command("promote")
def promote_model(
    config_path: _Config,
    version: _Version,
    *,
    session: SessionOption = None,
    note: _Note = "chosen by command",
) -> None:
    """Make a model the current one, from the next micrograph on.

    The model is tested first: it must be complete, made for the config's particle, and return
    scores. If the test fails, the current model stays.
    """
    config_path = named_config(config_path, session)
    config, registry = _open(config_path)
    _promote(registry, config, registry.fitting(version, config), note)


@models.command("rollback")
def roll_back(config_path: _Config, *, session: SessionOption = None, note: _Note = "") -> None:
    """Return to the model that was in use before the current one.

    This undoes the last promotion; another rollback undoes the one before.
    """
    config_path = named_config(config_path, session)
    config, registry = _open(config_path)
    present = registry.current(config)
    advice = f"Choose another model: livepick models list {config_path}, then models promote."
    bundle = rollback_bundle(registry, config, advice=advice)
    _promote(
        registry, config, bundle, note or f"rolled back from {present.card.version}", rollback=True
    )


@models.command("prune")
def prune_models(
    config_path: _Config,
    *,
    session: SessionOption = None,
    keep: Annotated[
        int, typer.Option(metavar="N", min=0, help="Number of the newest trained models to keep.")
    ] = 5,
) -> None:
    """Remove the oldest trained models.

    Some models are never removed: the current one, the target of a rollback, the first pickers,
    the model of the config's settings, and the models that a running training started from.
    """
    config_path = named_config(config_path, session)
    config, registry = _open(config_path)
    removed = prune(registry, keep, config)
    left = sum(bundle.card.kind == "trained" for bundle in registry.bundles())
    named = ", ".join(str(bundle.card.version) for bundle in removed)
    what = f"removed model{'s' if len(removed) > 1 else ''} {named}" if removed else "none removed"
    typer.echo(f"{what}; trained models left: {left}")


def _open(config_path: Path) -> tuple[Config, Models]:
    config = session_config(load_config(config_path))
    return config, Models(config.state.directory / MODELS)


def _promote(
    registry: Models, config: Config, bundle: Bundle, why: str, *, rollback: bool = False
) -> None:
    """Test a bundle, make it the current model, and print the result."""
    version = bundle.card.version
    before = promote_by_person(registry, config, bundle, why, rollback=rollback)
    if before == version:
        typer.echo(f"model {version} is already in use")
    else:
        was = f"; before: model {before}" if before is not None else ""
        typer.echo(f"model {version} is used from the next micrograph on{was}")
        if waits := waits_for_reopening(config.state.directory, config.session.name):
            typer.echo(waits)


# --- what is shown -----------------------------------------------------------------------


def _console() -> Console:
    """Return a console; lines written to a file are not wrapped at 80 characters."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console = Console(highlight=False, soft_wrap=True, width=200)
    return console


def _table(found: Sequence[ModelSummary]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for heading in ("model", "AP", "threshold"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("kind", "made", "from", "promoted"):
        table.add_column(heading, overflow="fold")
    for entry in found:
        card, figures = entry.card, entry.figures
        last = entry.promotions[-1] if entry.promotions else None
        table.add_row(
            "*" if entry.is_current else "",
            str(card.version),
            _figure(figures.average_precision) if figures else "",
            f"{card.threshold:.3f}",
            card.kind if entry.fits else f"{card.kind}, another particle",
            _date(card.created_at),
            entry.source,
            f"{_date(last.at)} by {last.by}" if last else "",
            style="bold" if entry.is_current else None if entry.fits else "dim",
        )
    return table


def _described(entry: ModelSummary) -> list[Text]:
    """Return the card, the figures and the findings as lines of text."""
    card, figures = entry.card, entry.figures
    picks = ", in use" if entry.is_current else ""
    particle = f"{card.contrast.capitalize()} particles of {card.diameter_angstrom:g} Å"
    lines = [
        Text(f"Model {card.version}, {card.kind}{picks}", style="bold"),
        Text(f"Made {_date(card.created_at)} by livepick {card.livepick_version}"),
        Text(f"From {entry.source}"),
        Text(particle if entry.fits else f"{particle}: not the particle of the config"),
        Text(f"Input {card.pixel_size_angstrom:.2f} Å a pixel, {card.normalization}"),
        Text(f"Threshold {card.threshold:.3f}: {card.threshold_source}"),
        Text(f"Settings {card.fingerprint}, graph {card.graph_sha256[:12]}"),
    ]
    if figures:
        lines.append(
            Text(
                f"On {figures.micrographs} held-out micrographs, compared with their seeds: average"
                f" precision {_figure(figures.average_precision)}, best F1"
                f" {_figure(figures.best_f1)}, precision at matched count"
                f" {_figure(figures.precision_at_count)}"
            )
        )
    return lines + [
        Text(finding.sentence, style="yellow" if finding.is_fault else "dim")
        for finding in entry.findings
    ]


def _promotions(entry: ModelSummary) -> list[Text]:
    if not entry.promotions:
        return [Text("Never promoted")]
    return [
        Text(f"{_date(p.at)}: {'rolled back to' if p.rollback else 'promoted'} by {p.by}: {p.why}")
        for p in entry.promotions
    ]


def _settings(entry: ModelSummary, config: Config) -> list[Text]:
    """Return the differences of the training's settings from the config, one line each."""
    if entry.card.run is None:
        return []
    differing = differing_settings(config, entry.card.version)
    if differing is None:
        return [Text("Its run.json is missing, so its training settings are unknown")]
    if not differing:
        return [Text("Trained with the current settings of the config")]
    return [
        Text(f"{d.name}: trained with {json.dumps(d.then)}, now {json.dumps(d.now)} in the config")
        for d in differing
    ]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _date(seconds: float) -> str:
    """Return unix seconds as local time to the minute, with the zone."""
    return time.strftime("%Y-%m-%d %H:%M %z", time.localtime(seconds))
