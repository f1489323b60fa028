"""The joint picker: one ONNX graph that holds the general model's network and the blob picker.

The two err differently, so their mean is better than either. The network sees the image and its
negative, where it finds **decoys** as the blob picker does (``core.imaging.decoys``); this costs no
more than to see the image upright and upside down, as the network alone does.

**Response.** The mean of the blob picker's response, in standard deviations, and of the network's,
which is its logit above ``LOWEST_LOGIT``. On this scale, noise reaches 3 to 4 with both.

**Threshold.** It is near the middle between ``NOISE_HEIGHT`` and the height that half of the peaks
in excess of the decoys have, but at most ``HIGHEST``. Where the decoys above it are more than
``MOST_DECOY_SHARE`` of the peaks, it rises until they are not, and so an empty field has hardly any
picks.

**Without the network.** If the network finds its decoys as often as particles, as in single frames,
its excess is below that of the blob picker. The blob picker then picks alone.

Chosen on simulations, empty fields and half of the real micrographs. The comparison is printed by
``tests/benchmarks/general.py``; daemon/README.md has the table.
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livepick.core.imaging.blob_detector import BIN, blob_nodes, serialized
from livepick.core.imaging.decoys import excess_nodes
from livepick.core.imaging.network_layers import Layers, one_by_one
from livepick.core.imaging.space_to_depth import at_half_size

__all__ = ["joint_graph"]

LOWEST_LOGIT = -5.0
"""Logit of the network below which a place is only background."""

NETWORK_WEIGHT = 0.3
"""Weight of the network's response, where the blob picker's has 0.5. One unit of the blob picker's
response is worth 1.4 units of logit, and so the two have nearly the same weight."""

BLOB_WEIGHT = 0.5

NOISE_HEIGHT = 1.4
"""Response above which there are fewer decoys than particles."""

HEIGHT_FRACTION = 0.4
"""Place of the threshold between ``NOISE_HEIGHT`` (0) and the typical height (1)."""

HIGHEST = 2.125
"""Highest threshold, unless decoys ask for a higher one."""

MOST_DECOY_SHARE, MOST_DECOYS = 0.15, 2.0
"""Decoys above the threshold: at most this share of the peaks, or this number."""

THRESHOLDS = np.arange(0.5, 6.01, 0.125, dtype=np.float32)
"""Thresholds that are tried."""

SLOPE = 0.5
"""Width of the logistic curve that turns the response into a score."""

NOWHERE = -9.0
"""Response where nothing counts."""


def joint_graph(network: bytes, diameter_px: float) -> bytes:
    """Return the joint picker for prepared images, as a serialized ONNX model.

    Inputs and output are those of ``blob_detector.blob_graph``. H and W are multiples of 16. The
    threshold scores 0.5, in each micrograph.

    Parameters
    ----------
    network
        Graph of a network, as ``livepick_trainer.learning.export_onnx`` writes it.
    diameter_px
        Particle diameter in pixels of the image.

    Raises
    ------
    ValueError
        The network's graph has another form.
    """
    nodes, constants = blob_nodes(diameter_px)
    seeing = _network_nodes(network)
    deciding, numbers = _decision_nodes(max(1, round(diameter_px / BIN / 2)))
    return serialized(
        "livepick-joint",
        [*nodes, *seeing.nodes, *deciding],
        constants | seeing.constants | numbers,
        ["score"],
        seeing.shapes,
    )


def _network_nodes(network: bytes) -> Layers:
    """Return the nodes from ``image`` to ``network.logits`` (2, 1, H, W): image, then negative.

    The graph of a network runs on the image and on the image upside down, and ends with a sigmoid
    and their mean. Here the second image is the negative, and there is no sigmoid.
    """
    from onnx import helper, load_model_from_string, numpy_helper  # noqa: PLC0415 - see serialized

    try:
        graph = load_model_from_string(network).graph
    except Exception as error:  # protobuf's errors have no other common base class
        raise ValueError(f"it is not an ONNX graph: {error}") from error
    layers, source, result = _layers(graph)
    constants = {f"network.{one.name}": numpy_helper.to_array(one) for one in graph.initializer}
    named = []
    for one in layers:
        inputs = [name and f"network.{name}" for name in one.input]
        outputs = [f"network.{name}" for name in one.output]
        copy = helper.make_node(one.op_type, inputs, outputs)
        copy.attribute.extend(one.attribute)
        named.append(copy)
    used = {name for one in named for name in one.input}
    known = {name: value for name, value in constants.items() if name in used}
    half = at_half_size(named, known, f"network.{source}")
    if not half.shapes:  # the graph has this form already
        for shape in graph.value_info:
            shape.name = f"network.{shape.name}"
        half = dataclasses.replace(half, shapes=list(graph.value_info))
    images, logits = ["image", "network.negative"], f"network.{result}"
    both = one_by_one(half, f"network.{source}", images, logits)
    nodes = [
        helper.make_node("Neg", images[:1], images[1:]),
        *both.nodes,
        helper.make_node("Identity", [logits], ["network.logits"]),
    ]
    return dataclasses.replace(both, nodes=nodes)


def _layers(graph: Any) -> tuple[list[Any], str, str]:
    """Return the layers of a network, and the names of their source and of their result.

    Raises
    ------
    ValueError
        The graph has another form.
    """
    nodes = list(graph.node)
    stacks = [n for n, one in enumerate(nodes) if _is_stack(one)]
    ends = [n for n, one in enumerate(nodes) if one.op_type == "Sigmoid"]
    if len(stacks) != 1 or len(ends) != 1 or [one.name for one in graph.input] != ["image"]:
        raise ValueError("it is not the graph of a picking network")
    stack, end = nodes[stacks[0]], nodes[ends[0]]
    if stack.output[0] != end.input[0]:  # of an earlier version: both images at once
        return nodes[stacks[0] + 1 : ends[0]], stack.output[0], end.input[0]
    wanted = {stack.input[0]}  # the layers of the first image
    layers: list[Any] = []
    for one in reversed(nodes[: stacks[0]]):
        if one.output[0] in wanted:
            wanted.update(one.input)
            layers.insert(0, one)
    return layers, "image", stack.input[0]


def _is_stack(node: Any) -> bool:
    """Return True if a node stacks images."""
    return node.op_type == "Concat" and [one.i for one in node.attribute] == [0]


def _decision_nodes(half_px: int) -> tuple[list[Any], dict[str, NDArray[Any]]]:
    """Return the nodes from the responses of both to ``score``, and their constants.

    It is one long list, because it is one computation that is read from top to bottom.

    Parameters
    ----------
    half_px
        Half a particle diameter, in binned pixels.
    """
    from onnx import TensorProto, helper  # noqa: PLC0415 - see serialized

    node = helper.make_node
    bins: dict[str, Any] = {"kernel_shape": [BIN, BIN], "strides": [BIN, BIN]}
    blocks: dict[str, Any] = {
        "kernel_shape": [half_px] * 2,
        "strides": [half_px] * 2,
        "ceil_mode": 1,
    }
    width = 2 * half_px + 1
    nodes = [
        node("Sub", ["network.logits", "lowest_logit"], ["over_lowest"]),
        node("Relu", ["over_lowest"], ["seen_by_network"]),
        node("AveragePool", ["seen_by_network"], ["seen_binned"], **bins),
        node("Split", ["seen_binned"], ["network_peaks", "network_decoys"], axis=0),
        # How clearly the network sees particles.
        node("Sub", ["network_peaks", "network_decoys"], ["network_difference"]),
        node("Mul", ["network_difference", "unmasked"], ["network_seen"]),
        *excess_nodes("network", half_px),
        # Peaks and decoys of both together.
        node("Mul", ["binned_response", "blob_weight"], ["blob_part"]),
        node("Sub", ["whole", "unmasked"], ["hidden"]),
        node("Mul", ["hidden", "nowhere"], ["sunk"]),
        *(
            step
            for name, sign in (("peak", "Add"), ("decoy", "Sub"))
            for step in (
                node("Mul", [f"network_{name}s", "network_weight"], [f"joint_{name}_part"]),
                node(sign, [f"joint_{name}_part", "blob_part"], [f"joint_{name}_mean"]),
                node("Mul", [f"joint_{name}_mean", "unmasked"], [f"joint_{name}_kept"]),
                node("Add", [f"joint_{name}_kept", "sunk"], [f"joint_{name}"]),
            )
        ),
        node("Max", ["joint_peak", "joint_decoy"], ["joint_any"]),
        node(
            "MaxPool",
            ["joint_any"],
            ["joint_highest_in_column"],
            kernel_shape=[width, 1],
            pads=[half_px, 0, half_px, 0],
        ),
        node(
            "MaxPool",
            ["joint_highest_in_column"],
            ["joint_highest"],
            kernel_shape=[1, width],
            pads=[0, half_px, 0, half_px],
        ),
        *(
            step
            for name in ("peak", "decoy")
            for step in (
                node("Equal", [f"joint_{name}", "joint_highest"], [f"joint_{name}_is_top"]),
                node(
                    "Where",
                    [f"joint_{name}_is_top", f"joint_{name}", "nowhere"],
                    [f"joint_{name}_tops"],
                ),
                node("MaxPool", [f"joint_{name}_tops"], [f"joint_{name}_heights"], **blocks),
                node("Greater", [f"joint_{name}_heights", "tried"], [f"joint_{name}_above"]),
                node(
                    "Cast",
                    [f"joint_{name}_above"],
                    [f"joint_{name}_counted"],
                    to=TensorProto.FLOAT,
                ),
                node(
                    "ReduceSum",
                    [f"joint_{name}_counted", "but_first"],
                    [f"joint_{name}s"],
                    keepdims=1,
                ),
            )
        ),
        # Threshold.
        node("Sub", ["joint_peaks", "joint_decoys"], ["joint_surplus"]),
        node("ReduceMax", ["joint_surplus"], ["most_surplus"], axes=[0], keepdims=1),
        node("Mul", ["most_surplus", "a_half"], ["half_surplus"]),
        node("Greater", ["joint_surplus", "half_surplus"], ["has_half"]),
        node("Where", ["has_half", "tried", "lowest_tried"], ["typical"]),
        node("ReduceMax", ["typical"], ["typical_height"], axes=[0], keepdims=1),
        node("Mul", ["typical_height", "height_fraction"], ["part_of_height"]),
        node("Add", ["part_of_height", "rest_of_noise"], ["between"]),
        node("Min", ["between", "highest_usual"], ["wished"]),
        node("Mul", ["joint_peaks", "most_decoy_share"], ["share_of_peaks"]),
        node("Max", ["share_of_peaks", "few_decoys"], ["allowed"]),
        node("Greater", ["joint_decoys", "allowed"], ["is_noisy"]),
        node("Less", ["tried", "wished"], ["is_low"]),
        node("Or", ["is_noisy", "is_low"], ["is_refused"]),
        node("Where", ["is_refused", "highest_tried", "tried"], ["allowed_thresholds"]),
        node("ReduceMin", ["allowed_thresholds"], ["joint_threshold"], axes=[0], keepdims=1),
        # Score.
        node("Split", ["seen_by_network"], ["network_response", "unused"], axis=0),
        node("Mul", ["network_response", "network_weight"], ["network_share"]),
        node("Mul", ["response", "blob_weight"], ["blob_share"]),
        node("Add", ["network_share", "blob_share"], ["joint_response"]),
        node("Sub", ["joint_response", "joint_threshold"], ["joint_over"]),
        node("Div", ["joint_over", "joint_slope"], ["joint_logit"]),
        node("Sub", ["response", "threshold"], ["blob_over"]),
        node("Div", ["blob_over", "slope"], ["blob_logit"]),
        node("Less", ["network_excess", "all_excess"], ["is_blob_clearer"]),
        node("Where", ["is_blob_clearer", "blob_logit", "joint_logit"], ["logit"]),
        node("Sigmoid", ["logit"], ["score"]),
    ]
    return nodes, {
        name: np.asarray(value, dtype=np.float32)
        for name, value in {
            "lowest_logit": LOWEST_LOGIT,
            "network_weight": NETWORK_WEIGHT,
            "blob_weight": BLOB_WEIGHT,
            "nowhere": NOWHERE,
            "tried": THRESHOLDS.reshape(-1, 1, 1, 1),
            "lowest_tried": THRESHOLDS[0],
            "highest_tried": THRESHOLDS[-1],
            "a_half": 0.5,
            "height_fraction": HEIGHT_FRACTION,
            "rest_of_noise": (1 - HEIGHT_FRACTION) * NOISE_HEIGHT,
            "highest_usual": HIGHEST,
            "most_decoy_share": MOST_DECOY_SHARE,
            "few_decoys": MOST_DECOYS,
            "joint_slope": SLOPE,
        }.items()
    }
