"""Check that the diagnosis recognizes trainings that were made to fail in different ways.

    python tests/benchmarks/diagnosis.py [--only NAME ...] [--healthy N] [--keep FOLDER]

Each case is a real training on small synthetic micrographs, first with the given settings and then
with those recommended by the diagnosis. The table shows the findings on the first training, and the
average precision on held-out micrographs before and after. The exit status is 1 if an expected
finding is missing, if a healthy run has a finding, or if a remedy made the result worse.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from livepick.config.sections import Particle
from livepick.config.training_sections import Training
from livepick.core.contracts.progress import FindingKind
from livepick.core.contracts.run import RunSpec
from livepick_trainer.learning.attempts import HISTORY, History
from livepick_trainer.learning.dataset import PatchRules, SeededMicrograph
from livepick_trainer.pipeline.auto_remedy import train_with_remedies
from livepick_trainer.pipeline.candidate_sorting import SortRules
from livepick_trainer.pipeline.progress import Reporter
from livepick_trainer.pipeline.run_context import Run
from livepick_trainer.pipeline.template_picking import TemplateRules
from livepick_trainer.seeds.labels import Seeds

CONSOLE = Console(width=160)
RULES = PatchRules(size_px=64, patches_per_epoch=64, held_out_patches=48)
SIZE_PX = 320

Micrographs = list[SeededMicrograph]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A training and its expected diagnosis."""

    name: str
    expected: FindingKind | None
    """Finding that is required on the first attempt; None: there must be no findings."""
    settings: dict[str, object] = field(default_factory=dict)
    """Settings of the section ``training``."""
    make: Callable[[int], tuple[Micrographs, Micrographs]] | None = None
    """Function that makes training and held-out micrographs; None: ``fields``."""
    rules: PatchRules = RULES
    is_mended: bool = True
    """True if the remedy must improve the result; otherwise it must only not make it worse."""


def fields(
    seed: int, *, particles: int = 25, contrast: float = 0.8, count: int = 8, crop_px: int = SIZE_PX
) -> tuple[Micrographs, Micrographs]:
    """Return micrographs of shell-like particles and some junk, with noise of 1."""
    learned = [
        micrograph(1000 * seed + n, particles, contrast, crop_px=crop_px) for n in range(count)
    ]
    held_out = [micrograph(1000 * seed + 500 + n, particles, contrast) for n in range(4)]
    return learned, held_out


def micrograph(
    seed: int, particles: int, contrast: float, *, crop_px: int = SIZE_PX
) -> SeededMicrograph:
    """Return one prepared micrograph with the true positions as seeds."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, (SIZE_PX, SIZE_PX))
    y, x = np.indices(image.shape)
    places: list[np.ndarray] = []
    while len(places) < particles + 6:  # the last six places are junk
        place = rng.uniform(12, SIZE_PX - 12, 2)
        if all(np.hypot(*(place - other)) > 18 for other in places):
            places.append(place)
    for number, (cy, cx) in enumerate(places):
        radius = np.hypot(y - cy, x - cx)
        if number < particles:
            image += contrast * (radius < 9) * (1 + 0.6 * np.cos(0.7 * radius))
        else:
            image += 2 * contrast * np.exp(-(radius**2) / 50)
    seeds = np.array(places[:particles], dtype=np.float32)
    cropped = image[:crop_px, :crop_px].astype(np.float32)
    seeds = seeds[(seeds < crop_px).all(axis=1)]
    nothing = np.zeros((0, 2), dtype=np.float32)
    return SeededMicrograph(cropped, np.zeros(cropped.shape, dtype=bool), Seeds(seeds, nothing))


CASES = (
    Case(
        name="rate of 1",
        expected="rate_too_high",
        settings={"initial_learning_rate": 1.0, "final_learning_rate": 0.1},
    ),
    Case(
        name="rate of 1e-4",
        expected="rate_too_low",
        settings={"initial_learning_rate": 1e-4, "final_learning_rate": 1e-5},
    ),
    Case(
        name="rate of 1e-6",
        expected="underfitting",
        settings={"initial_learning_rate": 1e-6, "final_learning_rate": 1e-7},
    ),
    Case(name="2 epochs", expected="still_falling", settings={"epochs": 2}),
    Case(
        name="sparse, no class weights",
        expected="all_background",
        settings={"class_weights": False},
        make=lambda seed: fields(seed, particles=2, contrast=0.3),
        rules=PatchRules(size_px=64, patches_per_epoch=64, held_out_patches=96, seed_fraction=0.25),
    ),
    Case(
        name="one small micrograph",
        expected="overfitting",
        settings={"epochs": 40},
        make=lambda seed: fields(seed, count=1, contrast=0.35, crop_px=150),
        rules=PatchRules(size_px=64, patches_per_epoch=128, held_out_patches=48),
        is_mended=False,
    ),
    Case(
        name="the same, not augmented",
        expected="training_ahead",
        settings={"epochs": 40, "final_learning_rate": 3e-5},
        make=lambda seed: fields(seed, count=1, contrast=0.35, crop_px=150),
        rules=PatchRules(
            size_px=64,
            patches_per_epoch=128,
            held_out_patches=48,
            gain_log_sigma=0,
            offset_sigma=0,
            most_noise=0,
        ),
        is_mended=False,
    ),
    Case(name="100 epochs", expected="stagnation", settings={"epochs": 100}, is_mended=False),
)


def main() -> int:
    """Train every case; return 0 if all diagnoses are as expected."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="*", help="run only these cases")
    parser.add_argument("--healthy", type=int, default=10, help="number of healthy runs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="copy each history.json to this folder")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    table = Table(title="Findings of each training, and the effect of their remedies")
    for column in ("case", "findings on the first attempt", "AP", "with remedies", "kept", "s", ""):
        table.add_column(column)
    cases = [(case, given.seed) for case in CASES if not given.only or case.name in given.only]
    for number in range(given.healthy):
        contrast = (0.8, 0.35)[number % 2]
        healthy = Case(
            name=f"healthy {number + 1}, contrast {contrast}",
            expected=None,
            make=partial(fields, contrast=contrast),
        )
        cases.append((healthy, 10 + number))
    wrong = 0
    for case, seed in cases:
        started = time.monotonic()
        history = _train(case, seed, given.keep)
        verdict = _verdict(case, history)
        wrong += verdict != "as expected"
        first, best = history.attempts[0], history.best
        settings = best.settings
        table.add_row(
            case.name,
            ", ".join(finding.kind for finding in first.findings) or "none",
            f"{first.average_precision:.3f}",
            ", ".join(f"{attempt.average_precision:.3f}" for attempt in history.attempts[1:]),
            f"{history.kept}: rate {settings.initial_learning_rate:g} to"
            f" {settings.final_learning_rate:g}, {settings.epochs} epochs"
            + ("" if settings.class_weights else ", no class weights"),
            f"{time.monotonic() - started:.0f}",
            verdict,
        )
        CONSOLE.print(f"{case.name}: {verdict}", style="dim")
        for attempt in history.attempts:
            for finding in attempt.findings:
                words = f"  {attempt.number} {finding.kind}: {finding.evidence}; {finding.remedy}"
                CONSOLE.print(words, style="dim")
    CONSOLE.print(table)
    return 1 if wrong else 0


def _verdict(case: Case, history: History) -> str:
    first = history.attempts[0]
    kinds = [finding.kind for finding in first.findings]
    if case.expected is None:
        return "false alarm" if kinds else "as expected"
    if case.expected not in kinds:
        return f"{case.expected} missing"
    if case.is_mended and not (history.best.average_precision or 0) > (
        first.average_precision or 0
    ):
        return "not mended"
    return "as expected"


def _train(case: Case, seed: int, keep: Path | None) -> History:
    learned, held_out = (case.make or fields)(seed)
    with tempfile.TemporaryDirectory(prefix="livepick-diagnosis-") as name:
        folder = Path(name)
        settings = {"seed": seed, "minibatch_size": 8, "device": "cpu", "threads": 1}
        spec = RunSpec(
            version=1,
            parent=0,
            fingerprint="f",
            particle_fingerprint="p",
            models_directory=folder,
            particle=Particle(diameter_angstrom=100),
            training=Training.model_validate(settings | case.settings),
            seed_threshold=0.5,
            micrographs=[],
        )
        run = Run(
            folder,
            spec,
            Reporter(folder),
            torch.device("cpu"),
            case.rules,
            SortRules(),
            TemplateRules(),
        )
        train_with_remedies(run, folder, learned, held_out)
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            place = keep / f"{case.name.replace(' ', '-').replace(',', '')}-{seed}.json"
            place.write_bytes((folder / HISTORY).read_bytes())
        return History.read(folder)


if __name__ == "__main__":
    sys.exit(main())
