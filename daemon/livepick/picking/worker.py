"""The work itself: a micrograph and a model bundle in, picks and quality figures out.

A worker is a process with one thread of work. It keeps one onnxruntime session, for the bundle
and device that it used last. onnxruntime falls back to the CPU without a word: with the CUDA
provider asked for and no GPU there, ``InferenceSession`` succeeds and says nothing. So the
provider obtained is compared with the one requested after each session is made, and the node
placement is left to CUDA alone.
"""

import contextlib
import dataclasses
import logging
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from livepick.config.schema import Device
from livepick.core.contracts.bundle import GRAPH, ModelCard, read_card, sha256
from livepick.core.formats.micrograph import FileVersion, read_micrograph
from livepick.core.imaging.pick_area import PickArea
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality import ImageFigures, Quality
from livepick.errors import LivepickError, ModelError, ProviderError

if TYPE_CHECKING:
    import onnxruntime

    from livepick.core.imaging.preprocess import Prepared

__all__ = ["CPU", "CUDA", "Job", "Quality", "Result", "StageSeconds", "canary", "pick", "probe"]

_log = logging.getLogger(__name__)

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"

SCORE_FLOOR = 0.02
"""Candidates below this are not worth keeping."""

MOST_CANDIDATES = 5000
"""Of one micrograph; more are noise, and would swell the ledger."""

MULTIPLE_PX = 16
"""Graphs halve the image up to four times."""

TILE_PX = 1024
"""Larger prepared images are scored in tiles, so that memory does not grow with the detector."""

OVERLAP_PX = 64
"""Border of a tile whose scores are not used: more than half of a network's field of view."""

GPU_MEMORY_BYTES = 2 << 30
"""Limit of onnxruntime's arena; a trainer or a second session may share the card."""


@dataclass(frozen=True, slots=True)
class Job:
    """All that a worker needs to pick one micrograph; small enough to send anywhere."""

    path: Path
    """Absolute path of the micrograph."""

    version: FileVersion | None
    """The content that was seen to be complete; None takes the file as it is."""

    bundle: Path
    """Folder of the model."""

    device: Device = "cpu"

    pixel_size_angstrom: float | None = None
    """As configured; None takes the header's."""

    threshold: float | None = None
    """Score from which on a pick counts; None takes the bundle's own."""

    diameter_angstrom: float | None = None
    """Of the particle, where the bundle was made for another one: each comes to the graph at the
    size in pixels that it knows. None takes the bundle's own."""

    contrast: Literal["dark", "bright"] | None = None
    """Of the particle in the micrograph; None takes the bundle's own."""


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """Wall seconds of each stage of one job."""

    read: float
    preprocess: float
    infer: float
    peaks: float


@dataclass(frozen=True, slots=True)
class Result:
    """What a job found."""

    picks: Picks
    """All candidates, best first, also those below the threshold (down to a low floor)."""

    threshold: float
    """Picks with at least this score count."""

    model_version: int
    model_kind: str
    shape_px: tuple[int, int]
    """Height and width of the micrograph."""

    pixel_size_angstrom: float
    quality: Quality
    seconds: StageSeconds
    provider: str
    """The onnxruntime provider that ran the graph, as ``CPUExecutionProvider``."""

    area: PickArea | None = None
    """Where the bundle may pick in this micrograph, in its pixels; None: anywhere."""


@dataclass(frozen=True, slots=True)
class _Model:
    card: ModelCard
    session: "onnxruntime.InferenceSession"
    provider: str


_kept: dict[tuple[Path, Device], _Model] = {}
"""The one session of this process; a dictionary, so that it is replaced in place."""


def pick(job: Job) -> Result:
    """Pick one micrograph.

    Raises
    ------
    MicrographError
        The file is not whole, not readable, no micrograph, or holds no picture.
    ModelError
        The bundle is damaged, or (``ProviderError``) the GPU was required and not obtained.
    """
    from livepick.core.imaging.preprocess import prepare  # noqa: PLC0415 - likewise
    from livepick.core.imaging.quality_measurement import measure  # noqa: PLC0415 - scipy is for workers only

    model = _model(job.bundle, job.device)
    card = model.card
    clock = _Clock()
    with _naming(job.path):
        micrograph = read_micrograph(
            job.path, pixel_size_angstrom=job.pixel_size_angstrom, version=job.version
        )
        read_seconds = clock.lap()
        diameter_angstrom = job.diameter_angstrom or card.diameter_angstrom
        prepared = prepare(
            micrograph.image,
            pixel_size_angstrom=micrograph.pixel_size_angstrom,
            diameter_angstrom=diameter_angstrom,
            contrast=job.contrast or card.contrast,
            lowpass_angstrom=_scaled(card.lowpass_angstrom, diameter_angstrom, card),
            # A bundle from elsewhere knows nothing of the noise of this microscope's files.
            noise_sigma=card.noise_sigma if job.diameter_angstrom is None else None,
            edge_fraction=card.edge_fraction,
        )
    shape_px = micrograph.image.shape
    pixel_size_angstrom = micrograph.pixel_size_angstrom
    figures = measure(micrograph.image, prepared, pixel_size_angstrom=pixel_size_angstrom)
    del micrograph
    preprocess_seconds = clock.lap()
    score = _score_map(model, prepared.image)
    infer_seconds = clock.lap()
    picks = _picks(score, prepared, card)
    threshold = card.threshold if job.threshold is None else job.threshold
    good = picks.above(threshold)
    return Result(
        picks=picks,
        threshold=threshold,
        model_version=card.version,
        model_kind=card.kind,
        shape_px=(shape_px[0], shape_px[1]),
        pixel_size_angstrom=pixel_size_angstrom,
        quality=_quality(good, prepared, figures),
        seconds=StageSeconds(read_seconds, preprocess_seconds, infer_seconds, clock.lap()),
        provider=model.provider,
        area=prepared.area,
    )


def _quality(good: Picks, prepared: "Prepared", figures: ImageFigures) -> Quality:
    from livepick.core.imaging.mottle import mottle  # noqa: PLC0415 - scipy is for workers only
    from livepick.core.imaging.preprocess import DIAMETER_PX  # noqa: PLC0415 - likewise

    free_px = float((~prepared.unpicked).sum())
    disc_px = math.pi / 4 * DIAMETER_PX**2
    quality = Quality(
        masked_fraction=float(prepared.mask.mean()),
        median_score=None,
        occupied_fraction=len(good) * disc_px / free_px if free_px else None,
        mottle=mottle(prepared, good),
    ).seen(figures)
    if not len(good):
        return quality
    low, median, high = np.quantile(good.score, (0.1, 0.5, 0.9)).tolist()
    return dataclasses.replace(quality, median_score=median, score_p10=low, score_p90=high)


def _scaled(
    lowpass_angstrom: float | None, diameter_angstrom: float, card: ModelCard
) -> float | None:
    """Return a model's lowpass for a particle of another size, which it sees as large."""
    if lowpass_angstrom is None:
        return None
    return lowpass_angstrom * diameter_angstrom / card.diameter_angstrom


def probe(bundle: Path, device: Device) -> str:
    """Load a bundle as ``pick`` would, run its graph once, and return the provider obtained.

    Raises
    ------
    ModelError
        The graph does not load or gives no scores between 0 and 1; ``ProviderError`` if the
        GPU was required and not obtained.
    """
    model = _model(bundle, device)
    noise = np.random.default_rng(0).standard_normal((96, 96)).astype(np.float32)
    score = _score_map(model, noise)
    if not _are_scores(score):
        raise ModelError(
            f"{bundle} gives scores outside 0 to 1",
            "The model is damaged; roll back to another one or train again.",
        )
    return model.provider


def _are_scores(score: NDArray[np.float32]) -> bool:
    return bool(np.isfinite(score).all() and score.min() >= 0 and score.max() <= 1)


def canary(bundle: Path) -> None:
    """Run the graph of a bundle on a small made-up image, on the CPU, and look at what it gives.

    The session is not kept, so this may be called in a process that picks nothing.

    Raises
    ------
    ModelError
        The bundle is damaged or of another format, its graph does not run, or what it gives is no
        score between 0 and 1 for each pixel.
    """
    model = _load(bundle, "cpu")
    height, width = shape = (7 * MULTIPLE_PX, 9 * MULTIPLE_PX)
    y, x = np.mgrid[:height, :width]
    blob = np.exp(-((y - height / 2) ** 2 + (x - width / 2) ** 2) / (2 * 5.0**2))
    noise = np.random.default_rng(0).standard_normal(shape)
    score = _scores(model, (noise - 2 * blob).astype(np.float32)[None, None])
    remedy = "Promote another model, or train again."
    if score.shape != (1, 1, *shape):
        raise ModelError(
            f"{bundle / GRAPH} gives an array of shape {score.shape} for an image of {shape}",
            remedy,
        )
    if not _are_scores(score):
        raise ModelError(f"{bundle / GRAPH} gives scores that are not between 0 and 1", remedy)


def _picks(score: NDArray[np.float32], prepared: "Prepared", card: ModelCard) -> Picks:
    from livepick.core.imaging.peaks import find_peaks  # noqa: PLC0415 - scipy is for workers only
    from livepick.core.imaging.preprocess import DIAMETER_PX  # noqa: PLC0415 - likewise

    y, x, height = find_peaks(
        score,
        min_distance_px=card.min_distance_angstrom / card.diameter_angstrom * DIAMETER_PX,
        floor=SCORE_FLOOR,
        mask=prepared.unpicked,
    )
    picks = Picks.sorted(x * prepared.scale_x, y * prepared.scale_y, height)
    inside = np.flatnonzero(prepared.area.holds(picks.x_px, picks.y_px))
    return picks.where(inside[:MOST_CANDIDATES])


# --- the graph on the image --------------------------------------------------------------


def _score_map(model: _Model, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the scores of a prepared image ``[y, x]``, in tiles if it is large."""
    height, width = image.shape
    if max(height, width) <= TILE_PX:
        return _run(model, image)
    score = np.empty_like(image)
    for y, inner_y in _tiles(height):
        for x, inner_x in _tiles(width):
            tile = _run(model, np.ascontiguousarray(image[y, x]))
            score[inner_y, inner_x] = tile[
                inner_y.start - y.start : inner_y.stop - y.start,
                inner_x.start - x.start : inner_x.stop - x.start,
            ]
    return score


def _tiles(size: int) -> Iterator[tuple[slice, slice]]:
    """Yield what a tile sees and the part of it that is used, along one axis."""
    inner = TILE_PX - 2 * OVERLAP_PX
    count = max(1, -(-size // inner))
    edges = np.linspace(0, size, count + 1).astype(int)
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        yield (
            slice(max(0, start - OVERLAP_PX), min(size, stop + OVERLAP_PX)),
            slice(start, stop),
        )


def _run(model: _Model, image: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = image.shape
    padding = [(0, -n % MULTIPLE_PX) for n in (height, width)]
    padded = np.pad(image, padding, mode="symmetric")[None, None]
    score: NDArray[np.float32] = _scores(model, padded)[0, 0, :height, :width]
    return score


def _scores(model: _Model, padded: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what the graph gives for an image ``[1, 1, y, x]``."""
    try:
        score: NDArray[np.float32]
        (score,) = model.session.run(["score"], {"image": padded})
    except Exception as error:
        # A ValueError says that the graph has no input of this name.
        if type(error).__module__.startswith("onnxruntime") or isinstance(error, ValueError):
            _kept.clear()
            raise ModelError(
                f"onnxruntime could not run model {model.card.version}"
                f" on {model.provider}: {_first_line(error)}",
                "If the GPU is out of memory, use fewer picking.workers; if it is lost, reset it.",
            ) from error
        raise
    return score


# --- the session -------------------------------------------------------------------------


def _model(bundle: Path, device: Device) -> _Model:
    key = (bundle, device)
    if key not in _kept:
        _kept.clear()
        _kept[key] = _load(bundle, device)
    return _kept[key]


def _load(bundle: Path, device: Device) -> _Model:
    card = read_card(bundle)
    try:
        graph = (bundle / GRAPH).read_bytes()
    except OSError as error:
        raise ModelError(
            f"{bundle / GRAPH} cannot be read: {error}",
            "Restore the bundle, or remove it and let livepick train another.",
        ) from error
    if sha256(graph) != card.graph_sha256:
        raise ModelError(
            f"{bundle / GRAPH} is not the graph that its card describes",
            "The file was damaged or exchanged; restore the bundle or remove it.",
        )
    session, provider = _session(graph, device, bundle)
    _log.info("model %04d (%s): loaded, %s", card.version, card.kind, provider)
    return _Model(card, session, provider)


def _session(
    graph: bytes, device: Device, bundle: Path
) -> tuple["onnxruntime.InferenceSession", str]:
    """Return a session and the provider that it really has."""
    import onnxruntime  # noqa: PLC0415 - 60 MB that only workers need

    onnxruntime.set_default_logger_severity(4)  # the check below says it better
    if device != "cpu":
        with contextlib.suppress(AttributeError):  # before onnxruntime 1.21
            _quietly(onnxruntime.preload_dlls)
        try:
            session = onnxruntime.InferenceSession(
                graph,
                _options(onnxruntime, cuda_only=device == "require-gpu"),
                providers=[(CUDA, _cuda_options())] + ([] if device == "require-gpu" else [CPU]),
            )
            obtained: str = session.get_providers()[0]
        except Exception as error:
            if not (
                type(error).__module__.startswith("onnxruntime")
                or isinstance(error, (RuntimeError, ValueError))
            ):
                raise
            obtained = f"none ({_first_line(error)})"
        if obtained == CUDA:
            return session, obtained
        if device == "require-gpu":
            raise ProviderError(
                f"picking.device is require-gpu, and onnxruntime offers {obtained}"
                f" instead of {CUDA}",
                "Check nvidia-smi, the driver (CUDA 13 needs 580 or newer; onnxruntime-gpu 1.26"
                " and older use CUDA 12), and that only onnxruntime-gpu is installed; or set"
                " picking.device to prefer-gpu or cpu.",
            )
        _log.info("model %s: no GPU, picking on the CPU", bundle.name)  # the service warns, once
    try:
        session = onnxruntime.InferenceSession(
            graph, _options(onnxruntime, cuda_only=False), providers=[CPU]
        )
    except Exception as error:
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise ModelError(
            f"onnxruntime does not accept {bundle / GRAPH}: {_first_line(error)}",
            "The model is damaged or of another version; roll back or train again.",
        ) from error
    return session, CPU


def _options(runtime: Any, *, cuda_only: bool) -> "onnxruntime.SessionOptions":
    options: onnxruntime.SessionOptions = runtime.SessionOptions()
    options.log_severity_level = 4
    # One thread each: worker processes are the parallelism, and a pool that spins between
    # layers takes a neighbour's core.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The arena stays on: layers then share its pages, which costs a third less time and memory
    # than fresh ones for each. It stays as large as the largest tile needs, and no larger.
    options.enable_mem_pattern = False
    if cuda_only:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _cuda_options() -> dict[str, str]:
    return {
        "device_id": "0",  # CUDA_VISIBLE_DEVICES says which card that is
        "arena_extend_strategy": "kSameAsRequested",
        "gpu_mem_limit": str(GPU_MEMORY_BYTES),
        # EXHAUSTIVE tunes anew, for half a second, at each new image shape.
        "cudnn_conv_algo_search": "HEURISTIC",
        "do_copy_in_default_stream": "1",
    }


# --- small things ------------------------------------------------------------------------


class _Clock:
    """A stopwatch with laps, in wall seconds."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        return seconds


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name before errors that the core raises about an image."""
    try:
        yield
    except LivepickError as error:
        if path.name in error.what:
            raise
        raise type(error)(f"{path.name}: {error.what}", error.remedy) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _quietly(call: Any) -> None:
    """Call something that prints its failures, and drop what it prints."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
        call()
