"""Trainings that are repeated with corrected settings: real trainings of a few seconds each."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from livepick.config.sections import Particle
from livepick.config.training_sections import Training
from livepick.core.contracts.bundle import sha256
from livepick.core.contracts.progress import PROGRESS, Progress
from livepick.core.contracts.run import START, RunSpec, RunStart
from livepick.core.evaluation.matching import Matches, figures
from livepick.errors import TrainerError
from livepick_trainer.learning.attempt_settings import AttemptSettings
from livepick_trainer.learning.attempts import Attempt, History
from livepick_trainer.learning.checkpoint import load_weights
from livepick_trainer.learning.curve_diagnosis import Diagnosis
from livepick_trainer.learning.dataset import PatchRules, SeededMicrograph
from livepick_trainer.learning.losses import LossScale
from livepick_trainer.learning.network import make_network
from livepick_trainer.learning.train import EpochFigures
from livepick_trainer.learning.weights_file import weights_file
from livepick_trainer.pipeline import auto_remedy
from livepick_trainer.pipeline.auto_remedy import choose_attempt, next_settings, train_with_remedies
from livepick_trainer.pipeline.candidate_sorting import SortRules
from livepick_trainer.pipeline.progress import Reporter
from livepick_trainer.pipeline.run_context import WEIGHTS, Run, initial_network
from livepick_trainer.pipeline.template_picking import TemplateRules
from livepick_trainer.seeds.labels import Seeds

QUICK = PatchRules(size_px=64, patches_per_epoch=48, held_out_patches=24)
USUAL = AttemptSettings(
    epochs=30, initial_learning_rate=0.003, final_learning_rate=0.0003, class_weights=True
)
SCALE = LossScale(blank=0.6, floor=0.2, untrained=0.8)

CAME_APART = EpochFigures(
    epoch=1,
    learning_rate=0.1,
    training_loss=math.nan,
    validation_loss=math.inf,
    training_accuracy=0.5,
    validation_accuracy=0.5,
)


@pytest.fixture(autouse=True)
def one_thread():
    """Use one thread, so that sums have the same order on any machine."""
    torch.set_num_threads(1)


@pytest.fixture
def make_trainer(tmp_path):
    """Return a function that makes a run without micrographs; keywords go to ``Training``."""

    def make(**training):
        spec = RunSpec(
            version=1,
            parent=0,
            fingerprint="f",
            particle_fingerprint="p",
            models_directory=tmp_path,
            particle=Particle(diameter_angstrom=100),
            training=Training.model_validate(
                {"minibatch_size": 4, "device": "cpu", "threads": 1} | training
            ),
            seed_threshold=0.5,
            micrographs=[],
        )
        return Run(
            tmp_path,
            spec,
            Reporter(tmp_path),
            torch.device("cpu"),
            QUICK,
            SortRules(),
            TemplateRules(),
        )

    return make


def field(seed, *, contrast=0.5):
    """Return a prepared micrograph of bright discs in noise, with their centres as seeds."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((200, 200))
    image = rng.normal(0, 1, y.shape)
    seeds = np.array([(cy, cx) for cy in (30, 75, 120, 165) for cx in (30, 75, 120, 165)])
    seeds = seeds + rng.uniform(-8, 8, seeds.shape)
    for cy, cx in seeds:
        image += contrast * (np.hypot(y - cy, x - cx) < 9)
    nothing = np.zeros((0, 2), dtype=np.float32)
    mask = np.zeros(image.shape, dtype=bool)
    return SeededMicrograph(image.astype(np.float32), mask, Seeds(seeds.astype("f4"), nothing))


def progress_of(folder):
    lines = (folder / PROGRESS).read_bytes().splitlines()
    return [Progress.model_validate_json(line) for line in lines]


def attempt(number, precision, finding=None, settings=USUAL):
    """Return an attempt with a given average precision; None for one that diverged."""
    right = 10 if precision is None else round(10 * precision)
    hit = np.arange(10) < right
    return Attempt(
        number=number,
        settings=settings,
        positive_weight=3.0,
        training_scale=SCALE,
        held_out_scale=SCALE,
        epochs=[CAME_APART] if precision is None else [],
        best_epoch=None if precision is None else 1,
        findings=[finding] if finding else [],
        figures=None
        if precision is None
        else figures([Matches(np.linspace(1, 0.5, 10), hit, np.where(hit, 1.0, np.nan), 10)]),
    )


def unjudged(number):
    """Return an attempt on held-out micrographs without seeds."""
    nothing = figures([Matches(np.zeros(0), np.zeros(0, dtype=bool), np.zeros(0), 0)])
    return dataclasses.replace(attempt(number, 0.5), figures=nothing)


def fault(settings, *, is_fault=True):
    return Diagnosis(
        kind="rate_too_high", is_fault=is_fault, evidence="e", remedy="r", settings=settings
    )


LOWER, LOWEST = USUAL.scaled(0.001), USUAL.scaled(0.0003)


def test_an_absurd_rate_is_mended(make_trainer, tmp_path, monkeypatch):
    """It is found, reported and retrained with the usual rate, and the better weights are kept."""
    monkeypatch.setattr(auto_remedy, "MOST_RERUNS", 1)
    run = make_trainer(epochs=5, initial_learning_rate=1.0, final_learning_rate=0.5)

    train_with_remedies(run, tmp_path, [field(n) for n in range(4)], [field(9)])

    history = History.read(tmp_path)
    first, second = history.attempts
    assert first.findings[0].kind == "rate_too_high"
    assert second.settings.initial_learning_rate == 0.003
    assert second.average_precision > 0.8 > first.average_precision
    assert history.kept == 2
    assert "the highest" in history.why
    lines = progress_of(tmp_path)
    assert next(line.finding for line in lines if line.finding) == "rate_too_high"
    assert sum(line.rerun for line in lines) == 1
    kept, best = make_network(1), make_network(2)
    load_weights(tmp_path / WEIGHTS, kept)
    load_weights(tmp_path / f"attempt-{history.kept}" / WEIGHTS, best)
    assert all(torch.equal(a, b) for a, b in zip(kept.parameters(), best.parameters(), strict=True))


def test_too_few_epochs_are_mended_by_more(make_trainer, tmp_path):
    """The loss is still falling after two epochs."""
    run = make_trainer(epochs=2)
    learned, held_out = ([field(n, contrast=0.3) for n in m] for m in (range(4), (8, 9)))

    train_with_remedies(run, tmp_path, learned, held_out)

    history = History.read(tmp_path)
    assert history.attempts[0].findings[0].kind == "still_falling"
    assert history.attempts[1].settings.epochs == 20
    assert history.best.average_precision > history.attempts[0].average_precision


def test_without_auto_remedy_it_is_only_told(make_trainer, tmp_path):
    """There is one attempt, with its findings."""
    run = make_trainer(epochs=2, auto_remedy=False)

    train_with_remedies(run, tmp_path, [field(0)], [field(9)])

    history = History.read(tmp_path)
    assert [a.number for a in history.attempts] == [1]
    assert history.best.findings
    assert not any(line.rerun for line in progress_of(tmp_path))


def test_a_training_whose_every_loss_is_no_number_is_given_up_in_words(make_trainer, tmp_path):
    """Lower rates are tried first; broken pixels are named as the likely cause."""
    broken = dataclasses.replace(field(0), image=np.full((200, 200), np.nan, dtype=np.float32))
    run = make_trainer(epochs=2)

    with pytest.raises(
        TrainerError, match=r"not a finite number in any epoch.* at 0.003, 0.001, 0.00033"
    ):
        train_with_remedies(run, tmp_path, [broken], [broken])

    assert not (tmp_path / WEIGHTS).exists()


def test_weights_to_start_from_are_used(make_trainer, tmp_path):
    """A second round starts from the first: one epoch at a tiny rate hardly changes the weights."""
    run = make_trainer(epochs=5, auto_remedy=False)
    learned, held_out = [field(n) for n in range(4)], [field(9)]
    train_with_remedies(run, tmp_path, learned, held_out)
    for name in ("afresh", "further"):
        (tmp_path / name).mkdir()
    slow = make_trainer(
        epochs=1, initial_learning_rate=1e-6, final_learning_rate=1e-6, auto_remedy=False
    )

    train_with_remedies(slow, tmp_path / "afresh", learned, held_out)
    first = make_network(1)
    load_weights(tmp_path / WEIGHTS, first)
    train_with_remedies(slow, tmp_path / "further", learned, held_out, start=first, stage="retrain")

    afresh, further = (History.read(tmp_path / n).best for n in ("afresh", "further"))
    assert further.average_precision > 0.9 > afresh.average_precision
    assert progress_of(tmp_path)[-1].stage == "retrain"


@pytest.fixture
def warm(make_trainer, tmp_path):
    """Return a function that makes a run from the weights of a network trained on other discs."""
    network = make_network(3)
    other = make_trainer(epochs=5, auto_remedy=False)
    (tmp_path / "other").mkdir()
    train_with_remedies(other, tmp_path / "other", [field(n) for n in range(20, 24)], [field(29)])
    load_weights(tmp_path / "other" / WEIGHTS, network)

    def make(**training):
        run = make_trainer(**training)
        content = weights_file(network)
        (run.folder / START).write_bytes(content)
        start = RunStart(source="general", livepick_version="1", sha256=sha256(content))
        return dataclasses.replace(run, spec=run.spec.model_copy(update={"start": start}))

    return make


def test_every_attempt_of_a_warm_start_begins_with_its_weights(warm, tmp_path, monkeypatch):
    """The first attempt ruins its copy with an absurd rate; the second finds the weights intact."""
    begun = []
    real = auto_remedy._train_attempt

    def listen(task, network, *labels):
        begun.append(weights_file(network))
        return real(task, network, *labels)

    monkeypatch.setattr(auto_remedy, "_train_attempt", listen)
    monkeypatch.setattr(auto_remedy, "MOST_RERUNS", 1)
    run = warm(epochs=4, initial_learning_rate=1.0, final_learning_rate=0.5)

    train_with_remedies(run, tmp_path, [field(n) for n in range(4)], [field(9)])

    assert begun == 2 * [weights_file(initial_network(run))]
    assert History.read(tmp_path).best.average_precision > 0.9


def test_a_warm_start_takes_half_as_many_epochs_and_raises_no_alarm(warm, tmp_path):
    """It is good from the first epoch on, and that is no stagnation."""
    run = warm(epochs=9)

    train_with_remedies(run, tmp_path, [field(n) for n in range(4)], [field(9)])

    (only,) = History.read(tmp_path).attempts
    assert (only.settings.epochs, len(only.epochs)) == (5, 5)
    assert not only.findings
    assert only.average_precision > 0.9


def test_a_start_that_does_not_know_the_particles_takes_all_epochs(warm, tmp_path):
    """It is worse than a blind guess: that of a network that finds the background."""
    run = warm(epochs=4, auto_remedy=False)
    network = initial_network(run)
    with torch.no_grad():
        network.head.weight.neg_()
        network.head.bias.neg_()
    (tmp_path / "turned").mkdir()

    for place, start in ((tmp_path, None), (tmp_path / "turned", network)):
        train_with_remedies(run, place, [field(n) for n in range(4)], [field(9)], start=start)

    settings = [History.read(p).best.settings for p in (tmp_path, tmp_path / "turned")]
    assert [each.epochs for each in settings] == [2, 4]


def test_the_highest_average_precision_is_kept():
    """If two are equal, the earlier is kept, since a rerun must bring an improvement."""
    assert choose_attempt([attempt(1, 0.5), attempt(2, 0.8)]).kept == 2
    assert choose_attempt([attempt(1, 0.8), attempt(2, 0.5), attempt(3, 0.8)]).kept == 1
    assert choose_attempt([attempt(1, None), attempt(2, 0.0)]).kept == 2
    assert choose_attempt([attempt(1, None), unjudged(2)]).kept == 2


def test_reruns_end():
    """They end after two, without a fault, on mere advice, and before settings are repeated."""
    first, second, third = (
        attempt(1, 0.5, fault(LOWER)),
        attempt(2, 0.5, fault(LOWEST), LOWER),
        attempt(3, 0.5, fault(USUAL.scaled(0.0001)), LOWEST),
    )

    assert next_settings([first]) == LOWER
    assert next_settings([first, second]) == LOWEST
    assert next_settings([first, second, third]) is None
    assert next_settings([attempt(1, 0.5)]) is None
    assert next_settings([attempt(1, 0.5, fault(LOWER, is_fault=False))]) is None
    assert next_settings([first, attempt(2, 0.5, fault(USUAL), LOWER)]) is None


def test_what_was_tried_survives_on_disk(tmp_path):
    """Losses that are not finite survive too, in JSON that every program can read."""
    written = History(attempts=[attempt(1, None), attempt(2, 0.5, fault(LOWER))], kept=2, why="w")

    written.write(tmp_path)
    read = History.read(tmp_path)

    assert math.isnan(read.attempts[0].epochs[0].training_loss)
    assert math.isinf(read.attempts[0].epochs[0].validation_loss)
    assert read.best == written.best
    assert "NaN," not in (tmp_path / "history.json").read_text().replace('"NaN"', "")


def test_a_damaged_history_is_named(tmp_path):
    """The error says what to remove."""
    (tmp_path / "history.json").write_text("[{")

    with pytest.raises(TrainerError, match=r"history\.json cannot be read"):
        History.read(tmp_path)
    with pytest.raises(TrainerError, match="cannot be read"):
        History.read(Path("/nowhere"))
