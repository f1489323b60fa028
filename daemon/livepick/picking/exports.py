"""The files that a session writes, and the program that is called with them, as in the config."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from livepick.config.output_sections import Output
from livepick.config.schema import Config
from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import MicrographRow
from livepick.ledger.writer import LedgerWriter
from livepick.picking.coordinate_files import CoordinateFiles, file_formats
from livepick.picking.cryosparc_files import CryosparcFiles, known_exposures
from livepick.picking.export import Export, SessionTable
from livepick.picking.finality import Finality
from livepick.picking.instruments import CallInstruments
from livepick.picking.micrograph_table import MicrographTable
from livepick.picking.on_picked import Description, OnPicked, description
from livepick.picking.output_sync import Outputs
from livepick.picking.output_tree import Branches
from livepick.picking.relion_files import RelionFiles
from livepick.picking.relion_project import RelionProject
from livepick.picking.session_folders import (
    Folders,
    begin,
    output_folders,
    ownership_of,
    project_of,
    remember,
)
from livepick.picking.session_memory import SessionMemory

__all__ = ["exports_of", "make_on_picked", "make_outputs"]

CONVENTIONS = 1
"""Version of the conventions in ``core.formats``: raised when the files would have another content,
so that sessions under way get theirs written again. Sessions from before the number have none."""


def make_outputs(
    config: Callable[[], Config],
    ledger: LedgerWriter,
    *,
    roots: Iterable[Path],
    failed: Callable[[], None],
    lists: LedgerReader | None = None,
    unexpected: UnexpectedErrors | None = None,
) -> Outputs:
    """Return the files of a session.

    Parameters
    ----------
    config
        Function that returns the config in use. The section ``output`` is read once.
    ledger
        Source of the expected contents; keeps the form in which the files were written.
    roots
        All watched folders that the session has or had.
    failed
        Called when writing to the output folder fails.
    lists
        Ledger as read by the threads that write lists. None: that of ``ledger``.
    unexpected
        Counts the unexpected errors that are passed over.

    Raises
    ------
    ConfigError
        The RELION project or cryoSPARC's exposures are not as the config says, or the output folder
        belongs to another session.
    LedgerWriteError
        Writing to the state folder failed.
    """
    output = config().output
    roots = set(roots)
    branches = Branches(roots)
    memory, ownership = ownership_of(config())
    project = project_of(output, memory, ownership)
    finality = _finality(config, ledger)
    form = _form(output, roots)
    former = ledger.reader.written_as() or {}
    former_roots = {Path(root) for root in former.get("roots", ())}

    folders = output_folders(output, project, ownership)
    for one in dict.fromkeys((folders.main, folders.relion)):
        begin(one)

    def rewritten() -> None:
        ledger.session.written_as(form)
        remember(memory.keep_recorded)

    rechecks = [] if output.relion.publishes_all else [finality.has_come]
    if project is not None:
        rechecks.append(project.names_changed)
    return Outputs(
        exports_of(output, folders, branches, project, finality),
        ledger.reader,
        failed,
        diameter_angstrom=lambda: config().particle.diameter_angstrom,
        rechecks=rechecks,
        tables=_tables(output, config, folders, project),
        rewritten=None if former == form else rewritten,
        lists=lists,
        former=()
        if former_roots in (set(), roots)
        else exports_of(output, folders, Branches(former_roots), project, finality),
        unexpected=unexpected,
        folders=[folders.main, folders.relion],
        adopts_before=_adopts_before(former, memory, ledger.reader),
    )


def _adopts_before(
    former: Mapping[str, object], memory: SessionMemory, ledger: LedgerReader
) -> float | None:
    """Return when a session of a version without records met this one; None if all is recorded."""
    if former.get("recorded") or memory.is_recorded:
        return None
    if next(iter(ledger.visible()), None) is None:
        remember(memory.keep_recorded)  # all files to come are recorded
        return None
    remember(memory.begin_adopting)
    return memory.adopts_before


def _tables(
    output: Output,
    config: Callable[[], Config],
    folders: Folders,
    project: RelionProject | None,
) -> list[SessionTable]:
    """Return the files about the session as a whole."""
    tables: list[SessionTable] = [
        MicrographTable(
            folders.main, lists=folders.relion, project=project, optics=lambda: config().optics
        )
    ]
    if "cryosparc" in output.formats:
        tables.append(
            CryosparcFiles(
                folders.main,
                diameter_angstrom=lambda: config().particle.diameter_angstrom,
                min_distance_fraction=config().particle.min_distance_fraction,
                exposures=known_exposures(output.cryosparc.exposures),
            )
        )
    return tables


def _form(output: Output, roots: Iterable[Path]) -> dict[str, object]:
    """Return what decides content and place of the coordinates files, besides the picks.

    A format that comes back may have files that were left behind, so the formats are part of it.
    """
    return {
        "conventions": CONVENTIONS,
        "formats": sorted(output.formats),
        "flip_tiff": output.star.flip_tiff,
        "roots": sorted(map(str, roots)),
        "recorded": True,
    }


def make_on_picked(
    config: Callable[[], Config],
    ledger: LedgerWriter,
    outputs: Outputs,
    *,
    instruments: CallInstruments,
    page: Callable[[], str],
    wake: Callable[[], None],
    unexpected: UnexpectedErrors | None = None,
) -> OnPicked | None:
    """Return what calls the program ``output.on_picked``; None if there is none.

    Parameters
    ----------
    config
        Function that returns the config in use. The section ``output`` is read once.
    ledger
        Source of the micrographs; keeps the time up to which all calls have ended.
    outputs
        The files of the session.
    instruments
        Metrics to update.
    page
        Function that returns the URL of livepick's page, with a slash at the end.
    wake
        Called in another thread when a call has ended.
    unexpected
        Counts the unexpected errors that are passed over.
    """
    output = config().output
    if output.on_picked is None:
        return None

    def describe(row: MicrographRow, final: bool) -> Description:  # noqa: FBT001 - called by position
        return description(
            row,
            session=config().session.name,
            coordinates=outputs.files(row.root, row.relative),
            diameter_angstrom=config().particle.diameter_angstrom,
            final=final,
            page=page(),
        )

    return OnPicked(
        output.on_picked,
        parallel=output.on_picked_parallel,
        timeout_seconds=output.on_picked_timeout_seconds,
        ledger=ledger,
        describe=describe,
        finality=_finality(config, ledger),
        instruments=instruments,
        wake=wake,
        unexpected=unexpected,
    )


def _finality(config: Callable[[], Config], ledger: LedgerWriter) -> Finality:
    return Finality(ledger.reader, lambda: config().picking.repick != "none")


def exports_of(
    output: Output,
    folders: Folders,
    branches: Branches,
    project: RelionProject | None,
    finality: Finality | None = None,
) -> list[Export]:
    """Return the formats of the coordinates files.

    Parameters
    ----------
    output
        Settings of the output.
    folders
        Folders that have the files.
    branches
        Sub-folders of the watched folders.
    project
        RELION project that takes the coordinates. None: there is none.
    finality
        Tells which picks RELION may get. None: all.
    """
    known = file_formats(flip_tiff=output.star.flip_tiff)
    exports: list[Export] = [
        CoordinateFiles(known[name], folders.main, branches)
        for name in output.formats
        if name in known
    ]
    if "relion" in output.formats:
        relion = RelionFiles(
            folders.relion,
            branches,
            project=project,
            verdicts=output.relion.verdicts,
            micrographs_star=output.relion.micrographs_star,
        )
        if finality is not None and not output.relion.publishes_all:
            relion.publish_if(finality.is_final)
        exports.insert(0, relion)
    return exports
