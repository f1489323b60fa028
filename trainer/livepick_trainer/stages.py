"""The stages of a run in order; a stage is skipped if its output already exists.

A stage works in the folder ``.draft-NAME`` of the run, which is renamed to ``NAME`` when the stage
is complete. A trainer that was killed at any point therefore continues where it stopped: finished
stages are skipped, and within a stage, prepared micrographs and trained epochs are not done again.
The bundle is the same as that of an uninterrupted run, on the CPU byte for byte.
"""

import json
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import TypeAdapter

import livepick
from livepick.core.contracts.bundle import GRAPH, ModelCard, publish, sha256
from livepick.core.contracts.held_out_labels import HELD_OUT
from livepick.core.contracts.progress import Stage
from livepick.core.contracts.run import RunSpec
from livepick.core.imaging.normalize import COMMON_NOISE
from livepick.core.imaging.preprocess import DIAMETER_PX, NORMALIZATION
from livepick.errors import TrainerError
from livepick.host.atomic_files import TEMPORARY_PREFIX, fsync_folder, write_atomically
from livepick_trainer.learning.attempts import History
from livepick_trainer.learning.dataset import PatchRules
from livepick_trainer.learning.evaluate import evaluate, padded
from livepick_trainer.learning.export_onnx import Agreement, check_agreement, to_onnx
from livepick_trainer.learning.gate_labels import label_held_out
from livepick_trainer.pipeline.auto_remedy import train_with_remedies
from livepick_trainer.pipeline.candidate_sorting import SortRules, sort_candidates
from livepick_trainer.pipeline.class_cleaning import CLASSES_JSON, CLASSES_PNG, select_seeds
from livepick_trainer.pipeline.progress import Reporter
from livepick_trainer.pipeline.report import Report, draw_curves
from livepick_trainer.pipeline.reuse_stages import take_over
from livepick_trainer.pipeline.rounds import end_round, is_weak, read_decoys, why_round
from livepick_trainer.pipeline.run_context import (
    Run,
    candidates,
    choose_device,
    count_seeds,
    first_seeded,
    held_out_batches,
    judged_places,
    labelled,
    seed_threshold,
    split,
    trained_network,
    training_folder,
)
from livepick_trainer.pipeline.self_training import retrain
from livepick_trainer.pipeline.template_picking import ReseedRules, beside_coordinates, reseed
from livepick_trainer.seeds.preprocess import (
    load_prepared,
    noise_sigma,
    prepare_micrographs,
    split_held_out,
)
from livepick_trainer.seeds.seed_warnings import (
    WARNINGS,
    class_warning,
    read_warnings,
    size_warning,
    write_warnings,
)

__all__ = ["run_stages"]

_log = logging.getLogger(__name__)

REPORT, CURVES = "report.json", "curves.png"
AGREEMENT = "agreement.json"

CLASSES_OF = {
    "select": CLASSES_PNG,
    "retrain": "classes-second-round.png",
}
"""Class pictures of each round; a person's verdicts refer to the first."""

MOST_SCORED = 8
"""Maximum number of training micrographs whose classes are used to choose the threshold."""

MOST_COMPARED = 4
"""Maximum number of held-out micrographs on which onnxruntime is compared with torch, whole and
in patches."""


def run_stages(
    run_folder: Path,
    reporter: Reporter,
    *,
    patch_rules: PatchRules | None = None,
    sort_rules: SortRules | None = None,
    reseed_rules: ReseedRules | None = None,
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
        torch.use_deterministic_algorithms(mode=True)
    run = Run(
        run_folder,
        spec,
        reporter,
        device,
        patch_rules or PatchRules(),
        sort_rules or SortRules(),
        reseed_rules or ReseedRules(),
    )
    take_over(spec, run_folder, reporter)
    stages: tuple[tuple[Stage, Callable[[Run, Path], None]], ...] = (
        ("prepare", _prepare),
        ("reseed", _reseed),
        ("classify", _classify),
        ("select", _select),
        ("train", _train),
        ("retrain", retrain),
        ("evaluate", _evaluate),
        ("export", _export),
        ("publish", _publish),
    )
    for name, stage in stages:
        if name == "publish" and not _is_published(run_folder):
            shutil.rmtree(run_folder / name, ignore_errors=True)
        if (run_folder / name).exists():
            _log.info("%s: done already", name)
            continue
        draft = run_folder / f".draft-{name}"
        draft.mkdir(exist_ok=True)
        for leftover in draft.rglob(f"{TEMPORARY_PREFIX}*"):
            leftover.unlink()
        stage(run, draft)
        fsync_folder(draft)
        draft.rename(run_folder / name)
        fsync_folder(run_folder)
    bundle = _bundle(run_folder)
    reporter.report("done", f"model {spec.version} is in {bundle}", done=1, total=1)
    return bundle


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

    prepare_micrographs(run.spec, draft, report)


def _reseed(run: Run, draft: Path) -> None:
    def report(note: str, done: int, total: int) -> None:
        run.reporter.report("reseed", note, done=done, total=total)

    if run.spec.seeds_from == "coordinates":
        beside_coordinates(
            load_prepared(run.spec, run.folder / "prepare"),
            draft,
            min_distance_fraction=run.spec.particle.min_distance_fraction,
            threshold=run.spec.seed_threshold,
            threads=run.spec.training.threads,
        )
        return
    if run.spec.seeds_from != "blob":
        end_round(draft, "the first picks are not the blob picker's, and stay", used=False)
        return
    reseed(
        load_prepared(run.spec, run.folder / "prepare"),
        draft,
        threshold=run.spec.seed_threshold,
        min_distance_fraction=run.spec.particle.min_distance_fraction,
        expected_picks=run.spec.training.expected_picks,
        threads=run.spec.training.threads,
        rules=run.reseed_rules,
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


def _train(run: Run, draft: Path) -> None:
    settings = run.spec.training
    training, held_out = split(run)
    learned = [labelled(run, micrograph) for micrograph in training]
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
    train_with_remedies(run, draft, learned, [labelled(run, m) for m in held_out])


def _evaluate(run: Run, draft: Path) -> None:
    training, held_out = split(run)
    network = trained_network(run)
    judged = [(m, labelled(run, m).seeds) for m in held_out]
    places = judged_places(run)
    run.reporter.report("evaluate", f"picking {len(judged)} held-out micrographs", total=1)
    found = evaluate(
        network,
        judged,
        diameter_angstrom=run.spec.particle.diameter_angstrom,
        min_distance_fraction=run.spec.particle.min_distance_fraction,
        expected_picks=run.spec.training.expected_picks,
        easy_seeds=run.spec.seeds_from != "coordinates",
        places=places,
        further=training[:MOST_SCORED],
    )
    history = History.read(training_folder(run))
    report = Report(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        training=count_seeds(run, training),
        held_out=count_seeds(run, held_out),
        best_epoch=history.best.best_epoch or 0,
        epochs=history.best.epochs,
        findings=history.best.findings,
        attempts=history.attempts,
        kept=history.kept,
        why_kept=history.why,
        figures=found.figures,
        operating_point=found.operating_point,
        micrographs=found.micrographs,
    )
    labels = label_held_out(
        [(m, labelled(run, m).seeds) for m in split_held_out(first_seeded(run))[1]],
        diameter_angstrom=run.spec.particle.diameter_angstrom,
        by="person" if run.spec.seeds_from == "coordinates" else "classes",
        places=places,
    )
    write_atomically(draft / HELD_OUT, labels.model_dump_json().encode())
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
    network = trained_network(run).cpu()
    graph = to_onnx(network)
    _, held_out = split(run)
    images = [padded(micrograph.image) for micrograph in held_out[:MOST_COMPARED]]
    patches = held_out_batches(run, [labelled(run, m) for m in held_out[:MOST_COMPARED]])
    images += [patch.numpy() for patch in next(iter(patches)).image[:, 0]]
    agreement = check_agreement(network, graph, images, threads=run.spec.training.threads)
    write_atomically(draft / GRAPH, graph)
    write_atomically(draft / AGREEMENT, TypeAdapter(Agreement).dump_json(agreement))
    run.reporter.report(
        "export",
        f"onnxruntime and torch differ by at most {agreement.max_difference:.1e}"
        f" in {agreement.pixels} pixels",
        done=1,
        total=1,
    )


def _told_of_seeds(run: Run) -> dict[str, object]:
    """Return the source of the seeds and the steps applied to them, for the report."""
    rounds = {stage: why_round(run.folder / stage) for stage in ("reseed", "retrain")}
    return {
        "from": run.spec.seeds_from,
        "unmatched": run.spec.unmatched,
        "orientation": run.spec.orientation,
        "rounds": {stage: {"used": used, "note": note} for stage, (used, note) in rounds.items()},
    }


def _publish(run: Run, draft: Path) -> None:
    spec = run.spec
    graph = (run.folder / "export" / GRAPH).read_bytes()
    report = json.loads((run.folder / "evaluate" / REPORT).read_bytes())
    report["seeds"] = _told_of_seeds(run)
    warnings = json.loads((run.folder / "select" / WARNINGS).read_bytes())
    report["findings"] = warnings + report["findings"]
    report["classes"] = json.loads((run.folder / "select" / CLASSES_JSON).read_bytes())
    noise = noise_sigma(run.folder / "prepare")
    report["export"] = json.loads((run.folder / "export" / AGREEMENT).read_bytes())
    card = ModelCard(
        version=spec.version,
        kind="trained",
        fingerprint=spec.fingerprint,
        particle_fingerprint=spec.particle_fingerprint,
        diameter_angstrom=spec.particle.diameter_angstrom,
        min_distance_angstrom=spec.particle.min_distance_fraction * spec.particle.diameter_angstrom,
        edge_fraction=spec.particle.edge_fraction,
        contrast=spec.particle.contrast,
        pixel_size_angstrom=spec.particle.diameter_angstrom / DIAMETER_PX,
        normalization=NORMALIZATION if noise is None else COMMON_NOISE,
        lowpass_angstrom=spec.training.lowpass_angstrom,
        noise_sigma=noise,
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
        HELD_OUT: (run.folder / "evaluate" / HELD_OUT).read_bytes(),
    }
    for stage, name in CLASSES_OF.items():
        picture = run.folder / stage / CLASSES_PNG
        if picture.exists():  # there is none if there were too few candidates
            files[name] = picture.read_bytes()
    bundle = publish(spec.models_directory, card, files)
    write_atomically(draft / "bundle.json", json.dumps(str(bundle)).encode())
    run.reporter.report("publish", f"published {bundle}", done=1, total=1)
