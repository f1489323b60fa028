"""Layers of a network as ONNX nodes and constants, and their use for several images."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

__all__ = ["Layers", "Weights", "one_by_one"]

Weights = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """Layers of a network, from its image to its logits."""

    nodes: list[Any]
    """ONNX nodes in the order of their computation."""

    constants: dict[str, Weights]
    """Constants by name."""

    shapes: list[Any]
    """Shapes of some maps, for the graph's ``value_info``: onnxruntime joins an addition with the
    convolution before it only if it knows that the two maps are of the same size."""


def one_by_one(network: Layers, source: str, images: Sequence[str], result: str) -> Layers:
    """Return a network that computes a stack of images one after the other.

    This takes the memory of one image, and no more time.

    Parameters
    ----------
    network
        A network from ``source`` (N, 1, H, W) to ``result`` (N, 1, H, W).
    images
        Names of the images, (1, 1, H, W), that ``source`` was the stack of.
    """
    nodes, shapes = [], []
    maps = [name for node in network.nodes for name in node.output]
    for number, image in enumerate(images):
        renamed = {source: image} | {name: f"{name}.of{number}" for name in maps}
        for node in network.nodes:
            one = copy.deepcopy(node)
            one.input[:] = [renamed.get(name, name) for name in node.input]
            one.output[:] = [renamed[name] for name in node.output]
            one.name = renamed.get(node.name, node.name)
            nodes.append(one)
        for shape in network.shapes:
            if shape.name in renamed:  # the graph may also know the shapes of other maps
                one = copy.deepcopy(shape)
                one.name = renamed[shape.name]
                shapes.append(one)
    from onnx import helper  # noqa: PLC0415 - see blob_detector.serialized

    parts = [f"{result}.of{number}" for number in range(len(images))]
    nodes.append(helper.make_node("Concat", parts, [result], result, axis=0))
    return Layers(nodes, network.constants, shapes)
