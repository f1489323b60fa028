"""Self-training: the network's own picks are tried once as seeds, and kept unless that fails."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from livepick.core.contracts.run import RunSpec
from livepick.errors import TrainerError
from livepick_trainer import stages
from livepick_trainer.learning.attempts import History
from livepick_trainer.learning.dataset import PatchRules
from livepick_trainer.pipeline import self_training
from livepick_trainer.pipeline.candidate_sorting import SortRules
from livepick_trainer.pipeline.progress import Reporter
from livepick_trainer.pipeline.rounds import read_result
from livepick_trainer.pipeline.run_context import (
    WEIGHTS,
    Run,
    seeded,
    trained_network,
    training_folder,
)
from livepick_trainer.pipeline.self_training import MOST_LOSS, retrain
from livepick_trainer.pipeline.template_picking import TemplateRules
from livepick_trainer.seeds.labels import REJECTED

QUICK = PatchRules(size_px=64, patches_per_epoch=16, held_out_patches=8)
MICROGRAPHS = 3


class Killed(BaseException):
    """Simulated kill of the process."""


def die(*_args, **_keywords):
    raise Killed


@pytest.fixture(scope="module")
def trained(tmp_path_factory, write_run):
    """Return the folder of a run that has reached its second round; tests only copy it."""
    folder = write_run(
        tmp_path_factory.mktemp("trained"),
        micrographs=MICROGRAPHS,
        epochs=3,
        initial_learning_rate=0.01,
    )
    rules = PatchRules(size_px=64, patches_per_epoch=32, held_out_patches=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "retrain", die)
        with pytest.raises(Killed):
            stages.run_stages(folder, Reporter(folder), patch_rules=rules)
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """Return a copy of that run in progress, with one epoch."""
    folder = tmp_path / "runs" / "0001"
    shutil.copytree(trained, folder)
    shutil.rmtree(folder / ".draft-retrain")
    spec = RunSpec.read(folder)
    training = spec.training.model_copy(update={"epochs": 1})
    return Run(
        folder,
        spec.model_copy(update={"training": training}),
        Reporter(folder),
        torch.device("cpu"),
        QUICK,
        SortRules(),
        TemplateRules(),
    )


def finished(run):
    """Run the stage; return True if its result is used, and the reason."""
    folder = run.folder / "retrain"
    folder.mkdir()
    retrain(run, folder)
    return read_result(folder)


def judged_as(monkeypatch, *precisions):
    """Give the networks these mean average precisions; return the list of calls."""
    asked = []

    def mean_precision(_run, network, kinds):
        asked.append((network, kinds))
        return precisions[len(asked) - 1]

    monkeypatch.setattr(self_training, "_mean_precision", mean_precision)
    return asked


def test_a_network_that_loses_little_is_kept_with_its_own_seeds(run, monkeypatch):
    """The later stages use its weights, its history and the picks that it was trained on."""
    judged_as(monkeypatch, 0.9, 0.9 - MOST_LOSS + 0.001)

    used, why = finished(run)

    assert used
    assert "is kept" in why
    assert "0.801" in why
    assert "0.900 before" in why
    assert training_folder(run).name == "retrain"
    assert len(History.read(training_folder(run)).best.epochs) == 1
    assert all(m.candidates.threshold is not None for m in seeded(run))
    assert all(m.candidates.earlier_yx_px is not None for m in seeded(run))
    kept, own = (trained_network(run, place) for place in (None, run.folder / "retrain"))
    assert all(torch.equal(a, b) for a, b in zip(kept.parameters(), own.parameters(), strict=True))


def test_a_network_that_agrees_with_the_seeds_has_no_second_round(run, monkeypatch):
    """Its own picks would be the seeds that it was trained on."""
    monkeypatch.setattr(self_training, "AGREEMENT", 0.01)

    used, why = finished(run)

    assert not used
    assert "agrees with the held-out seeds (average precision" in why
    assert [path.name for path in (run.folder / "retrain").iterdir()] == ["round.json"]
    assert training_folder(run).name == "train"


@pytest.mark.parametrize("loss", [MOST_LOSS + 0.001, 0.9])
def test_a_network_that_fails_is_not_kept(run, monkeypatch, loss):
    """A loss this large is not explained by biased held-out seeds; the first seeds are kept too."""
    judged_as(monkeypatch, 0.9, 0.9 - loss)

    used, why = finished(run)

    assert not used
    assert "is not kept" in why
    assert training_folder(run).name == "train"
    assert all(m.candidates.threshold is None for m in seeded(run))


def test_both_networks_are_held_against_both_kinds_of_seeds(run, monkeypatch):
    """The same held-out micrograph is used with the first picks and with the network's picks."""
    asked = judged_as(monkeypatch, 0.5, 0.6)

    finished(run)

    (one, kinds), (two, same_kinds) = asked
    assert [[m.path for m in kind] for kind in kinds] == [[m.path for m in kinds[0]]] * 2
    assert [kind[0].candidates.threshold is None for kind in kinds] == [True, False]
    assert all(a is b for a, b in zip(kinds, same_kinds, strict=True))
    changed = [
        not torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True)
    ]
    assert any(changed)


def test_the_mean_is_over_both_kinds_and_a_blind_network_counts_as_none(run, monkeypatch):
    """A network must not win only because it agrees with its own picks."""
    precisions = {("own", "own"): 0.9, ("own", "other"): 0.4}

    class Found:
        def __init__(self, precision):
            self.figures = self
            self.average_precision = precision

    def judge(_run, network, kind):
        precision = precisions.get((network, kind))
        return None if precision is None else Found(precision)

    monkeypatch.setattr(self_training, "_judge", judge)

    assert self_training._mean_precision(run, "own", ("own", "other")) == pytest.approx(0.65)
    assert self_training._mean_precision(run, "blind", ("own", "other")) == 0


def test_the_networks_picks_are_seeds_from_its_operating_point_on(run, monkeypatch):
    """They are better than chance: most agree with the first seeds, and no two are close."""
    judged_as(monkeypatch, 0.5, 0.6)
    first = seeded(run)

    finished(run)

    for before, after in zip(first, seeded(run), strict=True):
        candidates = after.candidates
        own = candidates.yx_px[candidates.score >= candidates.threshold]
        away = np.linalg.norm(own[:, None] - before.candidates.yx_px[None], axis=2).min(axis=1)
        assert len(own) > 3
        assert np.mean(away < 5) > 0.7


def test_an_expected_count_decides_how_many_are_seeds(run, monkeypatch):
    judged_as(monkeypatch, 0.5, 0.6)
    expecting = run.spec.training.model_copy(update={"expected_picks": 7})
    run = dataclasses.replace(run, spec=run.spec.model_copy(update={"training": expecting}))

    finished(run)

    counts = [int((m.candidates.score >= m.candidates.threshold).sum()) for m in seeded(run)]
    assert sum(counts) == 7 * MICROGRAPHS


def test_picks_that_the_classes_reject_teach_nothing(run, monkeypatch):
    """In this case nothing is trained, and the first network is kept."""
    with_candidates = self_training.with_candidates

    def rejected(folder, micrographs):
        found = with_candidates(folder, micrographs)
        for micrograph in found:
            micrograph.candidates.verdict[:] = REJECTED
        return found

    monkeypatch.setattr(self_training, "with_candidates", rejected)
    monkeypatch.setattr(self_training, "train_with_remedies", None)

    used, why = finished(run)

    assert not used
    assert "none of the network's picks" in why


def test_a_network_that_finds_nothing_has_no_second_round(run, monkeypatch):
    def nothing(*_args, **_keywords):
        raise TrainerError("the network finds nothing", "Give up.")

    monkeypatch.setattr(self_training, "evaluate", nothing)
    monkeypatch.setattr(self_training, "train_with_remedies", None)

    used, why = finished(run)

    assert not used
    assert "finds nothing" in why


def test_a_second_training_that_comes_apart_does_not_cost_the_first(run, monkeypatch):
    """The first network is good enough; the note says why it was not improved."""

    def apart(*_args, **_keywords):
        raise TrainerError("the training diverged", "Lower the rate.")

    monkeypatch.setattr(self_training, "train_with_remedies", apart)

    used, why = finished(run)

    assert not used
    assert "the second round failed: the training diverged" in why
    assert training_folder(run).name == "train"


def test_it_goes_on_from_the_first_networks_weights(run, monkeypatch):
    """It takes half as many epochs at the middle rate, because the network is already good."""
    ordered = []

    def listen(_run, _draft, _learned, _held_out, *, start, stage, settings):
        ordered.append((start, stage, settings))
        raise TrainerError("enough", "Listen.")

    monkeypatch.setattr(self_training, "train_with_remedies", listen)
    training = run.spec.training.model_copy(
        update={"epochs": 31, "initial_learning_rate": 0.01, "final_learning_rate": 0.0001}
    )
    run = dataclasses.replace(run, spec=run.spec.model_copy(update={"training": training}))

    finished(run)

    ((start, stage, settings),) = ordered
    first = trained_network(run, run.folder / "train").state_dict()
    assert all(torch.equal(start.state_dict()[name], first[name]) for name in first)
    assert stage == "retrain"
    assert settings.epochs == 16
    assert settings.initial_learning_rate == pytest.approx(0.001)
    assert settings.final_learning_rate == 0.0001


def test_the_mean_of_both_networks_is_kept(run):
    """Running statistics are averaged too; a repeated call does not average the mean again."""
    used, _ = finished(run)
    assert used
    first = trained_network(run, run.folder / "train").state_dict()
    second = trained_network(run, run.folder / "retrain" / "attempt-1").state_dict()
    kept = trained_network(run).state_dict()
    for name, tensor in kept.items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor, (first[name] + second[name]) / 2, atol=1e-6)
    assert any(not torch.equal(first[name], second[name]) for name in kept)

    retrain(run, run.folder / "retrain")
    again = trained_network(run).state_dict()
    assert all(torch.equal(again[name], kept[name]) for name in kept)


def test_a_persons_picks_have_no_second_round(run, monkeypatch):
    """The network's picks do not replace them."""
    monkeypatch.setattr(self_training, "train_with_remedies", None)
    spec = run.spec.model_copy(update={"seeds_from": "coordinates"})

    used, why = finished(dataclasses.replace(run, spec=spec))

    assert not used
    assert "a person picked the seeds" in why


def test_a_second_round_that_was_killed_goes_on_where_it_was(run, monkeypatch):
    """Completed epochs are not trained again, and the weights are the same."""
    draft = run.folder / ".draft-retrain"
    draft.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(self_training, "trained_network", dying(self_training.trained_network, 2))
        with pytest.raises(Killed):
            retrain(run, draft)
    weights = (draft / "attempt-1" / WEIGHTS).read_bytes()
    told = (run.folder / "progress.jsonl").read_text().count('"training_loss"')

    retrain(run, draft)

    assert (draft / "attempt-1" / WEIGHTS).read_bytes() == weights
    assert (run.folder / "progress.jsonl").read_text().count('"training_loss"') == told
    assert json.loads((draft / "round.json").read_bytes())["note"]


def dying(function, calls):
    """Return a function that does the same, and dies at the end of the given call."""
    count = 0

    def call(*args, **keywords):
        nonlocal count
        count += 1
        result = function(*args, **keywords)
        if count == calls:
            raise Killed
        return result

    return call
