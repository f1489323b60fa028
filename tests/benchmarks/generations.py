"""Train several generations on real micrographs, and show the gate's verdicts on them.

    python tests/benchmarks/generations.py [--sets NAME ...] [--work FOLDER]

One half of a set is the session. Generation 1 is trained on blob picks, as in an unattended
session. Generation 2 is trained on curated picks: the positions of experts in the same half. Three
more unattended generations follow, each with its own part of the half and its own seed. Each is
judged by the real gate against the current model. The average precision of every model is
measured on the other half, which no model has seen. The exit status is 1 if the curated generation
is not promoted or not better, or if a current model falls more than 0.01 below generation 1.
"""

import argparse
import logging
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from ablation import (
    HELD_OUT_FRACTION,
    Material,
    blob_seeds,
    real_material,
    score,
    true_seeds,
)
from gate import here
from rich.console import Console

from livepick.config.schema import Config
from livepick.config.training_sections import Training
from livepick.core.contracts.bundle import read_card
from livepick.core.contracts.run import RunMicrograph, RunSpec
from livepick.core.evaluation.matching import figures
from livepick.models.blob_picker import BLOB_THRESHOLD
from livepick.models.bundle_on_disk import Bundle
from livepick.picking.worker import pick
from livepick.retraining.curated_picks import MANUAL_SCORE
from livepick.retraining.holdout_split import split
from livepick.retraining.promotion_gate import PromotionGate
from livepick.retraining.run_store import Runs
from livepick_trainer.pipeline.progress import Reporter
from livepick_trainer.stages import run_stages
from real_sets import DEFAULT_DATA, SETS

CONSOLE = Console(width=160, highlight=False)
UNATTENDED = 3
MOST_LOSS = 0.01
PART = 0.75
"""Fraction of the half that a later unattended generation uses."""


def main() -> int:
    """Print a line for each generation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("LIVEPICK_DATA", DEFAULT_DATA))
    )
    parser.add_argument("--sets", nargs="*", choices=SETS, default=["10146-sums", "10017"])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if not given.data.is_dir():
        CONSOLE.print(f"skipped: no real micrographs at {given.data}")
        return 0
    good = True
    with tempfile.TemporaryDirectory(prefix="livepick-generations-") as temporary:
        for name in given.sets:
            work = (given.work or Path(temporary)) / name
            material = real_material(SETS[name], given.data, work / "micrographs")
            good &= _generations(material, work, given.epochs)
    return 0 if good else 1


def _generations(material: Material, work: Path, epochs: int) -> bool:
    """Train, judge and measure all generations on one set."""
    _, seeds = blob_seeds(material, work)
    experts = true_seeds(material, seeds)
    here_, there = list(range(0, len(seeds), 2)), list(range(1, len(seeds), 2))
    config = _config(material, work)
    gate = PromotionGate(config, lambda job: here(pick, job), here)

    def measured(bundle: Bundle) -> float:
        return figures(score(material, bundle.path, there)[0]).average_precision

    training = Training(epochs=epochs, threads=1)
    current = _train(material, work, [seeds[i] for i in here_], training)
    first = best = measured(current)
    CONSOLE.print(f"{material.name}: generation 1, blob picks: AP {first:.3f}")
    good = True
    for generation in range(2, 3 + UNATTENDED):
        curated = generation == 2
        numbers = here_ if curated else _part(here_, generation, work)
        source = experts if curated else seeds
        later = training.model_copy(update={"generation": generation, "seed": generation})
        candidate = _train(material, work, [source[i] for i in numbers], later, curated=curated)
        average_precision = measured(candidate)
        decision = gate.judge(candidate, current, requested=True).decision
        CONSOLE.print(
            f"{material.name}: generation {generation}, {'curated' if curated else 'blob'} picks:"
            f" AP {average_precision:.3f}, {'promoted' if decision.promote else 'kept aside'};"
            f" at the gate: {decision.sentence}",
            soft_wrap=True,
        )
        if decision.promote:
            current, best = candidate, average_precision
        if curated:
            good &= decision.promote and average_precision > first
        good &= best >= first - MOST_LOSS
    CONSOLE.print(f"{material.name}: the last model has AP {best:.3f}")
    return good


def _part(numbers: list[int], generation: int, work: Path) -> list[int]:
    """Return the held-out micrographs and a part of the others, drawn for the generation."""
    held_out = Runs(work / "runs").held_out()
    generator = np.random.default_rng(generation)
    count = max(3, round(PART * len(numbers)))
    drawn = sorted(generator.permutation(numbers)[:count].tolist())
    names = {path.stem for path in held_out}
    paths = sorted((work / "micrographs").glob("*.mrc"))
    return sorted({*drawn, *(i for i in numbers if paths[i].stem in names)})


def _config(material: Material, work: Path) -> Config:
    return Config.model_validate(
        {
            "session": {"name": "generations"},
            "watch": {"directories": [str(work / "micrographs")]},
            "particle": {"diameter_angstrom": material.diameter_angstrom},
            "picking": {"device": "cpu"},
            "output": {"directory": str(work / "out")},
            "state": {"directory": str(work / "state")},
        }
    )


def _train(
    material: Material,
    work: Path,
    seeds: list[RunMicrograph],
    training: Training,
    *,
    curated: bool = False,
) -> Bundle:
    runs, config = Runs(work / "runs"), _config(material, work)
    folder = runs.create(
        RunSpec(
            version=training.generation,
            parent=None if curated else 0,
            fingerprint=f"generation-{training.generation}",
            particle_fingerprint=config.particle_fingerprint(),
            models_directory=work / "trained",
            particle=config.particle,
            training=training,
            seeds_from="coordinates" if curated else "blob",
            seed_threshold=MANUAL_SCORE / 2 if curated else BLOB_THRESHOLD,
            micrographs=split(
                seeds,
                threshold=MANUAL_SCORE / 2 if curated else BLOB_THRESHOLD,
                held_out_fraction=HELD_OUT_FRACTION,
                held_out_before=runs.held_out(),
                trained_on_before=runs.trained_on(),
            ),
        )
    )
    path = run_stages(folder, Reporter(folder))
    return Bundle(path, read_card(path))


if __name__ == "__main__":
    sys.exit(main())
