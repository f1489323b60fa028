"""Second round: the network's own picks are sorted into classes, judged, and trained on.

The first seeds lack the particles that their picker missed, and the network has found some of
these. Training continues from its weights for half as many epochs as the first round, starting at
the geometric mean of the two configured learning rates.

The result is the mean of both networks' weights (Wortsman et al. 2022, *CVPR*, 7959: the average of
fine-tuned weights and the weights they started from is more robust than either). On five sets of
micrographs, the mean was about as good as the better of the two networks on each set, while the
second alone was better on some and worse on others.

Whether the second network is better cannot be measured well without ground truth. There are two
kinds of held-out seeds, and both favour the first network: it was trained on one kind, and produced
the other. It therefore looks better on both even where it is not (single frames: .85 against .90,
where by the ground truth it is .50 against .48). The second network is kept unless the mean of the
two average precisions drops by ``MOST_LOSS`` or more, which means that something went wrong.

A network that already agrees with nearly all held-out seeds has little to learn from its own picks,
which are mostly the seeds that it was trained on, and the round is left out. It takes a third of
the whole training. Average precision (best F1) by the ground truth, for one half of each set, with
seed 1 (the limit was set on this table, not on other data):

=====================================  ================  ===============  ===============
set, micrographs, start                held-out seeds    first round      with the second
=====================================  ================  ===============  ===============
10146 frames, 5, random weights        .754              .546 (.636)      .549 (.647)
10146 frames, 5, general model         .716              .531 (.626)      .546 (.641)
β-galactosidase, 10, random weights    .973              .891 (.909)      .898 (.909)
β-galactosidase, 10, general model     .972              .886 (.902)      .898 (.908)
β-galactosidase, 5, general model      .977              .873 (.891)      .880 (.903)
10017, 5, random weights               .980              .794 (.831)      .786 (.831)
10017, 5, general model                .982              .777 (.828)      .775 (.830)
10146 sums, 5, general model           .987              .994 (.987)      .992 (.986)
proteasome, 10, random weights         .994              .918 (.918)      .906 (.913)
10146 sums, 5, random weights          .996              .993 (.985)      .994 (.986)
10146 sums, 3, general model           .996              .993 (.987)      .990 (.987)
apoferritin, 10, general model         .999              .983 (.984)      .982 (.984)
proteasome, 10, general model          .999              .950 (.924)      .948 (.925)
=====================================  ================  ===============  ===============
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick.errors import TrainerError
from livepick_trainer.learning.attempt_settings import AttemptSettings
from livepick_trainer.learning.checkpoint import save_weights
from livepick_trainer.learning.dataset import SeededMicrograph
from livepick_trainer.learning.evaluate import SCORE_FLOOR, HeldOut, evaluate, score_peaks
from livepick_trainer.learning.export_onnx import network_scores
from livepick_trainer.pipeline.auto_remedy import train_with_remedies
from livepick_trainer.pipeline.candidate_sorting import sort_candidates
from livepick_trainer.pipeline.class_cleaning import select_seeds
from livepick_trainer.pipeline.rounds import with_candidates, write_candidates, write_result
from livepick_trainer.pipeline.run_context import (
    WEIGHTS,
    Run,
    first_seeded,
    keep_first_places,
    labelled,
    trained_network,
)
from livepick_trainer.pipeline.template_picking import threshold_for
from livepick_trainer.pipeline.warm_start import scheduled_epochs
from livepick_trainer.seeds.labels import Candidates
from livepick_trainer.seeds.preprocess import PreparedMicrograph, split_held_out

__all__ = ["retrain"]

MOST_LOSS = 0.1
"""Largest accepted loss of average precision; see above."""

AGREEMENT = 0.98
"""Average precision against the held-out seeds from which there is no second round; see above."""

Judged = Sequence[PreparedMicrograph]


def retrain(run: Run, draft: Path) -> None:
    """Train again on the network's own picks, and write whether the result is used.

    Raises
    ------
    TrainerError
        The weights of the first round are damaged.
    OriginalError
        A micrograph that could be prepared can no longer be read.
    """
    if run.spec.seeds_from == "coordinates":
        write_result(
            draft, "a person picked the seeds; the network's picks do not replace them", used=False
        )
        return
    first = first_seeded(run)
    network = trained_network(run, run.folder / "train")
    _, judged = split_held_out(first)
    before = _judge(run, network, judged)
    if before is None:
        write_result(draft, "the network of the first round finds nothing", used=False)
        return
    agreement = before.figures.average_precision
    if agreement >= AGREEMENT:
        note = (
            "no second round: the network agrees with the held-out seeds (average precision"
            f" {agreement:.3f}), so that its own picks would teach it little"
        )
        write_result(draft, note, used=False)
        run.reporter.report("retrain", note, done=1, total=1)
        return
    second = _own_picks(run, draft, network, first, before.operating_point.threshold)
    training, judged_again = split_held_out(second)
    learned = [labelled(run, micrograph) for micrograph in training]
    if not any(len(micrograph.seeds.positive_yx_px) for micrograph in learned):
        write_result(draft, "none of the network's picks is in an accepted class", used=False)
        return
    try:
        train_with_remedies(
            run,
            draft,
            learned,
            [labelled(run, micrograph) for micrograph in judged_again],
            start=network,
            stage="retrain",
            settings=_settings(run),
        )
    except TrainerError as error:  # the first network is good: this round is optional
        note = f"the second round failed: {error.what}"
        write_result(draft, note, used=False)
        run.reporter.report("retrain", note, done=1, total=1)
        return
    later = trained_network(run, draft)
    _average(later, network)
    save_weights(draft / WEIGHTS, later)
    one, two = (_mean_precision(run, n, (judged, judged_again)) for n in (network, later))
    used = two > one - MOST_LOSS
    note = (
        f"the network trained on its own picks {'is' if used else 'is not'} kept: average precision"
        f" {two:.3f} against the held-out seeds, {one:.3f} before"
    )
    write_result(draft, note, used=used)
    run.reporter.report("retrain", note, done=1, total=1)


def _own_picks(
    run: Run, draft: Path, network: nn.Module, first: Judged, threshold: float
) -> list[PreparedMicrograph]:
    """Return the micrographs with the network's picks, judged by their 2D classes, as seeds."""
    found = [_picked(run, network, micrograph) for micrograph in first]
    expected = run.spec.training.expected_picks
    if expected is not None:
        threshold = threshold_for(found, expected)
    write_candidates(draft, found, threshold)
    decoys = [_picked(run, network, replace(m, image=-m.image)).candidates for m in first]
    _sort(run, draft, found, decoys, threshold)
    return keep_first_places(run, with_candidates(draft, first), first)


def _average(network: nn.Module, other: nn.Module) -> None:
    """Set ``network`` to the mean of both networks' weights and running statistics."""
    theirs = other.state_dict()
    ours = network.state_dict()
    network.load_state_dict(
        {
            name: (tensor + theirs[name]) / 2 if tensor.is_floating_point() else tensor
            for name, tensor in ours.items()
        }
    )


def _settings(run: Run) -> AttemptSettings:
    """Return the settings for continuing from weights that are already good."""
    training = run.spec.training
    first = scheduled_epochs(training.epochs, head_start=run.spec.start is not None)
    rates = (training.initial_learning_rate, training.final_learning_rate)
    return AttemptSettings(
        epochs=-(-first // 2),
        initial_learning_rate=float(np.sqrt(rates[0] * rates[1])),
        final_learning_rate=rates[1],
        class_weights=training.class_weights,
    )


def _picked(run: Run, network: nn.Module, micrograph: PreparedMicrograph) -> PreparedMicrograph:
    """Return a micrograph with the network's picks as candidates."""
    yx_px, score = score_peaks(
        lambda image: network_scores(network, image),
        micrograph.image,
        micrograph.mask,
        min_distance_px=run.spec.particle.min_distance_fraction * DIAMETER_PX,
        floor=SCORE_FLOOR,
    )
    return replace(micrograph, candidates=Candidates(yx_px, score))


def _sort(
    run: Run, draft: Path, found: Judged, decoys: Sequence[Candidates], threshold: float
) -> None:
    """Sort the picks into classes, and judge the classes."""
    particle = run.spec.particle

    def report(note: str, done: int, total: int) -> None:
        run.reporter.report("retrain", note, done=done, total=total)

    sort_candidates(
        found,
        draft,
        threshold=threshold,
        diameter_angstrom=particle.diameter_angstrom,
        contrast=particle.contrast,
        seed=run.spec.training.seed,
        device=run.device,
        rules=run.sort_rules,
        report=report,
        decoys=decoys,
    )
    select_seeds(
        draft,
        found,
        draft,
        diameter_angstrom=particle.diameter_angstrom,
        accept=(),
        reject=(),
        report=report,
    )


def _mean_precision(run: Run, network: nn.Module, kinds: Sequence[Judged]) -> float:
    """Return the mean average precision against several kinds of held-out seeds."""
    found = [_judge(run, network, judged) for judged in kinds]
    return float(np.mean([f.figures.average_precision if f else 0.0 for f in found]))


def _judge(run: Run, network: nn.Module, judged: Judged) -> HeldOut | None:
    """Return the network's evaluation on held-out micrographs; None if it finds nothing."""
    labels: list[SeededMicrograph] = [labelled(run, micrograph) for micrograph in judged]
    try:
        return evaluate(
            network,
            [(m, of.seeds) for m, of in zip(judged, labels, strict=True)],
            diameter_angstrom=run.spec.particle.diameter_angstrom,
            min_distance_fraction=run.spec.particle.min_distance_fraction,
        )
    except TrainerError:
        return None
