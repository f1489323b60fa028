"""A general model in miniature: a few steps on tiny scenes."""

import json
from dataclasses import replace

import numpy as np
import pytest

from livepick.core.contracts.bundle import GRAPH, WEIGHTS, read_card, sha256
from livepick.core.evaluation.matching import Matches
from livepick.errors import TrainerError
from livepick_trainer.learning.network import make_network
from livepick_trainer.learning.weights_file import read_weights, weights_file
from livepick_trainer.pretrain import __main__ as program
from livepick_trainer.pretrain import training
from livepick_trainer.pretrain.operating_point import HELD_OUT_SEED, best_threshold, measure
from livepick_trainer.pretrain.publishing import ORIGIN
from livepick_trainer.pretrain.scenes import SceneRules
from livepick_trainer.pretrain.training import PretrainRecipe, pretrain

TINY = PretrainRecipe(
    steps=7,
    batch_size=2,
    patch_px=48,
    scenes_at_once=3,
    scenes=SceneRules(size_px=96, margin_px=16),
)


@pytest.fixture(scope="module")
def reports():
    """Return the reports of a training of seven steps: after three, six and seven."""
    made = []
    pretrain(TINY, report_every=3, report=made.append)
    return made


@pytest.mark.parametrize("stopped", [0, 1], ids=["at an odd step", "at an even step"])
def test_a_training_that_was_stopped_ends_with_the_same_weights(reports, stopped):
    whole = reports[-1].checkpoint
    resumed = pretrain(TINY, resume=reports[stopped].checkpoint).checkpoint
    for part in ("weights", "average", "mean"):
        for name, tensor in whole[part].items():
            np.testing.assert_array_equal(resumed[part][name], tensor, err_msg=name)
    assert resumed["cpu_seconds"] > reports[stopped].cpu_seconds


def test_reports_do_not_change_afterwards(reports):
    steps = [report.checkpoint["step"] for report in reports]
    stems = [report.checkpoint["weights"]["stem.0.weight"].sum().item() for report in reports]
    assert steps == [3, 6, 7]
    assert len(set(stems)) == 3


def test_a_checkpoint_of_another_recipe_is_refused(reports):
    with pytest.raises(TrainerError, match="other settings"):
        pretrain(replace(TINY, seed=2), resume=reports[0].checkpoint)


def test_the_last_weights_are_the_mean_of_those_after_each_quarter():
    made = []
    last = pretrain(TINY, report_every=1, report=made.append).network.state_dict()
    averages = {report.step: report.checkpoint["average"] for report in made}
    for name, tensor in last.items():
        if tensor.is_floating_point():
            expected = np.mean([averages[step][name].numpy() for step in (2, 4, 6, 7)], axis=0)
            np.testing.assert_allclose(tensor, expected, atol=1e-6, err_msg=name)
    assert not np.allclose(last["stem.0.weight"], averages[7]["stem.0.weight"], atol=1e-6)


def test_a_training_starts_from_the_weights_that_its_recipe_names(reports):
    content = weights_file(reports[-1].network)
    recipe = replace(TINY, steps=1, highest_rate=0.0, lowest_rate=0.0, start_sha256=sha256(content))
    started = pretrain(recipe, start=content).network.state_dict()
    for name, tensor in reports[-1].network.named_parameters():
        np.testing.assert_array_equal(started[name], tensor.detach(), err_msg=name)


def test_weights_that_the_recipe_does_not_name_are_refused(reports):
    content = weights_file(reports[-1].network)
    with pytest.raises(TrainerError, match="digest"):
        pretrain(TINY, start=content)
    with pytest.raises(TrainerError, match="no file"):
        pretrain(replace(TINY, start_sha256="ab"))


def test_the_rate_rises_briefly_and_falls_to_its_lowest():
    recipe = PretrainRecipe(steps=1000)
    rates = [recipe.learning_rate(step) for step in (0, recipe.warmup_steps, 999)]
    assert rates[0] == pytest.approx(recipe.highest_rate / recipe.warmup_steps, rel=0.01)
    assert rates[0] < rates[2] < rates[1] < recipe.highest_rate
    assert rates[2] == pytest.approx(recipe.lowest_rate, rel=0.01)


def test_the_average_forgets_the_first_weights():
    """The weights at the start are random, and must not remain in a short training."""
    recipe = PretrainRecipe(steps=1000)
    left = np.prod([recipe.average_keeps(step) for step in range(200)])
    assert left == 0
    assert recipe.average_keeps(999) == pytest.approx(1 - 1 / 20)


def test_a_network_that_learned_nothing_has_poor_figures():
    figures = measure(make_network(1), scenes=3, rules=TINY.scenes)
    assert figures.scenes == 3
    assert not figures.average_precision > 0.2
    assert not figures.faint_average_precision > 0.2


def test_the_threshold_is_the_highest_of_those_that_are_nearly_best():
    """Between the scores 0.2 and 0.4 no threshold changes anything."""
    score = np.array([0.9, 0.8, 0.4, 0.2, 0.1])
    hit = np.array([True, True, True, False, False])
    matches = Matches(score, hit, np.where(hit, 1.0, np.nan), truths=3)
    assert best_threshold([matches]) == pytest.approx(0.4, abs=0.011)


@pytest.fixture
def tiny_program(monkeypatch):
    """Make the program train on tiny scenes."""

    def tiny(**settings):
        return replace(TINY, **settings)

    monkeypatch.setattr(program, "PretrainRecipe", tiny)


def test_the_program_writes_a_bundle_and_continues_where_it_was_stopped(
    tmp_path, tiny_program, monkeypatch
):
    command = [str(tmp_path), "--steps", "5", "--report-every", "2", "--held-out-scenes", "2"]
    original = training.make_scene

    def killed(seed, number, *rest):
        if number == 4:  # needed by step 5
            raise KeyboardInterrupt
        return original(seed, number, *rest)

    with monkeypatch.context() as context:
        context.setattr(training, "make_scene", killed)
        with pytest.raises(KeyboardInterrupt):
            program.main(command)
    bundle = tmp_path / "general"
    half = json.loads((bundle / ORIGIN).read_text())
    assert program.main(command) == 0
    origin = json.loads((bundle / ORIGIN).read_text())
    assert (half["steps_done"], origin["steps_done"]) == (4, 5)
    assert origin["recipe"]["scenes"]["size_px"] == 96
    card = read_card(bundle)
    assert card.kind == "general"
    assert card.graph_sha256 == sha256((bundle / GRAPH).read_bytes())
    content = (bundle / WEIGHTS).read_bytes()
    assert card.weights_sha256 == sha256(content)
    network = make_network(2)
    read_weights(content, network, name=WEIGHTS)
    assert weights_file(network) == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "general"]


def test_the_program_names_a_damaged_checkpoint(tmp_path, tiny_program, capsys):
    (tmp_path / "checkpoint.pt").write_bytes(b"half")
    assert program.main([str(tmp_path), "--steps", "1"]) == 1
    said = capsys.readouterr().err
    assert "checkpoint.pt cannot be read" in said
    assert "Remove it" in said


def test_the_program_starts_from_weights_and_says_so_in_the_origin(tmp_path, tiny_program, capsys):
    weights = tmp_path / "weights.npz"
    weights.write_bytes(weights_file(make_network(3)))
    command = [str(tmp_path / "out"), "--steps", "1", "--held-out-scenes", "1", "--start"]
    assert program.main([*command, str(weights)]) == 0
    origin = json.loads((tmp_path / "out" / "general" / ORIGIN).read_text())
    assert origin["recipe"]["start_sha256"] == sha256(weights.read_bytes())
    assert program.main([*command, str(tmp_path / "none.npz")]) == 1
    assert "none.npz cannot be read" in capsys.readouterr().err


def test_no_training_may_use_the_held_out_scenes(tmp_path, capsys):
    with pytest.raises(SystemExit):
        program.main([str(tmp_path), "--seed", str(HELD_OUT_SEED)])
    assert "held-out" in capsys.readouterr().err
