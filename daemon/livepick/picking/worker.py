"""Picking of one micrograph: from an image and a model bundle to picks and quality figures.

A worker is a process with one working thread.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from livepick.core.contracts.bundle import ModelCard
from livepick.core.contracts.job import Job, Result, StageSeconds
from livepick.core.formats.micrograph import Micrograph, read_micrograph
from livepick.core.formats.pixel_memory import PixelMemory
from livepick.core.imaging.mottle import mottle
from livepick.core.imaging.peaks import find_peaks
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.preprocess import DIAMETER_PX, Prepared, prepare
from livepick.core.imaging.quality import ImageFigures, Quality
from livepick.core.imaging.quality_measurement import measure_quality
from livepick.errors import LivepickError, ModelError, SmallImageError
from livepick.picking import read_ahead
from livepick.picking.onnx_session import loaded_model, score_map

__all__ = ["pick"]

LEAST_SIDE_PX = 8
"""Smallest side of a micrograph. A strip is picked, although few particles fit into it."""

SCORE_FLOOR = 0.02
"""Candidates with a lower score are not kept."""

_memory = PixelMemory()
"""Memory for the pixels of the micrograph that is picked."""

MOST_CANDIDATES = 5000
"""Maximum number of candidates per micrograph; more are noise, and would bloat the ledger."""


def pick(job: Job) -> Result:
    """Pick one micrograph.

    Raises
    ------
    MicrographError
        The file is incomplete, unreadable, not a micrograph, or contains no image.
    ModelError
        The bundle is damaged, or (``ProviderError``) the GPU was required and not obtained.
    """
    model = loaded_model(job.bundle, job.device)
    card = model.card
    clock = _Clock()
    micrograph = read_micrograph(
        job.path,
        pixel_size_angstrom=job.pixel_size_angstrom,
        version=job.version,
        trust=job.trust,
        memory=_memory,
    )
    read_seconds = clock.lap()
    read_ahead.resume()
    with _naming(job.path):
        _refuse_small(micrograph, job.diameter_angstrom or card.diameter_angstrom)
        prepared = _prepared(micrograph, job, card)
    shape_px = micrograph.image.shape
    pixel_size_angstrom, notes = micrograph.pixel_size_angstrom, micrograph.notes
    figures = measure_quality(micrograph.image, prepared, pixel_size_angstrom=pixel_size_angstrom)
    del micrograph
    preprocess_seconds = clock.lap()
    with _naming(job.path):
        score = score_map(model, prepared.image, prepared.mask)
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
        notes=notes,
    )


def _refuse_small(micrograph: Micrograph, diameter_angstrom: float) -> None:
    """Raise SmallImageError unless a part of a particle may be in the image."""
    height, width = micrograph.image.shape
    pixel_size_angstrom = micrograph.pixel_size_angstrom
    if (
        min(height, width) < LEAST_SIDE_PX
        or max(height, width) * pixel_size_angstrom < diameter_angstrom
    ):
        raise SmallImageError(
            f"the image is too small: it has {width} x {height} pixels of"
            f" {pixel_size_angstrom:g} Å, and one particle has {diameter_angstrom:g} Å",
            "If it is not a micrograph, leave it out with watch.exclude; else check the pixel size"
            " and particle.diameter_angstrom.",
        )


def _prepared(micrograph: Micrograph, job: Job, card: ModelCard) -> Prepared:
    diameter_angstrom = job.diameter_angstrom or card.diameter_angstrom
    lowpass_angstrom = card.lowpass_angstrom
    if lowpass_angstrom is not None:  # the model sees particles of any diameter at the same size
        lowpass_angstrom = lowpass_angstrom * diameter_angstrom / card.diameter_angstrom
    return prepare(
        micrograph.image,
        pixel_size_angstrom=micrograph.pixel_size_angstrom,
        diameter_angstrom=diameter_angstrom,
        contrast=job.contrast or card.contrast,
        lowpass_angstrom=lowpass_angstrom,
        # A bundle from elsewhere has no noise level for this microscope's files.
        noise_sigma=card.noise_sigma if job.diameter_angstrom is None else None,
        edge_fraction=card.edge_fraction,
    )


def _quality(good: Picks, prepared: Prepared, figures: ImageFigures) -> Quality:
    free_px = prepared.unpicked.size - int(np.count_nonzero(prepared.unpicked))
    disc_px = math.pi / 4 * DIAMETER_PX**2
    quality = Quality(
        masked_fraction=float(np.count_nonzero(prepared.mask) / prepared.mask.size),
        median_score=None,
        occupied_fraction=len(good) * disc_px / free_px if free_px else None,
        mottle=mottle(prepared, good),
    ).seen(figures)
    if not len(good):
        return quality
    low, median, high = np.quantile(good.score, (0.1, 0.5, 0.9)).tolist()
    return dataclasses.replace(quality, median_score=median, score_p10=low, score_p90=high)


def _picks(score: NDArray[np.float32], prepared: Prepared, card: ModelCard) -> Picks:
    y, x, height = find_peaks(
        score,
        min_distance_px=card.min_distance_angstrom / card.diameter_angstrom * DIAMETER_PX,
        floor=SCORE_FLOOR,
        mask=prepared.unpicked,
    )
    picks = Picks.sorted(x * prepared.scale_x, y * prepared.scale_y, height)
    inside = np.flatnonzero(prepared.area.holds(picks.x_px, picks.y_px))
    return picks.where(inside[:MOST_CANDIDATES])


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
    """Prefix errors about an array, which has no name, with the name of its file."""
    try:
        yield
    except ModelError:
        raise  # of the model, not of the file
    except LivepickError as error:
        raise type(error)(f"{path.name}: {error.what}", error.remedy) from error
