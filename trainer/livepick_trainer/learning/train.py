"""Training loop, which takes all settings as arguments and returns all results.

It does not access files or the config. A run that was stopped continues from the ``Checkpoint``
saved after its last complete epoch, and ends with the same weights as an uninterrupted run,
because an epoch depends only on the checkpoint and on its own number.

On the CPU, weights and images are stored with the channels last. The first level has only eight
channels, and with the channels first its convolutions and their gradients take one and a half
times as long.
"""

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn

from livepick_trainer.learning.adamw import AdamW
from livepick_trainer.learning.dataset import Batch
from livepick_trainer.learning.losses import (
    POSITIVE_WEIGHT,
    balanced_accuracy,
    count_right,
    weighted_cross_entropy,
)

__all__ = ["Checkpoint", "EpochFigures", "Recipe", "learning_rate", "train"]

Weights = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Training settings."""

    epochs: int
    initial_learning_rate: float
    final_learning_rate: float
    seed: int
    patience: int = 8
    """Number of consecutive epochs without a lower held-out loss after which training ends."""
    weight_decay: float = 1e-4
    positive_weight: float = POSITIVE_WEIGHT
    """Class weight; see ``losses``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochFigures:
    """Figures of one epoch; the losses are means over its batches.

    A training that diverged has NaN or infinite losses in its last epoch.
    """

    epoch: int
    """Number of the epoch, counted from 1."""
    learning_rate: float
    """Learning rate at the end of the epoch."""
    training_loss: float
    validation_loss: float
    training_accuracy: float
    """Balanced accuracy; see ``losses.balanced_accuracy``."""
    validation_accuracy: float
    training_found: float = math.nan
    """Share of the particles' pixels whose score is above one half."""
    validation_found: float = math.nan

    @property
    def is_finite(self) -> bool:
        """True if both losses are finite."""
        return math.isfinite(self.training_loss) and math.isfinite(self.validation_loss)


@dataclass(slots=True)
class Checkpoint:
    """Complete state that the next epoch depends on. The tensors are on the CPU."""

    weights: Weights
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    """State of the mixed-precision loss scaling; empty on the CPU."""
    torch_random_state: Tensor
    best_weights: Weights
    best_loss: float
    stale: int
    """Number of epochs since ``best_loss``."""
    history: list[EpochFigures] = field(default_factory=list)

    @property
    def epochs_done(self) -> int:
        """Number of completed epochs."""
        return len(self.history)

    def to_dict(self) -> dict[str, Any]:
        """Return plain tensors, numbers and containers, which ``torch.load`` reads safely."""
        history = [{name: getattr(f, name) for name in f.__slots__} for f in self.history]
        return {name: getattr(self, name) for name in self.__slots__} | {"history": history}

    @classmethod
    def from_dict(cls, entries: dict[str, Any]) -> Self:
        """Return the checkpoint that ``to_dict`` described."""
        history = [EpochFigures(**figures) for figures in entries["history"]]
        return cls(**(entries | {"history": history}))


def train(
    network: nn.Module,
    batches: Callable[[int], Iterable[Batch]],
    held_out: Callable[[], Iterable[Batch]],
    recipe: Recipe,
    *,
    resume: Checkpoint | None = None,
    save: Callable[[Checkpoint], None] = lambda _: None,
) -> list[EpochFigures]:
    """Train ``network`` in place, leave its best weights in it, and return each epoch's figures.

    An epoch whose loss is not finite is the last one, because the optimizer could not continue from
    its state. The best weights are then those of an earlier epoch, or those at the start.

    Parameters
    ----------
    network
        Network on the device that is used for training; mixed precision is used on CUDA only.
    batches
        Function that is called with the epoch, counted from 0, and starts that epoch's pass.
    held_out
        Function that starts a pass over the same held-out batches at each call.
    recipe
        Training settings.
    resume
        Checkpoint at which an earlier call of this function was stopped.
    save
        Function that is called with the state after each epoch.
    """
    device = next(network.parameters()).device
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = AdamW(
        network.parameters(),
        learning_rate=recipe.initial_learning_rate,
        weight_decay=recipe.weight_decay,
    )
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
    if resume is None:
        torch.manual_seed(recipe.seed)
        state = Checkpoint({}, {}, {}, torch.get_rng_state(), _weights(network), math.inf, 0)
    else:
        state = resume
        network.load_state_dict(state.weights)
        optimizer.load_state_dict(state.optimizer)
        scaler.load_state_dict(state.scaler)
        torch.set_rng_state(state.torch_random_state)

    while _should_continue(state, recipe):
        epoch = state.epochs_done
        rate = learning_rate(recipe, epoch)
        for group in optimizer.param_groups:
            group["lr"] = rate
        training = _train_epoch(network, batches(epoch), optimizer, scaler, recipe)
        validation = _evaluate_epoch(network, held_out(), recipe)
        figures = _epoch_figures(epoch, rate, training, validation)
        improved = figures.validation_loss < state.best_loss
        state = Checkpoint(
            _weights(network),
            copy.deepcopy(optimizer.state_dict()),
            scaler.state_dict(),
            torch.get_rng_state(),
            _weights(network) if improved else state.best_weights,
            figures.validation_loss if improved else state.best_loss,
            0 if improved else state.stale + 1,
            [*state.history, figures],
        )
        save(state)

    network.load_state_dict(state.best_weights)
    return state.history


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """Return the rate of an epoch, counted from 0; it falls exponentially to the final rate."""
    progress = epoch / max(1, recipe.epochs - 1)
    ratio = recipe.final_learning_rate / recipe.initial_learning_rate
    return float(recipe.initial_learning_rate * ratio**progress)


def _should_continue(state: Checkpoint, recipe: Recipe) -> bool:
    if state.history and not state.history[-1].is_finite:
        return False
    return state.epochs_done < recipe.epochs and state.stale <= recipe.patience


def _train_epoch(
    network: nn.Module,
    batches: Iterable[Batch],
    optimizer: AdamW,
    scaler: torch.amp.GradScaler,
    recipe: Recipe,
) -> Tensor:
    """Take one step per batch; return the mean loss and the counts of ``count_right``, (5,)."""
    network.train()
    figures = []
    for batch in batches:
        loss, right = _loss_and_right(network, batch, recipe)
        optimizer.zero_grad()
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)  # type: ignore[arg-type]  # it has what this needs
        scaler.update()
        figures.append(torch.cat([loss.detach()[None], right]))
    return _pooled(figures)


def _evaluate_epoch(network: nn.Module, batches: Iterable[Batch], recipe: Recipe) -> Tensor:
    """Return the same figures as ``_train_epoch``, without learning."""
    network.eval()
    figures = []
    with torch.no_grad():
        for batch in batches:
            loss, right = _loss_and_right(network, batch, recipe)
            figures.append(torch.cat([loss[None], right]))
    return _pooled(figures)


def _pooled(figures: list[Tensor]) -> Tensor:
    """Return the mean of the batches' losses and the sums of their counts, on the CPU."""
    table = torch.stack(figures).cpu()  # (batches, 5)
    return torch.cat([table[:, :1].mean(dim=0), table[:, 1:].sum(dim=0)])


def _loss_and_right(network: nn.Module, batch: Batch, recipe: Recipe) -> tuple[Tensor, Tensor]:
    device = next(network.parameters()).device
    image, target, weight = (t.to(device) for t in (batch.image, batch.target, batch.weight))
    with torch.autocast(device.type, dtype=torch.float16, enabled=device.type == "cuda"):
        logits = network(image)
    logits = logits.float()
    loss = weighted_cross_entropy(logits, target, weight, positive_weight=recipe.positive_weight)
    return loss, count_right(logits.detach(), target, weight)


def _epoch_figures(epoch: int, rate: float, training: Tensor, validation: Tensor) -> EpochFigures:
    def found(right: Tensor) -> float:
        return float(right[0] / right[1]) if right[1] > 0 else math.nan

    return EpochFigures(
        epoch=epoch + 1,
        learning_rate=rate,
        training_loss=float(training[0]),
        validation_loss=float(validation[0]),
        training_accuracy=balanced_accuracy(training[1:]),
        validation_accuracy=balanced_accuracy(validation[1:]),
        training_found=found(training[1:]),
        validation_found=found(validation[1:]),
    )


def _weights(network: nn.Module) -> Weights:
    """Return a copy of the weights on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
