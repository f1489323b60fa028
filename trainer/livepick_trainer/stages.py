"""The stages of a run in order; a stage is skipped if its output already exists.

A stage works in the folder ``.draft-NAME`` of the run, which is renamed to ``NAME`` when the stage
is complete. A trainer that was killed at any point therefore continues where it stopped: finished
stages are skipped, and within a stage, prepared micrographs and trained epochs are not done again.
The bundle is the same as that of an uninterrupted run, on the CPU byte for byte.
"""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
import torch.utils.deterministic

from livepick.core.contracts.bundle import PROVISIONAL_KINDS
from livepick.core.contracts.progress import Stage
from livepick.core.contracts.run import RunSpec
from livepick.errors import TrainerError
from livepick.host.atomic_files import TEMPORARY_PREFIX, fsync_folder
from livepick_trainer.learning.dataset import PatchRules
from livepick_trainer.pipeline.auto_remedy import train_with_remedies
from livepick_trainer.pipeline.bundle_publishing import export_network, publish_bundle
from livepick_trainer.pipeline.candidate_sorting import SortRules, sort_candidates
from livepick_trainer.pipeline.class_cleaning import select_seeds
from livepick_trainer.pipeline.held_out_evaluation import evaluate_network
from livepick_trainer.pipeline.left_out import without_lost_originals
from livepick_trainer.pipeline.progress import Reporter
from livepick_trainer.pipeline.reuse_stages import reuse_finished_stages
from livepick_trainer.pipeline.rounds import is_weak, read_decoys, write_result
from livepick_trainer.pipeline.run_context import (
    Run,
    candidates,
    choose_device,
    labelled,
    seed_threshold,
    training_and_held_out,
)
from livepick_trainer.pipeline.self_training import retrain
from livepick_trainer.pipeline.template_picking import (
    TemplateRules,
    add_unpicked_blobs,
    pick_with_template,
)
from livepick_trainer.seeds.originals import LeftOut, write_left_out
from livepick_trainer.seeds.preprocess import (
    load_prepared,
    prepare_micrographs,
)
from livepick_trainer.seeds.seed_warnings import (
    class_warning,
    read_warnings,
    size_warning,
    write_warnings,
)

__all__ = ["run_stages"]

_log = logging.getLogger(__name__)


def run_stages(
    run_folder: Path,
    reporter: Reporter,
    *,
    patch_rules: PatchRules | None = None,
    sort_rules: SortRules | None = None,
    template_rules: TemplateRules | None = None,
) -> Path:
    """Run all stages that are not done yet, and return the folder of the bundle.

    Raises
    ------
    TrainerError
        A stage failed; the message says why.
    ModelError
        The bundle cannot be published.
    """
    spec = RunSpec.read(run_folder)
    torch.set_num_threads(spec.training.threads)
    device = choose_device(
        spec.training.device, gpu_memory_fraction=spec.training.gpu_memory_fraction
    )
    if device.type == "cpu":  # so that a resumed run gives the same weights
        # The same as use_deterministic_algorithms, which imports torch's compiler.
        torch.set_deterministic_debug_mode("error")
        # Filling new memory only shows errors in operations; it takes an eighth of the time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    run = Run(
        run_folder,
        spec,
        reporter,
        device,
        patch_rules or PatchRules(),
        sort_rules or SortRules(),
        template_rules or TemplateRules(),
    )
    reuse_finished_stages(spec, run_folder, reporter)
    stages: tuple[tuple[Stage, Callable[[Run, Path], None]], ...] = (
        ("prepare", _prepare),
        ("reseed", _reseed),
        ("classify", _classify),
        ("select", _select),
        ("train", _train),
        ("retrain", retrain),
        ("evaluate", evaluate_network),
        ("export", export_network),
        ("publish", publish_bundle),
    )
    for name, stage in stages:
        if name == "publish" and not _is_published(run_folder):
            shutil.rmtree(run_folder / name, ignore_errors=True)
        if (run_folder / name).exists():
            _log.info("%s: already done", name)
            continue
        _run_stage(run, name, stage)
    bundle = _bundle(run_folder)
    reporter.report("done", f"model {spec.version} is in {bundle}", done=1, total=1)
    return bundle


def _run_stage(run: Run, name: Stage, stage: Callable[[Run, Path], None]) -> None:
    """Run one stage in its draft folder, and rename the folder when the stage is complete."""
    draft = run.folder / f".draft-{name}"
    draft.mkdir(exist_ok=True)
    for leftover in draft.rglob(f"{TEMPORARY_PREFIX}*"):
        leftover.unlink()
    without_lost_originals(run, name, stage, draft)
    fsync_folder(draft)
    draft.rename(run.folder / name)
    fsync_folder(run.folder)


def _bundle(run_folder: Path) -> Path:
    return Path(json.loads((run_folder / "publish" / "bundle.json").read_bytes()))


def _is_published(run_folder: Path) -> bool:
    """Return True if the bundle still exists; one removed to save space is published again."""
    return (run_folder / "publish").exists() and _bundle(run_folder).is_dir()


# --- the stages --------------------------------------------------------------------------


def _prepare(run: Run, draft: Path) -> None:
    total = len(run.spec.micrographs)

    def report(note: str, done: int) -> None:
        run.reporter.report("prepare", note, done=done, total=total)

    left_out = prepare_micrographs(run.spec, draft, report)
    write_left_out(draft, [LeftOut(str(path), error) for path, error in left_out.items()])
    if left_out:
        names = ", ".join(path.name for path in left_out)
        report(f"{len(left_out)} of {total} micrographs left out: {names}", total)


def _reseed(run: Run, draft: Path) -> None:
    def report(note: str, done: int, total: int) -> None:
        run.reporter.report("reseed", note, done=done, total=total)

    if run.spec.seeds_from == "coordinates":
        add_unpicked_blobs(
            load_prepared(run.spec, run.folder / "prepare"),
            draft,
            min_distance_fraction=run.spec.particle.min_distance_fraction,
            threshold=run.spec.seed_threshold,
            threads=run.spec.training.threads,
        )
        return
    if run.spec.seeds_from not in PROVISIONAL_KINDS:
        write_result(draft, "the first picks stay, because a model made them", used=False)
        return
    pick_with_template(
        load_prepared(run.spec, run.folder / "prepare"),
        draft,
        threshold=run.spec.seed_threshold,
        min_distance_fraction=run.spec.particle.min_distance_fraction,
        expected_picks=run.spec.training.expected_picks,
        threads=run.spec.training.threads,
        rules=run.template_rules,
        report=report,
    )


def _classify(run: Run, draft: Path) -> None:
    def report(note: str, done: int, total: int) -> None:
        run.reporter.report("classify", note, done=done, total=total)

    particle = run.spec.particle
    micrographs = candidates(run)
    sort_candidates(
        micrographs,
        draft,
        threshold=seed_threshold(run),
        diameter_angstrom=particle.diameter_angstrom,
        contrast=particle.contrast,
        seed=run.spec.training.seed,
        device=run.device,
        rules=run.sort_rules,
        report=report,
        decoys=read_decoys(run.folder / "reseed", micrographs),
    )
    size = size_warning(
        micrographs, diameter_angstrom=particle.diameter_angstrom, contrast=particle.contrast
    )
    write_warnings(draft, [size] if size else [])


def _select(run: Run, draft: Path) -> None:
    def report(note: str, done: int, total: int) -> None:
        run.reporter.report("select", note, done=done, total=total)

    decided = run.spec.bootstrap.classes
    share = select_seeds(
        run.folder / "classify",
        candidates(run),
        draft,
        diameter_angstrom=run.spec.particle.diameter_angstrom,
        accept=decided.accept,
        reject=decided.reject,
        report=report,
        trusted=run.spec.seeds_from == "coordinates",
        weak=is_weak(run.folder / "reseed"),
    )
    few = class_warning(share)
    warnings = read_warnings(run.folder / "classify") + ([few] if few else [])
    for warning in warnings:
        note = f"{warning.kind.replace('_', ' ')}: {warning.evidence}; {warning.remedy}"
        run.reporter.report("select", note, finding=warning.kind)
    write_warnings(draft, warnings)


def _start(spec: RunSpec) -> str:
    return "random weights" if spec.start is None else f"the weights of {spec.start.name}"


def _train(run: Run, draft: Path) -> None:
    settings = run.spec.training
    training, held_out = training_and_held_out(run)
    learned = [labelled(run, micrograph) for micrograph in training]
    seeds = sum(len(micrograph.seeds.positive_yx_px) for micrograph in learned)
    if not seeds:
        raise TrainerError(
            "no candidate in the training micrographs is good enough to be a seed",
            "Check particle.diameter_angstrom and particle.contrast, or raise"
            " bootstrap.micrographs.",
        )
    run.reporter.report(
        "train",
        f"{seeds} seeds in {len(learned)} micrographs; {len(held_out)} micrographs held out;"
        f" device {run.device}; starting from {_start(run.spec)}",
        total=settings.epochs,
    )
    train_with_remedies(run, draft, learned, [labelled(run, m) for m in held_out])
