"""Detection of config edits while the service runs, and the changes that an edit makes.

Each setting declares the effect of an edit on its field (``livepick.config.setting``). An edit is
applied as a whole or not at all, so that the file never differs in part from the settings in use:
one setting that needs a restart makes the service refuse the whole edit.

The file is polled by its path every second and not watched by inotify: editors rename a new file
into the place of the old one, a link may be changed to point to another file, and the file may be
on a network file system. One ``stat`` detects all of these. The file is read once it is unchanged
between two polls, so a half-written file is never read.
"""

import json
import logging
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from pathlib import Path

from livepick.config.schema import WrittenConfig
from livepick.config.setting import Effect, Section, effect_of
from livepick.config.yaml_loader import load_config
from livepick.errors import ConfigError, LivepickError
from livepick.host.systemd import Systemd
from livepick.host.unexpected_errors import UnexpectedErrors

__all__ = [
    "Change",
    "ConfigFile",
    "ConfigReloader",
    "FileStamp",
    "compare",
    "describe",
    "file_stamp",
    "read_again",
]

FileStamp = tuple[int, int, int] | None
"""State of a file that changes when the file is edited; None if it is missing."""

_log = logging.getLogger(__name__)

MISSING_POLLS = 10
"""A file that is missing for this many polls is a fault, not an editor in the middle of a save."""


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that an edit changes."""

    name: str
    """Name of the setting, as ``section.key``."""

    old: str
    new: str
    """The values, as a user writes them."""

    effect: Effect

    @property
    def edit(self) -> str:
        """Description of the edit, in words."""
        return f"{self.name} from {self.old} to {self.new}"

    def __str__(self) -> str:
        return f"{self.edit} ({self.effect})"


def compare(old: WrittenConfig, new: WrittenConfig) -> tuple[Change, ...]:
    """Return the settings that differ, in the order of the config."""
    return tuple(
        change
        for name in WrittenConfig.model_fields
        for change in _compare_section(name, getattr(old, name), getattr(new, name))
    )


def _compare_section(name: str, old: Section, new: Section) -> Iterator[Change]:
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    for key, value in before.items():
        if after[key] != value:
            effect = effect_of(type(old), key)
            yield Change(f"{name}.{key}", _as_text(value), _as_text(after[key]), effect)


def describe(changes: tuple[Change, ...]) -> str:
    """Return one line that describes the changes and their effects."""
    if not changes:
        return "nothing has changed"
    causes = []
    if any(change.effect == "live" for change in changes):
        causes.append("live settings take effect with the next micrograph or training")
    if any(change.effect == "retrain" for change in changes):
        causes.append("a model with the new settings is looked up, and trained if there is none")
    return f"{', '.join(map(str, changes))}: {'; '.join(causes)}"


def read_again(path: Path, present: WrittenConfig) -> tuple[WrittenConfig, tuple[Change, ...]]:
    """Read the config file again and return its config and the changes from the present one.

    Raises
    ------
    ConfigError
        The file cannot be read, something in it is wrong, or a change needs a restart.
    """
    fresh = load_config(path)
    changes = compare(present, fresh)
    late = [change.edit for change in changes if change.effect == "restart"]
    if late:
        others = len(changes) - len(late)
        waiting = f" {others} other change{'s wait' if others > 1 else ' waits'} for the restart."
        raise ConfigError(
            f"{path} needs a restart for {', '.join(late)}",
            "Restart the service, or undo the change." + (waiting if others else ""),
        )
    return fresh, changes


class ConfigFile:
    """The config file, polled by ``stat``.

    Create it before the file is read for the first time, so that no edit in between is missed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._missing = 0
        self._read = self._last = file_stamp(self.path)

    def is_due(self) -> bool:
        """Return True if the file has changed since it was read, and not since the last poll.

        True only once for each new content, and once if the file is gone for good.
        """
        now = file_stamp(self.path)
        settled, self._last = now == self._last, now
        self._missing = 0 if now is not None else self._missing + 1
        if now is None and self._missing < MISSING_POLLS:
            return False
        if not settled or now == self._read:
            return False
        self._read = now
        return True

    def forget(self) -> None:
        """Make the file due, as if it had just been edited."""
        self._read = None

    def take(self) -> None:
        """Record that the file is read now, whether due or not."""
        self._read = file_stamp(self.path)


def file_stamp(path: Path) -> FileStamp:
    """Return the state of a file that is polled; an error is reported when it is read."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


class ConfigReloader:
    """Reads the config file again after an edit, and applies it as a whole or not at all.

    Parameters
    ----------
    config
        The config in use.
    file
        The file that it was read from.
    systemd
        Is told when a reload begins and ends.
    apply
        Function that applies a config, given its changes. If it raises an error before it has
        changed anything, the edit is rejected.
    accepted
        Called with the new config once it is in use.
    rejected
        Called with the reason why the old config stays in use.
    unexpected
        Counts the unexpected errors that are passed over.
    """

    def __init__(
        self,
        config: WrittenConfig,
        file: ConfigFile,
        *,
        systemd: Systemd,
        apply: Callable[[WrittenConfig, Collection[Change]], None],
        accepted: Callable[[WrittenConfig], None],
        rejected: Callable[[Exception], None],
        unexpected: UnexpectedErrors | None = None,
    ) -> None:
        self._unexpected = unexpected or UnexpectedErrors()
        self.config = config
        """The config in use."""
        self._file = file
        self._systemd = systemd
        self._apply = apply
        self._accepted = accepted
        self._rejected = rejected

    def reload_if_edited(self) -> None:
        """Reload the config if an edit of its file is complete; call it every second or so."""
        if self._file.is_due():
            self._reload()

    def reload(self) -> None:
        """Reload the config now."""
        self._file.take()
        self._reload()

    def _reload(self) -> None:
        self._systemd.reloading()
        try:
            fresh, changes = read_again(self._file.path, self.config)
            if changes:
                self._apply(fresh, changes)
        except Exception as error:  # noqa: BLE001 - the previous config stays in use
            if not isinstance(error, LivepickError | OSError | BrokenExecutor):
                self._unexpected.passed_over("config", str(self._file.path), error)
            _log.error("reload: failed, the previous config stays in use: %s", error)
            self._rejected(error)
        else:
            _log.info("reload: %s", describe(changes))
            self.config = fresh
            self._accepted(fresh)
        self._systemd.ready()


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
