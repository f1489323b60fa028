"""``make compare``: livepick, RELION's LoG and Topaz on the same micrographs, in one run.

    python tests/comparison/compare.py [--data FOLDER] [--samples NAME ...] [--programs NAME ...]
        [--untrained] [--most N] [--core N] [--again] [--publish]

Every program is told the pixel size and the true diameter, runs with its documented defaults
(``relion_log.py``, ``topaz.py``, ``livepick_command.py``), on one core and with one thread, one
program after the other. A program that is not installed is named and left out. Without ``--data``,
the micrographs are simulated by livepick; a data folder (``real_sets.py``) adds real micrographs
with expert picks, and simulations of other programs.

All picks are judged by ``core/evaluation``: AP over all candidates in the order of the program's
scores, the best F1 of any threshold, and F1 of the picks at the program's default threshold.
Particles at the edge of the micrograph, which not every program may pick, count neither way.

The CPU time per micrograph is that of a run on all compared micrographs, less that of a run on
noise of 256 x 256 pixels, which is the time to start. The quick programs (all but Topaz) pick each
micrograph several times for that. Memory is that of the largest process.

The folder ``.compare`` keeps micrographs, models and results; a sample with a result is not run
again without ``--again``. ``--publish`` writes the table into daemon/accuracy.md, and the plot.
"""

import argparse
import math
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from comparison.livepick_command import BLOB, FIRST, TRAINED, Livepick
from comparison.measured import Cost, ProgramFailedError, run_measured
from comparison.program import Program, Task
from comparison.relion_log import RelionLog
from comparison.report import publish, write_report
from comparison.result import Result, SampleResult, scored
from comparison.samples import Sample, make_sample, sample_names
from comparison.topaz import MODELS, Topaz
from comparison.trained_model import Trained, train
from livepick.core.evaluation.matching import Matches, match
from livepick.core.imaging.pick_area import PickArea
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.preprocess import pick_area

CONSOLE = Console(width=120, highlight=False, soft_wrap=True)
PLACE = Path(__file__).parents[2] / ".compare"
TINY_PX = 256
LEAST_TIMED = 10
"""Number of micrographs that a quick program picks while it is timed; the same ones again if there
are fewer."""

EDGE_FRACTION = 0.25
"""Margin in which nothing counts, besides the radius of a hit, in diameters."""
PROGRAMS: tuple[Program, ...] = (
    Livepick(FIRST, "general"),
    Livepick(BLOB, "blob"),
    RelionLog(),
    *(Topaz(model) for model in MODELS),
)


def main() -> int:
    """Compare the programs; return 1 if one of them failed."""
    given = _arguments()
    comparison = Comparison(
        installed([one for one in PROGRAMS if one.name in given.programs]),
        given.core,
        trains=not given.untrained,
    )
    results = PLACE / "results"
    results.mkdir(parents=True, exist_ok=True)
    for name in given.samples or sample_names(given.data):
        path = results / f"{name}.json"
        if given.again or not path.exists():
            sample = make_sample(name, given.data, PLACE / "samples" / name, given.most)
            comparison.compare(sample).write(path)
    every = [SampleResult.read(path) for path in sorted(results.glob("*.json"))]
    write_report(every, PLACE)
    CONSOLE.print((PLACE / "table.md").read_text())
    if given.publish:
        publish(PLACE)
    return int(comparison.failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="folder of real micrographs with expert picks")
    parser.add_argument("--samples", nargs="*", help="names of samples; all by default")
    parser.add_argument("--most", type=int, default=5, help="micrographs to compare, of a sample")
    names = [program.name for program in PROGRAMS]
    parser.add_argument("--programs", nargs="*", choices=names, default=names)
    parser.add_argument("--untrained", action="store_true", help="leave out the trained model")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--again", action="store_true", help="also run samples that have results")
    parser.add_argument("--publish", action="store_true", help="also into the docs")
    return parser.parse_args()


def installed(programs: Sequence[Program]) -> list[Program]:
    """Return the programs that are installed, and print the names of the others."""
    there = []
    for program in programs:
        if program.missing is None:
            there.append(program)
        else:
            CONSOLE.print(f"{program.name}: skipped: {program.missing}")
    return there


class Comparison:
    """Runs programs on samples.

    Parameters
    ----------
    programs
        Programs that are installed.
    core
        Core that all of them run on.
    trains
        True: livepick's trained model is compared too, where there is enough to train one.
    """

    def __init__(self, programs: Sequence[Program], core: int, *, trains: bool = True) -> None:
        self._trains = trains
        self._programs = programs
        self._core = core
        self._start: dict[str, Cost] = {}
        self.failed = False

    def compare(self, sample: Sample) -> SampleResult:
        """Run all programs on a sample, and livepick's trained model if the sample has enough."""
        place = PLACE / "work" / sample.name
        shutil.rmtree(place, ignore_errors=True)
        programs, training_seconds, note = list(self._programs), 0.0, ""
        trained = self._trained(sample)
        if trained is not None:
            training_seconds = trained.cpu_seconds
            note = "" if trained.is_promoted else "not promoted: the first picker stays in use"
            programs.insert(2, Livepick(TRAINED, str(trained.bundle)))
        images = [mrcfile.read(sample.micrographs[number]) for number in sample.compared]
        areas = [_area(image, sample) for image in images]
        results = []
        for program in programs:
            try:
                result = self._judge(program, sample, areas, place / program.name)
            except ProgramFailedError as error:
                CONSOLE.print(f"{sample.name}: {program.name} failed: {error}")
                self.failed = True
                continue
            results.append(replace(result, note=note if program.name == TRAINED else ""))
            CONSOLE.print(
                f"{sample.name:18} {program.name:24} AP {result.average_precision:.3f}"
                f"  best F1 {result.best_f1:.3f}  F1 {result.f1:.3f}"
                f"  {result.cpu_seconds:.2f} CPU s  {result.peak_bytes / 1e6:.0f} MB"
            )
        nothing = [Picks.empty() for _ in areas]
        return SampleResult(
            name=sample.name,
            origin=sample.origin,
            micrographs=len(images),
            particles=sum(one.truths for one in _matched(nothing, sample, areas)),
            shape_px=(images[0].shape[0], images[0].shape[1]),
            pixel_size_angstrom=sample.pixel_size_angstrom,
            diameter_angstrom=sample.diameter_angstrom,
            learned=len(sample.learned) if trained is not None else 0,
            training_cpu_seconds=training_seconds,
            results=results,
            finished=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
            load=os.getloadavg()[0],
        )

    def _trained(self, sample: Sample) -> Trained | None:
        """Return a model trained on the rest of the sample; None if there is none."""
        if not (sample.learned and self._trains):
            return None
        try:
            return train(sample, PLACE / "trained" / sample.name)
        except ProgramFailedError as error:
            CONSOLE.print(f"{sample.name}: {TRAINED} is left out: {error}")
            self.failed = True
            return None

    def _judge(
        self, program: Program, sample: Sample, areas: Sequence[PickArea], place: Path
    ) -> Result:
        files = [sample.micrographs[number] for number in sample.compared]
        start = self._start_of(program, sample, place / "start")
        copies = math.ceil(LEAST_TIMED / len(files)) if program.is_quick else 1
        task = _task(files * copies, sample, place / "default")
        cost = run_measured(program.commands(task), folder=task.folder, core=self._core)
        written = program.picks(task)[: len(files)]
        ranked = written
        if program.ranks_separately:
            again = _task(files, sample, place / "ranking")
            commands = program.commands(again, ranking=True)
            run_measured(commands, folder=again.folder, core=self._core)
            ranked = program.picks(again)
        return scored(
            program.name,
            _matched(ranked, sample, areas),
            _matched(written, sample, areas),
            _matched(ranked, replace(sample, radius_angstrom=sample.diameter_angstrom / 2), areas),
            cpu_seconds=max(0.0, cost.cpu_seconds - start.cpu_seconds) / len(task.names),
            start_cpu_seconds=start.cpu_seconds,
            peak_bytes=cost.peak_bytes,
        )

    def _start_of(self, program: Program, sample: Sample, place: Path) -> Cost:
        """Return the cost of a run on a tiny micrograph, measured with the first sample."""
        if program.name not in self._start:
            place.mkdir(parents=True)
            noise = np.random.default_rng(1).standard_normal((TINY_PX, TINY_PX))
            tiny = place / "tiny.mrc"
            with mrcfile.new(tiny, noise.astype(np.float32)) as mrc:
                mrc.voxel_size = sample.pixel_size_angstrom
            task = _task([tiny], sample, place)
            self._start[program.name] = run_measured(
                program.commands(task), folder=place, core=self._core
            )
        return self._start[program.name]


def _task(files: Sequence[Path], sample: Sample, folder: Path) -> Task:
    """Return a task, with the micrographs in its folder under plain names."""
    (folder / "mics").mkdir(parents=True)
    names = [f"mic_{number:04d}" for number in range(1, len(files) + 1)]
    for path, name in zip(files, names, strict=True):
        (folder / "mics" / f"{name}.mrc").symlink_to(path.resolve())
    return Task(
        folder=folder,
        names=names,
        pixel_size_angstrom=sample.pixel_size_angstrom,
        diameter_angstrom=sample.diameter_angstrom,
    )


def _matched(picks: Sequence[Picks], sample: Sample, areas: Sequence[PickArea]) -> list[Matches]:
    """Match the picks of the compared micrographs with the true positions."""
    radius_px = sample.radius_angstrom / sample.pixel_size_angstrom
    truth = [sample.truth[number] for number in sample.compared]
    return [
        match(found, true, radius_px=radius_px, area=area)
        for found, true, area in zip(picks, truth, areas, strict=True)
    ]


def _area(image: NDArray[np.generic], sample: Sample) -> PickArea:
    """Return the area that counts: RELION picks nothing within half a diameter of the edge."""
    return pick_area(
        image,
        edge_fraction=EDGE_FRACTION,
        diameter_px=sample.diameter_angstrom / sample.pixel_size_angstrom,
    )


if __name__ == "__main__":
    sys.exit(main())
