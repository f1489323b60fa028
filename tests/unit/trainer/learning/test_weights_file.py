"""Weights as plain arrays: what a training writes, another one starts from."""

import io

import numpy as np
import pytest
import torch

from livepick.errors import TrainerError
from livepick_trainer.learning.network import Architecture, make_network
from livepick_trainer.learning.weights_file import read_weights, weights_file

SMALL = Architecture(channels=(2, 3, 4), deepest_convolutions=1)


def arrays_of(network):
    with np.load(io.BytesIO(weights_file(network))) as arrays:
        return dict(arrays)


def written(arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def test_weights_and_statistics_come_back_exactly():
    """Also the running statistics of the normalizations, which the graph has folded in."""
    first, second = make_network(1, SMALL), make_network(2, SMALL)
    first(torch.randn(4, 1, 32, 32))  # in training mode: this moves the statistics
    content = weights_file(first)

    read_weights(content, second, name="weights.npz")

    assert weights_file(second) == content
    image = torch.randn(1, 1, 32, 32)
    assert torch.equal(first.eval()(image), second.eval()(image))


def test_the_file_is_small_and_plain():
    """It is a bundle's largest file after the graph, and has only float32 arrays."""
    assert len(weights_file(make_network(1))) < 600_000
    assert {array.dtype for array in arrays_of(make_network(1)).values()} == {np.dtype("float32")}


def test_a_file_with_counters_and_of_another_precision_is_read():
    """They are in a plain copy of all that torch has."""
    network = make_network(1, SMALL)
    arrays = {
        name: array.numpy().astype(np.float64 if array.is_floating_point() else np.int64)
        for name, array in network.state_dict().items()
    }
    other = make_network(2, SMALL)

    read_weights(written(arrays), other, name="weights.npz")

    assert weights_file(other) == weights_file(network)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"not a zip file",
        lambda content: content[:200] + b"\0\1\2\3" + content[204:],
        lambda content: written({"stem.0.weight": np.array([None])}),
        lambda content: written({"stem.0.weight": np.zeros(10**6)}),
    ],
    ids=["cut off", "empty", "text", "changed", "pickled", "huge"],
)
def test_a_damaged_file_is_refused(change):
    network = make_network(2, SMALL)
    before = weights_file(network)

    with pytest.raises(TrainerError, match=r"a/weights.npz is damaged") as error:
        read_weights(change(weights_file(make_network(1, SMALL))), network, name="a/weights.npz")

    assert "training.start" in error.value.remedy
    assert weights_file(network) == before


def test_weights_of_another_architecture_are_refused_by_name_and_shape():
    content = weights_file(make_network(1, SMALL))
    with pytest.raises(TrainerError, match=r"another architecture: .* has shape") as error:
        read_weights(content, make_network(1), name="a/weights.npz")
    assert "training.start" in error.value.remedy
    missing = arrays_of(make_network(1, SMALL))
    del missing["head.bias"]
    with pytest.raises(TrainerError, match=r"1 of .* head.bias has shape None and not \(1,\)"):
        read_weights(written(missing), make_network(1, SMALL), name="a/weights.npz")


def test_weights_that_are_no_numbers_are_refused():
    arrays = arrays_of(make_network(1, SMALL))
    arrays["head.bias"][0] = np.nan
    with pytest.raises(TrainerError, match="not finite"):
        read_weights(written(arrays), make_network(1, SMALL), name="weights.npz")
