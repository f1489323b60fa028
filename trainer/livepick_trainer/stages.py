"""The stages of a run in order, each skipped if its output is already there.

A stage works in ``.draft-NAME`` of the run's folder, which becomes ``NAME`` by one rename when
it is whole. So a trainer that was killed at any point goes on where it was: finished stages are
skipped, and within a stage, micrographs that are prepared and epochs that are trained stay so.
The bundle is the same as that of an undisturbed run, on the CPU byte for byte.
"""

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter

import livepick
from livepick.core.bundle import GRAPH, ModelCard, publish, sha256
from livepick.core.files import TEMPORARY_PREFIX, fsync_folder, write_atomically
from livepick.core.prepare import DIAMETER_PX, NORMALIZATION
from livepick.core.run import RunSpec
from livepick.errors import TrainerError
from livepick_trainer.checkpoint import (
    CHECKPOINT,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from livepick_trainer.dataset import Batch, LabelledMicrograph, PatchRules, draw_batches
from livepick_trainer.evaluate import evaluate, padded
from livepick_trainer.export_onnx import check_agreement, to_onnx
from livepick_trainer.network import PickingNetwork, make_network
from livepick_trainer.prepare import (
    PreparedMicrograph,
    load_prepared,
    prepare_micrographs,
    split_held_out,
)
from livepick_trainer.progress import Reporter, Stage
from livepick_trainer.report import Report, SeedCounts, draw_curves
from livepick_trainer.seeds import SeedRules, choose_seeds
from livepick_trainer.train import Checkpoint, EpochFigures, Recipe, train

__all__ = ["Run", "lock", "run_stages"]

_log = logging.getLogger(__name__)

HISTORY, WEIGHTS = "history.json", "best.pt"
REPORT, CURVES = "report.json", "curves.png"
AGREEMENT = "agreement.json"

MOST_COMPARED = 4
"""Held-out micrographs on which onnxruntime is compared with torch, whole and in patches."""

_TRAINING_STREAM, _HELD_OUT_STREAM = 0, 1
"""Which random numbers, beside the run's seed, a generator gives."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run at work."""

    folder: Path
    spec: RunSpec
    reporter: Reporter
    device: torch.device
    patch_rules: PatchRules
    seed_rules: SeedRules


@contextlib.contextmanager
def lock(run_folder: Path) -> Iterator[None]:
    """Keep every other trainer out of a run's folder; the lock ends with the process.

    It is on the folder itself, as the daemon has one of its own on a file in it.

    Raises
    ------
    TrainerError
        Another trainer is at work there, or there is no such folder.
    """
    try:
        descriptor = os.open(run_folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise TrainerError(
            f"{run_folder} cannot be opened: {error.strerror}", "Give the folder of a run."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise TrainerError(
            f"another trainer is at work in {run_folder}", "Wait for it, or end it first."
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)


def run_stages(
    run_folder: Path,
    reporter: Reporter,
    *,
    patch_rules: PatchRules | None = None,
    seed_rules: SeedRules | None = None,
) -> Path:
    """Do all stages of a run that are not done yet, and return the bundle's folder.

    Raises
    ------
    TrainerError
        In words, what is in the way.
    ModelError
        The bundle cannot be published.
    """
    spec = RunSpec.read(run_folder)
    torch.set_num_threads(spec.training.threads)
    device = _device(spec.training.device)
    if device.type == "cpu":  # a resumed run is to give the same weights
        torch.use_deterministic_algorithms(mode=True)
    run = Run(
        run_folder, spec, reporter, device, patch_rules or PatchRules(), seed_rules or SeedRules()
    )
    stages: tuple[tuple[Stage, Callable[[Run, Path], None]], ...] = (
        ("prepare", _prepare),
        ("train", _train),
        ("evaluate", _evaluate),
        ("export", _export),
        ("publish", _publish),
    )
    for name, stage in stages:
        if (run_folder / name).exists():
            _log.info("%s: done already", name)
            continue
        draft = run_folder / f".draft-{name}"
        draft.mkdir(exist_ok=True)
        for leftover in draft.glob(f"{TEMPORARY_PREFIX}*"):
            leftover.unlink()
        stage(run, draft)
        fsync_folder(draft)
        draft.rename(run_folder / name)
        fsync_folder(run_folder)
    bundle = Path(json.loads((run_folder / "publish" / "bundle.json").read_bytes()))
    reporter.report("done", f"model {spec.version} is in {bundle}", done=1, total=1)
    return bundle


# --- the stages --------------------------------------------------------------------------


def _prepare(run: Run, draft: Path) -> None:
    total = len(run.spec.micrographs)

    def report(note: str, done: int) -> None:
        run.reporter.report("prepare", note, done=done, total=total)

    prepare_micrographs(run.spec, draft, report)


def _train(run: Run, draft: Path) -> None:
    settings = run.spec.training
    training, held_out = _split(run)
    learned = [_labelled(run, micrograph) for micrograph in training]
    seeds = sum(len(micrograph.seeds.positive_yx_px) for micrograph in learned)
    if not seeds:
        raise TrainerError(
            "no candidate in the training micrographs is good enough to learn from",
            "Check particle.diameter_angstrom and particle.contrast, or raise"
            " bootstrap.micrographs.",
        )
    run.reporter.report(
        "train",
        f"{seeds} seeds in {len(learned)} micrographs, {len(held_out)} held out, on {run.device}",
        total=settings.epochs,
    )
    judged = list(_held_out_batches(run, [_labelled(run, m) for m in held_out]))

    def save(checkpoint: Checkpoint) -> None:
        save_checkpoint(draft / CHECKPOINT, checkpoint)
        _report_epoch(run, checkpoint.history[-1])

    network = make_network(settings.seed).to(run.device)
    try:
        history = train(
            network,
            lambda epoch: _training_batches(run, learned, epoch),
            lambda: judged,
            Recipe(
                epochs=settings.epochs,
                initial_learning_rate=settings.initial_learning_rate,
                final_learning_rate=settings.final_learning_rate,
                seed=settings.seed,
            ),
            resume=load_checkpoint(draft / CHECKPOINT),
            save=save,
        )
    except FloatingPointError as error:
        raise TrainerError(str(error), "Lower training.initial_learning_rate.") from error
    save_weights(draft / WEIGHTS, network)
    write_atomically(draft / HISTORY, TypeAdapter(list[EpochFigures]).dump_json(history))


def _evaluate(run: Run, draft: Path) -> None:
    training, held_out = _split(run)
    network = _trained(run)
    judged = [(m, _labelled(run, m).seeds) for m in held_out]
    run.reporter.report("evaluate", f"picking {len(judged)} held-out micrographs", total=1)
    found = evaluate(
        network,
        judged,
        diameter_angstrom=run.spec.particle.diameter_angstrom,
        min_distance_fraction=run.spec.particle.min_distance_fraction,
    )
    history = TypeAdapter(list[EpochFigures]).validate_json(
        (run.folder / "train" / HISTORY).read_bytes()
    )
    report = Report(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        training=_count(run, training),
        held_out=_count(run, held_out),
        best_epoch=min(history, key=lambda figures: figures.validation_loss).epoch,
        epochs=history,
        figures=found.figures,
        operating_point=found.operating_point,
        micrographs=found.micrographs,
    )
    write_atomically(draft / CURVES, draw_curves(history, found))
    write_atomically(draft / REPORT, report.to_json())
    run.reporter.report(
        "evaluate",
        f"average precision {found.figures.average_precision:.2f} against the held-out seeds,"
        f" threshold {found.operating_point.threshold:.2f} ({found.operating_point.source})",
        done=1,
        total=1,
    )


def _export(run: Run, draft: Path) -> None:
    network = _trained(run).cpu()
    graph = to_onnx(network)
    _, held_out = _split(run)
    images = [padded(micrograph.image) for micrograph in held_out[:MOST_COMPARED]]
    labelled = [_labelled(run, micrograph) for micrograph in held_out[:MOST_COMPARED]]
    patches = _held_out_batches(run, labelled)
    images += [patch.numpy() for patch in next(iter(patches)).image[:, 0]]
    agreement = check_agreement(network, graph, images, threads=run.spec.training.threads)
    write_atomically(draft / GRAPH, graph)
    write_atomically(draft / AGREEMENT, TypeAdapter(type(agreement)).dump_json(agreement))
    run.reporter.report(
        "export",
        f"onnxruntime and torch differ by at most {agreement.max_difference:.1e}"
        f" in {agreement.pixels} pixels",
        done=1,
        total=1,
    )


def _publish(run: Run, draft: Path) -> None:
    spec = run.spec
    graph = (run.folder / "export" / GRAPH).read_bytes()
    report = json.loads((run.folder / "evaluate" / REPORT).read_bytes())
    report["export"] = json.loads((run.folder / "export" / AGREEMENT).read_bytes())
    card = ModelCard(
        version=spec.version,
        kind="trained",
        fingerprint=spec.fingerprint,
        particle_fingerprint=spec.particle_fingerprint,
        diameter_angstrom=spec.particle.diameter_angstrom,
        min_distance_angstrom=spec.particle.min_distance_fraction * spec.particle.diameter_angstrom,
        contrast=spec.particle.contrast,
        pixel_size_angstrom=spec.particle.diameter_angstrom / DIAMETER_PX,
        normalization=NORMALIZATION,
        threshold=report["operating_point"]["threshold"],
        threshold_source=report["operating_point"]["source"],
        graph_sha256=sha256(graph),
        created_at=time.time(),
        livepick_version=livepick.__version__,
        run=run.folder.resolve().name,
        parent=spec.parent,
    )
    files = {
        GRAPH: graph,
        REPORT: json.dumps(report, indent=1).encode() + b"\n",
        CURVES: (run.folder / "evaluate" / CURVES).read_bytes(),
    }
    bundle = publish(spec.models_directory, card, files)
    write_atomically(draft / "bundle.json", json.dumps(str(bundle)).encode())
    run.reporter.report("publish", f"published {bundle}", done=1, total=1)


# --- what several stages need ------------------------------------------------------------


def _split(run: Run) -> tuple[list[PreparedMicrograph], list[PreparedMicrograph]]:
    return split_held_out(load_prepared(run.spec, run.folder / "prepare"))


def _labelled(run: Run, micrograph: PreparedMicrograph) -> LabelledMicrograph:
    seeds = choose_seeds(
        micrograph.image,
        micrograph.mask,
        micrograph.candidates,
        threshold=run.spec.seed_threshold,
        diameter_px=DIAMETER_PX,
        rules=run.seed_rules,
    )
    return LabelledMicrograph(micrograph.image, micrograph.mask, seeds)


def _training_batches(
    run: Run, micrographs: Sequence[LabelledMicrograph], epoch: int
) -> Iterator[Batch]:
    return draw_batches(
        micrographs,
        np.random.default_rng([run.spec.training.seed, _TRAINING_STREAM, epoch]),
        diameter_px=DIAMETER_PX,
        patches=run.patch_rules.patches_per_epoch,
        batch_size=run.spec.training.minibatch_size,
        rules=run.patch_rules,
    )


def _held_out_batches(run: Run, micrographs: Sequence[LabelledMicrograph]) -> Iterator[Batch]:
    return draw_batches(
        micrographs,
        np.random.default_rng([run.spec.training.seed, _HELD_OUT_STREAM]),
        diameter_px=DIAMETER_PX,
        patches=run.patch_rules.held_out_patches,
        batch_size=run.spec.training.minibatch_size,
        rules=run.patch_rules,
        augment=False,
    )


def _report_epoch(run: Run, figures: EpochFigures) -> None:
    run.reporter.report(
        "train",
        f"epoch {figures.epoch}: loss {figures.training_loss:.4f},"
        f" held out {figures.validation_loss:.4f}",
        done=figures.epoch,
        total=run.spec.training.epochs,
        figures=figures,
    )


def _trained(run: Run) -> PickingNetwork:
    network = make_network(run.spec.training.seed)
    load_weights(run.folder / "train" / WEIGHTS, network)
    return network.to(run.device)


def _count(run: Run, micrographs: Sequence[PreparedMicrograph]) -> SeedCounts:
    seeds = [_labelled(run, micrograph).seeds for micrograph in micrographs]
    return SeedCounts(
        micrographs=len(micrographs),
        candidates=sum(len(micrograph.candidates.score) for micrograph in micrographs),
        positive=sum(len(s.positive_yx_px) for s in seeds),
        ignored=sum(len(s.ignored_yx_px) for s in seeds),
    )


def _device(wish: str) -> torch.device:
    if wish == "cpu" or (wish == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise TrainerError(
            "training.device is cuda, and torch sees no GPU",
            "Install the CUDA build of torch and check nvidia-smi, or set it to auto or cpu.",
        )
    return torch.device("cuda")
