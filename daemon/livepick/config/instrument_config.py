"""Config of an instrument, and the config of each of its sessions that is made from it.

The config of a session has, in this order of precedence, what the instrument says for all sessions,
what ``livepick.yaml`` in the session's folder overrides, and the session's own folders and port.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from livepick.config.error_messages import Fault, describe
from livepick.config.schema import WrittenConfig
from livepick.config.sessions_section import (
    PLACEHOLDER,
    SESSION_FILE,
    Overview,
    Sessions,
    is_allowed,
)
from livepick.config.setting import Section
from livepick.config.web_section import Web
from livepick.config.yaml_loader import (
    Document,
    as_commented_yaml,
    config_error,
    is_blank,
    parse_document,
    read_text,
)
from livepick.errors import ConfigError
from livepick.host.foreign_files import errors_of_file, is_file

__all__ = ["Instrument", "Place", "is_instrument", "load_instrument", "session_text"]

GIVEN = {
    ("session", "name"): "pattern",
    ("watch", "directories"): "pattern",
    ("output", "directory"): "output",
    ("state", "directory"): "state",
    ("session", "end_after_hours"): "end_after_hours",
}
"""Settings of a session that its instrument does not have, and the one in ``sessions`` instead."""

_NEVER = {("session", "ended"), ("session", "ended_by")}
"""Settings of one session, which are not for all."""

_MODELS = ("bootstrap.picks", "training.start")
"""Settings that may name a model. A section in ``sessions.allow`` does not allow that."""

_REMEDY = "Fix the file; deploy/instrument.yaml describes the sections of an instrument."


class _Own(Section):
    """Sections that only an instrument has."""

    sessions: Sessions
    overview: Overview = Overview()


@dataclass(frozen=True, slots=True)
class Instrument:
    """Settings of an instrument."""

    name: str
    """Name of its config file, without the ending."""
    path: Path
    sessions: Sessions
    overview: Overview
    web: Web
    """The overview page."""
    sample: WrittenConfig
    """The settings of any session, but for its name and its folders."""
    defaults: dict[str, dict[str, Any]]
    """Settings of all sessions, as JSON values; folders are absolute."""
    document: Document
    """The file, for the lines of its settings."""


@dataclass(frozen=True, slots=True)
class Place:
    """Folders and port of a session."""

    name: str
    folder: Path
    """Folder with the name of the session, in which ``livepick.yaml`` may be."""
    directory: Path
    """Folder of its micrographs."""
    state: Path
    output: Path
    port: int


def is_instrument(path: Path) -> bool:
    """Return True if a config file has a section ``sessions``; False also if it cannot be read."""
    try:
        return "sessions" in parse_document(read_text(path), path).values
    except ConfigError:
        return False


def load_instrument(path: Path) -> Instrument:
    """Read the config of an instrument.

    Raises
    ------
    ConfigError
        The file cannot be read, or something in it is wrong.
    """
    document = parse_document(read_text(path), path)
    values = dict(document.values)
    own = {name: values.pop(name) for name in ("sessions", "overview") if name in values}
    faults = [*document.faults, *_given(values)]
    context = {"folder": path.absolute().parent}
    with errors_of_file(path, ConfigError, _REMEDY):
        try:
            sections = _Own.model_validate(own, context=context)
        except ValidationError as error:
            faults += describe(error, _Own)
            sections = None
        sample = None if sections is None else _sample(values, sections.sessions)
        try:
            config = (
                None if sample is None else WrittenConfig.model_validate(sample, context=context)
            )
        except ValidationError as error:
            faults += describe(error, WrittenConfig)
            config = None
    if faults or sections is None or config is None:
        raise config_error(path, [(document.line_of(each.path), each.sentence) for each in faults])
    defaults = config.model_dump(mode="json", exclude_unset=True)
    for section, key in GIVEN:
        defaults.get(section, {}).pop(key, None)
    return Instrument(
        path.stem,
        path,
        sections.sessions,
        sections.overview,
        config.web,
        config,
        defaults,
        document,
    )


def _given(values: Mapping[str, Any]) -> list[Fault]:
    """Return a fault for each setting that is of one session, or that ``sessions`` has instead."""
    own = [
        Fault((section, key), f"{section}.{key} is of one session, and not for all; remove it")
        for section, key in _NEVER
        if isinstance(values.get(section), dict) and key in values[section]
    ]
    return own + [
        Fault(
            (section, key),
            f"{section}.{key} is not for an instrument: sessions.{instead} says it for each"
            " session; remove it",
        )
        for (section, key), instead in GIVEN.items()
        if isinstance(values.get(section), dict) and key in values[section]
    ]


def _sample(values: Mapping[str, Any], sessions: Sessions) -> dict[str, Any]:
    """Return the values of a session of that instrument, to find faults before there is one."""
    named = {name: str(getattr(sessions, name)).replace(PLACEHOLDER, "sample") for name in _FOLDERS}
    sample = dict(values)
    for section, key, value in (
        ("session", "name", "sample"),
        ("watch", "directories", [named["pattern"]]),
        ("output", "directory", named["output"]),
        ("state", "directory", named["state"]),
    ):
        given = sample.get(section)
        if given is None or isinstance(given, dict):
            sample[section] = {**(given or {}), key: value}
    return sample


_FOLDERS = ("pattern", "output", "state")


def session_text(instrument: Instrument, place: Place) -> str:
    """Return the text of a session's config, with a comment on the source of each setting.

    Raises
    ------
    ConfigError
        ``livepick.yaml`` of the session has a fault.
    """
    path = place.folder / SESSION_FILE
    document = _override(instrument, path)
    values = {section: dict(settings) for section, settings in instrument.defaults.items()}
    origins = {
        (section, key): _line(instrument.path, instrument.document, section, key)
        for section, settings in values.items()
        for key in settings
    }
    for section, settings in document.values.items():
        for key, value in settings.items():
            values.setdefault(section, {})[key] = value
            origins[section, key] = _line(path, document, section, key)
    for section, key, value, source in _own_settings(instrument, place):
        values.setdefault(section, {})[key] = value
        origins[section, key] = _one_line(f"{instrument.path}, {source}")
    checked = _checked(values, path, document, instrument)
    return _header(instrument, place) + as_commented_yaml(
        {
            section: {key: (value, origins[section, key]) for key, value in settings.items()}
            for section, settings in checked.items()
            if settings
        }
    )


def _line(path: Path, document: Document, section: str, key: str) -> str:
    return _one_line(f"{path}, line {document.line_of((section, key))}")


def _one_line(text: object) -> str:
    """Return a text for a comment: a folder's name may have a line break."""
    return "".join(each if each.isprintable() else "?" for each in str(text))


def _override(instrument: Instrument, path: Path) -> Document:
    """Return ``livepick.yaml`` of a session's folder; an empty document if it sets nothing.

    Raises
    ------
    ConfigError
        It cannot be read, or overrides what the instrument does not allow.
    """
    if not is_file(path):
        if os.path.lexists(path):
            raise ConfigError(
                f"{path} is a folder, a pipe or a link that leads nowhere",
                "Replace it by a text file, or remove it.",
            )
        return Document({}, {}, [])
    text = read_text(path, remedy="Fix or remove it.")
    if is_blank(text):
        return Document({}, {}, [])
    document = parse_document(text, path)
    faults = list(document.faults)
    allow = instrument.sessions.allow
    for section, settings in document.values.items():
        names = [f"{section}.{key}" for key in settings] if isinstance(settings, dict) else []
        if not isinstance(settings, dict):
            faults.append(Fault((section,), f"{section} must be a section with keys"))
        faults += [
            Fault(
                tuple(name.split(".", 1)),
                f"{name} may not be set for one session; sessions.allow of {instrument.path}"
                f" allows {', '.join(allow)}",
            )
            for name in names
            if not is_allowed(name, allow)
        ]
        faults += [
            Fault(
                tuple(name.split(".", 1)),
                f"{name} names a model, which is run like a program; if everyone who may write to"
                f" the folders of sessions may do that, add {name} to sessions.allow of"
                f" {instrument.path}",
            )
            for name in names
            if name in _MODELS and name not in allow and _names_model(settings, name)
        ]
    if faults:
        raise config_error(path, [(document.line_of(each.path), each.sentence) for each in faults])
    return document


def _names_model(settings: Mapping[str, Any], name: str) -> bool:
    value = settings.get(name.partition(".")[2])
    return isinstance(value, dict) and "model" in value


def _own_settings(instrument: Instrument, place: Place) -> list[tuple[str, str, Any, str]]:
    sessions, web = instrument.sessions, instrument.web
    host = f"[{web.host}]" if ":" in web.host else web.host
    settings: list[tuple[str, str, Any, str]] = [
        ("session", "name", place.name, "sessions.pattern"),
        ("session", "end_after_hours", sessions.end_after_hours, "sessions.end_after_hours"),
        ("watch", "directories", [str(place.directory)], "sessions.pattern"),
        ("output", "directory", str(place.output), "sessions.output"),
        ("state", "directory", str(place.state), "sessions.state"),
        ("web", "listen", f"{host}:{place.port}", "sessions.ports"),
    ]
    if sessions.external_url is not None or web.external_url is not None:
        url = sessions.external_url and sessions.external_url.replace("{port}", str(place.port))
        settings.append(("web", "external_url", url, "sessions.external_url"))
    if overview := web.external_url or (f":{web.port}" if web.port else None):
        settings.append(("web", "overview_url", overview, "web.listen"))
    return settings


def _checked(
    values: dict[str, dict[str, Any]], path: Path, document: Document, instrument: Instrument
) -> dict[str, dict[str, Any]]:
    """Return values as JSON has them, in the order of the schema, with absolute folders."""
    context = {"folder": path.absolute().parent}
    with errors_of_file(path, ConfigError, "Fix or remove it."):
        try:
            config = WrittenConfig.model_validate(values, context=context)
        except ValidationError as error:
            faults = describe(error, WrittenConfig)
            overrides = [each for each in faults if document.line_of(each.path) is not None]
            source, where = (
                (path, document) if overrides else (instrument.path, instrument.document)
            )
            lines = [(where.line_of(each.path), each.sentence) for each in overrides or faults]
            raise config_error(source, lines) from error
    dumped: dict[str, dict[str, Any]] = config.model_dump(mode="json", exclude_unset=True)
    return {name: dumped[name] for name in WrittenConfig.model_fields if name in dumped}


def _header(instrument: Instrument, place: Place) -> str:
    return f"""\
# Config of the session in {_one_line(place.folder)}.
# livepick wrote it from {_one_line(instrument.path)}
# and from {_one_line(place.folder / SESSION_FILE)}, if that exists; behind each
# setting is the file that it comes from. Edit it as you like: a setting that you have changed here
# stays as you wrote it, whatever those files say later. The folders and the port must stay.
"""
