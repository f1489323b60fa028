"""Training runs as far as their folders tell, after the ledger was lost.

A run with a bundle ended well: it was promoted if the history of promotions names it, else kept
aside; how the gate judged it is not known any more. A run without a bundle is as if superseded. But
the newest run goes on if its settings are still those of the config: without a bundle it is
continued, and a bundle is judged, perhaps again, because it may have been waiting for that.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from livepick.core.contracts.bundle import numbered_folders
from livepick.core.contracts.run import RUN, RunSpec
from livepick.errors import TrainerError
from livepick.ledger.session_rows import RunRow, RunState
from livepick.models.bundle_on_disk import Bundle
from livepick.models.promotions import Promotion
from livepick.models.registry import Models
from livepick.retraining.fingerprints import is_for_settings
from livepick.retraining.trainer_process import TrainerProcess

__all__ = ["runs_on_disk"]

REASON = "known from its folder only: the ledger was lost"

_log = logging.getLogger(__name__)


def runs_on_disk(runs: Path, models: Models, settings: str) -> Iterator[RunRow]:
    """Yield the training runs in a folder of runs, the oldest first.

    Parameters
    ----------
    runs
        The folder of runs; it need not exist.
    models
        The bundles that the runs have made, and their promotions.
    settings
        The config's training fingerprint.
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
        state: RunState
        if bundle is not None and spec.version in promoted:
            state = "promoted"
        elif TrainerProcess.is_running(folder) or (
            folder == folders[-1] and _goes_on(spec, bundle, settings, models.last_promotion())
        ):
            state = "running"
        else:
            state = "superseded" if bundle is None else "kept_aside"
        ended_at = started_at if bundle is None else bundle.path.stat().st_mtime
        reason, end = (REASON, ended_at) if state != "running" else ("", None)
        yield RunRow(spec.version, spec.fingerprint, state, reason, started_at, end)


def _goes_on(spec: RunSpec, bundle: Bundle | None, settings: str, last: Promotion | None) -> bool:
    """Return True if the newest run is to be continued, or its bundle judged."""
    if not is_for_settings(spec.fingerprint, settings):
        return False
    is_decided = last is not None and last.fingerprint == spec.fingerprint
    return bundle is None or not is_decided
