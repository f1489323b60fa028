"""The network's weights as ``weights.npz`` in a bundle: plain arrays by name.

A training may start from them, here or elsewhere. Unlike the graph, they have the normalization
layers as they are while training. The file does not depend on torch, and reading it executes no
code. Counters of batches are left out, because nothing uses them.
"""

import io
import zipfile
import zlib

import numpy as np
import torch
from torch import nn

from livepick.errors import TrainerError

__all__ = ["read_weights", "weights_file"]

MOST_HEADER_BYTES = 1 << 12
"""Largest size of an array's header in the file."""

_DAMAGED = (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error)
"""Errors that reading a damaged file raises."""


def weights_file(network: nn.Module) -> bytes:
    """Return the content of ``weights.npz``; the same weights give the same bytes."""
    arrays = {
        name: tensor.detach().cpu().numpy().astype(np.float32)
        for name, tensor in _weights(network).items()
    }
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


def read_weights(content: bytes, network: nn.Module, *, name: str) -> None:
    """Read the content of ``weights.npz`` into ``network``.

    Parameters
    ----------
    content
        Content of the file.
    network
        Network of the same architecture.
    name
        Name of the file for errors.

    Raises
    ------
    TrainerError
        The file is damaged, or its weights are those of another architecture or not finite.
    """
    ours = _weights(network)
    remedy = "Name another bundle in training.start, or set it to general or scratch."
    try:
        arrays = _read(content, most_bytes=sum(t.nbytes for t in ours.values()))
    except _DAMAGED as error:
        raise TrainerError(f"{name} is damaged: {error}", remedy) from error
    theirs = {key: array.shape for key, array in arrays.items()}
    expected = {key: tuple(tensor.shape) for key, tensor in ours.items()}
    differing = sorted(
        key for key in theirs.keys() | expected.keys() if theirs.get(key) != expected.get(key)
    )
    if differing:
        first = differing[0]
        raise TrainerError(
            f"{name} belongs to a network of another architecture: {len(differing)} of"
            f" {len(expected)} arrays differ; {first} has shape {theirs.get(first)} and not"
            f" {expected.get(first)}",
            remedy,
        )
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise TrainerError(f"{name} has weights that are not finite numbers", remedy)
    tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
    network.load_state_dict(tensors, strict=False)  # the counters stay


def _weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights and running statistics of a network by name."""
    return {n: t for n, t in network.state_dict().items() if t.is_floating_point()}


def _read(content: bytes, *, most_bytes: int) -> dict[str, "np.typing.NDArray[np.float32]"]:
    """Return the arrays of a file, which may be a person's: none is larger than expected."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for entry in archive.infolist():
            if entry.file_size > most_bytes + MOST_HEADER_BYTES:
                raise ValueError(f"{entry.filename} has {entry.file_size} bytes")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        read = {name: arrays[name] for name in arrays.files}
    # Files by hand may have the counters, which are integers.
    return {n: a.astype(np.float32) for n, a in read.items() if a.dtype.kind == "f"}
