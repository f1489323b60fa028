"""Addresses of notices, which are secret: no error and no log line contains one."""

import os
from collections.abc import Mapping

from livepick.config.notify_section import NotifyTarget
from livepick.errors import ConfigError
from livepick.host.foreign_files import read_bounded

__all__ = ["address_of"]

MOST_BYTES = 8192


def address_of(target: NotifyTarget, environment: Mapping[str, str] = os.environ) -> str:
    """Return the address that a setting leads to. Never show it.

    Raises
    ------
    ConfigError
        The variable is not set, or the file cannot be read or is empty.
    """
    if target.url is not None:
        name = target.url[2:-1]
        address = environment.get(name, "").strip()
        if not address:
            raise ConfigError(
                f"notify: the environment variable {name} is not set",
                f"Set it for the service: Environment={name}=… in a drop-in of its unit, or use"
                " url_file.",
            )
        return address
    path = target.url_file
    try:
        text = b"" if path is None else read_bounded(path, limit_bytes=MOST_BYTES)
        address = next(iter(text.decode().split()), "")
    except OSError as error:
        raise ConfigError(
            f"notify: {path} cannot be read: {error.strerror}",
            "Let the service's user read it, and nobody else (chmod 600).",
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"notify: {path} is not text", "Write the address into it.") from None
    if not address:
        raise ConfigError(f"notify: {path} is empty", "Write the address into its first line.")
    return address
