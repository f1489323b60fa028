"""``livepick new``: begin a session of an instrument by hand."""

from pathlib import Path
from typing import Annotated

import typer

from livepick.instrument.named_session import begin_session

__all__ = ["new"]


def new(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="The instrument's configuration file.")
    ],
    session: Annotated[
        str, typer.Argument(metavar="SESSION", help="Name of the session or of its folder.")
    ],
    *,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A setting of this session, such as particle.diameter_angstrom=180; repeatable.",
        ),
    ] = None,
) -> None:
    """Begin a session, for example one whose files are too old to be picked by themselves.

    The running service of the instrument picks it within seconds; otherwise the next start does.
    """
    begun = begin_session(config, session, settings or [])
    was = "begins" if begun.is_new else "was begun before"
    typer.echo(
        f"{begun.name} {was}. Its config: {begun.config}\n"
        f"To see it: livepick list {config}, or livepick status {config} --session {begun.name}"
    )
