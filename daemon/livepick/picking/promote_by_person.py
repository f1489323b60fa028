"""Promotion of a model by a person, after a test run of it."""

import contextlib

from livepick.config.schema import Config
from livepick.errors import ModelError
from livepick.host.isolated_call import ProcessDiedError, call_isolated
from livepick.models.bundle_on_disk import Bundle
from livepick.models.registry import Models
from livepick.picking.tasks import canary

__all__ = ["TRY_SECONDS", "promote_by_person", "rollback_bundle"]

TRY_SECONDS = 120.0
"""Time limit for a model on a small image, with the time to load onnxruntime from a slow disk."""


def promote_by_person(
    registry: Models, config: Config, bundle: Bundle, why: str, *, rollback: bool = False
) -> int | None:
    """Test a bundle, and make it the current model.

    Parameters
    ----------
    registry
        Models of the session.
    config
        Config that the decision is for.
    bundle
        Model to promote.
    why
        Reason for the history.
    rollback
        True to undo the promotions since the model was in use.

    Returns
    -------
    int or None
        Model that was in use before; None if there was none for this particle.

    Raises
    ------
    ModelError
        The model does not run; the current one stays.
    LedgerWriteError
        The history of promotions cannot be written.
    """
    before: int | None = None
    with contextlib.suppress(ModelError):  # before the first start with this particle
        before = registry.current(config).card.version
    _try(bundle)
    registry.promote(
        bundle.card.version,
        by="operator",
        why=why,
        fingerprint=config.training_fingerprint(),
        session=config.session.name,
        rollback=rollback,
    )
    return before


def rollback_bundle(registry: Models, config: Config, *, advice: str) -> Bundle:
    """Return the model that a rollback returns to.

    Parameters
    ----------
    registry, config
        Models and config of the session.
    advice
        Remedy if there is none.

    Raises
    ------
    ModelError
        No other model was in use before, or none that still exists and fits.
    """
    target = registry.rollback_target(config)
    if target is None:
        present = registry.current(config)
        raise ModelError(
            f"no model was in use before model {present.card.version}, or none that still exists"
            " and fits the particle",
            advice,
        )
    return registry.fitting(target.card.version, config)


def _try(bundle: Bundle) -> None:
    """Run a model once, in a process of its own: a damaged one may crash, or never end."""
    remedy = "Promote another model, or train again."
    try:
        call_isolated(canary, bundle.path, timeout_seconds=TRY_SECONDS)
    except TimeoutError as error:
        raise ModelError(
            f"model {bundle.card.version} takes more than {TRY_SECONDS:g} s for a small image",
            remedy,
        ) from error
    except ProcessDiedError as error:
        raise ModelError(f"model {bundle.card.version} does not run: {error}", remedy) from error
