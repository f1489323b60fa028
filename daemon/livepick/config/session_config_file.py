"""The config file of a session of an instrument: written once, and then merged by setting.

A person and the actions of the page edit the file. When the instrument's config or the session's
``livepick.yaml`` changes, only the settings that have changed there are set in it, and of these not
those that differ from what livepick wrote: an edit of the session's own config wins. A copy of the
text that livepick would have written last is kept beside it, to tell one from the other.
"""

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livepick.config.schema import WrittenConfig
from livepick.config.yaml_edit import set_key
from livepick.config.yaml_loader import parse_config, read_text
from livepick.errors import ConfigError, SessionStateError
from livepick.host.atomic_files import replace_unchanged, write_atomically

__all__ = ["SESSION_CONFIG", "Merged", "merge", "write_session_config"]

SESSION_CONFIG = "session.yaml"
"""Name of a session's config in its state folder."""

GENERATED = "session.generated.yaml"
"""Name of the copy of what livepick wrote last."""

TRIES = 5
"""Number of merges before an edit that is made meanwhile is left to the next call."""

_NOTE = "# What livepick wrote to session.yaml last. Edit session.yaml; this file has no effect.\n"


@dataclass(frozen=True, slots=True)
class Merged:
    """A session's config after a change of what it is made from."""

    text: str
    changed: tuple[str, ...] = ()
    """Settings that were set, as ``training.epochs``."""
    kept: tuple[str, ...] = ()
    """Settings that a person has edited, and that stay although their source has changed."""


def write_session_config(state: Path, text: str) -> Merged:
    """Write the config of a session, or merge a new one into it.

    Parameters
    ----------
    state
        State folder of the session.
    text
        Config that is made from the instrument's and the session's files.

    Raises
    ------
    ConfigError
        The file cannot be read or written, or has a fault and cannot be merged.
    """
    path, copy = state / SESSION_CONFIG, state / GENERATED
    try:
        state.mkdir(parents=True, exist_ok=True)
        former = copy.read_text(encoding="utf-8").removeprefix(_NOTE) if copy.exists() else None
        if former == text and path.exists():
            return Merged(read_text(path))
        merged = _merge_file(path, former or text, text)
        if merged is None:
            return Merged(read_text(path))  # the next call merges
        # If this ends between the two, what was set counts as set by the next merge as well.
        if former != text:
            write_atomically(copy, (_NOTE + text).encode())
    except (OSError, UnicodeDecodeError) as error:
        is_full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        raise SessionStateError(
            f"{path} cannot be written: {getattr(error, 'strerror', None) or error}",
            "Free space on the disk of sessions.state; it is tried again by itself."
            if is_full
            else "Give sessions.state a folder that the service's user may write.",
        ) from error
    return merged


def _merge_file(path: Path, former: str, new: str) -> Merged | None:
    """Write a session's config, or merge a new text into it; None if others edit it all the time.

    It is merged again if somebody edits it in the meantime: that edit wins.
    """
    if not path.exists():
        write_atomically(path, new.encode())
        return Merged(new)
    for _ in range(TRIES):
        present = read_text(path)
        merged = merge(present, former, new, path)
        data = merged.text.encode()
        if merged.text == present or replace_unchanged(path.resolve(), present.encode(), data):
            return merged
    return None


def merge(present: str, former: str, new: str, path: Path) -> Merged:
    """Return a session's config with the settings that differ between two generated texts.

    Parameters
    ----------
    present
        The config as it is.
    former, new
        What livepick wrote last, and what it would write now.
    path
        The file.

    Raises
    ------
    ConfigError
        ``present`` has a fault, or a setting in it cannot be edited alone.
    """
    if present == former:
        return Merged(new, tuple(_differences(former, new, path)))
    now = _leaves(present, path)
    wanted = _leaves(new, path)
    try:
        before = _leaves(former, path)
    except ConfigError:  # written by another version, which had other settings
        before = now
    text, changed, kept = present, [], []
    for name, value in wanted.items():
        # A setting of a section that was a word before has no value, which is as good as null.
        if value in (before.get(name), now.get(name)):
            continue
        if now.get(name) != before.get(name):
            kept.append(name)
            continue
        text = set_key(text, path, name, value).text
        changed.append(name)
    return Merged(text, tuple(changed), tuple(kept))


def _differences(former: str, new: str, path: Path) -> list[str]:
    try:
        before = _leaves(former, path)
    except ConfigError:
        before = {}
    wanted = _leaves(new, path)
    return [name for name, value in wanted.items() if before.get(name) != value]


def _leaves(text: str, path: Path) -> dict[str, Any]:
    """Return the values of all settings, also of those that are not in the text, by their names."""
    config: WrittenConfig = parse_config(text, path)
    return dict(_flat(config.model_dump(mode="json")))


def _flat(values: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{name}{key}.")
        else:
            yield f"{name}{key}", value
