"""The blob picker: an ONNX graph with analytic weights, made from the particle's diameter alone.

Each position is compared with four templates: solid discs of 0.7, 0.85 and 1.0 times the diameter,
each with the darker moat that defocus puts around a particle, and a hollow shell, because shells
such as apoferritin look like rings. The comparison is a normalized cross-correlation whose local
variance has a lower limit. Where the image is quiet, it acts as an ordinary matched filter; next to
carbon and ice, it is not dominated by their contrast.

The four comparisons become one response, and the response a score, with the help of **decoys**:
noise is as often bright as dark, so the negative of a micrograph shows what its noise alone would
give (as in ``livepick_trainer.seeds.templates``). Each template is weighted by how much more often
it is found than its decoys, and the threshold depends on how many decoys are above it
(``core.imaging.decoys``). An empty field has as many decoys as picks, so its threshold is where
noise hardly reaches, while particles are found down to half of that.

Masked areas do not count: the graph has a second, optional input for them. One ice crystal would
otherwise raise the spread of the response, and with it the threshold of the whole micrograph.

A logistic curve turns the response, in standard deviations, into a score between 0 and 1. The
threshold gets 0.5, in each micrograph.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livepick.core.imaging.decoys import decision_nodes
from livepick.core.imaging.space_to_depth import square_kernels

__all__ = ["BIN", "OPSET", "SLOPE_SIGMAS", "blob_graph", "blob_nodes", "serialized", "templates"]

DISC_FRACTIONS = (0.7, 0.85, 1.0)
"""Disc diameters, as fractions of the particle diameter. Side views of particles are smaller, and
so are some guesses of the diameter."""

MOAT = 1.5
"""Outer radius of the moat, in disc radii."""

EDGE = 0.05
"""Softness of a disc's edge, in particle radii."""

SHELL_RADIUS, SHELL_WIDTH, SHELL_REACH = 0.8, 0.22, 1.3
"""Hollow shell: middle and half width of its wall, and its support, in particle radii."""

LEAST_VARIANCE = 1.2
"""Lower limit of the local variance after binning; 1 is the background variance before binning."""

BIN = 2
"""Binning of the image before the comparison. A large blob does not need finer pixels, and binning
reduces the cost to a sixteenth; the smooth response is interpolated back."""

SLOPE_SIGMAS = 0.7
"""Width of the logistic curve, in standard deviations of the response."""

FINE = 8
"""Oversampling of the templates before averaging: a disc of ten pixels would be too rough."""

OPSET = 17


def templates(diameter_px: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the templates and the areas over which each one is compared.

    Returns
    -------
    template
        Shape (K, S, S), each of mean 0 and norm 1 inside its area, 0 outside.
    area
        Shape (K, S, S), each of sum 1.
    """
    radius = diameter_px / 2
    half = int(np.ceil(MOAT * radius))
    fine = (np.arange((2 * half + 1) * FINE) + 0.5) / FINE - half - 0.5
    distance = np.hypot(fine[:, None], fine)
    pairs = [_disc(distance, fraction * radius, EDGE * radius) for fraction in DISC_FRACTIONS]
    wall = np.exp(-(((distance - SHELL_RADIUS * radius) / (SHELL_WIDTH * radius)) ** 2))
    pairs.append((wall, distance <= SHELL_REACH * radius))
    shapes, areas = [], []
    for values, inside in pairs:
        shape = _binned(np.where(inside, values - values[inside].mean(), 0))
        shapes.append(shape / np.linalg.norm(shape))
        area = _binned(inside.astype(np.float64))
        areas.append(area / area.sum())
    return np.stack(shapes).astype(np.float32), np.stack(areas).astype(np.float32)


def _binned(fine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means over blocks of ``FINE`` x ``FINE`` pixels."""
    size = len(fine) // FINE
    means: NDArray[np.float64] = fine.reshape(size, FINE, size, FINE).mean(axis=(1, 3))
    return means


def _disc(
    distance: NDArray[np.float64], radius: float, edge_px: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return a disc of weight +1 in a moat of weight -1, and the area they cover."""
    inner = 1 / (1 + np.exp((distance - radius) / edge_px))
    outer = 1 / (1 + np.exp((distance - MOAT * radius) / edge_px)) - inner
    return inner / inner.sum() - outer / outer.sum(), distance <= MOAT * radius


def _cubic() -> NDArray[np.float32]:
    """Return the kernels (4, 1, 5, 5) that interpolate the four pixels of each binned one.

    This is bicubic interpolation (Keys 1981, with a = -0.75), for which onnxruntime's ``Resize``
    takes ten times as long.
    """
    before = [-9 / 256, 67 / 256, 225 / 256, -27 / 256, 0.0]  # a quarter of a binned pixel
    phases = (before, before[::-1])
    return np.stack([np.outer(y, x)[None] for y in phases for x in phases]).astype(np.float32)


def blob_graph(diameter_px: float, *, scores: bool = True) -> bytes:
    """Return the blob picker for prepared images, as a serialized ONNX model.

    The input ``image`` is float32 (1, 1, H, W), with particles bright, background 0 and standard
    deviation 1. The input ``mask`` is float32 of the same shape, 1 where nothing is measured; it
    may be left out. H and W are multiples of 4. The output ``score`` is float32 (1, 1, H, W) in
    [0, 1].

    Parameters
    ----------
    diameter_px
        Particle diameter in pixels of the image.
    scores
        False: the outputs are ``response`` (1, 1, H, W), in standard deviations, and
        ``threshold`` (1, 1, 1, 1), in the same unit, instead of ``score``. The response to the
        decoys is the negative of ``response``.
    """
    from onnx import helper  # noqa: PLC0415 - see serialized

    nodes, constants = blob_nodes(diameter_px)
    if not scores:
        return serialized("livepick-blob", nodes, constants, ["response", "threshold"])
    nodes += [
        helper.make_node("Sub", ["response", "threshold"], ["above"]),
        helper.make_node("Div", ["above", "slope"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["score"]),
    ]
    return serialized("livepick-blob", nodes, constants, ["score"])


def blob_nodes(diameter_px: float) -> tuple[list[Any], dict[str, NDArray[Any]]]:
    """Return the nodes of the blob picker up to its response, and their constants by name.

    The inputs are ``image`` and ``mask``. The results are ``response`` (1, 1, H, W), those of
    ``decoys.decision_nodes``, and ``unmasked``, which is 1 where responses count, binned.
    ``slope`` is among the constants.

    Parameters
    ----------
    diameter_px
        Particle diameter in pixels of the image.
    """
    from onnx import helper  # noqa: PLC0415 - see serialized

    shapes, areas = templates(diameter_px / BIN)
    half = shapes.shape[1] // 2
    decisions, decision_constants = decision_nodes(diameter_px / BIN, "correlations", "unmasked")
    constants: dict[str, NDArray[Any]] = {
        # Squares of pixels at a time: onnxruntime computes 16 channels in the time of these four.
        "shapes": square_kernels(shapes[:, None]),
        "areas": square_kernels(areas[:, None]),
        "pads": np.array([0, 0, half, half, 0, 0, half, half], dtype=np.int64),
        "least_variance": np.asarray(LEAST_VARIANCE, dtype=np.float32),
        "cubic": _cubic(),
        "cubic_pads": np.array([0, 0, 2, 2, 0, 0, 2, 2], dtype=np.int64),
        "slope": np.asarray(SLOPE_SIGMAS, dtype=np.float32),
        "mask": np.zeros((1, 1, 1, 1), dtype=np.float32),
        "first": np.array([0, 0], dtype=np.int64),
        "last": np.array([2**31 - 1] * 2, dtype=np.int64),
        "rows_and_columns": np.array([2, 3], dtype=np.int64),
        "steps": np.array([BIN, BIN], dtype=np.int64),
        "whole": np.asarray(1, dtype=np.float32),
    }
    node = helper.make_node
    squares: dict[str, Any] = {"strides": [2, 2]}
    return [
        node("AveragePool", ["image"], ["binned"], kernel_shape=[BIN, BIN], strides=[BIN, BIN]),
        node("Slice", ["mask", "first", "last", "rows_and_columns", "steps"], ["masked"]),
        node("Sub", ["whole", "masked"], ["unmasked"]),
        node("Pad", ["binned", "pads"], ["padded"], mode="reflect"),
        node("Conv", ["padded", "shapes"], ["matched"], **squares),
        node("Conv", ["padded", "areas"], ["mean"], **squares),
        node("Mul", ["padded", "padded"], ["squared"]),
        node("Conv", ["squared", "areas"], ["mean_of_square"], **squares),
        node("Mul", ["mean", "mean"], ["square_of_mean"]),
        node("Sub", ["mean_of_square", "square_of_mean"], ["local_variance"]),
        node("Max", ["local_variance", "least_variance"], ["variance"]),
        node("Sqrt", ["variance"], ["deviation"]),
        node("Div", ["matched", "deviation"], ["correlations_of_squares"]),
        node("DepthToSpace", ["correlations_of_squares"], ["correlations"], blocksize=2),
        *decisions,
        node("Pad", ["binned_response", "cubic_pads"], ["extended"], mode="edge"),
        node("Conv", ["extended", "cubic"], ["quarters"]),
        node("DepthToSpace", ["quarters"], ["response"], blocksize=BIN),
    ], constants | decision_constants


def serialized(
    name: str,
    nodes: Sequence[Any],
    constants: Mapping[str, NDArray[Any]],
    outputs: Sequence[str],
    known_shapes: Sequence[Any] = (),
) -> bytes:
    """Return nodes as a serialized ONNX model with the inputs ``image`` and, optional, ``mask``.

    Parameters
    ----------
    name
        Name of the graph.
    nodes
        Nodes in the order of their computation.
    constants
        Constants by name; ``mask`` among them is what counts if that input is left out.
    outputs
        Names of the outputs; all but ``threshold`` have the shape of the image.
    known_shapes
        Shapes of maps in between, as ``space_to_depth.at_half_size`` returns them.
    """
    # onnx loads protobuf, and a first picker is only made at the start of a session.
    from onnx import TensorProto, checker, helper, numpy_helper  # noqa: PLC0415

    shapes: dict[str, list[int | str]] = {
        "threshold": [1, 1, 1, 1],
        "mask": [1, 1, "mask_H", "mask_W"],
    }
    given, results = (
        [
            helper.make_tensor_value_info(one, TensorProto.FLOAT, shapes.get(one, [1, 1, "H", "W"]))
            for one in names
        ]
        for names in (["image", "mask"], outputs)
    )
    initializers = [numpy_helper.from_array(value, one) for one, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, name, given, results, initializers, value_info=known_shapes),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
        producer_name="livepick",
    )
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())
