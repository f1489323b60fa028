"""Edits of the config that end a session and reopen it."""

from pathlib import Path

from livepick.config.yaml_edit import Edit, set_key
from livepick.config.yaml_loader import parse_config

__all__ = ["end_session", "reopen_session"]


def end_session(text: str, path: Path, by: str | None = None) -> Edit:
    """Return the text of a config whose session is over.

    Parameters
    ----------
    text, path
        Text of a config, and its file.
    by
        Name of the person who ends it; None: unknown.

    Raises
    ------
    ConfigError
        The config is not valid, or the settings cannot be edited alone.
    """
    if by is not None or parse_config(text, path).session.ended_by is not None:
        text = set_key(text, path, "session.ended_by", by).text
    return set_key(text, path, "session.ended", value=True)


def reopen_session(text: str, path: Path) -> Edit:
    """Return the text of a config whose session goes on.

    Raises
    ------
    ConfigError
        The config is not valid, or the settings cannot be edited alone.
    """
    if parse_config(text, path).session.ended_by is not None:
        text = set_key(text, path, "session.ended_by", None).text
    return set_key(text, path, "session.ended", value=False)
