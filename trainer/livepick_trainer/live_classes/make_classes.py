"""Class averages of an order: cut the particles, sort them, judge the classes, draw them.

The classes are made from scratch each time: classes that are only updated with new particles keep
the noise of the first ones. No decoys are searched, as in a training, because that would need
another picking; the verdicts therefore rest on the averages alone. If the threshold is too low,
nearly all picks may be noise, so classes must be clearer than noise.
"""

import io
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from livepick.core.contracts.class_averages import (
    LEAST_CUT,
    PARTICLES,
    PICTURE,
    RESULT,
    SUMMARY,
    ClassesOrder,
    ClassesResult,
    ClassFigures,
    OrderedMicrograph,
)
from livepick.core.formats.micrograph import read_picked
from livepick.errors import MicrographError, PixelSizeError, TrainerError
from livepick.host.atomic_files import fsync_folder, write_synced
from livepick_trainer.classification.class_selection import Selection, select_classes
from livepick_trainer.classification.classification_rules import ClassificationRules
from livepick_trainer.classification.classify2d import Classification, classify
from livepick_trainer.classification.half_agreement import is_beyond_noise
from livepick_trainer.classification.particles import (
    ParticleStack,
    choose_box_px,
    resample_for_boxes,
)
from livepick_trainer.live_classes.montage import draw_montage
from livepick_trainer.live_classes.views import Views, find_views

__all__ = ["make_classes"]

SEED = 1

_USUAL = ClassificationRules()
RULES = replace(
    _USUAL,
    sorting=(_USUAL.sorting[0], replace(_USUAL.sorting[1], shifts_px=(3.0,))),
)
"""Rules of the sorting. The second stage tries 7 shifts instead of 19, after the first has centred
the particles. This takes 13 instead of 22 CPU seconds for 4,000 particles, and on
tests/benchmarks/classes.py classes are as pure in particles and junk (93 %), and nearly as pure in
views (86 instead of 87 %)."""

_log = logging.getLogger(__name__)

Report = Callable[[str], None]


def make_classes(folder: Path, *, report: Report = lambda _: None) -> ClassesResult:
    """Make the class averages that the order in ``folder`` asks for, unless they are there.

    Parameters
    ----------
    folder
        Folder with the order; ``RESULT`` appears in it by one rename.
    report
        Called with a sentence now and then.

    Raises
    ------
    TrainerError
        The order is malformed, or too few particles can be cut.
    """
    if (folder / RESULT).is_dir():
        return ClassesResult.read(folder)
    order = ClassesOrder.read(folder)
    began = time.process_time()
    cut = _cut_all(order, report)
    if len(cut.stack) < LEAST_CUT:
        raise TrainerError(
            f"only {len(cut.stack)} of {order.particles} picks are far enough from the edge for a"
            f" whole box, and class averages need {LEAST_CUT}",
            "Wait for more micrographs.",
        )
    stack = cut.stack
    found = classify(
        stack.images,
        diameter_px=stack.diameter_px,
        seed=SEED,
        rules=RULES,
        report=lambda note, done, total: report(f"pass {done} of {total}: {note}"),
    )
    judged = select_classes(
        averages=found.averages,
        halves=found.halves,
        half_sizes=found.half_sizes,
        label=found.label,
        probability=found.probability,
        classes=found.classes,
        pixel_size_angstrom=stack.pixel_size_angstrom,
        diameter_angstrom=order.particle.diameter_angstrom,
        must_be_clear=True,
    )
    good = np.array([verdict.accepted for verdict in judged.verdicts])
    views = find_views(found.halves, found.half_sizes, good, diameter_px=stack.diameter_px)
    return _write(folder, cut, _Sorted(found, judged, views), began=began)


@dataclass(frozen=True, slots=True, eq=False)
class _Cut:
    """The particles of an order."""

    stack: ParticleStack
    left_out: list[str]
    used: int
    """Number of micrographs that could be read."""
    with_ctf: int


@dataclass(frozen=True, slots=True, eq=False)
class _Sorted:
    """The classes, the verdicts on them, and the views that they show."""

    found: Classification
    judged: Selection
    views: Views


def _cut_all(order: ClassesOrder, report: Report) -> _Cut:
    """Cut the particles of all micrographs that can be read."""
    box_px = choose_box_px(
        pixel_size_angstrom=max(m.pixel_size_angstrom for m in order.micrographs),
        diameter_angstrom=order.particle.diameter_angstrom,
    )
    stacks: list[ParticleStack] = []
    left_out: list[str] = []
    used: list[OrderedMicrograph] = []
    for number, micrograph in enumerate(order.micrographs):
        try:
            stacks.append(_cut(micrograph, number, order, box_px))
        except (MicrographError, PixelSizeError) as error:
            left_out.append(f"{micrograph.path.name}: {error.what}")
            _log.warning("%s: left out: %s", micrograph.path.name, error.what)
            continue
        used.append(micrograph)
        report(f"{micrograph.path.name}: {len(stacks[-1])} particles")
    if not stacks:
        raise TrainerError(
            f"none of the {len(order.micrographs)} micrographs can be read: {left_out[0]}",
            "Check that the watched folder is mounted, and that the files are still there.",
        )
    with_ctf = sum(micrograph.ctf is not None for micrograph in used)
    return _Cut(ParticleStack.joined(stacks), left_out, len(used), with_ctf)


def _cut(
    micrograph: OrderedMicrograph, number: int, order: ClassesOrder, box_px: int
) -> ParticleStack:
    raw = read_picked(micrograph.path, micrograph.version, micrograph.pixel_size_angstrom)
    fine = resample_for_boxes(
        raw.image,
        pixel_size_angstrom=micrograph.pixel_size_angstrom,
        diameter_angstrom=order.particle.diameter_angstrom,
        contrast=order.particle.contrast,
        box_px=box_px,
        ctf=micrograph.ctf,
    )
    xy_px = np.asarray(micrograph.picks, dtype=np.float32).reshape(-1, 2)
    return fine.cut(xy_px[:, ::-1], micrograph=number)


def _write(folder: Path, cut: _Cut, classes: _Sorted, *, began: float) -> ClassesResult:
    """Draw the classes, and let the result appear by one rename."""
    found, judged, views = classes.found, classes.judged, classes.views
    shown = _display_order(judged)
    figures = [
        ClassFigures(
            particles=judged.figures[k].particles,
            resolution_angstrom=round(judged.figures[k].resolution_angstrom, 2),
            is_good=judged.verdicts[k].accepted,
            score=round(judged.verdicts[k].score, 3),
            reason=judged.verdicts[k].reason,
            view=views.number[k],
        )
        for k in shown
    ]
    picture = draw_montage(found.averages[shown], figures, diameter_px=cut.stack.diameter_px)
    result = ClassesResult(
        made_at=time.time(),
        micrographs=cut.used,
        left_out=cut.left_out,
        with_ctf=cut.with_ctf,
        particles=len(cut.stack),
        good_particles=int(judged.believed.sum()),
        noise_particles=_noise_particles(judged),
        classes=figures,
        views=views.balance,
        width_px=picture.width_px,
        height_px=picture.height_px,
        cpu_seconds=round(time.process_time() - began, 2),
    )
    place = np.argsort(shown)  # number in the picture, by the number in the classification
    _publish(
        folder,
        {
            PICTURE: picture.png,
            PARTICLES: _particles(cut.stack, place[found.label], judged.believed),
            SUMMARY: result.to_json(),
        },
    )
    return result


def _noise_particles(judged: Selection) -> int:
    """Return the number of particles in rejected classes that cannot be told from noise."""
    return sum(
        figures.particles
        for figures, verdict in zip(judged.figures, judged.verdicts, strict=True)
        if not verdict.accepted and not is_beyond_noise([figures.agreement_sigmas])
    )


def _display_order(judged: Selection) -> NDArray[np.intp]:
    """Return the classes, the good ones first, and the larger ones first among equals."""
    keys = [
        (not verdict.accepted, -figures.particles)
        for figures, verdict in zip(judged.figures, judged.verdicts, strict=True)
    ]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.intp)


def _particles(stack: ParticleStack, label: NDArray[np.int64], good: NDArray[np.bool_]) -> bytes:
    arrays = io.BytesIO()
    np.savez(arrays, micrograph=stack.micrograph, pick=stack.candidate, label=label, good=good)
    return arrays.getvalue()


def _publish(folder: Path, files: dict[str, bytes]) -> None:
    draft = folder / f".draft-{RESULT}"
    shutil.rmtree(draft, ignore_errors=True)  # of a program that was killed
    draft.mkdir()
    for name, data in files.items():
        write_synced(draft / name, data)
    fsync_folder(draft)
    draft.rename(folder / RESULT)
    fsync_folder(folder)
