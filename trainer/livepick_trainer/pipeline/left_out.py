"""Leaving out of micrographs whose originals are gone, unreadable or written again during a run.

The stages ``prepare``, ``classify`` and ``retrain`` read originals. The first leaves out what it
cannot read. If one of the others meets such a micrograph, it begins again without it, and without
all others that are gone by then. Training fails only if too few are left. The second round is
optional: it is given up if it would have nothing left to train on or to be judged by.
"""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from livepick.core.contracts.progress import Stage
from livepick.core.formats.file_version import FileVersion
from livepick_trainer.pipeline.rounds import write_result
from livepick_trainer.pipeline.run_context import Run, candidates, left_out_of
from livepick_trainer.seeds.originals import (
    LeftOut,
    OriginalError,
    read_left_out,
    write_left_out,
)
from livepick_trainer.seeds.preprocess import (
    LEAST_MICROGRAPHS,
    PreparedMicrograph,
    refuse_too_few,
)

__all__ = ["left_out_report", "without_lost_originals"]

_log = logging.getLogger(__name__)


def without_lost_originals(
    run: Run, name: Stage, stage: Callable[[Run, Path], None], draft: Path
) -> None:
    """Run a stage in its draft folder, again without the micrographs that are lost meanwhile.

    Raises
    ------
    TrainerError
        Too few micrographs are left; or as the stage raises.
    """
    while True:
        try:
            stage(run, draft)
        except OriginalError as error:
            micrographs = candidates(run)
            lost = _lost(micrographs, error)
            names = {one.micrograph for one in lost}
            left = [m for m in micrographs if str(m.path) not in names]
            if name == "retrain" and not _is_enough(left):
                note = f"the second round was given up: {error.what}"
                write_result(draft, note, used=False)
                run.reporter.report(name, note, done=1, total=1)
                return
            refuse_too_few(len(left), len(run.spec.micrographs))
            _begin_again(draft, read_left_out(draft) + lost)
            for one in lost:
                note = f"{Path(one.micrograph).name}: left out: {one.error}"
                _log.warning("%s: %s", name, note)
                run.reporter.report(name, note)
        else:
            return


def _lost(micrographs: list[PreparedMicrograph], error: OriginalError) -> list[LeftOut]:
    """Return the micrograph that an error is about, and all others that are gone or changed."""
    lost = [LeftOut(str(error.path), error.what)]
    for micrograph in micrographs:
        if micrograph.path == error.path:
            continue
        try:
            status = os.stat(micrograph.path)  # noqa: PTH116 - its result is described below
        except OSError as fault:
            lost.append(LeftOut(str(micrograph.path), fault.strerror or str(fault)))
            continue
        version: FileVersion | None = micrograph.version
        if version is not None and not version.describes(status):
            lost.append(LeftOut(str(micrograph.path), "it was written again"))
    return lost


def _is_enough(left: list[PreparedMicrograph]) -> bool:
    held_out = sum(micrograph.held_out for micrograph in left)
    return len(left) >= LEAST_MICROGRAPHS and 0 < held_out < len(left)


def _begin_again(draft: Path, left_out: list[LeftOut]) -> None:
    shutil.rmtree(draft)
    draft.mkdir()
    write_left_out(draft, left_out)


def left_out_report(run: Run) -> list[dict[str, str]]:
    """Return the micrographs that the run left out, with stage and error, for the report."""
    return [
        {"micrograph": one.micrograph, "stage": stage, "error": one.error}
        for stage, some in left_out_of(run.folder).items()
        for one in some
    ]
