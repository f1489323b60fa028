"""The blob picker: an ONNX graph with analytic weights, made from the particle's diameter alone.

Each position is compared with four templates: solid discs of 0.7, 0.85 and 1.0 times the diameter,
each with the darker moat that defocus puts around a particle, and a hollow shell, because shells
such as apoferritin look like rings. The comparison is a normalized cross-correlation whose local
variance has a lower limit. Where the image is quiet, it acts as an ordinary matched filter; next to
carbon and ice, it is not dominated by their contrast. On public apoferritin sums it finds particles
that a Laplacian of Gaussian misses, because the latter treats the hollow centre as a hole.

The response is divided by its standard deviation over the micrograph, so that the same threshold
works for low and high doses. A logistic curve turns it into a score between 0 and 1.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["MIDDLE_SIGMAS", "blob_graph", "templates"]

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

MIDDLE_SIGMAS = 3.5
"""Response that gives a score of 0.5, in standard deviations of the map."""

SLOPE_SIGMAS = 0.7
"""Width of the logistic curve, in standard deviations of the map."""

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


def blob_graph(diameter_px: float) -> bytes:
    """Return the blob picker for prepared images, as a serialized ONNX model.

    The input ``image`` is float32 (1, 1, H, W), with particles bright, background 0 and standard
    deviation 1. The output ``score`` is float32 (1, 1, H, W) in [0, 1].
    """
    # onnx loads protobuf, and a blob picker is only made at the start of a session.
    from onnx import TensorProto, checker, helper, numpy_helper  # noqa: PLC0415

    shapes, areas = templates(diameter_px / BIN)
    count, size, _ = shapes.shape
    half = size // 2
    constants = {
        "shapes": shapes[:, None],
        "areas": areas[:, None],
        "pads": np.array([0, 0, half, half, 0, 0, half, half], dtype=np.int64),
        "least_variance": np.float32(LEAST_VARIANCE),
        "inverse_norm": np.float32(1)
        * np.sqrt((areas**2).sum(axis=(1, 2))).reshape(1, count, 1, 1),
        "scales": np.array([1, 1, BIN, BIN], dtype=np.float32),
        "middle": np.float32(MIDDLE_SIGMAS),
        "slope": np.float32(SLOPE_SIGMAS),
        "tiny": np.float32(1e-6),
    }
    node = helper.make_node
    nodes = [
        node("AveragePool", ["image"], ["binned"], kernel_shape=[BIN, BIN], strides=[BIN, BIN]),
        node("Pad", ["binned", "pads"], ["padded"], mode="reflect"),
        node("Conv", ["padded", "shapes"], ["matched"]),
        node("Conv", ["padded", "areas"], ["mean"]),
        node("Mul", ["padded", "padded"], ["squared"]),
        node("Conv", ["squared", "areas"], ["mean_of_square"]),
        node("Mul", ["mean", "mean"], ["square_of_mean"]),
        node("Sub", ["mean_of_square", "square_of_mean"], ["local_variance"]),
        node("Max", ["local_variance", "least_variance"], ["variance"]),
        node("Sqrt", ["variance"], ["deviation"]),
        node("Div", ["matched", "deviation"], ["ratio"]),
        node("Mul", ["ratio", "inverse_norm"], ["correlations"]),
        node("ReduceMax", ["correlations"], ["binned_correlation"], axes=[1], keepdims=1),
        node(
            "Resize",
            ["binned_correlation", "", "scales"],
            ["correlation"],
            mode="cubic",
            coordinate_transformation_mode="half_pixel",
        ),
        node("ReduceMean", ["correlation"], ["level"], axes=[2, 3], keepdims=1),
        node("Sub", ["correlation", "level"], ["response"]),
        node("Mul", ["response", "response"], ["response_squared"]),
        node("ReduceMean", ["response_squared"], ["power"], axes=[2, 3], keepdims=1),
        node("Sqrt", ["power"], ["spread"]),
        node("Max", ["spread", "tiny"], ["sigma"]),
        node("Div", ["correlation", "sigma"], ["sigmas"]),
        node("Sub", ["sigmas", "middle"], ["above"]),
        node("Div", ["above", "slope"], ["logit"]),
        node("Sigmoid", ["logit"], ["score"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, "H", "W"])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, [1, 1, "H", "W"])
    initializers = [
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    ]
    graph = helper.make_graph(nodes, "livepick-blob", [image], [score], initializers)
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
        producer_name="livepick",
    )
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())
