"""Decoys: what the noise of a micrograph gives alone, and the weights and threshold that follow.

Noise is as often bright as dark. The places where a micrograph's *negative* responds to a template
are therefore statistically the same as its false picks, whatever the spectrum of the noise, and
there are no particles among them. (Proteomics controls false discoveries in this way: Elias and
Gygi 2007, *Nat. Methods* 4, 207.) Peaks of the response and of its negative compete: of those that
are closer than half a diameter, only the strongest counts. The dark moat of a particle loses to the
particle, and noise stays symmetric.

**Excess.** The sum of all peaks minus that of all decoys, divided by the square root of the sum of
their squares. It is about normally distributed in noise. Only the height above ``LOWEST_SIGMAS``
counts, and not more than ``MOST_HEIGHT_SIGMAS`` of it, because ice and dirt stand out more.

**Weights.** The response is the sum of the templates' responses, each weighted by the square of its
excess. On development data, this finds more than the largest response does (average precision .64
and .91 on crowded GroEL, .72 and .76 on crowded polymerase, .18 and .35 on single frames of
apoferritin, .97 and .98 on sums, .80 and .80 on β-galactosidase).

**Threshold.** The number of particles above a threshold is estimated by the peaks minus the decoys
above it, and the number of all particles by the most that any threshold gives. Both give an F1 for
each threshold, and the lowest threshold with nearly the best F1 is chosen. Without a clear excess,
there may be no particles at all. The threshold is then the one that hardly any decoy reaches.

The nodes use the operators that run on CUDA too, since a GPU session accepts no others.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["THRESHOLDS_SIGMAS", "decision_nodes", "excess_nodes"]

LOWEST_SIGMAS = 2.5
"""Lowest peak that counts for the excess, in standard deviations of the response."""

MOST_HEIGHT_SIGMAS = 2.0
"""Largest height above ``LOWEST_SIGMAS`` that counts."""

LEAST_EXCESS = 3.0
"""Excess from which there are particles. Of 435 fields of noise of nine kinds, 95 % of each kind
had at most 2.5, and the highest had 3.3."""

THRESHOLDS_SIGMAS = np.arange(2.0, 6.01, 0.25, dtype=np.float32)
"""Thresholds that are tried, in standard deviations of the response."""

ENOUGH_F1 = 0.9
"""Fraction of the best F1 that suffices. The decoys are more numerous than false picks in crowds,
where gaps between particles are dark, so the highest estimated F1 is at too high a threshold."""

MOST_DECOYS = 2
"""Number of decoys above the threshold of a field without a clear excess."""


def decision_nodes(
    diameter_px: float, responses: str, unmasked: str
) -> tuple[list[Any], dict[str, NDArray[Any]]]:
    """Return the nodes of an ONNX graph that weight the templates and choose the threshold.

    The results are ``binned_response`` (1, 1, H, W), in standard deviations, its excess
    ``all_excess`` and ``threshold``, both (1, 1, 1, 1).

    Parameters
    ----------
    diameter_px
        Particle diameter in pixels of the responses.
    responses
        Name of the responses to the templates, (1, K, H, W), with mean 0.
    unmasked
        Name of a map that is 1 where responses count, else 0; its shape can be broadcast to theirs.

    Returns
    -------
    nodes, constants
        The constants by their names.
    """
    from onnx import TensorProto, helper  # noqa: PLC0415 - see blob_detector

    node = helper.make_node
    half = max(1, round(diameter_px / 2))
    blocks: dict[str, Any] = {"kernel_shape": [half, half], "strides": [half, half], "ceil_mode": 1}
    counts = [
        step
        for name in ("peak", "decoy")
        for step in (
            node("MaxPool", [f"{name}_map"], [f"{name}_heights"], **blocks),  # one peak a block
            node("Greater", [f"{name}_heights", "thresholds"], [f"{name}_above"]),
            node("Cast", [f"{name}_above"], [f"{name}_counted"], to=TensorProto.FLOAT),
            node("ReduceSum", [f"{name}_counted", "but_first"], [f"{name}s"], keepdims=1),
        )
    ]
    nodes = [
        node("ReduceMean", [unmasked], ["unmasked_share"], axes=[2, 3], keepdims=1),
        node("Max", ["unmasked_share", "tiny"], ["share"]),
        *_in_sigmas(responses, unmasked, "each"),
        *excess_nodes("each", half),
        node("Relu", ["each_excess"], ["each_clear"]),
        node("Mul", ["each_clear", "each_clear"], ["each_clear_squared"]),
        node("Add", ["each_clear_squared", "least_weight"], ["weights"]),
        node("Mul", ["each_sigmas", "weights"], ["weighted"]),
        node("ReduceSum", ["weighted", "templates"], ["mixed"], keepdims=1),
        *_in_sigmas("mixed", unmasked, "all"),
        node("Identity", ["all_sigmas"], ["binned_response"]),
        *excess_nodes("all", half),
        node("Mul", ["all_seen", "all_top"], ["peak_map"]),
        node("Neg", ["peak_map"], ["decoy_map"]),
        *counts,
        node("Sub", ["peaks", "decoys"], ["surplus"]),
        node("Relu", ["surplus"], ["true"]),
        node("ReduceMax", ["true"], ["most_true"], axes=[0], keepdims=1),
        node("Max", ["most_true", "one"], ["particles"]),
        node("Add", ["peaks", "particles"], ["both"]),
        node("Div", ["true", "both"], ["half_f1"]),
        node("ReduceMax", ["half_f1"], ["best"], axes=[0], keepdims=1),
        node("Mul", ["best", "enough"], ["least"]),
        node("Less", ["half_f1", "least"], ["worse"]),
        node("Where", ["worse", "highest", "thresholds"], ["good"]),
        node("ReduceMin", ["good"], ["lowest_good"], axes=[0], keepdims=1),
        node("Greater", ["decoys", "most_decoys"], ["noisy"]),
        node("Where", ["noisy", "highest", "thresholds"], ["quiet"]),
        node("ReduceMin", ["quiet"], ["lowest_quiet"], axes=[0], keepdims=1),
        node("Less", ["all_excess", "least_excess"], ["is_empty"]),
        node("Where", ["is_empty", "lowest_quiet", "lowest_good"], ["threshold"]),
    ]
    constants: dict[str, NDArray[Any]] = {
        name: np.asarray(value, dtype=np.float32)
        for name, value in {
            "tiny": 1e-6,
            "one": 1,
            "lowest": LOWEST_SIGMAS,
            "no_height": 0,
            "most_height": MOST_HEIGHT_SIGMAS,
            "least_weight": 1e-3,
            "thresholds": THRESHOLDS_SIGMAS.reshape(-1, 1, 1, 1),
            "highest": THRESHOLDS_SIGMAS[-1],
            "enough": ENOUGH_F1,
            "most_decoys": MOST_DECOYS,
            "least_excess": LEAST_EXCESS,
        }.items()
    }
    axes = {"templates": [1], "but_first": [1, 2, 3], "map_axes": [2, 3]}
    return nodes, constants | {name: np.array(axis, np.int64) for name, axis in axes.items()}


def _in_sigmas(responses: str, unmasked: str, name: str) -> list[Any]:
    """Return the nodes that divide responses by their spread where they count.

    The results are ``NAME_sigmas``, and ``NAME_seen``, which is 0 where they do not count.
    """
    from onnx import helper  # noqa: PLC0415 - see blob_detector

    node = helper.make_node
    return [
        node("Mul", [responses, unmasked], [f"{name}_kept"]),
        node("Mul", [f"{name}_kept", f"{name}_kept"], [f"{name}_squared"]),
        node("ReduceMean", [f"{name}_squared"], [f"{name}_mean"], axes=[2, 3], keepdims=1),
        node("Div", [f"{name}_mean", "share"], [f"{name}_variance"]),
        node("Sqrt", [f"{name}_variance"], [f"{name}_spread"]),
        node("Max", [f"{name}_spread", "tiny"], [f"{name}_sigma"]),
        node("Div", [responses, f"{name}_sigma"], [f"{name}_sigmas"]),
        node("Mul", [f"{name}_sigmas", unmasked], [f"{name}_seen"]),
    ]


def excess_nodes(name: str, half_px: int) -> list[Any]:
    """Return the nodes for the excess of peaks over decoys in ``NAME_seen``.

    The results are ``NAME_top``, which is 1 at peaks and decoys, and ``NAME_excess``. The constants
    are among those of ``decision_nodes``.
    """
    from onnx import TensorProto, helper  # noqa: PLC0415 - see blob_detector

    node = helper.make_node
    width = 2 * half_px + 1  # of a square window, one axis after the other
    rows: dict[str, Any] = {"kernel_shape": [width, 1], "pads": [half_px, 0, half_px, 0]}
    columns: dict[str, Any] = {"kernel_shape": [1, width], "pads": [0, half_px, 0, half_px]}
    return [
        node("Abs", [f"{name}_seen"], [f"{name}_size"]),
        node("MaxPool", [f"{name}_size"], [f"{name}_highest_in_column"], **rows),
        node("MaxPool", [f"{name}_highest_in_column"], [f"{name}_highest"], **columns),
        node("Equal", [f"{name}_size", f"{name}_highest"], [f"{name}_is_top"]),
        node("Cast", [f"{name}_is_top"], [f"{name}_top"], to=TensorProto.FLOAT),
        node("Sub", [f"{name}_size", "lowest"], [f"{name}_over"]),
        node("Clip", [f"{name}_over", "no_height", "most_height"], [f"{name}_height"]),
        node("Mul", [f"{name}_height", f"{name}_top"], [f"{name}_counts"]),
        node("Sign", [f"{name}_seen"], [f"{name}_sign"]),
        node("Mul", [f"{name}_counts", f"{name}_sign"], [f"{name}_signed"]),
        node("ReduceSum", [f"{name}_signed", "map_axes"], [f"{name}_total"], keepdims=1),
        node("Mul", [f"{name}_counts", f"{name}_counts"], [f"{name}_counts_squared"]),
        node("ReduceSum", [f"{name}_counts_squared", "map_axes"], [f"{name}_power"], keepdims=1),
        node("Add", [f"{name}_power", "tiny"], [f"{name}_some_power"]),
        node("Sqrt", [f"{name}_some_power"], [f"{name}_deviation"]),
        node("Div", [f"{name}_total", f"{name}_deviation"], [f"{name}_excess"]),
    ]
