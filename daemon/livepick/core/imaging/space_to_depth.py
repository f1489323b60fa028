"""A network's layers at full size, computed at half size with four times the channels.

onnxruntime computes convolutions on the CPU in blocks of 16 channels. The layers at full size have
eight, so half of their arithmetic and memory is padding, and each map is copied between two
layouts: they took 60 % of the time of a network of which they are 13 %.

Here a map (N, 8, H, W) is computed as (N, 32, H/2, W/2), as by ONNX's ``SpaceToDepth``: the four
pixels of each square of 2 x 2 become channels (Shi et al. 2016, arXiv:1609.05158). A convolution
gets the weights of the pixels that meet, and zeros elsewhere. Enlarging by nearest neighbour costs
nothing, because all four pixels have the same weights. The result is the same but for rounding.
"""

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from livepick.core.imaging.network_layers import Layers, Weights

__all__ = ["at_half_size", "square_kernels"]

MOST_CHANNELS = 8
"""A map with more channels fills the blocks as it is."""

ENLARGING = {
    "mode": b"nearest",
    "coordinate_transformation_mode": b"asymmetric",
    "nearest_mode": b"floor",
}
"""Attributes of an enlargement after which the four pixels of each square are equal."""


def at_half_size(nodes: Sequence[Any], constants: dict[str, Weights], source: str) -> Layers:
    """Return a network that computes the same from an image with even sides.

    If it does not have the form of ``livepick_trainer.learning.network``, or has more than
    ``MOST_CHANNELS`` channels at full size, it is returned as it is: its scores are as good, and
    only take longer. Tests show that the trainer's network and the general model are rewritten.

    Parameters
    ----------
    nodes
        ONNX nodes of a network in the order of their computation. The last output has the size of
        the source.
    constants
        Constants by name.
    source
        Name of the image, (N, 1, H, W).
    """
    rewriter = _Rewriter(nodes, constants, source)
    try:
        rewriter.rewrite()
    except _OtherFormError:
        return Layers(list(nodes), constants, [])
    used = {name for node in rewriter.nodes for name in node.input}
    constants = {name: value for name, value in rewriter.constants.items() if name in used}
    return Layers(rewriter.nodes, constants, rewriter.shapes())


def square_kernels(weight: Weights) -> Weights:
    """Return kernels (4 K, C, h + 1, w + 1) that apply kernels (K, C, h, w) to squares of pixels.

    With a stride of 2 they compute the four results of each square of 2 x 2 pixels, in the order of
    ``DepthToSpace``: all K of the upper left pixel, then those of the upper right one, and so on.
    """
    count, channels, height, width = weight.shape
    kernels = np.zeros((2, 2, count, channels, height + 1, width + 1), dtype=weight.dtype)
    for y, x in np.ndindex(2, 2):
        kernels[y, x, :, :, y : y + height, x : x + width] = weight
    return kernels.reshape(4 * count, channels, height + 1, width + 1)


class _OtherFormError(Exception):
    """The network has a node that has no counterpart here."""


class _Layer:
    """A convolution of one of the known kinds."""

    def __init__(self, node: Any, constants: dict[str, Weights]) -> None:
        given = {one.name: list(one.ints) or one.i for one in node.attribute}
        if any(name not in constants for name in node.input[1:]) or "strides" not in given:
            raise _OtherFormError
        self.weight = constants[node.input[1]]
        self.bias = constants[node.input[2]] if len(node.input) > 2 else None
        side = self.weight.shape[2]
        self.pad, self.stride = side // 2, given["strides"][0]
        usual = {
            "kernel_shape": [side, side],
            "strides": [self.stride] * 2,
            "dilations": [1, 1],
            "pads": [self.pad] * 4,
            "group": 1,
        }
        if side not in (1, 3) or self.stride not in (1, 2) or given != usual:
            raise _OtherFormError


class _Rewriter:
    """Writer of one network at half size, node by node.

    Parameters
    ----------
    nodes, constants, source
        As in ``at_half_size``.
    """

    def __init__(self, nodes: Sequence[Any], constants: dict[str, Weights], source: str) -> None:
        self.nodes: list[Any] = []
        self.constants = dict(constants)
        self._original = nodes
        self._source = source
        self._uses = Counter(one for node in nodes for one in node.input)
        self._halvings = {source: 0}
        """Number of times that each map was halved."""
        self._shifts: dict[str, int] = {}
        """For each map of squares, 1 if its first square begins a pixel outside the image, else 0.
        A convolution of 3 x 3 needs only 2 x 2 squares for squares that are shifted by a pixel."""

    def rewrite(self) -> None:
        """Add the counterparts of all nodes, and put the pixels of the last map in their places."""
        for node in self._original[:-1]:
            self._add(node)
        last = copy.deepcopy(self._original[-1])
        result, last.output[0] = last.output[0], f"{last.output[0]}.squares"
        self._add(last)
        if last.output[0] not in self._shifts:
            raise _OtherFormError
        if self._shifts[last.output[0]]:
            self._node("DepthToSpace", [last.output[0]], f"{result}.whole", blocksize=2)
            inside = {"starts": [1, 1], "ends": [-1, -1], "axes": [2, 3]}
            for name, numbers in inside.items():
                self.constants[f"{result}.{name}"] = np.array(numbers, dtype=np.int64)
            self._node("Slice", [f"{result}.{name}" for name in ("whole", *inside)], result)
        else:
            self._node("DepthToSpace", [last.output[0]], result, blocksize=2)

    def shapes(self) -> list[Any]:
        """Return the shapes of all maps of squares."""
        from onnx import TensorProto, helper  # noqa: PLC0415 - see blob_detector.serialized

        sides = [None, None, "half_height", "half_width"]
        names = [name for name, shift in self._shifts.items() if not shift]
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, sides) for name in names]

    def _add(self, node: Any) -> None:
        result = node.output[0]
        known = {self._halvings[one] for one in node.input if one in self._halvings}
        if len(known) != 1:
            raise _OtherFormError
        (halvings,) = known
        match node.op_type:
            case "Conv":
                layer = _Layer(node, self.constants)
                self._halvings[result] = halvings + layer.stride - 1
                if halvings == 0:
                    self._convolve(node.input[0], layer, result)
                    return
            case "Resize":
                self._check_doubles(node)
                self._halvings[result] = halvings - 1
                if halvings == 1:
                    self._enlarge(node)
                    return
            case "Relu" | "Add":
                self._halvings[result] = halvings
                if halvings == 0:
                    shifts = {self._shifts.get(one) for one in node.input}
                    if len(shifts) > 1 or None in shifts:
                        raise _OtherFormError
                    self._shifts[result] = self._shifts[node.input[0]]
            case _:
                raise _OtherFormError
        self.nodes.append(node)

    def _check_doubles(self, node: Any) -> None:
        scales = self.constants.get(node.input[-1])
        if scales is None or scales.tolist() != [1, 1, 2, 2]:
            raise _OtherFormError
        if {one.name: one.s for one in node.attribute} != ENLARGING:
            raise _OtherFormError

    def _convolve(self, source: str, layer: _Layer, result: str) -> None:
        """Add a convolution of a map at full size."""
        shift = self._shifts.get(source, 0)
        if layer.stride == 2:
            if shift or source == self._source:
                raise _OtherFormError
            kernel, pads = _kernel_on_squares(layer.weight, layer.pad, at=[0])
            self._conv(source, kernel, layer.bias, result, pads)
            return
        if len(layer.weight) > MOST_CHANNELS or (shift and layer.pad):
            raise _OtherFormError
        bias = _repeated(layer.bias, 4)
        self._shifts[result] = shift
        if source == self._source:
            kernel = square_kernels(layer.weight)
            self._conv(source, kernel, bias, result, [layer.pad] * 4, strides=[2, 2])
        else:
            self._shifts[result] += layer.pad
            kernel, pads = _kernel_on_squares(
                layer.weight, layer.pad, at=[-layer.pad, 1 - layer.pad]
            )
            self._conv(source, kernel, bias, result, pads)

    def _enlarge(self, node: Any) -> None:
        """Replace an enlargement to full size and the convolution before it by one convolution."""
        before = next(one for one in self.nodes if one.output[0] == node.input[0])
        if before.op_type != "Conv" or self._uses[node.input[0]] > 1:
            raise _OtherFormError
        layer = _Layer(before, self.constants)
        if layer.pad:
            raise _OtherFormError
        self.nodes.remove(before)
        self._shifts[node.output[0]] = 0
        kernel, bias = np.tile(layer.weight, (4, 1, 1, 1)), _repeated(layer.bias, 4)
        self._conv(before.input[0], kernel, bias, node.output[0], [0] * 4)

    def _conv(
        self,
        source: str,
        kernel: Weights,
        bias: Weights | None,
        result: str,
        pads: list[int],
        **attributes: Any,
    ) -> None:
        inputs = [source, f"{result}.weight"]
        self.constants[inputs[1]] = np.ascontiguousarray(kernel)
        if bias is not None:
            inputs.append(f"{result}.bias")
            self.constants[inputs[2]] = bias
        shape = list(kernel.shape[2:])
        self._node("Conv", inputs, result, kernel_shape=shape, pads=pads, **attributes)

    def _node(self, kind: str, inputs: list[str], result: str, **attributes: Any) -> None:
        from onnx import helper  # noqa: PLC0415 - see blob_detector.serialized

        self.nodes.append(helper.make_node(kind, inputs, [result], result, **attributes))


def _repeated(bias: Weights | None, count: int) -> Weights | None:
    return None if bias is None else np.tile(bias, count)


def _kernel_on_squares(weight: Weights, pad: int, *, at: list[int]) -> tuple[Weights, list[int]]:
    """Return a kernel of squares that applies the kernel of pixels (K, C, h, w), and its padding.

    Parameters
    ----------
    weight, pad
        Kernels of pixels, and their padding.
    at
        Rows, and columns, of the results, counted from the first pixel of their square: both for
        squares, only the first for a result of half the size.
    """
    count, channels, side, _ = weight.shape
    first, last = (at[0] - pad) // 2, (at[-1] + side - 1 - pad) // 2
    squares = last - first + 1
    kernel = np.zeros(
        (len(at), len(at), count, 2, 2, channels, squares, squares), dtype=weight.dtype
    )
    for row, column in np.ndindex(len(at), len(at)):
        for y, x in np.ndindex(side, side):
            square_y, pixel_y = divmod(at[row] + y - pad, 2)
            square_x, pixel_x = divmod(at[column] + x - pad, 2)
            part = kernel[row, column, :, pixel_y, pixel_x]
            part[..., square_y - first, square_x - first] = weight[..., y, x]
    after = last - at[0]  # squares that begin outside the image are one more
    kernel = kernel.reshape(len(at) ** 2 * count, 4 * channels, squares, squares)
    return kernel, [-first, -first, after, after]
