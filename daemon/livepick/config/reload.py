"""Detection of config edits while the service runs, and the effect of each setting.

Each setting has one effect. *live*: it takes effect with the next micrograph or the next training.
*retrain*: it shapes the model, so a model with the new settings is looked up, and trained if there
is none. *restart*: the objects made from it at the start cannot be replaced while the service runs.
An edit is applied as a whole or not at all, so that the file never differs in part from the
settings in force: one setting that needs a restart makes the service refuse the whole edit.

The file is polled by its path every second and not watched by inotify: editors rename a new file
into the place of the old one, a link may be changed to point to another file, and the file may be
on a network file system. One ``stat`` detects all of these. The file is read once it is unchanged
between two polls, so a half-written file is never read.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from livepick.config.schema import Config
from livepick.config.yaml_loader import load_config
from livepick.errors import ConfigError

__all__ = ["EFFECTS", "Change", "ConfigFile", "Effect", "compare", "describe", "read_anew"]

Effect = Literal["live", "retrain", "restart"]

MISSING_LOOKS = 10
"""A file that is missing for this many polls is a fault, not an editor in the middle of a save."""

EFFECTS: dict[str, Effect] = {
    "session.name": "restart",
    "watch.directories": "restart",
    "watch.preset": "restart",
    "watch.include": "restart",
    "watch.exclude": "restart",
    "watch.mode": "restart",
    "watch.rescan_seconds": "restart",
    "watch.settle_seconds": "restart",
    "watch.incomplete_timeout_seconds": "restart",
    "watch.require_sidecar": "restart",
    "watch.forbid_sidecar": "restart",
    "watch.follow_symlinks": "restart",
    "micrograph.pixel_size_angstrom": "restart",
    "micrograph.ctf": "live",
    "particle.diameter_angstrom": "retrain",
    "particle.contrast": "retrain",
    "particle.min_distance_fraction": "retrain",
    "particle.edge_fraction": "retrain",
    "bootstrap.picks": "retrain",
    "bootstrap.micrographs": "retrain",
    "bootstrap.minimum_picks": "retrain",
    "bootstrap.classes": "retrain",
    "training.generation": "retrain",
    "training.epochs": "retrain",
    "training.initial_learning_rate": "retrain",
    "training.final_learning_rate": "retrain",
    "training.minibatch_size": "retrain",
    "training.class_weights": "retrain",
    "training.normalize": "retrain",
    "training.lowpass_angstrom": "retrain",
    "training.held_out_fraction": "retrain",
    "training.expected_picks": "retrain",
    "training.auto_remedy": "retrain",
    "training.seed": "retrain",
    "training.threads": "live",
    "training.device": "live",
    "training.gpu_memory_fraction": "live",
    "training.time_limit_minutes": "live",
    "picking.device": "restart",
    "picking.threshold": "live",
    "picking.workers": "restart",
    "picking.repick": "live",
    "retrain.gate": "live",
    "retrain.on_drift": "live",
    "output.directory": "restart",
    "output.formats": "restart",
    "state.directory": "restart",
    "web.listen": "restart",
}
"""Effect of every setting, by ``section.key``."""


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


def compare(old: Config, new: Config) -> tuple[Change, ...]:
    """Return the settings that differ, in the order of the config."""
    before, after = _settings(old), _settings(new)
    return tuple(
        Change(name, _written(value), _written(after[name]), EFFECTS[name])
        for name, value in before.items()
        if after[name] != value
    )


def describe(changes: tuple[Change, ...]) -> str:
    """Return one line that describes the changes and their effects."""
    if not changes:
        return "nothing has changed"
    causes = []
    if any(change.effect == "live" for change in changes):
        causes.append("what is live takes effect with the next micrograph or training")
    if any(change.effect == "retrain" for change in changes):
        causes.append("a model of these settings is looked for, and trained if there is none")
    return f"{', '.join(map(str, changes))}: {'; '.join(causes)}"


def read_anew(path: Path, present: Config) -> tuple[Config, tuple[Change, ...]]:
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
        waiting = f" {others} other change{'s wait' if others > 1 else ' waits'} for it."
        raise ConfigError(
            f"{path} needs a restart for {', '.join(late)}",
            "Restart the service, or set it back." + (waiting if others else ""),
        )
    return fresh, changes


class ConfigFile:
    """The config file, polled by ``stat``.

    Create it before the file is read for the first time, so that no edit in between is missed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._missing = 0
        self._read = self._last = self._look()

    def is_due(self) -> bool:
        """Return True if the file has changed since it was read, and not since the last poll.

        True only once for each new content, and once if the file is gone for good.
        """
        now = self._look()
        settled, self._last = now == self._last, now
        self._missing = 0 if now is not None else self._missing + 1
        if now is None and self._missing < MISSING_LOOKS:
            return False
        if not settled or now == self._read:
            return False
        self._read = now
        return True

    def take(self) -> None:
        """Record that the file is read now, whether due or not."""
        self._read = self._look()

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except OSError:  # the error is reported when the file is read
            return None
        return found.st_size, found.st_mtime_ns, found.st_ino


def _settings(config: Config) -> dict[str, Any]:
    """Return the value of each setting by ``section.key``."""
    return {
        f"{section}.{key}": value
        for section, settings in config.model_dump(mode="json").items()
        for key, value in settings.items()
    }


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
