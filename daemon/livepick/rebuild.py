"""Rebuilding of a session whose ledger was lost: its runs, its models and the picks on disk."""

from collections.abc import Callable

from livepick.config.schema import Config
from livepick.core.contracts.run import RUNS
from livepick.ingest.file_system import file_system
from livepick.ledger.damage import Lost, forget_loss
from livepick.ledger.inbox import Message
from livepick.ledger.session_rows import Rebuilt
from livepick.ledger.writer import LedgerWriter
from livepick.models.registry import Models
from livepick.picking.output_sync import Outputs
from livepick.picking.recover_picks import PicksRecovery
from livepick.retraining.restore_runs import runs_on_disk

__all__ = ["begin_rebuilding", "picks_recovery"]


def begin_rebuilding(
    ledger: LedgerWriter, lost: Lost | None, config: Config, models: Models
) -> bool:
    """Record in a new ledger that another was lost, and the training runs on disk.

    Returns
    -------
    bool
        True if the picks in the output folder have to be read, also if an earlier start was to.
    """
    if lost is not None:
        aside = "" if lost.aside is None else str(lost.aside)
        with ledger.database.transaction():
            ledger.session.rebuilt(Rebuilt(lost.at, lost.why, aside))
            settings = config.training_fingerprint()
            for run in runs_on_disk(config.state.directory / RUNS, models, settings):
                ledger.session.restore_run(run)
        forget_loss(ledger.database.path)
    rebuilt = ledger.reader.rebuilt()
    return rebuilt is not None and not rebuilt.done


def picks_recovery(
    config: Config, outputs: Outputs, send: Callable[[Message], None]
) -> PicksRecovery:
    """Return what reads the picks in the output folder, and sends them to the dispatch loop."""
    outputs.is_recovering = True
    return PicksRecovery(
        outputs.main_folder,
        roots=config.watch.directories,
        exports=outputs.exports,
        flip_tiff=config.output.star.flip_tiff,
        pixel_size_angstrom=config.micrograph.pixel_size_angstrom,
        has_stable_inodes=lambda root: file_system(root).stable_inodes,
        send=send,
    )
