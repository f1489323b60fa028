"""Measure the benefit of each bootstrap step: same data, folds and seeds, one more step per row.

    python tests/benchmarks/ablation.py [--data FOLDER] [--sets NAME ...] [--steps NAME ...]
        [--folds 1|2] [--seeds 1 ...] [--micrographs N] [--general FOLDER] [--work FOLDER]

Each set is split into two halves. The trainer gets one half, and the model that it publishes picks
the other, as a worker would; then the halves are swapped. So every micrograph is scored by a model
that has not seen it. With ``--micrographs``, the trainer gets only the first of its half. The seeds
are picks of the blob picker, as in a session. Real sets are stored
outside the repository (``--data``, or ``LIVEPICK_DATA``); missing sets are named and skipped. The
simulated sessions are generated here.
"""

import argparse
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import mrcfile
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from rich.console import Console

from livepick.config.schema import Config
from livepick.config.sections import Particle
from livepick.config.training_sections import Training
from livepick.core.contracts.job import Job
from livepick.core.contracts.run import START, RunMicrograph, RunSpec
from livepick.core.evaluation.matching import Matches, figures, match, pool, precision_recall_f1
from livepick.core.imaging import preprocess
from livepick.core.imaging.picks import Picks
from livepick.models.blob_picker import BLOB_THRESHOLD
from livepick.models.general_model import SHIPPED
from livepick.models.registry import Models
from livepick.models.start_weights import read_start_weights
from livepick.picking.worker import pick
from livepick.retraining.holdout_split import split
from livepick.simulate.exposure import simulate_micrograph
from livepick.simulate.field import Junk, Session
from livepick.simulate.species import specimen
from livepick_trainer import stages
from livepick_trainer.classification.class_selection import Selection, select_classes
from livepick_trainer.classification.classify2d import Classification, classify
from livepick_trainer.pipeline import candidate_sorting, class_cleaning, run_context
from livepick_trainer.pipeline.candidate_sorting import SortRules
from livepick_trainer.pipeline.class_cleaning import read_verdicts
from livepick_trainer.pipeline.progress import Reporter
from livepick_trainer.pipeline.rounds import read_round
from livepick_trainer.pipeline.template_picking import TemplateRules
from livepick_trainer.seeds.labels import REJECTED, Candidates, Seeds, choose_seeds
from livepick_trainer.seeds.preprocess import load_prepared
from one_round import one_round
from real_sets import DEFAULT_DATA, SETS, DataSet, read_truth, stem

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

CONSOLE = Console(width=140)
PIL.Image.MAX_IMAGE_PIXELS = None
HELD_OUT_FRACTION = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """A set of micrographs with true positions, on disk as a microscope writes them."""

    name: str
    micrographs: list[Path]
    truth: list[Picks]
    pixel_size_angstrom: float
    diameter_angstrom: float
    radius_angstrom: float
    """Maximum distance of a correct pick from a true position, in ångström."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Simulation:
    """A session of livepick's simulator with all kinds of junk."""

    species: str
    signal_to_noise: float
    seed: int
    micrographs: int = 20
    side_px: int = 1024
    particles: float | None = None
    """Mean number of particles per micrograph; None: as many as cover a third of the area."""


SIMULATIONS = {
    "sim-apoferritin": Simulation(species="apoferritin", signal_to_noise=0.05, seed=501),
    "sim-proteasome": Simulation(species="proteasome", signal_to_noise=0.04, seed=502),
    "sim-galactosidase": Simulation(species="beta-galactosidase", signal_to_noise=0.04, seed=503),
    "sim-spike": Simulation(
        species="spike", signal_to_noise=0.025, seed=504, micrographs=16, side_px=1536
    ),
    "crowded-700": Simulation(
        species="polymerase",
        signal_to_noise=0.02,
        seed=505,
        micrographs=16,
        side_px=2048,
        particles=700,
    ),
    "crowded-1500": Simulation(
        species="polymerase",
        signal_to_noise=0.025,
        seed=506,
        micrographs=8,
        side_px=3072,
        particles=1500,
    ),
}
"""Simulated sessions. Of the last two, the first is as crowded as EMPIAR-10017, and the second
twice as crowded."""
JUNK = Junk(
    crystal_probability=0.5,
    carbon_probability=0.3,
    aggregate_probability=0.6,
    fragment_fraction=0.1,
    empty_probability=0.05,
)
"""Junk of the sessions: a tenth of the particles are fragments, and there are carbon, ice and
clumps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Changes of the trainer for one row of the table; the default is the trainer as shipped."""

    start: Literal["general", "scratch"] = "scratch"
    """Weights that the training starts from."""
    masks: bool = True
    truth: bool = False
    """True if the true positions are used as seeds."""
    sort_rules: SortRules | None = None
    template_rules: TemplateRules | None = None
    patches: Sequence[Callable[[], AbstractContextManager[object]]] = ()
    """Changes of the trainer's modules while it runs."""


def no_zones() -> AbstractContextManager[object]:
    """Treat everything except seeds as background, also candidates that are almost seeds."""

    def choose(*positional: Any, **named: Any) -> Seeds:
        seeds = choose_seeds(*positional, **named)
        return Seeds(seeds.positive_yx_px, seeds.ignored_yx_px[:0])

    return mock.patch.object(run_context, "choose_seeds", choose)


def forgetful() -> AbstractContextManager[object]:
    """Ignore in the second round where the first round saw particles."""

    def choose(image: Image, mask: Mask, candidates: Candidates, **named: Any) -> Seeds:
        return choose_seeds(image, mask, replace(candidates, earlier_yx_px=None), **named)

    return mock.patch.object(run_context, "choose_seeds", choose)


def no_decoys() -> AbstractContextManager[object]:
    """Judge the classes by their averages alone."""

    def select(**named: Any) -> Selection:
        return select_classes(**(named | {"decoys": None}))

    return mock.patch.object(class_cleaning, "select_classes", select)


def not_centred() -> AbstractContextManager[object]:
    """Leave the seeds where they were picked."""

    def unmoved(*positional: Any, **named: Any) -> Classification:
        found = classify(*positional, **named)
        rest = replace(found.rest, shift_yx_px=np.zeros_like(found.rest.shift_yx_px))
        return replace(found, shift_yx_px=np.zeros_like(found.shift_yx_px), rest=rest)

    return mock.patch.object(candidate_sorting, "classify", unmoved)


def junk_below(score: float) -> Callable[[], AbstractContextManager[object]]:
    """Return a patch: classes below this score are learned as background."""
    return lambda: mock.patch.object(class_cleaning, "JUNK_SCORE", score)


NO_CLASSES = SortRules(least_particles=10**9)
FIRST_SEEDS = TemplateRules(least_candidates=10**9)

STEPS: dict[str, Step] = {
    "raw": Step(
        masks=False,
        sort_rules=NO_CLASSES,
        template_rules=FIRST_SEEDS,
        patches=[no_zones, one_round],
    ),
    "mask": Step(sort_rules=NO_CLASSES, template_rules=FIRST_SEEDS, patches=[no_zones, one_round]),
    "template": Step(sort_rules=NO_CLASSES, patches=[no_zones, one_round]),
    "classes": Step(patches=[no_zones, one_round]),
    "zones": Step(patches=[one_round]),
    "second-round": Step(),
    "warm": Step(start="general"),
    "no-decoys": Step(patches=[no_decoys]),
    "not-centred": Step(patches=[not_centred]),
    "less-background": Step(patches=[junk_below(0.0)]),
    "more-background": Step(patches=[junk_below(0.5)]),
    "forgetful": Step(patches=[forgetful]),
    "no-zones": Step(patches=[no_zones]),
    "truth": Step(
        truth=True,
        sort_rules=NO_CLASSES,
        template_rules=FIRST_SEEDS,
        patches=[no_zones, one_round],
    ),
}
"""Steps in the order of the pipeline, each including all earlier ones. They are followed by
alternatives to ``second-round``: a start from the general model; classes judged without decoys;
seeds left where they were picked; only classes with no chance at all learned as background, or
every class that is not accepted; a second round that ignores the results of the first; and one
without ignored places. The last row is an upper limit: the same network trained on the true
positions of its half, which are not available to a bootstrap."""


@contextmanager
def masks_on(*, on: bool) -> Iterator[None]:
    """Prepare micrographs with all masks, or only with the mask of dead borders."""
    if on:
        yield
        return

    def nothing(image: Image, *_args: object, **_settings: object) -> Mask:
        return np.zeros(image.shape, dtype=bool)

    with (
        mock.patch.object(preprocess, "film_mask", nothing),
        mock.patch.object(preprocess, "outlier_mask", nothing),
    ):
        yield


# --- material ------------------------------------------------------------------------------------


def real_material(data: DataSet, root: Path, place: Path) -> Material:
    """Write the compact images of a real set as MRC files, once."""
    images = sorted(root.glob(data.images))
    place.mkdir(parents=True, exist_ok=True)
    files = []
    for image in images:
        path = place / f"{stem(image)}.mrc"
        if not path.exists():
            with mrcfile.new(path, np.asarray(PIL.Image.open(image)).astype(np.float32)) as mrc:
                mrc.voxel_size = data.pixel_size_angstrom
        files.append(path)
    return Material(
        name=data.name,
        micrographs=files,
        truth=[read_truth(root / data.picks / f"{stem(image)}.csv") for image in images],
        pixel_size_angstrom=data.pixel_size_angstrom,
        diameter_angstrom=data.diameter_angstrom,
        radius_angstrom=data.radius_angstrom,
    )


def simulated_material(name: str, simulation: Simulation, place: Path) -> Material:
    """Simulate a session, once."""
    session = Session(
        species=simulation.species,
        shape_px=(simulation.side_px, simulation.side_px),
        particles_per_micrograph=simulation.particles,
        signal_to_noise=simulation.signal_to_noise,
        seed=simulation.seed,
        junk=JUNK,
    )
    place.mkdir(parents=True, exist_ok=True)
    files, truth = [], []
    for index in range(simulation.micrographs):
        path, picks = place / f"{name}_{index:04d}.mrc", place / f"{name}_{index:04d}.npy"
        if not picks.exists():
            made = simulate_micrograph(session, index)
            with mrcfile.new(path, made.image, overwrite=True) as mrc:
                mrc.voxel_size = session.pixel_size_angstrom
            np.save(picks, np.stack([made.truth.x_px, made.truth.y_px]))
        x, y = np.load(picks)
        files.append(path)
        truth.append(Picks(x, y, np.ones(len(x), dtype=np.float32)))
    diameter = specimen(simulation.species).diameter_angstrom
    return Material(
        name=name,
        micrographs=files,
        truth=truth,
        pixel_size_angstrom=session.pixel_size_angstrom,
        diameter_angstrom=diameter,
        radius_angstrom=diameter / 4,
    )


# --- one step on one set -------------------------------------------------------------------------


def blob_seeds(material: Material, work: Path) -> tuple[Path, list[RunMicrograph]]:
    """Return the blob picker's bundle and its picks in each micrograph."""
    config = Config.model_validate(
        {
            "session": {"name": "ablation"},
            "watch": {"directories": [str(work / "in")]},
            "particle": {"diameter_angstrom": material.diameter_angstrom},
            "output": {"directory": str(work / "out")},
            "state": {"directory": str(work)},
        }
    )
    bundle = Models(work / "models").ensure_blob(config).path
    seeds = []
    for path in material.micrographs:
        found = pick(Job(path=path, version=None, bundle=bundle))
        columns = (p.tolist() for p in (found.picks.x_px, found.picks.y_px, found.picks.score))
        seeds.append(
            RunMicrograph(
                path=path,
                pixel_size_angstrom=found.pixel_size_angstrom,
                held_out=False,
                seeds=list(zip(*columns, strict=True)),
            )
        )
    return bundle, seeds


def true_seeds(material: Material, seeds: Sequence[RunMicrograph]) -> list[RunMicrograph]:
    """Return the same micrographs with their true positions as seeds."""
    return [
        micrograph.model_copy(
            update={
                "seeds": [(float(x), float(y), 1.0) for x, y in zip(t.x_px, t.y_px, strict=True)]
            }
        )
        for micrograph, t in zip(seeds, material.truth, strict=True)
    ]


def train(
    material: Material,
    seeds: Sequence[RunMicrograph],
    step: Step,
    folder: Path,
    seed: int,
    *,
    general: Path = SHIPPED,
) -> Path:
    """Run the trainer on the seeds of some micrographs, and return the bundle."""
    shutil.rmtree(folder, ignore_errors=True)
    run = folder / "runs" / "0001"
    run.mkdir(parents=True)
    training = Training(seed=seed, threads=1, start=step.start)
    start = read_start_weights(training, general=general)
    if start is not None:
        (run / START).write_bytes(start.content)
    RunSpec(
        version=1,
        parent=0,
        fingerprint="ablation",
        particle_fingerprint="ablation",
        models_directory=folder / "models",
        particle=Particle(diameter_angstrom=material.diameter_angstrom),
        training=training,
        start=start.for_run() if start else None,
        seed_threshold=BLOB_THRESHOLD,
        micrographs=split(seeds, threshold=BLOB_THRESHOLD, held_out_fraction=HELD_OUT_FRACTION),
    ).write(run)
    with ExitStack() as patches:
        for patch in step.patches:
            patches.enter_context(patch())
        return stages.run_stages(
            run, Reporter(run), sort_rules=step.sort_rules, template_rules=step.template_rules
        )


def learned_as_background(material: Material, run_folder: Path) -> tuple[int, int, int]:
    """Return counts: background candidates by class, particles among them, and all particles.

    All three numbers refer to the same micrographs.
    """
    spec = RunSpec.read(run_folder)
    micrographs = load_prepared(spec, run_folder / "prepare")
    first = read_round(run_folder / "reseed", micrographs) or micrographs
    second = read_round(run_folder / "retrain", first)
    found = second or read_verdicts(run_folder / "select", first)
    rejected = wrong = particles = 0
    for m in found:
        truth = material.truth[material.micrographs.index(m.path)]
        particles += len(truth)
        if m.candidates.verdict is None:
            continue
        yx_px = m.candidates.yx_px[m.candidates.verdict == REJECTED]
        there = m.to_original(yx_px, np.ones(len(yx_px), dtype=np.float32))
        radius_px = material.radius_angstrom / material.pixel_size_angstrom
        rejected += len(there)
        wrong += int(match(there, truth, radius_px=radius_px).hit.sum())
    return rejected, wrong, particles


def score(
    material: Material, bundle: Path, numbers: Sequence[int]
) -> tuple[list[Matches], list[Matches]]:
    """Pick micrographs with a bundle; return all matches, and those of the picks it would write.

    Particles that are too close to the edge for the bundle to pick count neither way.
    """
    radius_px = material.radius_angstrom / material.pixel_size_angstrom
    every: list[Matches] = []
    written: list[Matches] = []
    for number in numbers:
        found = pick(Job(path=material.micrographs[number], version=None, bundle=bundle))
        truth = material.truth[number]
        for matches, picks in (
            (every, found.picks),
            (written, found.picks.above(found.threshold)),
        ):
            matches.append(match(picks, truth, radius_px=radius_px, area=found.area))
    return every, written


# --- the table -----------------------------------------------------------------------------------


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("LIVEPICK_DATA", DEFAULT_DATA))
    )
    parser.add_argument("--sets", nargs="*", choices=[*SETS, *SIMULATIONS])
    parser.add_argument("--steps", nargs="*", choices=STEPS, default=list(STEPS))
    parser.add_argument("--folds", type=int, choices=(1, 2), default=2)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1])
    parser.add_argument("--micrographs", type=int, help="train on at most this many")
    parser.add_argument("--general", type=Path, default=SHIPPED, help="folder of a general model")
    parser.add_argument("--work", type=Path, help="keep runs and models in this folder")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="livepick-ablation-") as temporary:
        work = given.work or Path(temporary)
        for name in given.sets or [*SETS, *SIMULATIONS]:
            if name in SETS and not given.data.is_dir():
                CONSOLE.print(f"{name}: skipped: no real micrographs at {given.data}")
                continue
            place = work / name / "micrographs"
            material = (
                real_material(SETS[name], given.data, place)
                if name in SETS
                else simulated_material(name, SIMULATIONS[name], place)
            )
            _table(material, work / name, given)
    return 0


def _table(material: Material, work: Path, given: argparse.Namespace) -> None:
    folds, most = given.folds, given.micrographs
    with masks_on(on=False):
        _, unmasked = blob_seeds(material, work)
    bundle, picks = blob_seeds(material, work)
    numbers = range(len(picks))
    unseen = [i for fold in range(folds) for i in numbers[1 - fold :: 2]]
    _row(material, "blob", *score(material, bundle, unseen), 0.0)
    for name in given.steps:
        for seed in given.seeds:
            started = time.process_time()
            every, written = [], []
            background = np.zeros(3, dtype=int)
            for fold in range(folds):
                folder = work / f"{name}-{seed}-{fold}"
                with masks_on(on=STEPS[name].masks):
                    first = picks if STEPS[name].masks else unmasked
                    if STEPS[name].truth:
                        first = true_seeds(material, picks)
                    learned = first[fold::2][:most]
                    settings = (STEPS[name], folder, seed)
                    trained = train(material, learned, *settings, general=given.general)
                    one, other = score(material, trained, numbers[1 - fold :: 2])
                every += one
                written += other
                background += learned_as_background(material, folder / "runs" / "0001")
            _row(material, f"{name}, seed {seed}", every, written, time.process_time() - started)
            if background[0]:
                rejected, wrong, particles = background.tolist()
                CONSOLE.print(
                    f"{'':18} learned as background by their class: {rejected}, of which {wrong}"
                    f" ({wrong / rejected:.1%}) are particles, {wrong / particles:.1%} of all",
                    highlight=False,
                    soft_wrap=True,
                )


def _row(
    material: Material, step: str, every: list[Matches], written: list[Matches], seconds: float
) -> None:
    found, pooled = figures(every), pool(written)
    precision, recall, f1 = precision_recall_f1(written, 0.0)
    error = found.localisation_mean_px * material.pixel_size_angstrom
    CONSOLE.print(
        f"{material.name:18} {step:28} AP {found.average_precision:.3f}"
        f"  best F1 {found.best_f1:.3f}  P at count {found.precision_at_count:.3f}"
        f"  written: {len(pooled.hit)} of {pooled.truths},"
        f" P {precision:.3f} R {recall:.3f} F1 {f1:.3f}  {error:.1f} Å  {seconds:.0f} CPU s",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    sys.exit(main())
