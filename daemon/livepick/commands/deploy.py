"""``livepick deploy``: write units, dashboards, rules and scrape config for this installation."""

from pathlib import Path
from typing import Annotated

import typer

from livepick.deployment.filled_files import filled_files
from livepick.deployment.site import Site, installed_program, python_folders
from livepick.deployment.written_files import kept_options, write_files

__all__ = ["deploy"]

_PRIVATE = (Path("/root"), Path("/home"), Path("/run/user"))
"""Folders that the unit hides from the service (ProtectHome=yes)."""


def deploy(
    context: typer.Context,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder that gets the files; created if missing.")
    ],
    *,
    program: Annotated[
        Path | None,
        typer.Option(help="The command livepick of the units.  [default: the one of this Python]"),
    ] = None,
    user: Annotated[str, typer.Option(help="User and group of the service.")] = "livepick",
    config_folder: Annotated[Path, typer.Option(help="Folder of the configs.")] = Path(
        "/etc/livepick"
    ),
    output_folder: Annotated[
        list[Path] | None,
        typer.Option(help="Folder that the service may write to; may be repeated."),
    ] = None,
    instrument: Annotated[str, typer.Option(help="Name of the microscope in alerts.")] = "krios1",
    page_url: Annotated[
        str, typer.Option(help="Address of livepick's page, for Prometheus.")
    ] = "http://127.0.0.1:9476",
    prometheus_url: Annotated[str, typer.Option()] = "http://127.0.0.1:9090",
    alertmanager_url: Annotated[str, typer.Option()] = "http://127.0.0.1:9093",
    grafana_url: Annotated[str, typer.Option()] = "http://localhost:3000",
    runbook_url: Annotated[
        str, typer.Option(help="URL of DIR/README.md for links in alerts.  [default: no links]")
    ] = "",
    mail_server: Annotated[str, typer.Option(help="host:port of the mail server.")] = "",
    mail_from: Annotated[str, typer.Option(help="Sender of the mails.")] = "",
    mail_to: Annotated[str, typer.Option(help="Address that gets the mails.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace edited files, too.")] = False,
) -> None:
    """Write systemd units, Grafana dashboards, alert rules and the scrape config into a folder.

    The paths, the user and the addresses of this installation are filled in. Call it again after an
    upgrade, or with other options: it replaces what it wrote, and refuses if a file was edited.
    Options that are not given keep their values of the last call.
    """
    options: dict[str, str | list[str]] = {
        "user": user,
        "config_folder": str(config_folder),
        "output_folder": [str(folder) for folder in output_folder or ()],
        "instrument": instrument,
        "page_url": page_url,
        "prometheus_url": prometheus_url,
        "alertmanager_url": alertmanager_url,
        "grafana_url": grafana_url,
        "runbook_url": runbook_url,
        "mail_server": mail_server,
        "mail_from": mail_from,
        "mail_to": mail_to,
    }
    options |= {
        name: value
        for name, value in kept_options(directory).items()
        if type(value) is type(options.get(name)) and not _is_given(context, name)
    }
    site = _site(directory.absolute(), program, options)
    files = filled_files(site)
    write_files(site.directory, files, options, force=force)
    typer.echo(f"{len(files)} files are in {site.directory}. Next:")
    for number, step in enumerate(_steps(site), 1):
        typer.echo(f"  {number}. {step}")
    if (hidden := _hidden_from_service(site)) is not None:
        typer.echo(
            f"livepick: {hidden} is not visible to the service, because its unit hides the homes\n"
            "  Install livepick below /opt, its Python too (deploy/install.md).",
            err=True,
        )


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _site(directory: Path, program: Path | None, options: dict[str, str | list[str]]) -> Site:
    texts = {name: value for name, value in options.items() if isinstance(value, str)}
    config_folder = Path(texts.pop("config_folder"))
    return Site(
        directory=directory,
        program=installed_program() if program is None else program.absolute(),
        config_folder=config_folder,
        output_folders=tuple(map(Path, options["output_folder"])),
        **texts,
    )


def _steps(site: Site) -> tuple[str, str, str]:
    where = site.directory
    mails = "" if site.mail_server and site.mail_to else " (its mail addresses are examples)"
    units = (
        f"as root: cp -r {where}/livepick*.service* /etc/systemd/system/"
        f" && systemctl daemon-reload; the user {site.user} must exist"
    )
    config = (
        f"write {site.config_folder}/config.yaml (livepick setup does), then"
        " systemctl enable --now livepick"
    )
    servers = (
        f"give prometheus/, alerts/, alertmanager/{mails} and grafana/ to your servers;"
        f" {where}/README.md says how"
    )
    return units, config, servers


def _hidden_from_service(site: Site) -> Path | None:
    """Return a folder of the program or its Python that is in a home, if there is one."""
    folders = {site.program.parent}
    if site.program == installed_program():
        folders |= python_folders()
    for folder in sorted(folders):
        if any(folder.is_relative_to(private) for private in _PRIVATE):
            return folder
    return None
