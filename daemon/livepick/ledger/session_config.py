"""The config of a session for commands: what is ``auto`` comes from the ledger of the session."""

import contextlib
from pathlib import Path

from livepick.config.measured_particle import resolve
from livepick.config.schema import Config, WrittenConfig
from livepick.core.contracts.particle_state import ParticleState, question_of
from livepick.errors import LedgerError
from livepick.host.lock import holder
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.reader import LedgerReader

__all__ = ["recorded_particle", "session_config", "with_measured"]


def session_config(written: WrittenConfig) -> Config:
    """Return the config of a session, with the diameter and the contrast that it has measured.

    A ledger that is missing or cannot be read counts as one without a measurement; the command says
    what is wrong with it when it reads it. The ledger is opened only if something is ``auto``.
    """
    if isinstance(written, Config):
        return written
    return with_measured(written, recorded_particle(written.state.directory))


def recorded_particle(state_directory: Path) -> ParticleState | None:
    """Return what the session of a state folder knows about the particle; None: nothing."""
    path = state_directory / LEDGER
    if not path.is_file():
        return None
    open_ledger = Database.at_rest if holder(path) is None else Database.read_only
    with contextlib.suppress(LedgerError), open_ledger(path) as database:
        return LedgerReader(database).particle()
    return None


def with_measured(written: WrittenConfig, state: ParticleState | None) -> Config:
    """Return a config with what was measured, if that answers what the config leaves open."""
    answers = state is not None and state.question == question_of(written.particle)
    return resolve(written, state.used if state is not None and answers else None)
