"""The network, its loss and its export."""

import copy

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from livepick.core.evaluation.matching import Matches
from livepick.core.imaging.joint_detector import joint_graph
from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick.errors import TrainerError
from livepick_trainer.learning.adamw import AdamW
from livepick_trainer.learning.export_onnx import check_agreement, graph_scores, to_onnx
from livepick_trainer.learning.losses import (
    balanced_accuracy,
    count_right,
    weighted_cross_entropy,
)
from livepick_trainer.learning.network import Architecture, make_network, reset_weight_norms
from livepick_trainer.learning.operating_point import choose_operating_point
from livepick_trainer.learning.train import Recipe, learning_rate

SMALL = Architecture(channels=(2, 3, 4), deepest_convolutions=1)


def used(network):
    """Return the network as if trained for a while: its normalizations have seen images."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.2, generator=generator)
                layer.running_var.uniform_(0.5, 2, generator=generator)
    return network


def test_the_network_is_small_and_sees_three_diameters():
    """At most a million parameters; a change 30 pixels away (1.5 diameters) is seen."""
    network = used(make_network(1)).eval()
    image = torch.zeros(1, 1, 128, 128, requires_grad=True)

    network(image)[0, 0, 64, 64].backward()

    seen = image.grad[0, 0].abs().amax(0).nonzero().ravel()
    assert seen.min() <= 34
    assert seen.max() >= 94
    assert sum(parameter.numel() for parameter in network.parameters()) <= 1_000_000


def test_the_same_seed_gives_the_same_network_and_graph():
    """The result depends on nothing else, neither torch's global state nor the time."""
    first = to_onnx(make_network(1, SMALL))
    torch.rand(5)

    assert to_onnx(make_network(1, SMALL)) == first
    assert to_onnx(make_network(2, SMALL)) != first


def test_weights_at_the_norms_of_a_fresh_network_give_the_same_scores():
    """Also while training. After the same step, the scores have changed more than without it."""
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    old, fresh = used(make_network(1, SMALL)), make_network(2, SMALL)
    with torch.no_grad():
        for layer in old.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_var *= 100
            elif isinstance(layer, nn.Conv2d) and layer.bias is None:
                layer.weight *= 10
    new = copy.deepcopy(old)

    reset_weight_norms(new, fresh)

    for network in (old, new):
        network.eval()
    torch.testing.assert_close(new(images), old(images), atol=1e-3, rtol=1e-3)
    norms = [
        [float(m.weight.detach().norm()) for m in network.modules() if isinstance(m, nn.Conv2d)]
        for network in (new, fresh)
    ]
    assert norms[0][:3] == pytest.approx(norms[1][:3])
    moved = []
    for network in (old, new):
        before = network.train()(images).detach()
        train_step = AdamW(network.parameters(), learning_rate=0.01, weight_decay=0)
        network(images).mean().backward()
        train_step.step()
        moved.append(float((network(images).detach() - before).abs().mean()))
    assert moved[1] > 2 * moved[0]


@pytest.mark.parametrize("architecture", [SMALL, Architecture()])
def test_the_graph_gives_the_networks_scores_at_any_size(architecture):
    """The scores agree to the last digits of float32, also with normalizations folded in."""
    network = used(make_network(1, architecture))
    rng = np.random.default_rng(0)
    images = [rng.normal(size=shape).astype(np.float32) for shape in ((64, 96), (112, 48))]

    agreement = check_agreement(network, to_onnx(network), images)

    assert (agreement.images, agreement.pixels) == (2, 64 * 96 + 112 * 48)
    assert agreement.max_difference < 1e-5


def test_the_graph_has_no_layer_at_full_size_and_can_be_joined():
    """A convolution of eight channels would take the time of 16; the joint picker takes it too."""
    network = used(make_network(1))
    graph = onnx.load_from_string(to_onnx(network)).graph
    weights = {one.name: list(one.dims) for one in graph.initializer}

    shapes = [weights[node.input[1]] for node in graph.node if node.op_type == "Conv"]

    assert shapes[0] == [32, 1, 4, 4]
    assert {count for count, *_ in shapes} == {16, 32, 64, 4}
    assert len({one.name for one in graph.value_info}) > 2
    assert len(joint_graph(to_onnx(network), DIAMETER_PX)) > len(to_onnx(network))


def test_a_joint_graph_knows_the_shapes_of_its_own_maps_only():
    """The shapes of the network's second orientation stay behind."""
    graph = onnx.load_from_string(joint_graph(to_onnx(make_network(1).eval()), DIAMETER_PX)).graph

    made = {name for node in graph.node for name in node.output}

    assert graph.value_info
    assert {one.name for one in graph.value_info} <= made


def test_a_micrograph_upside_down_has_the_same_scores():
    """The graph scores both orientations and returns the mean."""
    score = graph_scores(to_onnx(make_network(3)), 1)
    image = np.random.default_rng(1).standard_normal((48, 64)).astype(np.float32)
    turned = np.ascontiguousarray(image[::-1, ::-1])
    assert np.abs(score(image) - score(turned)[::-1, ::-1]).max() < 1e-6


def test_a_layer_without_a_counterpart_is_refused_by_name():
    """No bundle is better than one whose picks differ from those of the network."""
    with pytest.raises(TrainerError, match="GELU"):
        to_onnx(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.GELU()))


def test_the_export_leaves_the_network_as_it_is():
    """Folding happens in a copy."""
    network = used(make_network(1, SMALL)).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    to_onnx(network)

    assert network.training
    assert all((before[name] == t).all() for name, t in network.state_dict().items())


def test_scores_that_are_no_numbers_are_refused():
    """NaN does not count as agreement."""
    network = used(make_network(1, SMALL))
    image = np.full((32, 32), np.nan, dtype=np.float32)

    with pytest.raises(TrainerError, match="differ"):
        check_agreement(network, to_onnx(network), [image])


def test_pixels_without_weight_cost_nothing():
    """The scores there do not matter."""
    logits = torch.tensor([[[[9.0, -9.0]]]])
    target, weight = torch.zeros_like(logits), torch.tensor([[[[0.0, 1.0]]]])

    assert float(weighted_cross_entropy(logits, target, weight)) < 1e-3
    assert float(weighted_cross_entropy(logits, target, torch.zeros_like(weight))) == 0


def test_accuracy_is_balanced():
    """Finding nothing gives an accuracy of one half, however few particles there are."""
    target = torch.zeros(1, 1, 10, 10)
    target[..., 0, 0] = 1
    nothing = torch.full_like(target, -5.0)

    assert balanced_accuracy(count_right(nothing, target, torch.ones_like(target))) == 0.5


def test_the_learning_rate_falls_from_first_to_last_epoch():
    """Both end points are those of the settings."""
    recipe = Recipe(epochs=5, initial_learning_rate=0.01, final_learning_rate=0.0001, seed=1)

    rates = [learning_rate(recipe, epoch) for epoch in range(5)]

    assert rates == pytest.approx([1e-2, 10**-2.5, 1e-3, 10**-3.5, 1e-4])


def matches(score, hit, truths):
    return [Matches(np.asarray(score), np.asarray(hit, dtype=bool), np.zeros(len(hit)), truths)]


def test_the_operating_point_has_the_best_f1():
    """Twelve seeds: the twelve hits above 0.4 count, the misses below do not."""
    score = [*np.linspace(0.9, 0.4, 12), 0.3, 0.2]

    point = choose_operating_point(matches(score, [True] * 12 + [False] * 2, 12))

    assert point.threshold == pytest.approx(0.4)
    assert (point.precision, point.recall, point.f1) == (1, 1, 1)
    assert "best F1 against 12 seeds" in point.source


def test_without_a_meaningful_f1_there_are_as_many_picks_as_seeds():
    """There are too few held-out seeds to choose a threshold."""
    point = choose_operating_point(matches([0.9, 0.8, 0.7, 0.6], [True, False, True, True], 2))

    assert point.threshold == 0.8
    assert "as many picks as seeds (2)" in point.source


def test_a_network_that_finds_nothing_is_refused():
    """It must not be promoted."""
    with pytest.raises(TrainerError, match="finds nothing"):
        choose_operating_point(matches([], [], 20))
