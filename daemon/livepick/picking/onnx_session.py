"""Running an ONNX graph on an image: sessions, tiles, score maps.

A worker keeps one session, for the bundle and device that it used last. onnxruntime falls back to
the CPU silently: if the CUDA provider is requested and there is no GPU, ``InferenceSession``
succeeds without a message. The provider obtained is therefore compared with the one requested after
each session is made, and the node placement is left to CUDA alone.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from livepick.config.engine_section import CudaSettings
from livepick.config.sections import Device
from livepick.core.contracts.bundle import GRAPH, MOST_GRAPH_BYTES, ModelCard, read_card, sha256
from livepick.core.contracts.job import CPU, CUDA
from livepick.errors import ImageError, ModelError, ProviderError
from livepick.host.foreign_files import read_bounded
from livepick.picking.cuda_settings import cuda_settings, use_cuda_settings
from livepick.picking.onnx_cuda import BoundSession, cuda_options, first_line

__all__ = ["MULTIPLE_PX", "Model", "graph_scores", "load_model", "loaded_model", "score_map"]

_log = logging.getLogger(__name__)

MULTIPLE_PX = 16
"""Image sides are padded to a multiple of this: graphs halve the image up to four times."""

TILE_PX = 1024
"""Larger images are scored in tiles, so that memory use does not grow with the detector size."""

LEAST_PX = 96
"""Smaller images are padded to this size: graphs pad by reflection, which needs a wider image."""

OVERLAP_PX = 64
"""Tile border whose scores are discarded: more than half of a network's receptive field."""

NO_MEMORY = "Failed to allocate memory"
"""Words of onnxruntime when the system has no memory for it."""


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded graph."""

    card: ModelCard
    session: onnxruntime.InferenceSession
    provider: str
    takes_mask: bool = False
    """True if the graph has the optional input ``mask``."""
    bound: BoundSession | None = None
    """Runs the session with buffers that stay on the GPU. None: it is run without."""


_kept: dict[tuple[Path, Device], Model] = {}
"""The only session of this process; in a dictionary, so that it can be replaced in place."""


def score_map(
    model: Model, image: NDArray[np.float32], mask: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Return the scores of a prepared image ``[y, x]``, in tiles if it is large.

    Parameters
    ----------
    model
        A loaded graph.
    image
        Prepared image.
    mask
        True where there is nothing to measure; only some graphs use it. None: nowhere.
    """
    height, width = image.shape
    if mask is None:
        mask = np.zeros(image.shape, dtype=bool)
    if max(height, width) <= TILE_PX:
        return _run(model, image, mask)
    score = np.empty_like(image)
    for y, inner_y in _tiles(height):
        for x, inner_x in _tiles(width):
            tile = _run(model, np.ascontiguousarray(image[y, x]), mask[y, x])
            score[inner_y, inner_x] = tile[
                inner_y.start - y.start : inner_y.stop - y.start,
                inner_x.start - x.start : inner_x.stop - x.start,
            ]
    return score


def _tiles(size: int) -> Iterator[tuple[slice, slice]]:
    """Yield the range that each tile reads and the part whose scores are used, along one axis.

    All tiles have the same size, once ``_run`` has padded the last one: buffers are then used
    again, and a GPU prepares for one size. They begin at multiples of ``MULTIPLE_PX``, so that a
    graph halves the image at the same pixels as without tiles, and gives the same scores.
    """
    if size <= TILE_PX:
        yield slice(0, size), slice(0, size)
        return
    count = -(-(size - 2 * OVERLAP_PX) // (TILE_PX - 2 * OVERLAP_PX))
    tile = _padded(-(-(size + (count - 1) * 2 * OVERLAP_PX) // count))
    steps = (_padded(size) - tile) // MULTIPLE_PX
    starts = [number * steps // (count - 1) * MULTIPLE_PX for number in range(count)]
    edges = [0, *((start + tile + after) // 2 for start, after in pairwise(starts)), size]
    for start, (first, last) in zip(starts, pairwise(edges), strict=True):
        yield slice(start, min(start + tile, size)), slice(first, last)


def _padded(size: int) -> int:
    """Return the size of an image side as graphs get it."""
    return max(LEAST_PX, size + -size % MULTIPLE_PX)


def _run(model: Model, image: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    height, width = image.shape
    padding = [(0, _padded(n) - n) for n in (height, width)]
    padded = np.pad(image, padding, mode="symmetric")[None, None]
    padded_mask = np.pad(mask, padding, constant_values=True) if model.takes_mask else None
    try:
        score = graph_scores(model, padded, padded_mask)
    except ModelError as error:
        if not _runs(model):
            _kept.clear()
            raise
        raise ImageError(
            f"model {model.card.version} fails on this image of {width} x {height} prepared pixels,"
            f" and runs on another one: {error.what}",
            "Leave the file out with watch.exclude, and please report it.",
        ) from error
    if score.shape != padded.shape:
        _kept.clear()
        raise ModelError(
            f"model {model.card.version} gives an array of shape {score.shape} for an image of"
            f" {padded.shape}",
            "The model is damaged; roll back to another one or train again.",
        )
    part: NDArray[np.float32] = score[0, 0, :height, :width]
    return part


def _runs(model: Model) -> bool:
    """Return True if the graph runs on noise, so that an error is not due to the model."""
    noise = np.random.default_rng(0).standard_normal((1, 1, LEAST_PX, LEAST_PX))
    try:
        graph_scores(model, noise.astype(np.float32))
    except ModelError:
        return False
    return True


def graph_scores(
    model: Model, padded: NDArray[np.float32], mask: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Return the output of the graph for an image ``[1, 1, y, x]`` and a mask ``[y, x]``."""
    inputs = {"image": padded}
    if mask is not None:
        inputs["mask"] = mask[None, None].astype(np.float32)
    try:
        score: NDArray[np.float32]
        if model.bound is not None:
            score = model.bound.run(inputs)
        else:
            (score,) = model.session.run(["score"], inputs)
    except Exception as error:
        # onnxruntime raises ValueError if the graph has no input of this name, and RuntimeError
        # from a run with IO binding.
        if model.provider == CPU and NO_MEMORY in str(error):  # not a fault of the model
            raise MemoryError(f"onnxruntime: {NO_MEMORY}") from error
        if _is_of_onnxruntime(error):
            raise ModelError(
                f"onnxruntime could not run model {model.card.version}"
                f" on {model.provider}: {first_line(error)}",
                "If the GPU is out of memory, use fewer picking.workers; if it is lost, reset it.",
            ) from error
        raise
    return score


def loaded_model(bundle: Path, device: Device) -> Model:
    """Return the model cached in this process; load it first if it is not the one requested."""
    key = (bundle, device)
    if key not in _kept:
        _kept.clear()
        _kept[key] = load_model(bundle, device)
    return _kept[key]


def load_model(bundle: Path, device: Device) -> Model:
    """Load a bundle's graph into a new session.

    Raises
    ------
    ModelError
        The bundle is damaged, or its graph does not load; ``ProviderError`` if the GPU was
        required and not obtained.
    """
    card = read_card(bundle)
    try:
        graph = read_bounded(bundle / GRAPH, limit_bytes=MOST_GRAPH_BYTES)
    except OSError as error:
        raise ModelError(
            f"{bundle / GRAPH} cannot be read: {error.strerror}",
            "Restore the bundle, or remove it and let livepick train another.",
        ) from error
    if sha256(graph) != card.graph_sha256:
        raise ModelError(
            f"{bundle / GRAPH} does not match the checksum in its model card",
            "The file was damaged or replaced; restore the bundle or remove it.",
        )
    session, provider = _session(graph, device, bundle)
    _log.info("model %04d (%s): loaded, %s", card.version, card.kind, provider)
    takes_mask = "mask" in {given.name for given in session.get_overridable_initializers()}
    settings = cuda_settings()
    bound = BoundSession(session, settings) if provider == CUDA and settings.io_binding else None
    return Model(card, session, provider, takes_mask, bound)


def _session(
    graph: bytes, device: Device, bundle: Path
) -> tuple[onnxruntime.InferenceSession, str]:
    """Return a session and the provider that it actually uses."""
    onnxruntime.set_default_logger_severity(4)  # the check below has a better message
    if device != "cpu":
        session, obtained = _gpu_session(graph, required=device == "require-gpu")
        if session is not None and obtained == CUDA:
            return session, obtained
        if device == "require-gpu":
            raise ProviderError(
                f"the GPU cannot be used: onnxruntime offers {obtained} instead of {CUDA}",
                "Check nvidia-smi, the driver (CUDA 13 needs 580 or newer; onnxruntime-gpu 1.26"
                " and older use CUDA 12), and that only onnxruntime-gpu is installed; or set"
                " picking.device to prefer-gpu or cpu.",
            )
        _log.info("model %s: no GPU, picking on the CPU", bundle.name)  # the service warns, once
    try:
        return onnxruntime.InferenceSession(graph, _options(cuda_only=False), providers=[CPU]), CPU
    except MemoryError:
        raise
    except Exception as error:
        raise ModelError(
            f"onnxruntime does not accept {bundle / GRAPH}: {first_line(error)}",
            "The model is damaged or of another version; roll back or train again.",
        ) from error


def _gpu_session(
    graph: bytes, *, required: bool
) -> tuple[onnxruntime.InferenceSession | None, str]:
    """Return a session with the CUDA provider if possible, and the provider obtained."""
    with contextlib.suppress(AttributeError):  # before onnxruntime 1.21
        _without_output(onnxruntime.preload_dlls)
    settings = cuda_settings()
    try:
        session = _cuda_session(graph, settings, required=required)
    except Exception as error:
        if not _is_of_onnxruntime(error):
            raise
        if not settings.graphs:
            return None, f"none ({first_line(error)})"
        _log.warning("engine.cuda.graphs: switched off: %s", first_line(error))
        use_cuda_settings(settings.model_copy(update={"graphs": False}))
        return _gpu_session(graph, required=required)
    return session, session.get_providers()[0]


def _cuda_session(
    graph: bytes, settings: CudaSettings, *, required: bool
) -> onnxruntime.InferenceSession:
    session = onnxruntime.InferenceSession(
        graph,
        _options(cuda_only=required),
        providers=[(CUDA, cuda_options(settings)), *([] if required else [CPU])],
    )
    # Else a run that fails is repeated on the CPU, with a line on stdout and no error.
    session.disable_fallback()
    return session


def _options(*, cuda_only: bool) -> onnxruntime.SessionOptions:
    options: onnxruntime.SessionOptions = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # One thread each: worker processes provide the parallelism, and a pool that spins between
    # layers would take a core from another worker.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The arena stays on: layers then share its pages, which takes a third less time and memory
    # than new pages for each layer. It never grows beyond what the largest tile needs.
    options.enable_mem_pattern = False
    # The graph is optimized at each load. A stored, optimized graph would save 9 of 25 ms of
    # processor time for each worker and model (general model with blob picker), and no memory.
    if cuda_only:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _is_of_onnxruntime(error: Exception) -> bool:
    of_module = type(error).__module__.startswith("onnxruntime")
    return of_module or isinstance(error, RuntimeError | ValueError)


def _without_output(call: Any) -> None:
    """Call a function that prints its failures, and discard the output."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
        call()
