"""Copy of the settings in use in the state folder, for commands that find a faulty config.

When an edit of its config has a fault, the service continues with the previous settings. A command
that shows the status of the session must not fail because of the same fault, so the service keeps a
copy of the settings in use in the state folder. The service itself never reads the copy: it starts
from the config file.
"""

from dataclasses import dataclass
from pathlib import Path

from livepick.config.schema import WrittenConfig
from livepick.config.yaml_loader import as_yaml, parse_config, read_text, state_directory
from livepick.errors import ConfigError, LedgerWriteError
from livepick.host.atomic_files import write_atomically

__all__ = ["CONFIG_COPY", "Settings", "read_config_copy", "read_settings", "save_config_copy"]

CONFIG_COPY = "config.yaml"
"""Name of the copy in the state folder."""

_NOTE = """\
# A copy of the settings in use. livepick run writes it; editing it has no effect.
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that a command uses."""

    config: WrittenConfig
    text: str
    """Text that the settings were read from."""
    fault: ConfigError | None = None
    """Fault of the named file; ``config`` is then the copy of the settings last in use."""


def save_config_copy(config: WrittenConfig) -> None:
    """Write this config as the copy.

    Raises
    ------
    LedgerWriteError
        Writing to the state folder failed; the previous copy is unchanged.
    """
    path = config.state.directory / CONFIG_COPY
    try:
        write_atomically(path, (_NOTE + as_yaml(config)).encode())
    except OSError as error:
        raise LedgerWriteError(
            f"{path} cannot be written: {error.strerror}",
            "Free space on the disk of the state directory, or fix its permissions.",
        ) from error


def read_settings(path: Path) -> Settings:
    """Return the settings of a config file or, if it has a fault, those last in use.

    Raises
    ------
    ConfigError
        The file cannot be read; or it has a fault, and there is no copy of the settings in use.
    """
    text = read_text(path)
    try:
        return Settings(parse_config(text, path), text)
    except ConfigError as fault:
        state = state_directory(text, path)
        copy = None if state is None else read_config_copy(state, fault)
        if copy is None:
            raise ConfigError(
                fault.what,
                f"{fault.remedy} A running service continues with the previous settings.",
            ) from fault
        return copy


def read_config_copy(state: Path, fault: ConfigError | None = None) -> Settings | None:
    """Return the settings that were last in use; None if a state folder has no usable copy.

    Parameters
    ----------
    state
        The state folder.
    fault
        Fault of the config file that makes the copy necessary.
    """
    try:
        kept = read_text(state / CONFIG_COPY)
        config = parse_config(kept, state / CONFIG_COPY)
    except ConfigError:  # there is none, or it is of another version
        return None
    return Settings(config, kept, fault) if config.state.directory == state else None
