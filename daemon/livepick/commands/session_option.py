"""Option by which all commands name a session of an instrument."""

from pathlib import Path
from typing import Annotated

import typer

from livepick.config.instrument_config import is_instrument
from livepick.instrument.named_session import config_of_session

__all__ = ["SessionOption", "named_config"]

SessionOption = Annotated[
    str | None,
    typer.Option(
        "--session",
        metavar="NAME",
        help="If CONFIG is that of an instrument: name of the session, or of its folder.",
    ),
]


def named_config(config: Path, session: str | None, *, or_instrument: bool = False) -> Path:
    """Return the config of the session that a command is for.

    Parameters
    ----------
    config
        Config of a session or of an instrument.
    session
        Name of a session of the instrument; None: it was not given.
    or_instrument
        True if the command is also for an instrument as a whole, whose config is then returned.

    Raises
    ------
    ConfigError
        There is no such session, it has no config yet, or a name is missing.
    BadParameter
        A name was given for the config of a single session.
    """
    if not is_instrument(config):
        if session is not None:
            raise typer.BadParameter(
                f"{config} is the config of one session, so leave out {session}",
                param_hint="--session",
            )
        return config
    if session is None and or_instrument:
        return config
    return config_of_session(config, session)
