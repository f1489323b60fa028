"""Check that the promotion gate rejects worse models and promotes better ones.

    python tests/benchmarks/gate.py [--better N] [--worse N] [--epochs N] [--work FOLDER]

For better candidates, generation 1 is trained on 3 micrographs of a simulated session and
generation 2 on 20 of the same session; each session has its own seed. For worse candidates, which
are compared with a generation 2, the model is trained on labels of other micrographs, on another
specimen, or with twice the diameter. (Shuffled *seeds* would not work, because the trainer corrects
them: seeds at wrong places give no template and no good class.) Every model comes from the real
trainer and is judged by the real gate, without the service. The true average precisions, on
micrographs that no model has seen, are printed beside each decision.
"""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import mrcfile
import numpy as np
from rich.console import Console

from livepick.config.schema import Config
from livepick.core.contracts.bundle import read_card
from livepick.core.contracts.job import Job
from livepick.core.contracts.run import RunMicrograph, RunSpec
from livepick.core.evaluation.matching import figures, match
from livepick.core.imaging.picks import Picks
from livepick.errors import TrainerError
from livepick.models.bundle_on_disk import Bundle
from livepick.models.registry import Models
from livepick.picking.worker import pick
from livepick.retraining.holdout_split import split
from livepick.retraining.promotion_gate import PromotionGate
from livepick.simulate.exposure import simulate_micrograph
from livepick.simulate.field import Junk, Session
from livepick.simulate.species import specimen
from livepick_trainer import stages
from livepick_trainer.learning.dataset import SeededMicrograph
from livepick_trainer.pipeline.auto_remedy import train_with_remedies
from livepick_trainer.pipeline.progress import Reporter
from livepick_trainer.pipeline.run_context import Run
from one_round import one_round

Labelled = Sequence[SeededMicrograph]
CONSOLE = Console(width=160, highlight=False)
FEW, MANY, UNSEEN = 3, 20, 8
SPECIES, OTHER = "proteasome", "apoferritin"
SIZE_PX = 768
SIGNAL_TO_NOISE = 0.04
JUNK = Junk(
    crystal_probability=0.5,
    carbon_probability=0.3,
    aggregate_probability=0.6,
    fragment_fraction=0.1,
)
KINDS = ("shuffled labels", "another specimen", "twice the diameter")


@dataclass(frozen=True, slots=True)
class Sample:
    """A simulated session on disk."""

    folder: Path
    micrographs: list[Path]
    truth: list[Picks]
    pixel_size_angstrom: float


class Bench:
    """State shared by all models of a session."""

    def __init__(self, work: Path, epochs: int) -> None:
        self.work = work
        self.epochs = epochs

    def sample(self, species: str, seed: int) -> Sample:
        """Simulate a session."""
        session = Session(
            species=species,
            signal_to_noise=SIGNAL_TO_NOISE,
            shape_px=(SIZE_PX, SIZE_PX),
            seed=seed,
            junk=JUNK,
        )
        folder = self.work / f"{species}-{seed}" / "micrographs"
        folder.mkdir(parents=True, exist_ok=True)
        paths, truth = [], []
        for index in range(MANY + UNSEEN):
            made = simulate_micrograph(session, index)
            path = folder / f"mic_{index:04d}.mrc"
            with mrcfile.new(path, made.image, overwrite=True) as mrc:
                mrc.voxel_size = session.pixel_size_angstrom
            paths.append(path)
            x, y = made.truth.x_px, made.truth.y_px
            truth.append(Picks(x, y, np.ones(len(x), dtype=np.float32)))
        return Sample(folder, paths, truth, session.pixel_size_angstrom)

    def config(self, sample: Sample, diameter_angstrom: float) -> Config:
        """Return the session's config."""
        state = sample.folder.parent / "state"
        return Config.model_validate(
            {
                "session": {"name": "gate"},
                "watch": {"directories": [str(sample.folder)]},
                "particle": {"diameter_angstrom": diameter_angstrom},
                "training": {"epochs": self.epochs, "threads": 1, "auto_remedy": False},
                "picking": {"device": "cpu"},
                "output": {"directory": str(state / "out")},
                "state": {"directory": str(state)},
            }
        )

    def train(
        self,
        sample: Sample,
        config: Config,
        numbers: list[int],
        *,
        earlier: RunSpec | None = None,
        shuffle: bool = False,
    ) -> Bundle:
        """Run the trainer on blob picks of some micrographs, as the service does."""
        state = config.state.directory
        models = Models(state / "models")
        blob = models.ensure_blob(config)
        seeds = []
        for number in numbers:
            found = pick(Job(path=sample.micrographs[number], version=None, bundle=blob.path))
            columns = (p.tolist() for p in (found.picks.x_px, found.picks.y_px, found.picks.score))
            seeds.append(list(zip(*columns, strict=True)))
        micrographs = [
            RunMicrograph(
                path=sample.micrographs[number],
                pixel_size_angstrom=sample.pixel_size_angstrom,
                held_out=False,
                seeds=found,
            )
            for number, found in zip(numbers, seeds, strict=True)
        ]
        before = earlier.micrographs if earlier is not None else []
        version = models.next_version(besides=state / "runs")
        run = state / "runs" / f"{version:04d}"
        run.mkdir(parents=True)
        RunSpec(
            version=version,
            parent=blob.card.version,
            fingerprint=f"gate-{version}",
            particle_fingerprint=config.particle_fingerprint(),
            models_directory=models.directory,
            particle=config.particle,
            training=config.training,
            seed_threshold=blob.card.threshold,
            micrographs=split(
                micrographs,
                threshold=blob.card.threshold,
                held_out_fraction=0.2,
                held_out_before=[m.path for m in before if m.held_out],
                trained_on_before=[m.path for m in before if not m.held_out],
            ),
        ).write(run)
        if shuffle:
            with one_round(), mock.patch.object(stages, "train_with_remedies", _train_on_shuffled):
                path = stages.run_stages(run, Reporter(run))
        else:
            path = stages.run_stages(run, Reporter(run))
        return Bundle(path, read_card(path))

    def true_average_precision(self, sample: Sample, bundle: Bundle) -> float:
        """Return the true average precision on the micrographs that no model was trained on."""
        radius_px = specimen(SPECIES).diameter_angstrom / 4 / sample.pixel_size_angstrom
        matches = []
        for path, truth in zip(sample.micrographs[MANY:], sample.truth[MANY:], strict=True):
            found = pick(Job(path=path, version=None, bundle=bundle.path))
            matches.append(match(found.picks, truth, radius_px=radius_px, area=found.area))
        return figures(matches).average_precision


def _train_on_shuffled(run: Run, draft: Path, learned: Labelled, held_out: Labelled) -> None:
    """Train with the labels of each micrograph assigned to the image of the next."""
    shuffled = [
        replace(one, seeds=other.seeds)
        for one, other in zip(learned, [*learned[1:], learned[0]], strict=True)
    ]
    train_with_remedies(run, draft, shuffled, held_out)


def here(work: Any, *args: Any, **settings: Any) -> Future[Any]:
    """Run a job in this process instead of in a worker, and return its future."""
    future: Future[Any] = Future()
    try:
        future.set_result(work(*args, **settings))
    except Exception as error:  # noqa: BLE001 - the future's business
        future.set_exception(error)
    return future


def main() -> int:
    """Print a line for each trial; return 1 if the gate fails more often than allowed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--better", type=int, default=10)
    parser.add_argument("--worse", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="livepick-gate-") as temporary:
        bench = Bench(given.work or Path(temporary), given.epochs)
        promoted = kept = 0
        for number in range(max(given.better, given.worse)):
            sample = bench.sample(SPECIES, 900 + number)
            config = bench.config(sample, specimen(SPECIES).diameter_angstrom)
            current = bench.train(sample, config, list(range(FEW)))
            spec = RunSpec.read(config.state.directory / "runs" / current.path.name)
            better = bench.train(sample, config, list(range(MANY)), earlier=spec)
            if number < given.better:
                promoted += _try(bench, sample, better, current, "better")
            if number < given.worse:
                kind = KINDS[number % len(KINDS)]
                kept += not _try_worse(bench, sample, better, kind)
    CONSOLE.print(
        f"promoted {promoted} of {given.better} that were made better on purpose;"
        f" kept aside {kept} of {given.worse} that were made worse"
    )
    return 0 if promoted >= 0.9 * given.better and kept == given.worse else 1


def _try_worse(bench: Bench, sample: Sample, current: Bundle, kind: str) -> bool:
    config = bench.config(sample, specimen(SPECIES).diameter_angstrom)
    spec = RunSpec.read(config.state.directory / "runs" / current.path.name)
    numbers = list(range(MANY))
    try:
        if kind == "shuffled labels":
            worse = bench.train(sample, config, numbers, earlier=spec, shuffle=True)
        elif kind == "another specimen":
            other = bench.sample(OTHER, int(sample.folder.parent.name.rpartition("-")[2]))
            its = bench.config(other, specimen(OTHER).diameter_angstrom)
            worse = bench.train(other, its, numbers)
        else:
            wide = bench.config(sample, 2 * specimen(SPECIES).diameter_angstrom)
            worse = bench.train(sample, wide, numbers, earlier=spec)
    except TrainerError as error:
        CONSOLE.print(f"{kind:20} no model: {error}", soft_wrap=True)
        return False
    return _try(bench, sample, worse, current, kind)


def _try(bench: Bench, sample: Sample, candidate: Bundle, current: Bundle, kind: str) -> bool:
    config = bench.config(sample, specimen(SPECIES).diameter_angstrom)
    gate = PromotionGate(config, lambda job: here(pick, job), here)
    decision = gate.judge(candidate, current, requested=True).decision
    truth = [bench.true_average_precision(sample, bundle) for bundle in (candidate, current)]
    CONSOLE.print(
        f"{kind:20} {'promoted' if decision.promote else 'kept aside':10} true AP"
        f" {truth[0]:.3f} against {truth[1]:.3f}; at the gate: {decision.sentence}",
        soft_wrap=True,
    )
    return decision.promote


if __name__ == "__main__":
    sys.exit(main())
