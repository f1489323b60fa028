"""What all actions have in common that edit the config file."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from livepick.config.edit_history import record_edit
from livepick.config.proposed_edit import ProposedEdit, propose
from livepick.config.schema import WrittenConfig
from livepick.config.setting import Effect
from livepick.config.yaml_edit import Value
from livepick.config.yaml_loader import load_config
from livepick.core.formats.header import printable
from livepick.errors import LedgerWriteError
from livepick.ledger.session_rows import run_in_progress
from livepick.web.forms import Form
from livepick.web.page import Sources
from livepick.web.proposal import Proposal

__all__ = ["ConfigAction", "Wish", "run_in_words"]

_log = logging.getLogger(__name__)

EFFECTS: Mapping[Effect, str] = {
    "live": "It takes effect with the next micrograph or training.",
    "retrain": "A model with the new settings is looked up, and trained if there is none. Picking"
    " continues with the model in use.",
    "restart": "It takes effect after a restart of the service.",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """Settings that a person wants."""

    title: str
    """Description, as a clause that begins with a verb."""
    values: dict[str, Value]
    """New values, in an order in which the config is valid after each."""
    undoes: int | None = None
    """Number of the edit that this undoes; None: it undoes none."""
    note: str = ""
    """Sentence about something that the change does besides; empty: nothing."""


class ConfigAction:
    """An action that edits the config file.

    Parameters
    ----------
    path
        The config file.
    sources
        Data sources of the page.
    """

    template = ""

    def __init__(self, path: Path, sources: Sources) -> None:
        self._path = path
        self._sources = sources

    def form(self, given: Form) -> dict[str, object]:  # noqa: ARG002 - as in Action
        """Return the values that the template needs."""
        return {}

    def propose(self, given: Form, by: str) -> Proposal:
        """Return the edit that the fields of a form ask for."""
        wish = self.wish(given, self.config(), by)
        edit = propose(self._path, wish.values)
        effects = dict.fromkeys(EFFECTS[change.effect] for change in edit.changes)
        run = self.running() if edit.retrains else None
        return Proposal(
            title=wish.title,
            digest=edit.digest,
            make=lambda: self._make(edit, wish, by),
            file=str(self._path),
            diff=tuple(edit.diff()),
            effects=(*effects, *filter(None, [wish.note])),
            ends_run=run,
            ended="" if run is None else run_in_words(self._sources, run),
        )

    def wish(self, given: Form, config: WrittenConfig, by: str) -> Wish:
        """Return the settings that a person asks for.

        Raises
        ------
        ActionError
            The fields of the form make no sense.
        """
        raise NotImplementedError

    def config(self) -> WrittenConfig:
        """Return the config as it is in the file now."""
        return load_config(self._path)

    def _make(self, edit: ProposedEdit, wish: Wish, by: str) -> str:
        edit.file.write(edit.edit)
        for each in edit.keys:
            _log.info(
                "page: %s set %s from %s to %s",
                printable(by),
                each.key,
                json.dumps(each.before),
                json.dumps(each.after),
            )
        try:
            record_edit(
                self._sources.config().state.directory,
                by=by,
                title=wish.title,
                keys=edit.keys,
                undoes=wish.undoes,
            )
        except LedgerWriteError as error:
            _log.error("page: %s", error)
            return f"The config was edited, but the history was not written: {error}"
        return "The config was edited. The service applies it within seconds."

    def running(self) -> int | None:
        """Return the number of the training run in progress; None: there is none."""
        run = run_in_progress(self._sources.ledger.runs())
        return None if run is None else run.version


def run_in_words(sources: Sources, run: int) -> str:
    """Return a sentence about a training run in progress."""
    training = sources.status().training
    same = training.version == run and training.state == "training"
    return training.sentence if same else f"Training run {run:04d} is in progress."
