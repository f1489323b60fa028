"""Training runs on disk: find one, order one."""

import logging
from collections.abc import Sequence
from pathlib import Path

from livepick.core.bundle import bundle_name
from livepick.core.run import RUN, RunMicrograph, RunSpec
from livepick.errors import TrainerError
from livepick.records import Seed

__all__ = ["latest_run", "order_run", "split"]

_log = logging.getLogger(__name__)


def latest_run(runs: Path, fingerprint: str) -> Path | None:
    """Return the newest run folder in ``runs`` for a training fingerprint."""
    if not runs.is_dir():
        return None
    folders = (path for path in runs.iterdir() if path.name.isdigit())
    for folder in sorted(folders, reverse=True):
        if not (folder / RUN).exists():
            continue  # the service was killed before it had written the order
        try:
            if RunSpec.read(folder).fingerprint == fingerprint:
                return folder
        except TrainerError as error:
            _log.warning("run %s: left out: %s", folder.name, error)
    return None


def order_run(runs: Path, spec: RunSpec) -> Path:
    """Make the folder of a run, with the order in it; return the folder."""
    folder = runs / bundle_name(spec.version)
    folder.mkdir(parents=True)
    spec.write(folder)
    return folder


def split(seeds: Sequence[Seed], held_out_fraction: float) -> list[RunMicrograph]:
    """Hold out a part of the micrographs, typical in their picks; at least one and never all.

    The few that judge a model also set its threshold: an empty field or one full of junk would
    set it for itself alone.

    Parameters
    ----------
    seeds
        In the order they landed.
    held_out_fraction
        Of their number.
    """
    count = len(seeds)
    held_out_count = min(max(1, round(count * held_out_fraction)), count - 1)
    picked = [len(seed.picks.above(seed.threshold)) for seed in seeds]
    by_picks = sorted(range(count), key=lambda i: (picked[i], i))
    # Evenly between the poorest and the richest, and neither of them.
    held_out = {by_picks[(i + 1) * count // (held_out_count + 1)] for i in range(held_out_count)}
    return [
        RunMicrograph(
            path=seed.path,
            pixel_size_angstrom=seed.pixel_size_angstrom,
            held_out=i in held_out,
            seeds=list(
                zip(
                    seed.picks.x_px.tolist(),
                    seed.picks.y_px.tolist(),
                    seed.picks.score.tolist(),
                    strict=True,
                )
            ),
        )
        for i, seed in enumerate(seeds)
    ]
