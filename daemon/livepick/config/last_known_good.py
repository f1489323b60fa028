"""The settings in force, as a copy in the state folder: for commands that meet a faulty edit.

The service goes on with the former settings when an edit of its config has a fault. Whoever asks
then how the session does must not be turned away by the same fault, so the service keeps what is in
force where the session is. It never reads the copy itself: what it starts with is the file.
"""

from dataclasses import dataclass
from pathlib import Path

from livepick.config.schema import Config
from livepick.config.yaml_loader import as_yaml, parse_config, read_text, state_directory
from livepick.errors import ConfigError, LedgerWriteError
from livepick.host.atomic_files import write_atomically

__all__ = ["IN_FORCE", "Settings", "keep", "last_in_force", "read_settings"]

IN_FORCE = "config.yaml"
"""In the state folder."""

_NOTE = """\
# A copy of the settings in force. livepick run writes it; an edit of it has no effect.
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a command goes by."""

    config: Config
    text: str
    """Which they were read from."""
    fault: ConfigError | None = None
    """Of the file that was named: ``config`` is then the copy of what was last in force."""


def keep(config: Config) -> None:
    """Let the copy be of this config.

    Raises
    ------
    LedgerWriteError
        The state folder takes no writes; the former copy is left.
    """
    path = config.state.directory / IN_FORCE
    try:
        write_atomically(path, (_NOTE + as_yaml(config)).encode())
    except OSError as error:
        raise LedgerWriteError(
            f"{path} cannot be written: {error.strerror}",
            "Free space on the disk of the state directory, or mend its permissions.",
        ) from error


def read_settings(path: Path) -> Settings:
    """Return the settings of a config file or, if it has a fault, those last in force.

    Raises
    ------
    ConfigError
        The file cannot be read; or it has a fault, and nothing tells what was in force.
    """
    text = read_text(path)
    try:
        return Settings(parse_config(text, path), text)
    except ConfigError as fault:
        state = state_directory(text, path)
        former = None if state is None else last_in_force(state, fault)
        if former is None:
            raise ConfigError(
                fault.what, f"{fault.remedy} A service that runs goes on with the former settings."
            ) from fault
        return former


def last_in_force(state: Path, fault: ConfigError | None = None) -> Settings | None:
    """Return the settings that were last in force; None if a state folder does not tell.

    Parameters
    ----------
    state
        The folder.
    fault
        Of the file, because of which they are asked for.
    """
    try:
        kept = read_text(state / IN_FORCE)
        config = parse_config(kept, state / IN_FORCE)
    except ConfigError:  # there is none, or it is of another version
        return None
    return Settings(config, kept, fault) if config.state.directory == state else None
