"""Context of a running training: its folder, its rules, and functions shared by several stages.

This is one file because its functions all work on the same context.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from livepick.core.contracts.progress import Stage
from livepick.core.contracts.run import START, RunSpec
from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick.errors import TrainerError
from livepick.host.lock import lock_folder
from livepick_trainer.learning.checkpoint import load_weights
from livepick_trainer.learning.dataset import (
    Batch,
    PatchRules,
    SeededMicrograph,
    draw_batches,
)
from livepick_trainer.learning.network import PickingNetwork, make_network, reset_weight_norms
from livepick_trainer.learning.weights_file import read_weights
from livepick_trainer.pipeline.candidate_sorting import SortRules
from livepick_trainer.pipeline.class_cleaning import read_verdicts
from livepick_trainer.pipeline.progress import Reporter
from livepick_trainer.pipeline.report import SeedCounts
from livepick_trainer.pipeline.rounds import is_sorted, is_weak, read_round, with_candidates
from livepick_trainer.pipeline.template_picking import TemplateRules
from livepick_trainer.seeds.labels import (
    SAME_DIAMETERS,
    Candidates,
    choose_seeds,
    is_near,
)
from livepick_trainer.seeds.originals import LeftOut, read_left_out
from livepick_trainer.seeds.preprocess import PreparedMicrograph, load_prepared, split_held_out

__all__ = [
    "WEIGHTS",
    "Run",
    "candidates",
    "choose_device",
    "classified_places",
    "count_seeds",
    "first_seeded",
    "held_out_batches",
    "initial_network",
    "keep_first_places",
    "labelled",
    "left_out_of",
    "lock",
    "seed_threshold",
    "seeded",
    "trained_network",
    "training_and_held_out",
    "training_batches",
    "training_folder",
]

WEIGHTS = "best.pt"

READS_ORIGINALS: tuple[Stage, ...] = ("prepare", "classify", "retrain")
"""Stages that read the original micrographs."""

_TRAINING_STREAM, _HELD_OUT_STREAM = 0, 1
"""Random streams: combined with the run's seed to seed a generator."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run in progress."""

    folder: Path
    spec: RunSpec
    reporter: Reporter
    device: torch.device
    patch_rules: PatchRules
    sort_rules: SortRules
    template_rules: TemplateRules


@contextlib.contextmanager
def lock(run_folder: Path) -> Iterator[None]:
    """Lock a run's folder against other trainers; the lock ends with the process.

    The lock is on the folder itself, because the daemon has its own lock on a file in it.

    Raises
    ------
    TrainerError
        Another trainer is running there, or the folder cannot be opened.
    """
    try:
        locked = lock_folder(run_folder, wait=False)
    except BlockingIOError as error:
        raise TrainerError(
            f"another trainer is running in {run_folder}", "Wait until it ends, or stop it."
        ) from error
    except OSError as error:
        raise TrainerError(
            f"{run_folder} cannot be opened: {error.strerror}", "Pass the folder of a run."
        ) from error
    with locked:
        yield


def training_and_held_out(run: Run) -> tuple[list[PreparedMicrograph], list[PreparedMicrograph]]:
    """Return the prepared training micrographs and the held-out ones, with their seeds."""
    return split_held_out(seeded(run))


def left_out_of(run_folder: Path) -> dict[Stage, list[LeftOut]]:
    """Return the micrographs that each stage of a run has left out, also the one in progress."""
    return {
        stage: read_left_out(run_folder / stage) or read_left_out(run_folder / f".draft-{stage}")
        for stage in READS_ORIGINALS
    }


def candidates(run: Run) -> list[PreparedMicrograph]:
    """Return the run's micrographs with the candidates that are sorted into classes.

    These are the prepared ones without those that were lost later.
    """
    lost = {one.micrograph for some in left_out_of(run.folder).values() for one in some}
    prepared = load_prepared(run.spec, run.folder / "prepare")
    micrographs = [m for m in prepared if str(m.path) not in lost]
    return read_round(run.folder / "reseed", micrographs) or micrographs


def seed_threshold(run: Run) -> float:
    """Return the lowest score at which one of ``candidates`` is a seed."""
    replaced = candidates(run)[0].candidates.threshold
    return run.spec.seed_threshold if replaced is None else replaced


def seeded(run: Run) -> list[PreparedMicrograph]:
    """Return all prepared micrographs with the seeds of the last round, and their verdicts."""
    first = first_seeded(run)
    second = read_round(run.folder / "retrain", first)
    return keep_first_places(run, second, first) if second else first


def first_seeded(run: Run) -> list[PreparedMicrograph]:
    """Return all prepared micrographs with the seeds of the first round, and their verdicts."""
    return read_verdicts(run.folder / "select", candidates(run))


def classified_places(run: Run) -> dict[Path, Candidates] | None:
    """Return the judged places in each prepared micrograph, with their particle probabilities.

    These are the network's own picks of the second round, if they were sorted into classes, and
    the first round's candidates elsewhere. A place that only one of the two pickers finds is thus
    judged by its class, whichever picker found it. The result is None if classes are not
    meaningful: the signal is weak, there are too few candidates, or they are a person's picks.
    """
    if run.spec.seeds_from == "coordinates" or is_weak(run.folder / "reseed"):
        return None
    places = {m.path: m.candidates for m in first_seeded(run)}
    again = run.folder / "retrain"
    if is_sorted(again):
        for m in with_candidates(again, candidates(run)):
            places[m.path] = _united(m.candidates, places[m.path])
    known = any(np.isfinite(_chance(of_one)).any() for of_one in places.values())
    return places if known else None


def _united(some: Candidates, others: Candidates) -> Candidates:
    """Return the judged candidates ``some``, and those of ``others`` that are not near them."""
    elsewhere = ~is_near(others.yx_px, some.yx_px, SAME_DIAMETERS * DIAMETER_PX)
    return Candidates(
        yx_px=np.concatenate([some.yx_px, others.yx_px[elsewhere]]),
        score=np.concatenate([some.score, others.score[elsewhere]]),
        verdict=np.concatenate([_verdict(some), _verdict(others)[elsewhere]]),
        chance=np.concatenate([_chance(some), _chance(others)[elsewhere]]),
    )


def _verdict(judged: Candidates) -> NDArray[np.int8]:
    assert judged.verdict is not None  # noqa: S101 -- it was judged
    return judged.verdict


def _chance(judged: Candidates) -> NDArray[np.float32]:
    assert judged.chance is not None  # noqa: S101 -- it was judged
    return judged.chance


def keep_first_places(
    run: Run, second: Sequence[PreparedMicrograph], first: Sequence[PreparedMicrograph]
) -> list[PreparedMicrograph]:
    """Return the micrographs of the second round, with the places that the first round saw.

    A weak view, or a micrograph close to focus, gets a low score from a network that was trained on
    few seeds of that kind. If those places became background, the network would confirm itself.
    """
    seeds = [labelled(run, micrograph).seeds for micrograph in first]
    return [
        replace(
            micrograph,
            candidates=replace(
                micrograph.candidates,
                earlier_yx_px=np.concatenate([s.positive_yx_px, s.ignored_yx_px]),
            ),
        )
        for micrograph, s in zip(second, seeds, strict=True)
    ]


def training_folder(run: Run) -> Path:
    """Return the folder of the stage whose network is used."""
    used = read_round(run.folder / "retrain", candidates(run)) is not None
    return run.folder / ("retrain" if used else "train")


def labelled(run: Run, micrograph: PreparedMicrograph) -> SeededMicrograph:
    """Return a prepared micrograph with the seeds that the rules select in it."""
    threshold = micrograph.candidates.threshold
    seeds = choose_seeds(
        micrograph.image,
        micrograph.mask,
        micrograph.candidates,
        threshold=run.spec.seed_threshold if threshold is None else threshold,
        diameter_px=DIAMETER_PX,
        area=micrograph.area,
    )
    return SeededMicrograph(micrograph.image, micrograph.mask, seeds, micrograph.area)


def training_batches(
    run: Run, micrographs: Sequence[SeededMicrograph], epoch: int
) -> Iterator[Batch]:
    """Return an epoch's batches; they depend only on the run's seed and the epoch."""
    return draw_batches(
        micrographs,
        np.random.default_rng([run.spec.training.seed, _TRAINING_STREAM, epoch]),
        diameter_px=DIAMETER_PX,
        patches=run.patch_rules.patches_per_epoch,
        batch_size=run.spec.training.minibatch_size,
        rules=run.patch_rules,
    )


def held_out_batches(run: Run, micrographs: Sequence[SeededMicrograph]) -> Iterator[Batch]:
    """Return the batches to evaluate on, the same at each call."""
    return draw_batches(
        micrographs,
        np.random.default_rng([run.spec.training.seed, _HELD_OUT_STREAM]),
        diameter_px=DIAMETER_PX,
        patches=run.patch_rules.held_out_patches,
        batch_size=run.spec.training.minibatch_size,
        rules=run.patch_rules,
        augment=False,
    )


def initial_network(run: Run) -> PickingNetwork:
    """Return the network that the training starts from: untrained, or as ``RunSpec.start`` says.

    Weights of another model get the norms of untrained ones, which leaves their scores the same.

    Raises
    ------
    TrainerError
        The file of weights in the run's folder is missing, damaged, or of another architecture.
    """
    network = make_network(run.spec.training.seed)
    content = run.spec.read_start(run.folder)
    if content is not None:
        read_weights(content, network, name=str(run.folder / START))
        reset_weight_norms(network, make_network(run.spec.training.seed))
    return network.to(run.device)


def trained_network(run: Run, folder: Path | None = None) -> PickingNetwork:
    """Return the network with the weights in ``folder``, by default those of the kept training."""
    network = make_network(run.spec.training.seed)
    load_weights((folder or training_folder(run)) / WEIGHTS, network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.to(run.device)


def count_seeds(run: Run, micrographs: Sequence[PreparedMicrograph]) -> SeedCounts:
    """Return the numbers of seeds in ``micrographs``."""
    seeds = [labelled(run, micrograph).seeds for micrograph in micrographs]
    return SeedCounts(
        micrographs=len(micrographs),
        candidates=sum(len(micrograph.candidates.score) for micrograph in micrographs),
        positive=sum(len(s.positive_yx_px) for s in seeds),
        ignored=sum(len(s.ignored_yx_px) for s in seeds),
    )


def choose_device(wish: str, *, gpu_memory_fraction: float = 1.0) -> torch.device:
    """Return the device to train on, and on a GPU limit the share of its memory that torch uses.

    The limit applies to memory that torch allocates. The driver and the CUDA libraries use a few
    hundred MB in addition.

    Raises
    ------
    TrainerError
        CUDA, or a GPU with that number, was requested but is not available.
    """
    if wish == "cpu" or (wish == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise TrainerError(
            f"training.device is {wish}, but torch finds no GPU",
            "Install the CUDA build of torch and check nvidia-smi, or set training.device to auto"
            " or cpu.",
        )
    device = torch.device("cuda" if wish == "auto" else wish)
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        raise TrainerError(
            f"training.device is {wish}, but torch finds only {count}"
            f" GPU{'s' if count > 1 else ''}, numbered from 0",
            "Choose a GPU that nvidia-smi lists, or set training.device to auto or cpu.",
        )
    # A bare "cuda" means index 0 here, because torch.cuda.set_device is never called.
    torch.cuda.set_per_process_memory_fraction(gpu_memory_fraction, device.index or 0)
    return device
