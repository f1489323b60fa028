"""The stage ``evaluate``: the network's picks in the held-out micrographs, and the threshold."""

from collections.abc import Mapping
from pathlib import Path

from livepick.core.contracts.held_out_labels import HELD_OUT, HeldOutLabels
from livepick.host.atomic_files import write_atomically
from livepick_trainer.learning.attempts import History
from livepick_trainer.learning.evaluate import HeldOut, evaluate
from livepick_trainer.learning.gate_labels import label_held_out
from livepick_trainer.pipeline.report import Report, draw_curves
from livepick_trainer.pipeline.run_context import (
    Run,
    classified_places,
    count_seeds,
    first_seeded,
    labelled,
    trained_network,
    training_and_held_out,
    training_folder,
)
from livepick_trainer.seeds.labels import Candidates
from livepick_trainer.seeds.preprocess import split_held_out

__all__ = ["CURVES", "REPORT", "evaluate_network"]

REPORT, CURVES = "report.json", "curves.png"


def evaluate_network(run: Run, draft: Path) -> None:
    """Evaluate the trained network, and write the figures, the curves and the gate's labels.

    Raises
    ------
    TrainerError
        The network finds nothing in the held-out micrographs.
    """
    _, held_out = training_and_held_out(run)
    network = trained_network(run)
    judged = [(m, labelled(run, m).seeds) for m in held_out]
    run.reporter.report("evaluate", f"picking {len(judged)} held-out micrographs", total=1)
    found = evaluate(
        network,
        judged,
        diameter_angstrom=run.spec.particle.diameter_angstrom,
        min_distance_fraction=run.spec.particle.min_distance_fraction,
        expected_picks=run.spec.training.expected_picks,
        easy_seeds=run.spec.seeds_from != "coordinates",
    )
    history = History.read(training_folder(run))
    write_atomically(
        draft / HELD_OUT, _labels(run, classified_places(run)).model_dump_json().encode()
    )
    write_atomically(draft / CURVES, draw_curves(history, found))
    report = _report(run, history, found, parameters=sum(p.numel() for p in network.parameters()))
    write_atomically(draft / REPORT, report.to_json())
    run.reporter.report(
        "evaluate",
        f"average precision {found.figures.average_precision:.2f} against the held-out seeds,"
        f" threshold {found.operating_point.threshold:.2f} ({found.operating_point.source})",
        done=1,
        total=1,
    )


def _labels(run: Run, places: Mapping[Path, Candidates] | None) -> HeldOutLabels:
    """Return the labels of the held-out micrographs, by which the gate compares models."""
    return label_held_out(
        [(m, labelled(run, m).seeds) for m in split_held_out(first_seeded(run))[1]],
        diameter_angstrom=run.spec.particle.diameter_angstrom,
        by="person" if run.spec.seeds_from == "coordinates" else "classes",
        places=places,
    )


def _report(run: Run, history: History, found: HeldOut, *, parameters: int) -> Report:
    training, held_out = training_and_held_out(run)
    return Report(
        parameters=parameters,
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
