"""A small training run: synthetic micrographs with bright blobs, and seeds for them."""

import functools
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from numpy.typing import NDArray

from livepick.config.sections import Particle
from livepick.config.training_sections import Training
from livepick.core.contracts.run import RunMicrograph, RunSpec
from livepick_trainer.classification import class_selection, classify2d
from livepick_trainer.pipeline import (
    candidate_sorting,
    class_cleaning,
    held_out_evaluation,
    self_training,
)

PIXEL_SIZE_ANGSTROM = 5.0
DIAMETER_ANGSTROM = 100.0  # so that the prepared pixel size equals the original one
SHAPE_PX = (208, 240)

MakeRun = Callable[..., Path]


def write_micrograph(path: Path, seed: int) -> list[tuple[float, float, float]]:
    """Write dark particles on noise; return their (x, y, score), best first."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(20, 196, 36), np.arange(20, 228, 36), indexing="ij"), -1)
    cells = grid.reshape(-1, 2)
    centres = cells + rng.uniform(-5, 5, size=cells.shape)
    centres = centres[rng.random(len(centres)) < 0.6]
    y, x = np.indices(SHAPE_PX)
    image = rng.normal(0, 1, SHAPE_PX)
    for centre_y, centre_x in centres:
        image -= 2.0 * (np.hypot(y - centre_y, x - centre_x) < 9)
    with mrcfile.new(path, image.astype(np.float32)) as mrc:
        mrc.voxel_size = PIXEL_SIZE_ANGSTROM
    score = np.linspace(0.95, 0.6, len(centres))
    return [(float(cx), float(cy), float(s)) for (cy, cx), s in zip(centres, score, strict=True)]


@pytest.fixture(scope="session")
def write_run() -> MakeRun:
    """Return a function that makes a run folder with micrographs; keywords go to ``Training``."""

    def write(place: Path, name: str = "0001", *, micrographs: int = 5, **training: object) -> Path:
        files = place / "micrographs"
        files.mkdir(exist_ok=True)
        entries = []
        for number in range(micrographs):
            path = files / f"mic_{number:04d}.mrc"
            path.unlink(missing_ok=True)
            entries.append(
                RunMicrograph(
                    path=path,
                    pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
                    held_out=number == 0,
                    seeds=write_micrograph(path, number),
                )
            )
        folder = place / "runs" / name
        folder.mkdir(parents=True)
        RunSpec(
            version=1,
            parent=0,
            fingerprint="f" * 12,
            particle_fingerprint="p" * 12,
            models_directory=place / f"models-{name}",
            particle=Particle(diameter_angstrom=DIAMETER_ANGSTROM),
            training=Training.model_validate(
                {
                    "epochs": 3,
                    "minibatch_size": 4,
                    "auto_remedy": False,
                    "device": "cpu",
                    "threads": 1,
                }
                | training
            ),
            seed_threshold=0.5,
            micrographs=entries,
        ).write(folder)
        return folder

    return write


@pytest.fixture
def make_run(tmp_path: Path, write_run: MakeRun) -> MakeRun:
    """Return a function that makes a run folder below ``tmp_path``."""
    return functools.partial(write_run, tmp_path)


@pytest.fixture
def real_pictures() -> None:
    """Let runs draw their pictures."""


@pytest.fixture(autouse=True)
def quick_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the pictures of runs, which take half of their time, by what they show, in words."""

    def describe(*args: object, **keywords: object) -> bytes:
        return b"\x89PNG" + repr((args, keywords)).encode()

    if "real_pictures" not in request.fixturenames:
        monkeypatch.setattr(held_out_evaluation, "draw_curves", describe)
        monkeypatch.setattr(class_cleaning, "draw_classes", describe)


@pytest.fixture(autouse=True)
def second_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a second round in the small runs of tests, whose networks agree with all seeds."""
    monkeypatch.setattr(self_training, "AGREEMENT", 2.0)


@pytest.fixture
def quick_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the sorting by a quick one, which makes two classes by particle number."""

    def classify(images: NDArray[np.float32], **_keywords: object) -> classify2d.Classification:
        label = np.arange(len(images)) % 2
        averages = np.stack([images[label == k].mean(axis=0) for k in range(2)])
        odd = np.arange(len(images)) // 2 % 2
        halves = np.stack(
            [[images[(label == k) & (odd == h)].mean(axis=0) for k in range(2)] for h in range(2)]
        )
        sizes = np.array([[((label == k) & (odd == h)).sum() for k in range(2)] for h in range(2)])
        none = np.zeros(0, dtype=np.float32)
        nothing = classify2d.Assignment(
            label=none.astype(np.int64), probability=none, shift_yx_px=none.reshape(0, 2)
        )
        return classify2d.Classification(
            label=label,
            probability=np.ones(len(images), dtype=np.float32),
            angle_degrees=np.zeros(len(images), dtype=np.float32),
            shift_yx_px=np.zeros((len(images), 2), dtype=np.float32),
            score=np.ones(len(images), dtype=np.float32),
            occupancy=sizes.sum(axis=0),
            averages=averages,
            classes=2,
            halves=halves,
            half_sizes=sizes,
            rest=nothing,
            decoys=nothing,
        )

    monkeypatch.setattr(candidate_sorting, "classify", classify)


@pytest.fixture
def judge_second_class(
    monkeypatch: pytest.MonkeyPatch, quick_classes: None
) -> Callable[[float], None]:
    """Return a function that accepts the first of two classes, and gives the second a score."""

    def judge(score: float) -> None:
        def judge_classes(
            *_args: object, **_keywords: object
        ) -> list[class_selection.ClassDecision]:
            good = class_selection.ClassDecision(accepted=True, score=0.9, reason="fine")
            return [
                good,
                class_selection.ClassDecision(accepted=score >= 0.5, score=score, reason="told"),
            ]

        monkeypatch.setattr(class_selection, "judge_classes", judge_classes)

    return judge
