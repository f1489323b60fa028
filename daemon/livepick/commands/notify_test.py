"""``livepick notify-test``: send a notice to each address of a config now."""

from pathlib import Path
from typing import Annotated

import typer

from livepick.config.notify_address import address_of
from livepick.config.yaml_loader import load_config
from livepick.errors import ConfigError
from livepick.notices.delivery import deliver

__all__ = ["notify_test"]


def notify_test(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration file.")],
) -> None:
    """Send a test notice to each address of notify, as the service would.

    The exit status is 1 if one of them cannot be reached. Call it as the service's user: a file or
    an environment variable may be readable for that user only.
    """
    settings = load_config(config)
    if not settings.notify.to:
        raise ConfigError(
            f"{config} has no notify", "Add notify: [{url_file: PATH}] (see config.example.yaml)."
        )
    title = f"livepick {settings.session.name}: test"
    failed = 0
    for target in settings.notify.to:
        try:
            why = deliver(
                address_of(target), title, "Notices of this session arrive here.", is_bad=False
            )
        except ConfigError as error:
            why = f"{error.what}. {error.remedy}"
        failed += bool(why)
        typer.echo(f"{target.name}: {f'not sent: {why}' if why else 'sent'}")
    if failed:
        raise typer.Exit(1)
