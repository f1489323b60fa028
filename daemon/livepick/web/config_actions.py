"""Actions that edit the config file: threshold, classes, training, diameter, and undoing."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from livepick.config.class_decisions import withdrawn_decisions
from livepick.config.edit_history import read_edits
from livepick.config.proposed_edit import value_of
from livepick.config.schema import WrittenConfig
from livepick.config.yaml_edit import Value
from livepick.core.contracts.bundle import bundle_name
from livepick.models.registry import MODELS
from livepick.web.class_tiles import picture_size_px, tile_view_box
from livepick.web.config_action import ConfigAction, Wish, run_in_words
from livepick.web.forms import Form
from livepick.web.page import Sources
from livepick.web.proposal import Action, ActionError, ConflictError, one, whole_number
from livepick.web.session_action import EndSession
from livepick.web.training_view import CLASSES, TrainingView, view_training

__all__ = ["actions_on_config"]

WITHDRAWN = (
    "The particles are sorted into new 2D classes, so the decisions on the present ones are"
    " withdrawn."
)


class SetThreshold(ConfigAction):
    """Sets ``picking.threshold``."""

    template = "actions_threshold.html"

    def form(self, given: Form) -> dict[str, object]:
        """Return the threshold in the config, and the given one."""
        present = self.config().picking.threshold
        wanted = one(given, "value") or ("" if present == "auto" else f"{present:g}")
        model = self._sources.status().model
        return {"present": present, "wanted": wanted, "model": model}

    def wish(self, given: Form, config: WrittenConfig, by: str) -> Wish:  # noqa: ARG002
        """Return the setting of the form."""
        text = "auto" if one(given, "auto") else one(given, "value")
        if text == "auto":
            return Wish("pick with the model's own threshold", {"picking.threshold": "auto"})
        value = _number(text, "The threshold")
        if not 0 <= value <= 1:
            raise ActionError(f"The threshold is {value:g}", "Give a number from 0 to 1.")
        value = round(value, 4)
        return Wish(f"set the threshold to {value:g}", {"picking.threshold": value})


class SetDiameter(ConfigAction):
    """Sets ``particle.diameter_angstrom``, and the contrast if it is given."""

    template = "actions_diameter.html"

    def form(self, given: Form) -> dict[str, object]:
        """Return the diameter in the config, and the guesses that a person can choose from."""
        particle = self.config().particle
        state = self._sources.status().particle
        guesses = () if state is None else tuple(g for g in (state.best, state.second) if g)
        return {
            "present": particle.diameter_angstrom,
            "wanted": one(given, "value"),
            "guesses": guesses,
            "is_asking": state is not None and state.is_asking,
        }

    def wish(self, given: Form, config: WrittenConfig, by: str) -> Wish:  # noqa: ARG002
        """Return the settings of the form."""
        text = "auto" if one(given, "auto") else one(given, "value")
        contrast = one(given, "contrast")
        values: dict[str, Value] = {}
        if contrast:
            values["particle.contrast"] = contrast
        if text == "auto":
            title = "measure the particle's diameter"
            return self._wish(title, {"particle.diameter_angstrom": "auto", **values}, config)
        value = round(_number(text, "The diameter"), 1)
        whole = int(value) if value == int(value) else value
        title = f"set the particle's diameter to {value:g} Å"
        return self._wish(title, {"particle.diameter_angstrom": whole, **values}, config)

    def _wish(self, title: str, values: dict[str, Value], config: WrittenConfig) -> Wish:
        withdrawn = withdrawn_decisions(config)
        return Wish(title, {**values, **withdrawn}, note=WITHDRAWN if withdrawn else "")


class RetrainAgain(ConfigAction):
    """Raises ``training.generation`` by one, which asks for another training."""

    template = "actions_retrain.html"

    def form(self, given: Form) -> dict[str, object]:  # noqa: ARG002
        """Return the number of the training, and the run in progress."""
        run = self.running()
        return {
            "generation": self.config().training.generation,
            "run": run,
            "ended": "" if run is None else run_in_words(self._sources, run),
        }

    def wish(self, given: Form, config: WrittenConfig, by: str) -> Wish:  # noqa: ARG002
        """Return the settings of the form."""
        withdrawn = withdrawn_decisions(config)
        generation = config.training.generation + 1
        return Wish(
            "train a new model",
            {**withdrawn, "training.generation": generation},
            note=WITHDRAWN if withdrawn else "",
        )


@dataclass(frozen=True, slots=True)
class ClassChoice:
    """A class of the latest training, as it is shown for a decision."""

    number: int
    particles: int
    reason: str
    is_accepted: bool
    """True if the figures accept it, whatever a person decided."""
    is_turned: bool
    """True if the config decides otherwise."""
    view_box: str
    """Part of the picture of all classes that shows this one, as in SVG; empty if none does."""


class ChooseClasses(ConfigAction):
    """Sets ``bootstrap.classes``: classes that a person accepts or rejects."""

    template = "actions_classes.html"

    def form(self, given: Form) -> dict[str, object]:
        """Return the classes of the latest training with the decisions of the config."""
        view, config = self._view(), self.config()
        classes = config.bootstrap.classes
        turned = {"accept": set(classes.accept), "reject": set(classes.reject)}
        if "shown" in given:
            turned = {name: set(_numbers(given, name)) for name in turned}
        state = self._sources.config().state.directory
        picture = state / MODELS / bundle_name(view.version or 0) / CLASSES
        size_px = picture_size_px(picture) if view.has_picture else None
        choices = []
        for number, verdict in enumerate(view.classes):
            by_figures = verdict.accepted != verdict.overruled
            name = "reject" if by_figures else "accept"
            choices.append(
                ClassChoice(
                    number,
                    verdict.particles,
                    verdict.reason,
                    by_figures,
                    number in turned[name],
                    tile_view_box(number, len(view.classes), size_px),
                )
            )
        return {"choices": choices, "view": view, "size_px": size_px}

    def _view(self) -> TrainingView:
        sources = self._sources
        return view_training(sources.config(), sources.ledger.runs(), sources.queries)

    def wish(self, given: Form, config: WrittenConfig, by: str) -> Wish:  # noqa: ARG002
        """Return both lists; classes that the form did not show stay in their list."""
        shown = set(_numbers(given, "shown"))
        present = config.bootstrap.classes
        lists = {
            name: sorted((set(old) - shown) | set(_numbers(given, name)))
            for name, old in (("accept", present.accept), ("reject", present.reject))
        }
        both = set(lists["accept"]) & set(lists["reject"])
        if both:
            raise ActionError(
                f"Class {min(both)} is accepted and rejected", "Choose one of the two."
            )
        # A class leaves its old list before it enters the other: it may never be in both.
        values: dict[str, Value] = {}
        moved = set(lists["reject"]) & set(present.accept)
        order = ("accept", "reject") if moved else ("reject", "accept")
        for name in order:
            values[f"bootstrap.classes.{name}"] = list(lists[name])
        if set(lists["accept"]) & set(present.reject) and moved:
            raise ActionError(
                "One class moves to the accepted ones and another to the rejected ones",
                "Make the two changes one after the other.",
            )
        changed = sorted(
            (set(present.accept) ^ set(lists["accept"]))
            | (set(present.reject) ^ set(lists["reject"]))
        )
        words = ", ".join(map(str, changed)) or "none"
        return Wish(f"decide on the 2D classes: {words}", values)


class UndoEdit(ConfigAction):
    """Undoes an edit of the history: its settings get back their values."""

    def wish(self, given: Form, config: WrittenConfig, by: str) -> Wish:  # noqa: ARG002
        """Return the settings of the form."""
        number = whole_number(one(given, "edit"), "an edit")
        edits = read_edits(self._sources.config().state.directory)
        edit = next((each for each in edits if each.number == number), None)
        if edit is None:
            raise ActionError(f"There is no edit {number} in the history", "Look at the history.")
        for each in edit.keys:
            try:
                now = value_of(config, each.key)
            except LookupError as error:
                raise ActionError(
                    f"{each.key} is not a setting of this version", "Edit the config by hand."
                ) from error
            if now != each.after:
                raise ConflictError(
                    f"{each.key} was changed since: it is {json.dumps(now)}, and this edit set it"
                    f" to {json.dumps(each.after)}",
                    "Undo the later edit first, or set the value itself.",
                )
        values: dict[str, Value] = {each.key: each.before for each in edit.keys[::-1]}
        return Wish(f"undo: {edit.title}", values, undoes=edit.number)


def actions_on_config(path: Path, sources: Sources) -> dict[str, Action]:
    """Return the actions that edit a config file, by the names in their addresses."""
    return {
        "threshold": SetThreshold(path, sources),
        "classes": ChooseClasses(path, sources),
        "retrain": RetrainAgain(path, sources),
        "diameter": SetDiameter(path, sources),
        "undo": UndoEdit(path, sources),
        "session": EndSession(path, sources),
    }


def _numbers(given: Form, name: str) -> list[int]:
    return [whole_number(text, "a class") for text in given.get(name, [])]


def _number(text: str, what: str) -> float:
    try:
        value = float(text[:40])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ActionError(f"{what} is {text[:40]!r}", "Give a number.")
    return value
