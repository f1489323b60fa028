"""The action that chooses the model in use, which is not an edit of the config file.

The history of promotions has it, as after ``livepick models promote``.
"""

import logging

from livepick.config.proposed_edit import EditedKey
from livepick.core.formats.header import printable
from livepick.errors import ModelError
from livepick.models.registry import MODELS, Models
from livepick.models.summary import summarize_models
from livepick.picking.promote_by_person import promote_by_person, rollback_bundle
from livepick.web.forms import Form
from livepick.web.page import Sources
from livepick.web.proposal import Proposal, one, whole_number
from livepick.web.recorded_change import record_change

__all__ = ["ChooseModel"]

_log = logging.getLogger(__name__)


class ChooseModel:
    """Promotes a model, or returns to the one before.

    Parameters
    ----------
    sources
        Data sources of the page.
    """

    template = "actions_model.html"

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._models = Models(sources.config().state.directory / MODELS)

    def form(self, given: Form) -> dict[str, object]:  # noqa: ARG002 - as in Action
        """Return the models of the session."""
        config = self._sources.config()
        target = self._models.rollback_target(config)
        return {
            "entries": summarize_models(self._models, config)[::-1],
            "target": None if target is None else target.card.version,
        }

    def propose(self, given: Form, by: str) -> Proposal:
        """Return the promotion that the fields of a form ask for."""
        config, models = self._sources.config(), self._models
        present = models.current(config).card.version
        is_rollback = bool(one(given, "rollback"))
        if is_rollback:
            bundle = rollback_bundle(models, config, advice="Choose a model from the list.")
        else:
            number = whole_number(one(given, "version"), "a model")
            bundle = models.fitting(number, config)
        version = bundle.card.version
        if version == present:
            raise ModelError(f"model {version} is in use already", "Choose another one.")

        title = f"{'return to' if is_rollback else 'use'} model {version}"

        def make() -> str:
            way = "rolled back" if is_rollback else "chosen"
            why = f"{way} on the page by {by}; before: model {present}"
            promote_by_person(models, config, bundle, why, rollback=is_rollback)
            record_change(
                config.state.directory,
                by,
                title,
                EditedKey("model in use", present, version),
                undo_with=f"model?version={present}",
            )
            _log.info("page: %s made model %d the current one", printable(by), version)
            return f"Model {version} is used from the next micrograph on."

        last = models.last_promotion()
        return Proposal(
            title=title,
            digest=f"{present}-{last.at if last else 0}",
            make=make,
            effects=(
                (
                    f"Model in use: {present} → {version}. The model is tested first; if it does"
                    " not run, the present one stays."
                ),
                (
                    "This is not an edit of the config: the model history has it. To undo it,"
                    f" return to model {present}."
                ),
                (
                    "Which micrographs are picked again is said by picking.repick:"
                    f" {config.picking.repick}."
                ),
            ),
        )
