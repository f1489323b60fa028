"""onnxruntime on a GPU: options of its CUDA provider, and runs with buffers that stay on the GPU.

By default onnxruntime allocates device memory for the input of each run, copies it there, and
copies the output to a new array. With IO binding the buffers of one image size are made once and
used again, from fixed addresses. That is also what a CUDA graph needs: the work for one size is
recorded once, and then repeated as a whole, without the time to launch each kernel. The images of a
session have one size, or very few, because its micrographs have.

Nothing here has been run on a GPU by the developers. Therefore the first runs with each size are
compared with ordinary ones, and if they differ or fail, IO binding is switched off for the session
with a warning. ``tests/device/gpu.py`` measures each setting on a machine with a GPU.
"""

import ctypes
import logging
import weakref
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from livepick.config.engine_section import CudaSettings

__all__ = ["BoundSession", "cuda_options", "first_line"]

GPU_MEMORY_BYTES = 2 << 30
"""Limit of onnxruntime's memory arena; a trainer or a second session may share the GPU."""

MOST_SHAPES = 4
"""Image sizes whose buffers are kept."""

CHECKED_RUNS = 5
"""First runs with a size that are compared with ordinary ones. onnxruntime records a CUDA graph in
the third run, so the last of these repeats it with another image."""

TOLERANCE = 0.01
"""Largest difference of a score: cuDNN may choose other algorithms. What is looked for is scores of
another image, or memory that has not been written."""

GRAPH_ID = "gpu_graph_id"
"""Run option: number of the CUDA graph to record or repeat; -1: none in this run."""

CUDA_RUNTIMES = ("libcudart.so.13", "libcudart.so.12")

_log = logging.getLogger(__name__)


def cuda_options(settings: CudaSettings) -> dict[str, str]:
    """Return the options of the CUDA provider."""
    options = {
        "device_id": "0",  # CUDA_VISIBLE_DEVICES determines which GPU that is
        "arena_extend_strategy": "kSameAsRequested",
        "gpu_mem_limit": str(GPU_MEMORY_BYTES),
        # EXHAUSTIVE tunes for each new image size: half a second each, where that was measured.
        "cudnn_conv_algo_search": settings.convolution_search.upper(),
        "do_copy_in_default_stream": "1",
        "use_tf32": "0" if settings.full_precision else "1",
    }
    if settings.graphs and settings.io_binding:
        options["enable_cuda_graph"] = "1"
    return options


def first_line(error: BaseException) -> str:
    """Return the first line of an error of onnxruntime; the name of its type if it has no text."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class _Buffers:
    """Buffers for images of one size, bound to the input and the output of a session."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        shape: tuple[int, ...],
        *,
        device: Literal["cuda", "cpu"],
        has_mask: bool,
        staging: NDArray[np.float32] | None,
    ) -> None:
        names = ["image", "mask"] if has_mask else ["image"]
        self.binding = session.io_binding()
        self.inputs = {name: _device_array(shape, device) for name in names}
        self.score = _device_array(shape, device)
        for name, value in self.inputs.items():
            self.binding.bind_ortvalue_input(name, value)
        self.binding.bind_ortvalue_output("score", self.score)
        self.staging = staging
        self.checks_left = CHECKED_RUNS
        self.graph_id = -1

    def run(
        self,
        session: onnxruntime.InferenceSession,
        inputs: dict[str, NDArray[np.float32]],
        options: onnxruntime.RunOptions,
    ) -> NDArray[np.float32]:
        for name, array in inputs.items():
            if self.staging is not None:
                self.staging[...] = array
                array = self.staging  # noqa: PLW2901 - page-locked
            self.inputs[name].update_inplace(np.ascontiguousarray(array))
        self.binding.synchronize_inputs()
        session.run_with_iobinding(self.binding, options)
        self.binding.synchronize_outputs()
        score: NDArray[np.float32] = self.score.numpy()
        # On the CPU it is the buffer itself, which the next run overwrites.
        return score.copy() if not score.flags.owndata else score


def _device_array(shape: tuple[int, ...], device: str) -> onnxruntime.OrtValue:
    return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, device, 0)


@dataclass(slots=True)
class BoundSession:
    """A session whose runs reuse buffers, one set for each size of image. For one thread."""

    session: onnxruntime.InferenceSession
    settings: CudaSettings
    device: Literal["cuda", "cpu"] = "cuda"
    """Where the buffers are; ``cpu`` serves tests."""
    fault: str = ""
    """Reason why IO binding has been switched off; empty: it is on."""
    _buffers: OrderedDict[tuple[tuple[int, ...], bool], _Buffers] = field(
        default_factory=OrderedDict
    )
    _graphs: int = 0
    """Number of CUDA graphs so far."""

    def run(self, inputs: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the output ``score`` for an image ``[1, 1, y, x]`` and perhaps a mask.

        Raises
        ------
        Exception
            As ``InferenceSession.run``, or ``RuntimeError``.
        """
        if self.fault:
            return self._ordinary(inputs)
        key = (inputs["image"].shape, "mask" in inputs)
        buffers = self._buffers.get(key)
        if buffers is not None and not buffers.checks_left:
            self._buffers.move_to_end(key)
            return buffers.run(self.session, inputs, self._options(buffers))
        expected = self._ordinary(inputs)
        if expected.shape != inputs["image"].shape:
            return expected  # the model is damaged, which the caller says
        try:
            if buffers is None:
                buffers = self._add(key)
            score = buffers.run(self.session, inputs, self._options(buffers))
            buffers.checks_left -= 1
            difference = float(np.abs(score - expected).max())
        except Exception as error:  # noqa: BLE001 - whatever onnxruntime raises here
            self._switch_off(first_line(error))
            return expected
        if not difference <= TOLERANCE:  # NaN too
            self._switch_off(f"scores differ by {difference:.3g}")
        return expected

    def _ordinary(self, inputs: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        options = _run_options(-1) if self._records else None
        score: NDArray[np.float32]
        (score,) = self.session.run(["score"], inputs, options)
        return score

    @property
    def _records(self) -> bool:
        return self.settings.graphs and self.device == "cuda"

    def _options(self, buffers: _Buffers) -> onnxruntime.RunOptions | None:
        return _run_options(buffers.graph_id) if self._records else None

    def _add(self, key: tuple[tuple[int, ...], bool]) -> _Buffers:
        """Make the buffers for a size; those that have not been used for longest go."""
        shape, has_mask = key
        staging = _page_locked(shape) if self.settings.pinned and self.device == "cuda" else None
        buffers = _Buffers(
            self.session, shape, device=self.device, has_mask=has_mask, staging=staging
        )
        if self._records and self._graphs < MOST_SHAPES:  # a graph keeps its memory
            self._graphs += 1
            buffers.graph_id = self._graphs
        without_graph = [each for each, kept in self._buffers.items() if kept.graph_id < 0]
        if len(self._buffers) >= 2 * MOST_SHAPES and without_graph:
            del self._buffers[without_graph[0]]
        self._buffers[key] = buffers
        return buffers

    def _switch_off(self, fault: str) -> None:
        self.fault = fault
        self._buffers.clear()
        _log.warning(
            "engine.cuda.io_binding: switched off until the next model is loaded: %s", fault
        )


def _run_options(graph_id: int) -> onnxruntime.RunOptions:
    options = onnxruntime.RunOptions()
    options.add_run_config_entry(GRAPH_ID, str(graph_id))
    return options


def _page_locked(shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """Return an array in page-locked memory; None if CUDA's library does not lock it."""
    for name in CUDA_RUNTIMES:
        try:
            runtime = ctypes.CDLL(name)
        except OSError:
            continue
        array = np.empty(shape, dtype=np.float32)
        address = ctypes.c_void_p(array.ctypes.data)
        status = runtime.cudaHostRegister(address, ctypes.c_size_t(array.nbytes), ctypes.c_uint(0))
        if status == 0:
            weakref.finalize(array, runtime.cudaHostUnregister, address)
            return array
        _log.warning("engine.cuda.pinned: without effect: cudaHostRegister gives %d", status)
        return None
    _log.warning("engine.cuda.pinned: without effect: there is no %s", CUDA_RUNTIMES[0])
    return None
