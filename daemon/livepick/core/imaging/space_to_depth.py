"""A network's layers at full size, computed at half size with four times the channels.

onnxruntime computes convolutions on the CPU in blocks of 16 channels. The layers at full size have
eight, so half of their arithmetic and memory is padding, and each map is copied between two
layouts: they took 60 % of the time of a network of which they are 13 %.

Here a map (N, 8, H, W) is computed as (N, 32, H/2, W/2), as by ONNX's ``SpaceToDepth``: the four
pixels of each square of 2 x 2 become channels (Shi et al. 2016, arXiv:1609.05158). A convolution
gets the weights of the pixels that meet, and zeros elsewhere. Enlarging by nearest neighbour costs
nothing, because all four pixels have the same weights. The result is the same but for rounding.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["HalfSize", "at_half_size", "square_kernels"]

Weights = NDArray[Any]

MOST_CHANNELS = 8
"""A map with more channels fills the blocks as it is."""


@dataclass(frozen=True, slots=True, eq=False)
class HalfSize:
    """A network without layers at full size."""

    nodes: list[Any]
    """ONNX nodes in the order of their computation."""

    constants: dict[str, Weights]
    """Constants by name."""

    shapes: list[Any]
    """Shapes of some maps, for the graph's ``value_info``: onnxruntime joins an addition with the
    convolution before it only if it knows that the two maps are of the same size."""


def at_half_size(nodes: Sequence[Any], constants: dict[str, Weights], source: str) -> HalfSize:
    """Return a network that computes the same from an image with even sides.

    If it does not have the form of ``livepick_trainer.learning.network``, or has more than
    ``MOST_CHANNELS`` channels at full size, it is returned as it is.

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
        return HalfSize(list(nodes), constants, [])
    used = {name for node in rewriter.nodes for name in node.input}
    constants = {name: value for name, value in rewriter.constants.items() if name in used}
    return HalfSize(rewriter.nodes, constants, rewriter.shapes())


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
        """Number of times that each map of the original network was halved."""
        self._parts: dict[str, list[str]] = {}
        """Maps that replace each map at full size: all four pixels, or the upper and lower two."""

    def rewrite(self) -> None:
        """Add the counterparts of all nodes, and put the pixels of the last map in their places."""
        for node in self._original:
            self._add(node)
        result = self._original[-1].output[0]
        if result not in self._parts:
            raise _OtherFormError
        self._node("Concat", self._parts[result], f"{result}.squares", axis=1)
        self._node("DepthToSpace", [f"{result}.squares"], result, blocksize=2)

    def shapes(self) -> list[Any]:
        """Return the shapes of all maps of squares."""
        from onnx import TensorProto, helper  # noqa: PLC0415 - see blob_detector.serialized

        sides = [None, None, "half_height", "half_width"]
        names = [name for parts in self._parts.values() for name in parts]
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
                self._halvings[result] = halvings - 1
                if halvings == 1:
                    self._enlarge(node)
                    return
            case "Relu" | "Add":
                self._halvings[result] = halvings
                if halvings == 0:
                    self._combine(node)
                    return
            case _:
                raise _OtherFormError
        self.nodes.append(node)

    def _convolve(self, source: str, layer: _Layer, result: str) -> None:
        """Add a convolution of a map at full size."""
        if layer.stride == 1 and len(layer.weight) > MOST_CHANNELS:
            raise _OtherFormError
        if source == self._source:
            if layer.stride != 1:
                raise _OtherFormError
            self._parts[result] = [result]
            pads = [layer.pad] * 4
            bias = _repeated(layer.bias, 4)
            self._conv(source, square_kernels(layer.weight), bias, result, pads, strides=[2, 2])
        elif layer.stride == 2:
            if len(self._parts[source]) > 1:
                raise _OtherFormError
            kernel, pads = _half_size_kernel(layer.weight, layer.pad, row=None)
            self._conv(source, kernel, layer.bias, result, pads)
        else:
            self._convolve_squares(self._parts[source], layer, result)

    def _convolve_squares(self, sources: list[str], layer: _Layer, result: str) -> None:
        """Add a convolution from squares to squares, the upper and the lower pixels separately.

        Each of the two needs only two of the three rows of squares.
        """
        self._parts[result] = [f"{result}.upper", f"{result}.lower"]
        if len(sources) == 1:
            of_each = [(sources[0], row) for row in (0, 1)]
        elif layer.pad == 0:
            of_each = [(sources[row], row) for row in (0, 1)]
        else:
            raise _OtherFormError
        for (source, row), part in zip(of_each, self._parts[result], strict=True):
            kernel, pads = _half_size_kernel(layer.weight, layer.pad, row=row)
            if len(sources) > 1:  # without padding, a row of pixels meets only itself
                half = kernel.shape[1] // 2
                kernel = kernel[:, row * half : (row + 1) * half]
            self._conv(source, kernel, _repeated(layer.bias, 2), part, pads)

    def _enlarge(self, node: Any) -> None:
        """Replace an enlargement to full size and the convolution before it by one convolution."""
        before = next(one for one in self.nodes if one.output[0] == node.input[0])
        scales = self.constants.get(node.input[-1])
        if before.op_type != "Conv" or self._uses[node.input[0]] > 1 or scales is None:
            raise _OtherFormError
        if scales.tolist() != [1, 1, 2, 2]:
            raise _OtherFormError
        layer = _Layer(before, self.constants)
        if layer.pad:
            raise _OtherFormError
        self.nodes.remove(before)
        self._parts[node.output[0]] = [node.output[0]]
        kernel, bias = np.tile(layer.weight, (4, 1, 1, 1)), _repeated(layer.bias, 4)
        self._conv(before.input[0], kernel, bias, node.output[0], [0] * 4)

    def _combine(self, node: Any) -> None:
        """Add an operation on each pixel."""
        result = node.output[0]
        sources = [self._parts[one] for one in node.input]
        if len({len(one) for one in sources}) != 1:
            raise _OtherFormError
        whole = len(sources[0]) == 1
        self._parts[result] = [result] if whole else [f"{result}.upper", f"{result}.lower"]
        for number, part in enumerate(self._parts[result]):
            self._node(node.op_type, [one[number] for one in sources], part)

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


def _half_size_kernel(weight: Weights, pad: int, *, row: int | None) -> tuple[Weights, list[int]]:
    """Return a kernel of squares that applies the kernel of pixels (K, C, h, w), and its padding.

    Parameters
    ----------
    weight, pad
        Kernels of pixels, and their padding.
    row
        Row of the squares that is computed: 0 or 1, for both of its pixels; or None for a result
        of half the size, which has one pixel for each square.
    """
    columns = [0] if row is None else [0, 1]
    count, channels, height, width = weight.shape
    # Pixel ``at + n - pad`` is in the square ``(at + n - pad) // 2``, seen from the result's own.
    first_y, first_x = ((row or 0) - pad) // 2, -pad // 2
    last_y, last_x = ((row or 0) + height - 1 - pad) // 2, (columns[-1] + width - 1 - pad) // 2
    shape = (last_y - first_y + 1, last_x - first_x + 1)
    kernel = np.zeros((len(columns), count, 2, 2, channels, *shape), dtype=weight.dtype)
    for column in columns:
        for y, x in np.ndindex(height, width):
            square_y, pixel_y = divmod((row or 0) + y - pad, 2)
            square_x, pixel_x = divmod(column + x - pad, 2)
            place = (square_y - first_y, square_x - first_x)
            kernel[(column, slice(None), pixel_y, pixel_x, slice(None), *place)] = weight[..., y, x]
    pads = [-first_y, -first_x, last_y, last_x]
    return kernel.reshape(len(columns) * count, 4 * channels, *shape), pads
