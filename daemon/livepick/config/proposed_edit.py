"""Edits of the config file that a person sees as a diff before they are made.

The file may be edited by somebody else between the proposal and its confirmation. A proposal
therefore has a digest of the file, and is made again from the file as it is now.
"""

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livepick.config.reload import Change, compare
from livepick.config.schema import WrittenConfig
from livepick.config.yaml_edit import Edit, EditableConfig, Value, set_key
from livepick.config.yaml_loader import parse_config
from livepick.errors import ConfigError

__all__ = ["DiffLine", "EditedKey", "ProposedEdit", "digest_of", "propose", "value_of"]

DIFF_LINES = 3
"""Unchanged lines that a diff shows around each change."""


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line of a diff."""

    kind: str
    """``old``, ``new``, ``same``, or ``place`` for the line numbers."""
    text: str


@dataclass(frozen=True, slots=True)
class EditedKey:
    """A setting before and after an edit."""

    key: str
    """The setting, as ``picking.threshold``."""
    before: Any
    """Value that was in force, as in JSON: that of the file, or the default."""
    after: Any
    """New value."""


@dataclass(frozen=True, slots=True)
class ProposedEdit:
    """An edit that has not been made yet."""

    file: EditableConfig
    """The file as it was read."""
    edit: Edit
    keys: tuple[EditedKey, ...]
    """Settings that differ in the file."""
    changes: tuple[Change, ...]
    """Changes of the settings that are in force, with their effects."""

    @property
    def digest(self) -> str:
        """Digest of the file as it was read."""
        return digest_of(self.file.text)

    @property
    def retrains(self) -> bool:
        """True if the edit asks for another training."""
        return any(change.effect == "retrain" for change in self.changes)

    def diff(self) -> list[DiffLine]:
        """Return the changed lines with some around them."""
        lines = difflib.unified_diff(
            self.file.text.splitlines(), self.edit.text.splitlines(), lineterm="", n=DIFF_LINES
        )
        kinds = {"+": "new", "-": "old", "@": "place"}
        return [DiffLine(kinds.get(line[:1], "same"), line) for line in list(lines)[2:]]


def digest_of(text: str) -> str:
    """Return a digest of a file's text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def value_of(config: WrittenConfig, key: str) -> Any:
    """Return the value of a setting, as in JSON, whether it is in the file or the default."""
    found: Any = config.model_dump(mode="json")
    for name in key.split("."):
        found = found[name]
    return found


def propose(path: Path, values: Mapping[str, Value]) -> ProposedEdit:
    """Return an edit of a config file that sets some values.

    Parameters
    ----------
    path
        The config file.
    values
        New values by their settings, in an order in which the config is valid after each.

    Raises
    ------
    ConfigError
        The file cannot be read, is not valid before or after the edit, has these values already, or
        cannot be edited without changing other settings.
    """
    file = EditableConfig.read(path)
    before = parse_config(file.text, path)
    edit: Edit | None = None
    for key, value in values.items():
        if value_of(before, key) != value:
            edit = set_key(file.text if edit is None else edit.text, path, key, value)
    if edit is None:
        wanted = ", ".join(f"{key}: {json.dumps(value)}" for key, value in values.items())
        raise ConfigError(f"The config has this already: {wanted}", "There is nothing to change.")
    after = parse_config(edit.text, path)
    keys = (EditedKey(key, value_of(before, key), value_of(after, key)) for key in values)
    return ProposedEdit(
        file,
        edit,
        tuple(each for each in keys if each.before != each.after),
        compare(before, after),
    )
