"""``livepick run``: the service."""

import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from livepick.commands.program_log import log_to_stderr
from livepick.config.instrument_config import is_instrument
from livepick.config.yaml_loader import load_config
from livepick.errors import DamagedLedgerError, StateFolderGoneError
from livepick.host.systemd import Systemd

__all__ = ["run"]

MOST_REBUILT = 3
"""Maximum number of ledgers that are replaced in one run: a disk that damages more is at fault."""

_log = logging.getLogger(__name__)


def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration file.")],
    *,
    exit_when_ended: Annotated[
        bool,
        typer.Option(
            "--exit-when-ended",
            help="Exit with status 0 once the session is over; by default, the page stays up.",
        ),
    ] = False,
) -> None:
    """Watch the folders of a config, pick, train and pick again, until stopped.

    With the config of an instrument (a section sessions), each folder that matches its pattern is a
    session, which is picked by a process of its own.

    SIGTERM and SIGINT stop it cleanly; the next start continues where it was. An edit of the config
    is applied within seconds, or at once on SIGHUP.
    """
    if is_instrument(config):
        _run_instrument(config)
        return
    # No other command needs the modules of the service.
    from livepick.config.reload import ConfigFile  # noqa: PLC0415
    from livepick.ledger.damage import mark_damaged  # noqa: PLC0415
    from livepick.ledger.database import LEDGER  # noqa: PLC0415
    from livepick.service import Outcome, Service  # noqa: PLC0415

    log_to_stderr()
    systemd = Systemd(os.environ)
    rebuilt = 0
    outcome = Outcome.EDITED
    place = None
    while outcome is not Outcome.STOPPED:
        if outcome is Outcome.EDITED:
            file = ConfigFile(config)  # before it is read
            settings = load_config(config)
        service = Service(settings, file, systemd, place, exits_when_over=exit_when_ended)
        try:
            outcome = service.run()
        except StateFolderGoneError as error:
            _log.error("ledger: %s", error)
            outcome = Outcome.EDITED
        except DamagedLedgerError as error:
            mark_damaged(settings.state.directory / LEDGER, error.what)
            if rebuilt == MOST_REBUILT:
                raise
            rebuilt += 1
            _log.error("ledger: %s; the service starts again", error.what)
            outcome = Outcome.EDITED
        if outcome is Outcome.CHANGED:
            settings = service.settings  # the file may have a fault now, which is reported again
            file.forget()
        place = service.place


def _run_instrument(config: Path) -> None:
    from livepick.config.instrument_config import load_instrument  # noqa: PLC0415
    from livepick.config.reload import ConfigFile  # noqa: PLC0415
    from livepick.instrument.supervisor import SessionSupervisor  # noqa: PLC0415

    log_to_stderr()
    file = ConfigFile(config)  # before it is read
    SessionSupervisor(load_instrument(config), file, Systemd(os.environ)).run()
