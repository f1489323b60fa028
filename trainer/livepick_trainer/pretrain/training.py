"""Training of the general model on an endless row of synthetic scenes.

Each step draws its patches from the last few scenes. Scenes and draws depend only on the seed and
the number of the step. So a training that was stopped continues from its checkpoint, and ends with
the same weights as an uninterrupted one.

The weights that are used are the exponential moving average of the last few percent of the steps;
at the end, the mean of that average after each quarter of the training.
"""

import copy
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from livepick.core.contracts.bundle import sha256
from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick.errors import TrainerError
from livepick_trainer.learning.dataset import Batch, PatchRules, SeededMicrograph, draw_batches
from livepick_trainer.learning.losses import weighted_cross_entropy
from livepick_trainer.learning.network import PickingNetwork, make_network
from livepick_trainer.learning.weights_file import read_weights
from livepick_trainer.pretrain.scenes import USUAL_RULES, SceneRules, make_scene

__all__ = ["PretrainRecipe", "Progress", "pretrain"]

Weights = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainRecipe:
    """Settings of a training; equal settings give equal weights."""

    seed: int = 1
    steps: int = 60_000
    """Number of steps. One takes about 0.12 s of one core, so 60,000 take two hours."""

    batch_size: int = 8
    patch_px: int = 96
    seed_fraction: float = 0.6
    """Fraction of the patches around a particle, in scenes that have particles."""

    scenes_at_once: int = 32
    """Number of scenes that patches are drawn from."""

    steps_per_scene: int = 2
    """Number of steps after which the oldest of these scenes is replaced by a new one. With 2, a
    scene gives 16 patches on average, and making it costs less than learning from it."""

    warmup_steps: int = 300
    highest_rate: float = 3e-3
    lowest_rate: float = 2e-5
    weight_decay: float = 1e-4
    average_fraction: float = 0.02
    """Memory of the moving average of the weights, as a fraction of all steps."""

    snapshots: int = 4
    """Number of equal parts of the training. The last weights are the mean of the averaged weights
    after each part: they find as much, with fewer false picks in empty micrographs."""

    start_sha256: str = ""
    """Digest of the weights file that the training starts from; empty: random weights."""

    scenes: SceneRules = USUAL_RULES

    def learning_rate(self, step: int) -> float:
        """Return the rate of a step, counted from 0: a short rise, then half a cosine down."""
        rise = min(1.0, (step + 1) / self.warmup_steps)
        fall = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return rise * (self.lowest_rate + (self.highest_rate - self.lowest_rate) * fall)

    def average_keeps(self, step: int) -> float:
        """Return the share of the averaged weights that remains at a step, counted from 0."""
        memory = max(1.0, self.average_fraction * self.steps)
        return min(1 - 1 / memory, step / (step + 10))

    def snapshot_share(self, step: int) -> float:
        """Return the weight of the average after a step, counted from 0, in the last weights."""
        parts = (step + 1) * self.snapshots // self.steps - step * self.snapshots // self.steps
        return parts / self.snapshots


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """State of a training after some steps."""

    step: int
    """Number of steps done."""
    loss: float
    """Mean loss of the last steps."""
    cpu_seconds: float
    """CPU time of all pieces of the training."""
    network: PickingNetwork
    """Network with the averaged weights; after the last step, with the mean of the snapshots."""
    checkpoint: dict[str, Any]
    """State to continue from, of plain tensors, numbers and containers."""


def pretrain(
    recipe: PretrainRecipe,
    structures: Sequence[NDArray[np.float64]] = (),
    *,
    start: bytes | None = None,
    resume: dict[str, Any] | None = None,
    report_every: int = 500,
    report: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Train a network and return it after the last step.

    Parameters
    ----------
    recipe
        Settings.
    structures
        As in ``make_scene``.
    start
        Content of the weights file that the recipe names, if it names one.
    resume
        Checkpoint of an earlier call with the same recipe.
    report_every
        Number of steps between reports.
    report
        Function that is called with each report, also after the last step.

    Raises
    ------
    TrainerError
        The checkpoint belongs to another recipe, the weights file is damaged or not the one that
        the recipe names, or the loss is not finite.
    """
    started = time.process_time()
    network = make_network(recipe.seed).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = make_network(recipe.seed)
    _start(recipe, start, network, average)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=recipe.weight_decay)
    mean = {name: torch.zeros_like(tensor) for name, tensor in average.state_dict().items()}
    first, spent = 0, 0.0
    if resume is not None:
        _check(resume, recipe)
        network.load_state_dict(resume["weights"])
        average.load_state_dict(resume["average"])
        optimizer.load_state_dict(resume["optimizer"])
        mean = copy.deepcopy(resume["mean"])
        first, spent = resume["step"], resume["cpu_seconds"]

    def state(step: int, losses: Sequence[float]) -> Progress:
        cpu_seconds = spent + time.process_time() - started
        checkpoint = {
            "recipe": asdict(recipe),
            "step": step,
            "cpu_seconds": cpu_seconds,
            "weights": network.state_dict(),
            "average": average.state_dict(),
            "mean": mean,
            "optimizer": optimizer.state_dict(),
        }
        return Progress(
            step=step,
            loss=float(np.mean(losses)) if losses else math.nan,
            cpu_seconds=cpu_seconds,
            network=average,
            checkpoint=copy.deepcopy(checkpoint),
        )

    scenes = _first_scenes(recipe, first, structures)
    losses: list[float] = []
    for step in range(first, recipe.steps):
        if step % recipe.steps_per_scene == 0:
            number = step // recipe.steps_per_scene + recipe.scenes_at_once - 1
            scenes.append(make_scene(recipe.seed, number, structures, recipe.scenes))
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate(step)
        losses.append(_step(network, optimizer, _batch(recipe, step, scenes)))
        _average(average, network, keep=recipe.average_keeps(step))
        _add_snapshot(mean, average, share=recipe.snapshot_share(step))
        if (step + 1) % report_every == 0 and step + 1 < recipe.steps:
            report(state(step + 1, losses))
            losses = []
    last = state(recipe.steps, losses)
    last.network.load_state_dict(mean)
    report(last)
    return last


def _check(checkpoint: dict[str, Any], recipe: PretrainRecipe) -> None:
    if checkpoint["recipe"] != asdict(recipe):
        raise TrainerError(
            "the checkpoint belongs to a training with other settings",
            "Use the same settings as before, or another output folder.",
        )


def _start(recipe: PretrainRecipe, start: bytes | None, *networks: PickingNetwork) -> None:
    """Read the weights to start from, if there are any."""
    digest = "" if start is None else sha256(start)
    if digest != recipe.start_sha256:
        raise TrainerError(
            f"the weights to start from have the digest {digest or 'of no file'}, and the recipe"
            f" names {recipe.start_sha256 or 'none'}",
            "Name the file that the recipe was made for.",
        )
    for network in networks if start is not None else ():
        read_weights(start or b"", network, name="the weights file")


def _first_scenes(
    recipe: PretrainRecipe, step: int, structures: Sequence[NDArray[np.float64]]
) -> deque[SeededMicrograph]:
    """Return the scenes at hand before a step, without the one that the step may add."""
    per_scene, at_once = recipe.steps_per_scene, recipe.scenes_at_once
    first = -(-step // per_scene)
    numbers = range(first - (step % per_scene != 0), first + at_once - 1)
    scenes = (make_scene(recipe.seed, n, structures, recipe.scenes) for n in numbers)
    return deque(scenes, maxlen=at_once)


def _batch(recipe: PretrainRecipe, step: int, window: Sequence[SeededMicrograph]) -> Batch:
    batches = draw_batches(
        window,
        np.random.default_rng([recipe.seed, step, 1]),
        diameter_px=DIAMETER_PX,
        patches=recipe.batch_size,
        batch_size=recipe.batch_size,
        rules=PatchRules(size_px=recipe.patch_px, seed_fraction=recipe.seed_fraction),
    )
    return next(iter(batches))


def _step(network: PickingNetwork, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    network.train()
    logits = network(batch.image.to(memory_format=torch.channels_last))
    loss = weighted_cross_entropy(logits, batch.target, batch.weight)
    if not torch.isfinite(loss):
        raise TrainerError("the loss is not finite", "Lower the highest learning rate.")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def _average(average: PickingNetwork, network: PickingNetwork, *, keep: float) -> None:
    """Move the averaged weights and the statistics of the normalizations towards the newest."""
    newest = network.state_dict()
    with torch.no_grad():
        for name, tensor in average.state_dict().items():
            if tensor.is_floating_point():
                tensor.lerp_(newest[name], 1 - keep)
            else:
                tensor.copy_(newest[name])


def _add_snapshot(mean: Weights, average: PickingNetwork, *, share: float) -> None:
    """Add a share of the averaged weights to their mean; counters become the newest."""
    if not share:
        return
    for name, tensor in average.state_dict().items():
        if tensor.is_floating_point():
            mean[name].add_(tensor, alpha=share)
        else:
            mean[name].copy_(tensor)
