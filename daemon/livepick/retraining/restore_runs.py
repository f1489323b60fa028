"""Training runs as far as their folders tell, after the ledger was lost.

A run with a bundle ended well: it was promoted if the history of promotions names it, else kept
aside; how the gate judged it is not known any more. The newest run without a bundle is continued if
its settings are still those of the config; older ones are as if superseded.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from livepick.core.contracts.bundle import numbered_folders
from livepick.core.contracts.run import RUN, RunSpec
from livepick.errors import TrainerError
from livepick.ledger.session_rows import RunRow, RunState
from livepick.models.registry import Models

__all__ = ["runs_on_disk"]

REASON = "known from its folder only: the ledger was lost"

_log = logging.getLogger(__name__)


def runs_on_disk(runs: Path, models: Models) -> Iterator[RunRow]:
    """Yield the training runs in a folder of runs, the oldest first.

    Parameters
    ----------
    runs
        The folder of runs; it need not exist.
    models
        The bundles that the runs have made, and their promotions.
    """
    promoted = {promotion.version for promotion in models.promotions()}
    bundles = {bundle.card.version: bundle for bundle in models.bundles()}
    folders = numbered_folders(runs)
    for folder in folders:
        try:
            spec = RunSpec.read(folder)
            started_at = (folder / RUN).stat().st_mtime
        except (TrainerError, OSError) as error:
            _log.warning("run %s: left out: %s", folder.name, error)
            continue
        bundle = bundles.get(spec.version)
        state: RunState = "superseded"
        ended_at: float | None = started_at
        if bundle is not None:
            state = "promoted" if spec.version in promoted else "kept_aside"
            ended_at = bundle.path.stat().st_mtime
        elif folder == folders[-1]:
            state, ended_at = "running", None
        reason = "" if state == "running" else REASON
        yield RunRow(spec.version, spec.fingerprint, state, reason, started_at, ended_at)
