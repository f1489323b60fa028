"""The session that a person names in a command: by its name, or by that of its folder."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from livepick.config.error_messages import nearest
from livepick.config.instrument_config import Instrument, load_instrument
from livepick.config.session_config_file import SESSION_CONFIG
from livepick.config.sessions_section import PLACEHOLDER, folder_above
from livepick.config.yaml_edit import EditableConfig, set_key
from livepick.config.yaml_loader import parse_document
from livepick.errors import ConfigError
from livepick.instrument.session_names import session_name
from livepick.instrument.session_search import SessionSearch, Sighting

__all__ = ["Begun", "begin_session", "config_of_session"]


@dataclass(frozen=True, slots=True)
class Begun:
    """A session that was begun by hand."""

    name: str
    config: Path
    is_new: bool
    """False if it was picked already."""


def config_of_session(path: Path, name: str | None) -> Path:
    """Return the config file of a session of an instrument.

    Parameters
    ----------
    path
        Config of the instrument.
    name
        Name of the session or of its folder; None: it was not given.

    Raises
    ------
    ConfigError
        There is no such session, or it has no config yet.
    """
    instrument = load_instrument(path)
    if name and (begun := _begun(instrument, name)):
        return begun
    search = SessionSearch(instrument, lambda _: None, writes=False)
    seen = _named(path, search, name)
    config = seen.place.state / SESSION_CONFIG
    if not config.exists():
        raise ConfigError(
            f"{seen.name} has not begun",
            f"To pick it: livepick new {path} {seen.name}",
        )
    return config


def begin_session(path: Path, name: str, settings: list[str]) -> Begun:
    """Write the config of a session, so that the running service picks it.

    Parameters
    ----------
    path
        Config of the instrument.
    name
        Name of the session or of its folder.
    settings
        Settings of this session, each as ``KEY=VALUE``. They count as edits by a person.

    Raises
    ------
    ConfigError
        There is no such folder, it cannot be picked, or a setting is wrong.
    """
    search = SessionSearch(load_instrument(path), lambda _: None)
    seen = _named(path, SessionSearch(search.instrument, lambda _: None, writes=False), name)
    if seen.found is None or seen.found.state != "ready":
        why = "it is gone" if seen.found is None else seen.found.detail
        raise ConfigError(f"{seen.place.folder} cannot be picked: {why}", "Make the folder first.")
    if seen.end is not None:
        raise ConfigError(
            f"{seen.name} is over", f"To continue it: livepick end --undo {path} {seen.name}"
        )
    edits = [_setting(each) for each in settings]
    begun = search.begin(seen.found)
    fault = begun.config_fault or begun.override_fault
    if fault is not None:
        raise fault
    config = begun.place.state / SESSION_CONFIG
    file = EditableConfig.read(config)
    for key, value in edits:
        file.write(set_key(file.text, config, key, value, note="livepick new"))
        file = EditableConfig.read(config)
    _give_to_service(begun.place.state, folder_above(search.instrument.sessions.state))
    return Begun(begun.name, config, is_new=not seen.is_known)


def _begun(instrument: Instrument, name: str) -> Path | None:
    """Return the config of a session that has begun, without a look at the folder of all sessions.

    That folder may be away, or on a file server that hangs.
    """
    if "/" in name or name in (".", ".."):
        return None
    pattern = str(instrument.sessions.state / SESSION_CONFIG)
    places = (Path(pattern.replace(PLACEHOLDER, each)) for each in (name, session_name(name)))
    return next((place for place in places if place.is_file()), None)


def _named(path: Path, search: SessionSearch, name: str | None) -> Sighting:
    sightings = search.look().sightings
    names = {seen.name: seen for seen in sightings}
    folders = {seen.place.folder.name: seen for seen in sightings}
    if name is None:
        raise ConfigError(
            f"{path} is the config of an instrument, which has many sessions",
            f"Name one by --session NAME: {_listed(sorted(names))}.",
        )
    found = names.get(name) or folders.get(name)
    if found is None:
        root = folder_above(search.instrument.sessions.pattern)
        guess = nearest(name, [*names, *folders])
        hint = f"Perhaps you mean {guess}. " if guess else ""
        raise ConfigError(
            f"there is no session {name} in {root}",
            f"{hint}Known are: {_listed(sorted(names))}.",
        )
    return found


def _listed(names: list[str]) -> str:
    most = 12
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none yet") + more


def _setting(text: str) -> tuple[str, bool | int | float | str | None]:
    key, equals, written = text.partition("=")
    if not equals or "." not in key:
        raise ConfigError(
            f"--set {text} is not a setting", "Write it as particle.diameter_angstrom=180."
        )
    value = parse_document(f"value: {written}", Path("--set")).values.get("value")
    if value is not None and not isinstance(value, bool | int | float | str):
        raise ConfigError(
            f"--set {text}: a list or a section cannot be given here",
            "Edit the session's config instead.",
        )
    return key.strip(), value


def _give_to_service(state: Path, root: Path) -> None:
    """Give files that root has made to the owner of the folder of all state folders."""
    if os.geteuid() != 0:
        return
    with contextlib.suppress(OSError):
        owner = root.stat()
        for each in (state, *state.iterdir()):
            os.chown(each, owner.st_uid, owner.st_gid, follow_symlinks=False)
