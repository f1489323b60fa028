"""ONNX export of the network; refused unless onnxruntime agrees with torch.

The graph is written node by node from torch's own trace of the network (``torch.fx``), not by
``torch.onnx.export``. The network has only six kinds of layers. This way livepick depends neither
on a deprecated exporter nor on one that needs more packages, the bytes depend only on the weights,
and the content of the graph can be read below. Any other layer is refused by name. The layers at
full size are then rewritten by ``livepick.core.imaging.space_to_depth``, to take less time.

A particle rotated by 180 degrees is still a particle. Therefore the graph scores the image in both
orientations and returns the mean, which costs a tenth of a second per micrograph.
"""

import copy
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from livepick.core.imaging.network_layers import one_by_one
from livepick.core.imaging.space_to_depth import at_half_size
from livepick.errors import TrainerError

__all__ = [
    "LARGEST_DIFFERENCE",
    "Agreement",
    "check_agreement",
    "graph_outputs",
    "graph_scores",
    "network_scores",
    "to_onnx",
]

Image = NDArray[np.float32]

OPSET = 17
"""Opset of the ai.onnx domain; supported by onnxruntime 1.13 and later."""

IR_VERSION = 8
"""File format version that belongs to the opset."""

LARGEST_DIFFERENCE = 1e-3
"""Largest allowed difference between a score from torch and from onnxruntime."""

_REMEDY = "This is an error in livepick or its libraries, not in your data: please report it."


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Differences between the scores of onnxruntime and those of torch."""

    images: int
    pixels: int
    max_difference: float
    mean_difference: float


def to_onnx(network: nn.Module) -> bytes:
    """Return the network as an ONNX graph from ``image`` (1, 1, H, W) to ``score`` in [0, 1].

    The normalizations are folded into the convolutions before them; the sigmoid and the mean over
    both orientations are appended.

    Raises
    ------
    TrainerError
        The network has a layer with no counterpart here, or the checker refuses the graph.
    """
    traced = fx.symbolic_trace(copy.deepcopy(network).eval().cpu())
    model = helper.make_model(
        _GraphWriter(traced).write(),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="livepick",
    )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise TrainerError(f"the exported graph is not valid ONNX: {error}", _REMEDY) from error
    return bytes(model.SerializeToString())


def network_scores(network: nn.Module, image: Image) -> Image:
    """Return torch's scores, ``[y, x]`` in [0, 1], for one prepared image ``[y, x]``.

    They are the mean over both orientations, as in the graph.
    """
    device = next(network.parameters()).device
    network.eval()
    with torch.inference_mode():
        upright = torch.from_numpy(image)[None, None].to(device)
        logits = network(torch.cat([upright, upright.flip(2, 3)]))
        both = torch.sigmoid(logits).float()
        scores: Image = ((both[0, 0] + both[1, 0].flip(0, 1)) / 2).cpu().numpy()
    return scores


def check_agreement(
    network: nn.Module, graph: bytes, images: Iterable[Image], *, threads: int = 1
) -> Agreement:
    """Compare onnxruntime's scores with torch's on ``images``, each ``[y, x]``.

    Raises
    ------
    TrainerError
        A score differs by more than ``LARGEST_DIFFERENCE`` or is not finite, or onnxruntime
        cannot load the graph.
    """
    score = graph_scores(graph, threads)
    reference = copy.deepcopy(network).cpu()
    differences = [np.abs(score(image) - network_scores(reference, image)) for image in images]
    if not differences:
        raise ValueError("agreement must be checked on at least one image")
    pixels = sum(d.size for d in differences)
    largest = float(np.max([d.max() for d in differences]))  # NaN if any is
    if not largest <= LARGEST_DIFFERENCE:
        raise TrainerError(
            f"onnxruntime's scores differ from torch's by up to {largest:g}, "
            f"more than {LARGEST_DIFFERENCE:g}",
            _REMEDY,
        )
    return Agreement(
        images=len(differences),
        pixels=pixels,
        max_difference=largest,
        mean_difference=float(sum(d.sum(dtype=np.float64) for d in differences) / pixels),
    )


def graph_scores(graph: bytes, threads: int) -> Callable[[Image], Image]:
    """Return a function from an image to the scores of the graph, on the CPU."""
    run = graph_outputs(graph, ["score"], threads)

    def score(image: Image) -> Image:
        scores: Image = run({"image": image[None, None]})[0][0, 0]
        return scores

    return score


def graph_outputs(
    graph: bytes, names: Sequence[str], threads: int
) -> Callable[[Mapping[str, Image]], list[Image]]:
    """Return a function from the inputs to some outputs of the graph, on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # no warning that an optional input could be a constant
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no other common base class
        raise TrainerError(f"onnxruntime rejects the exported graph: {error}", _REMEDY) from error

    def run(inputs: Mapping[str, Image]) -> list[Image]:
        outputs: list[Image] = session.run(list(names), dict(inputs))
        return outputs

    return run


class _GraphWriter:
    """Converter of a traced network in evaluation mode to ONNX nodes in the traced order."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self._traced = traced
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._shapes: list[onnx.ValueInfoProto] = []
        self._names: dict[fx.Node, str] = {}
        """Name of the ONNX value that holds the result of each traced node."""

    def write(self) -> onnx.GraphProto:
        """Return the complete graph."""
        for node in self._traced.graph.nodes:
            match node.op:
                case "placeholder":
                    self._names[node] = "both"
                case "call_module":
                    self._layer(node, self._traced.get_submodule(str(node.target)))
                case "call_function" if node.target is operator.add:
                    self._add(node, "Add", self._inputs(node))
                case "output":
                    self._take_both_ways_up(self._names[node.args[0]])
                    self._mean_score(self._names[node.args[0]])
                case _:
                    raise _unknown(node.target)
        shape: list[str | int | None] = [1, 1, "height", "width"]
        return helper.make_graph(
            self._nodes,
            "livepick",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("score", TensorProto.FLOAT, shape)],
            self._constants,
            value_info=self._shapes,
        )

    def _take_both_ways_up(self, logits: str) -> None:
        """Let the layers take the image (1, 1, H, W) and then its copy rotated by 180 degrees.

        Layers at full size are computed at half size.
        """
        values = {one.name: numpy_helper.to_array(one) for one in self._constants}
        layers = at_half_size(self._nodes, values, "both")
        self._nodes, self._constants = [], []
        images = ["image", self._half_turn("image", "turned")]
        network = one_by_one(layers, "both", images, logits)
        self._nodes += network.nodes
        self._shapes = network.shapes
        self._constants += [
            numpy_helper.from_array(value, name) for name, value in network.constants.items()
        ]

    def _mean_score(self, logits: str) -> None:
        """Compute ``score``, the mean of both orientations, from the logits (2, 1, H, W)."""
        self._nodes += [
            helper.make_node("Sigmoid", [logits], ["scores"], "sigmoid"),
            helper.make_node("Split", ["scores"], ["upright", "down"], "split", axis=0),
        ]
        back = self._half_turn("down", "back")
        half = numpy_helper.from_array(np.array(0.5, dtype=np.float32), "half")
        self._constants.append(half)
        self._nodes += [
            helper.make_node("Add", ["upright", back], ["sum"], "sum"),
            helper.make_node("Mul", ["sum", half.name], ["score"], "mean"),
        ]

    def _half_turn(self, value: str, name: str) -> str:
        """Rotate images by 180 degrees by reversing both axes."""
        last, before_first = [-1, -1], [np.iinfo(np.int64).min] * 2
        roles = {"starts": last, "ends": before_first, "axes": [2, 3], "steps": [-1, -1]}
        inputs = [value]
        for role, numbers in roles.items():
            constant = numpy_helper.from_array(np.array(numbers, dtype=np.int64), f"{name}.{role}")
            self._constants.append(constant)
            inputs.append(constant.name)
        self._nodes.append(helper.make_node("Slice", inputs, [name], name))
        return name

    def _layer(self, node: fx.Node, layer: nn.Module) -> None:
        match layer:
            case nn.Conv2d() if layer.padding_mode == "zeros":
                self._convolution(node, layer)
            case nn.BatchNorm2d() if self._is_folded(node):
                self._names[node] = self._inputs(node)[0]
            case nn.ReLU():
                self._add(node, "Relu", self._inputs(node))
            case nn.Upsample() if layer.mode == "nearest" and layer.size is None:
                scales = self._constant(node, "scales", _upsampling_scales(layer))
                self._add(
                    node,
                    "Resize",
                    [*self._inputs(node), "", scales],
                    mode="nearest",
                    coordinate_transformation_mode="asymmetric",
                    nearest_mode="floor",
                )
            case _:
                raise _unknown(layer)

    def _convolution(self, node: fx.Node, layer: nn.Conv2d) -> None:
        following = [self._module(user) for user in node.users]
        if len(following) == 1 and isinstance(following[0], nn.BatchNorm2d):
            layer = fuse_conv_bn_eval(layer, following[0])
        inputs = [*self._inputs(node), self._constant(node, "weight", _array(layer.weight))]
        if layer.bias is not None:
            inputs.append(self._constant(node, "bias", _array(layer.bias)))
        pad_y, pad_x = (int(p) for p in layer.padding)
        self._add(
            node,
            "Conv",
            inputs,
            kernel_shape=list(layer.kernel_size),
            strides=list(layer.stride),
            dilations=list(layer.dilation),
            pads=[pad_y, pad_x, pad_y, pad_x],
            group=layer.groups,
        )

    def _is_folded(self, node: fx.Node) -> bool:
        """Return True if a normalization follows a convolution whose output has no other use."""
        source = node.args[0]
        return (
            isinstance(source, fx.Node)
            and isinstance(self._module(source), nn.Conv2d)
            and len(source.users) == 1
        )

    def _module(self, node: fx.Node) -> nn.Module | None:
        return self._traced.get_submodule(str(node.target)) if node.op == "call_module" else None

    def _inputs(self, node: fx.Node) -> list[str]:
        return [self._names[source] for source in node.all_input_nodes]

    def _constant(self, node: fx.Node, role: str, value: Image) -> str:
        name = f"{node.name}.{role}"
        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def _add(self, node: fx.Node, kind: str, inputs: list[str], **attributes: Any) -> None:
        self._nodes.append(helper.make_node(kind, inputs, [node.name], node.name, **attributes))
        self._names[node] = node.name


def _upsampling_scales(layer: nn.Upsample) -> Image:
    factors = layer.scale_factor
    y, x = factors if isinstance(factors, tuple) else (factors, factors)
    return np.asarray([1, 1, y, x], dtype=np.float32)


def _array(parameter: torch.Tensor) -> Image:
    array: Image = parameter.detach().numpy().astype(np.float32)
    return array


def _unknown(layer: object) -> TrainerError:
    return TrainerError(f"the network has a layer that cannot be exported: {layer}", _REMEDY)
