"""``livepick cryosparc-push``: send a session's picks to a CryoSPARC server."""

from pathlib import Path
from typing import Annotated

import typer

from livepick.commands.session_option import SessionOption, named_config
from livepick.config.last_known_good import CONFIG_COPY, read_settings
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.reader import LedgerReader
from livepick.ledger.session_config import session_config
from livepick.picking.cryosparc_push import connect, push

__all__ = ["cryosparc_push"]

SHOWN = 5
"""Maximum number of names shown of micrographs that CryoSPARC does not know."""


def cryosparc_push(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="The configuration file, or a state folder.")
    ],
    *,
    project: Annotated[str, typer.Option(metavar="P3", help="Project of the new job.")],
    workspace: Annotated[str, typer.Option(metavar="W1", help="Workspace of the new job.")],
    session: SessionOption = None,
    exposures: Annotated[
        str,
        typer.Option(
            metavar="J5",
            help="Job with the micrographs that livepick picked, and its output if that is not"
            " exposures, as J5.exposures_accepted.",
        ),
    ],
) -> None:
    """Send a session's picks to a CryoSPARC server, as an External job.

    The job has the exposures as its input, and an output of particles with location and pick_stats:
    connect both to Extract From Micrographs. All picks that there are now are sent; a later call
    makes another job. Needs cryosparc-tools of the server's version. The server and the login come
    from the environment, as in cryosparc-tools: CRYOSPARC_BASE_URL, CRYOSPARC_EMAIL and
    CRYOSPARC_PASSWORD, or CRYOSPARC_LICENSE_ID. This was tested with a substitute for the server
    only.
    """
    named = config / CONFIG_COPY if config.is_dir() else named_config(config, session)
    settings = session_config(read_settings(named).config)
    particle = settings.particle
    server = connect()
    with Database.read_only(settings.state.directory / LEDGER) as database:
        ledger = LedgerReader(database)
        pushed = push(
            server,
            (
                entry.micrograph(candidates, particle.diameter_angstrom)
                for entry in ledger.visible()
                if (candidates := ledger.candidates(entry.id)) is not None
            ),
            project=project,
            workspace=workspace,
            exposures=exposures,
            min_distance_angstrom=particle.min_distance_fraction * particle.diameter_angstrom,
        )
    typer.echo(
        f"{project} {pushed.job}: {pushed.particles} particles in {pushed.micrographs} micrographs"
    )
    if pushed.missing:
        shown = ", ".join(pushed.missing[:SHOWN])
        more = ", ..." if len(pushed.missing) > SHOWN else ""
        typer.echo(
            f"{len(pushed.missing)} picked micrographs are not in {exposures}: {shown}{more}",
            err=True,
        )
