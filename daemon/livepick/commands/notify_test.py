"""``livepick notify-test``: send a notice to each address of a config now."""

from pathlib import Path
from typing import Annotated

import typer

from livepick.commands.session_option import SessionOption, named_config
from livepick.config.instrument_config import is_instrument, load_instrument
from livepick.config.notify_address import address_of
from livepick.config.yaml_loader import load_config
from livepick.errors import ConfigError
from livepick.notices.delivery import deliver

__all__ = ["notify_test"]


def notify_test(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration file.")],
    *,
    session: SessionOption = None,
) -> None:
    """Send a test notice to each address of notify, as the service would.

    With the config of an instrument and no --session, the addresses are those of the instrument.

    The exit status is 1 if one of them cannot be reached. Call it as the service's user: a file or
    an environment variable may be readable for that user only.
    """
    config = named_config(config, session, or_instrument=True)
    whole = load_instrument(config) if is_instrument(config) else None
    settings = load_config(config) if whole is None else whole.sample
    if not settings.notify.to:
        raise ConfigError(
            f"{config} has no notify", "Add notify: [{url_file: PATH}] (see config.example.yaml)."
        )
    name = settings.session.name if whole is None else whole.name
    title = f"livepick {name}: test"
    failed = 0
    for target in settings.notify.to:
        try:
            why = deliver(
                address_of(target), title, "Notices of livepick arrive here.", is_bad=False
            )
        except ConfigError as error:
            why = f"{error.what}. {error.remedy}"
        failed += bool(why)
        typer.echo(f"{target.name}: {f'not sent: {why}' if why else 'sent'}")
    if failed:
        raise typer.Exit(1)
