"""Conversion of YAML to ``WrittenConfig`` and back; the only module that imports PyYAML.

The text is composed into nodes before it is read into values, because only nodes know their line.
``livepick.config.error_messages`` turns errors into sentences, ``livepick.config.yaml_edit`` edits
a file.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from livepick.config.error_messages import Fault, KeyPath, describe
from livepick.config.measured_particle import resolve
from livepick.config.schema import WrittenConfig
from livepick.config.sections import State
from livepick.errors import ConfigError
from livepick.host.foreign_files import errors_of_file, read_bounded

__all__ = [
    "Document",
    "as_commented_yaml",
    "as_yaml",
    "config_error",
    "is_blank",
    "load_config",
    "parse_config",
    "parse_document",
    "read_text",
    "state_directory",
]


MOST_BYTES = 128 << 10
"""Largest config file that is read; one with every setting and its description has 14 KiB. Hostile
YAML of this size takes seconds to refuse."""

MOST_FAULTS = 30
"""Largest number of faults that an error lists."""

MOST_SHOWN = 1000
"""Maximum number of characters of a fault."""

MOST_LEVELS = 20
MOST_ENTRIES = 10_000
"""Largest depth of a config, and largest number of keys and list entries. An alias (``*name``)
counts as what it stands for: a few lines of aliases can stand for billions of entries."""

_TOO_DEEP = "it is nested too deeply"
_TOO_MANY = "it has too many entries, perhaps through aliases (*name)"
_REMEDY = "Fix the file; config.example.yaml describes every setting."
_START = "Name a config file; start from config.example.yaml."
_SECTIONS = "session: and watch:"


class _Loader(yaml.SafeLoader):
    """YAML loader that reads ``3e-4`` as a number, as other programs do."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML text that was read, but not checked against the schema."""

    values: dict[Any, Any]
    """The content. A section whose keys are all commented out is an empty one."""

    lines: Mapping[KeyPath, int]
    """The line of each key and list entry, from 1."""

    faults: list[Fault]
    """One fault for each duplicate key."""

    def line_of(self, path: KeyPath) -> int | None:
        """Return the line of a key, or of the nearest section around it that is in the file."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return None


def load_config(path: Path) -> WrittenConfig:
    """Read a config file. Relative folders in it are relative to the file's folder.

    Raises
    ------
    ConfigError
        The file cannot be read or something in it is wrong; one message names every fault
        with its line.
    """
    return parse_config(read_text(path), path)


def is_blank(text: str) -> bool:
    """Return True for a text that has no more than comments."""
    return all(line.lstrip()[:1] in ("", "#") for line in text.splitlines())


def parse_config(text: str, path: Path) -> WrittenConfig:
    """Return the config in ``text``, as if it were the content of the file ``path``.

    It is a ``Config`` unless the particle is to be measured.

    Raises
    ------
    ConfigError
        As in ``load_config``.
    """
    document = parse_document(text, path)
    if "sessions" in document.values:
        raise ConfigError(
            f"{path} is the config of an instrument, which has many sessions",
            f"Name the session by --session NAME, or by its config: livepick list {path}.",
        )
    faults = list(document.faults)
    with errors_of_file(path, ConfigError, _REMEDY):
        folder = path.absolute().parent
        try:
            config = WrittenConfig.model_validate(document.values, context={"folder": folder})
        except ValidationError as error:
            faults += describe(error, WrittenConfig)
        else:
            if not faults:
                return config if config.particle.is_automatic else resolve(config, None)
    raise config_error(path, [(document.line_of(fault.path), fault.sentence) for fault in faults])


def as_yaml(config: WrittenConfig) -> str:
    """Return a text that ``parse_config`` turns back into this config, wherever the file is.

    Settings that were not given are left out: another version may have different ones.
    """
    values = config.model_dump(mode="json", exclude_unset=True)
    return yaml.safe_dump(values, sort_keys=False)


def as_commented_yaml(sections: Mapping[str, Mapping[str, tuple[Any, str]]]) -> str:
    """Return a text of sections, in which a comment follows each setting.

    Parameters
    ----------
    sections
        For each section and key, the value (as JSON has it) and the comment, in one line.
    """
    rows = []
    for section, settings in sections.items():
        rows.append(f"{section}:")
        for key, (value, comment) in settings.items():
            text = yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True, width=10_000)
            first, *others = text.rstrip("\n").split("\n")
            rows += [f"  {first}  # {comment}", *(f"  {row}" for row in others)]
    return "\n".join([*rows, ""])


def read_text(path: Path, *, remedy: str = _START) -> str:
    """Return the text of a config file, with its line endings unchanged.

    Parameters
    ----------
    path
        The file.
    remedy
        Advice for a user if it cannot be read.

    Raises
    ------
    ConfigError
        The file cannot be read, or is not text.
    """
    try:
        return read_bounded(path, limit_bytes=MOST_BYTES).decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", remedy) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text", "Save it as UTF-8.") from error


_STATE = re.compile(r"^state:.*?(?=^[^\s#]|\Z)", re.DOTALL | re.MULTILINE)
"""Section ``state`` in the usual layout, for a file that is not valid YAML elsewhere."""


def state_directory(text: str, path: Path) -> Path | None:
    """Return the state folder of a config that has faults; None if it cannot be determined.

    Parameters
    ----------
    text, path
        As in ``parse_config``.
    """
    for part in (text, *_STATE.findall(text)):
        try:
            section = parse_document(part, path).values.get("state")
            named = {"directory": section.get("directory")} if isinstance(section, dict) else {}
            return State.model_validate(named, context={"folder": path.absolute().parent}).directory
        except (ConfigError, ValidationError):
            continue
    return None


def parse_document(
    text: str, path: Path, *, remedy: str = _REMEDY, sections: str = _SECTIONS
) -> Document:
    """Return the values in ``text``, as if it were the content of the file ``path``.

    Parameters
    ----------
    text, path
        As in ``parse_config``.
    remedy
        Advice for a user if it has a fault.
    sections
        Examples of its sections.

    Raises
    ------
    ConfigError
        The text is not YAML, or has no sections.
    """
    try:
        with errors_of_file(path, ConfigError, remedy):
            return _parse_document(text, path, sections)
    except ConfigError as error:
        if isinstance(error.__cause__, RecursionError):
            raise ConfigError(f"{path}: {_TOO_DEEP}", remedy) from error
        raise ConfigError(error.what, remedy) from error


def _parse_document(text: str, path: Path, sections: str) -> Document:
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:  # a character that YAML forbids
        raise config_error(path, [(None, f"it is not valid YAML: {error}")]) from error
    try:
        node = loader.get_single_node()
        if node is None:
            raise config_error(path, [(None, "it is empty")])
        if not isinstance(node, yaml.MappingNode):
            line = node.start_mark.line + 1
            raise config_error(path, [(line, f"it has no sections such as {sections}")])
        lines: dict[KeyPath, int] = {}
        faults: list[Fault] = []
        _note_lines(node, (), lines, faults)
        values = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise config_error(path, [(mark.line + 1 if mark else None, _plain(error))]) from error
    except (yaml.YAMLError, ValueError) as error:
        raise config_error(path, [(None, f"it is not valid YAML: {error}")]) from error
    finally:
        loader.dispose()
    filled = {key: {} if value is None else value for key, value in values.items()}
    return Document(filled, lines, faults)


def _note_lines(
    node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], faults: list[Fault]
) -> None:
    """Record the line of every key and list entry below ``node``, and duplicate keys."""
    if len(path) > MOST_LEVELS or len(lines) > MOST_ENTRIES:
        mark = node.start_mark
        deep = len(path) > MOST_LEVELS
        raise yaml.MarkedYAMLError(None, None, _TOO_DEEP if deep else _TOO_MANY, mark)
    if isinstance(node, yaml.MappingNode):
        seen: dict[KeyPath, int] = {}
        for key, value in node.value:
            place = (*path, str(key.value))
            lines[place] = key.start_mark.line + 1
            if place in seen and key.value != "<<":
                name = ".".join(map(str, place))
                faults.append(
                    Fault(place, f"{name} is repeated, after line {seen[place]}; keep one")
                )
            seen[place] = lines[place]
            _note_lines(value, place, lines, faults)
    elif isinstance(node, yaml.SequenceNode):
        for number, entry in enumerate(node.value):
            lines[*path, number] = entry.start_mark.line + 1
            _note_lines(entry, (*path, number), lines, faults)


_SYNTAX = {
    "nested too deeply": _TOO_DEEP,
    "too many entries": _TOO_MANY,
    "\\t": "it is indented with a tab; use spaces",
    "mapping values are not allowed": (
        "a second colon is not allowed here; put the text in quotes, or indent the line"
    ),
    "could not find expected ':'": "a key has no colon after it",
    "expected <block end>": "it is indented differently from the lines above it",
    "expected ',' or": "a bracket is not closed",
    "end of stream": "a quote is not closed",
    "another document": "a second document begins; a file may hold only one",
}
"""Messages of PyYAML, and their meaning for someone who does not know YAML."""


def _plain(error: yaml.MarkedYAMLError) -> str:
    """Describe a YAML syntax error in plain words."""
    problem = error.problem or ""
    known = (plain for words, plain in _SYNTAX.items() if words in problem)
    return next(known, f"it is not valid YAML: {problem}")


def config_error(path: Path, faults: Sequence[tuple[int | None, str]]) -> ConfigError:
    """Return one error for all faults of a file, each with its line, if it is known."""
    listed = [
        f"line {line}: {sentence}" if line is not None else sentence
        for line, sentence in sorted(faults, key=lambda fault: fault[0] or 0)
    ]
    what = f"{path}: {listed[0][:MOST_SHOWN]}"
    if len(listed) > 1:
        more = [f"and {len(listed) - MOST_FAULTS} more"] if len(listed) > MOST_FAULTS else []
        shown = "\n  ".join(line[:MOST_SHOWN] for line in [*listed[:MOST_FAULTS], *more])
        what = f"{path} has {len(listed)} faults:\n  {shown}"
    return ConfigError(what, _REMEDY)
