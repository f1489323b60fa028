"""Weights that a training starts from: those of the general model, or of another bundle."""

from dataclasses import dataclass
from pathlib import Path

from livepick.config.training_sections import Training
from livepick.core.contracts.bundle import (
    MOST_WEIGHTS_BYTES,
    WEIGHTS,
    ModelCard,
    read_card,
    sha256,
)
from livepick.core.contracts.run import RunStart
from livepick.errors import ModelError
from livepick.host.foreign_files import read_bounded
from livepick.models.general_model import SHIPPED

__all__ = ["StartWeights", "read_start_weights"]


@dataclass(frozen=True, slots=True)
class StartWeights:
    """Weights of a bundle, as they are in its ``weights.npz``."""

    source: str
    """``general``, or the folder of the bundle."""
    card: ModelCard
    content: bytes

    def for_run(self) -> RunStart:
        """Return the entry of a run's specification that names these weights."""
        return RunStart(
            source=self.source,
            livepick_version=self.card.livepick_version,
            sha256=sha256(self.content),
        )


def read_start_weights(training: Training, *, general: Path = SHIPPED) -> StartWeights | None:
    """Return the weights that ``training.start`` names; None for random ones.

    Parameters
    ----------
    training
        Section of the config.
    general
        Folder of the general model.

    Raises
    ------
    ModelError
        The bundle or its weights are missing or damaged.
    """
    if training.start == "scratch":
        return None
    if training.start == "general":
        remedy = "Install livepick again, or set training.start: scratch."
        try:
            card = read_card(general)
            return StartWeights("general", card, _weights(general, card))
        except ModelError as error:
            raise ModelError(f"the general model cannot be used: {error.what}", remedy) from error
    bundle = training.start.model
    card = read_card(bundle)
    return StartWeights(str(bundle), card, _weights(bundle, card))


def _weights(bundle: Path, card: ModelCard) -> bytes:
    """Return the content of a bundle's ``weights.npz``, after a check of its digest."""
    path = bundle / WEIGHTS
    other = "or name another bundle in training.start, or set it to general or scratch"
    try:
        content = read_bounded(path, limit_bytes=MOST_WEIGHTS_BYTES)
    except FileNotFoundError as error:
        raise ModelError(
            f"a training cannot start from {bundle}: it has no {WEIGHTS} (it was made by livepick"
            f" {card.livepick_version}, as a model of kind {card.kind})",
            f"Train that model again with this livepick, {other}.",
        ) from error
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror}", f"Restore the bundle, {other}."
        ) from error
    if card.weights_sha256 is not None and sha256(content) != card.weights_sha256:
        raise ModelError(
            f"{path} is not the file that the bundle's card names", f"Restore the bundle, {other}."
        )
    return content
