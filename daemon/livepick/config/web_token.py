"""The token of ``web.token_file``, with which people sign in to change something on the page."""

import hashlib
import hmac
import os
import stat
from pathlib import Path

from livepick.config.web_config import WebConfig
from livepick.config.web_section import Web
from livepick.errors import ConfigError
from livepick.host.loopback import is_loopback

__all__ = ["FEWEST_CHARACTERS", "check_actions", "is_token", "read_token"]

FEWEST_CHARACTERS = 16
"""Shortest token that is accepted."""

MOST_BYTES = 1024
"""Largest file that is read."""


def read_token(path: Path) -> str:
    """Return the token in a file. No error repeats a part of it.

    Raises
    ------
    ConfigError
        The file cannot be read, others can read or change it, or it has no token.
    """
    make = (
        f"Write one: (umask 077; openssl rand -base64 24 > {path}); give it to the service's user."
    )
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            content = file.read(MOST_BYTES + 1) if stat.S_ISREG(status.st_mode) else None
    except OSError as error:
        raise ConfigError(
            f"web.token_file {path} cannot be read: {error.strerror}", make
        ) from error
    if content is None:
        raise ConfigError(f"web.token_file {path} is not a regular file", make)
    if status.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise ConfigError(
            f"web.token_file {path} has mode {stat.S_IMODE(status.st_mode):04o}, so that others can"
            " read or change it",
            f"Close it, and make a new token, because it may have been read: chmod 600 {path}",
        )
    try:
        token = content.decode("ascii").strip()
    except UnicodeDecodeError:
        token = "\0"  # noqa: S105 - it is refused
    if len(content) > MOST_BYTES or not token.isprintable() or len(token.split()) > 1:
        raise ConfigError(
            f"web.token_file {path} must have one line of ASCII characters without spaces", make
        )
    if len(token) < FEWEST_CHARACTERS:
        raise ConfigError(
            f"web.token_file {path} has a token of {len(token)} characters; at least"
            f" {FEWEST_CHARACTERS} are needed",
            make,
        )
    return token


def is_token(given: str, token: str) -> bool:
    """Return True if a text is the token, in a time that does not depend on the text."""
    digests = (
        hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (given.strip(), token)
    )
    return hmac.compare_digest(*digests)


def check_actions(web: Web, protection: WebConfig, *, host: str) -> None:
    """Refuse actions whose token could be read on the network.

    Parameters
    ----------
    web
        Settings of the page.
    protection
        Content of ``web.web_config_file``.
    host
        Address that is listened on.

    Raises
    ------
    ConfigError
        ``web.actions`` is ``token``, and other machines reach the page without TLS.
    """
    if web.actions == "off" or is_loopback(host) or protection.tls_server_config is not None:
        return
    raise ConfigError(
        f"web.actions is token, and web.listen is {web.listen} without TLS, so that the token could"
        f" be read on the network ({host})",
        "Add TLS (tls_server_config) to web.web_config_file, or listen on 127.0.0.1 behind a proxy,"
        " or set web.actions: off.",
    )
