"""Layers at full size are computed at half size, with the same results."""

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from factories import network_graph
from livepick.core.imaging import joint_detector
from livepick.core.imaging.joint_detector import joint_graph
from livepick.core.imaging.network_layers import Layers, one_by_one
from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick.core.imaging.space_to_depth import at_half_size, square_kernels
from livepick.models.general_model import SHIPPED

NETWORK = (SHIPPED / "model.onnx").read_bytes()


def run(nodes, constants, image, *, result, shapes=()):
    """Return the result of nodes for an image, (N, C, H, W)."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image.shape)],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, [None] * 4)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
        value_info=shapes,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run([result], {"image": image})[0]


def network_layers():
    """Return the layers and constants of the general model, from ``image`` to its logits."""
    graph = onnx.load_from_string(NETWORK).graph
    kinds = [node.op_type for node in graph.node]
    layers = list(graph.node)[kinds.index("Concat") + 1 : kinds.index("Sigmoid")]
    used = {name for node in layers for name in node.input}
    layers[0].input[0] = "image"
    constants = {
        one.name: numpy_helper.to_array(one) for one in graph.initializer if one.name in used
    }
    return layers, constants


@pytest.mark.parametrize("pad", [0, 1, 3])
def test_kernels_of_squares_give_the_convolution(pad, rng):
    """The pixels of each square come out in their places."""
    image = rng.standard_normal((1, 3, 20, 28)).astype(np.float32)
    weight = rng.standard_normal((2, 3, 2 * pad + 1, 5)).astype(np.float32)
    pads = [pad, 2, pad, 2]
    squares = [
        helper.make_node("Conv", ["image", "w"], ["squares"], strides=[2, 2], pads=pads),
        helper.make_node("DepthToSpace", ["squares"], ["result"], blocksize=2),
    ]

    plain = [helper.make_node("Conv", ["image", "w"], ["result"], pads=pads)]

    np.testing.assert_allclose(
        run(squares, {"w": square_kernels(weight)}, image, result="result"),
        run(plain, {"w": weight}, image, result="result"),
        atol=1e-5,
    )


@pytest.mark.parametrize("shape", [(2, 1, 96, 96), (2, 1, 32, 112)])
def test_a_network_gives_the_same_without_a_layer_at_full_size(shape, rng):
    """Only the first convolution reads pixels, in steps of two; at the edges there is no seam."""
    layers, constants = network_layers()
    image = rng.standard_normal(shape).astype(np.float32)
    result = layers[-1].output[0]

    half = at_half_size(layers, constants, "image")

    readers = [node for node in half.nodes if "image" in node.input]
    assert [list(one.ints) for one in readers[0].attribute if one.name == "strides"] == [[2, 2]]
    assert len(readers) == 1
    assert [node.op_type for node in half.nodes[-2:]] == ["DepthToSpace", "Slice"]
    assert sum(node.op_type == "Resize" for node in half.nodes) == 2
    np.testing.assert_allclose(
        run(half.nodes, half.constants, image, result=result, shapes=half.shapes),
        run(layers, constants, image, result=result),
        atol=2e-5,
    )


def test_images_one_by_one_give_the_same_as_a_stack(rng):
    """Weights are shared, so that only the nodes are there twice."""
    layers, constants = network_layers()
    image = rng.standard_normal((1, 1, 64, 48)).astype(np.float32)
    result = layers[-1].output[0]
    half = at_half_size(layers, constants, "image")
    negative = helper.make_node("Neg", ["image"], ["negative"])

    both = one_by_one(half, "image", ["image", "negative"], result)

    assert both.constants is half.constants
    assert len(both.nodes) == 2 * len(half.nodes) + 1
    np.testing.assert_allclose(
        run([negative, *both.nodes], both.constants, image, result=result, shapes=both.shapes),
        run(layers, constants, np.concatenate([image, -image]), result=result),
        atol=2e-5,
    )


@pytest.mark.parametrize("blind", [False, True])
def test_a_network_of_either_version_can_be_joined(blind, rng):
    """The layers are those of the first image, or follow the stack of both images."""
    both_at_once = network_graph(blind=blind)
    graph = onnx.load_from_string(both_at_once).graph
    kinds = [node.op_type for node in graph.node]
    start, end = kinds.index("Concat"), kinds.index("Sigmoid")
    layers = list(graph.node)[start + 1 : end]
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    separate = one_by_one(Layers(layers, constants, []), "both", ["image", "turned"], "head")
    nodes = [*list(graph.node)[:start], *separate.nodes, *list(graph.node)[end:]]
    del graph.node[:]
    graph.node.extend(nodes)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    image = rng.standard_normal((1, 1, 96, 96)).astype(np.float32)

    scores = [
        onnxruntime.InferenceSession(
            joint_graph(one, DIAMETER_PX), providers=["CPUExecutionProvider"]
        ).run(["score"], {"image": image})[0]
        for one in (both_at_once, model.SerializeToString())
    ]

    np.testing.assert_array_equal(*scores)


def test_a_network_of_another_form_stays_as_it_is():
    """It may be larger at full size, have another kind of layer, or enlarge in another way."""
    layers, constants = network_layers()
    first = layers[0].input[1]
    wide = constants | {first: np.tile(constants[first], (2, 1, 1, 1))}
    tanh = helper.make_node("Tanh", list(layers[-1].output), ["bounded"])
    smooth = copy.deepcopy(layers)
    *_, enlargement = (node for node in smooth if node.op_type == "Resize")
    del enlargement.attribute[:]
    enlargement.attribute.append(helper.make_attribute("mode", "linear"))

    for nodes, numbers in ((layers, wide), ([*layers, tanh], constants), (smooth, constants)):
        half = at_half_size(nodes, numbers, "image")
        assert half.nodes == nodes
        assert half.constants is numbers


def test_the_joint_picker_scores_as_with_the_network_as_it_was(monkeypatch, rng):
    """Scores are those of the graph with layers at full size, to the rounding of float32."""
    image = rng.standard_normal((1, 1, 160, 192)).astype(np.float32)
    scores = []
    for convert in (at_half_size, lambda nodes, constants, _: Layers(nodes, constants, [])):
        monkeypatch.setattr(joint_detector, "at_half_size", convert)
        session = onnxruntime.InferenceSession(
            joint_graph(NETWORK, DIAMETER_PX), providers=["CPUExecutionProvider"]
        )
        scores.append(session.run(["score"], {"image": image})[0])

    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)
