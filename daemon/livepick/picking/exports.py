"""The files that a session writes, and the program that is called with them, as in the config."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from livepick.config.output_sections import Output
from livepick.config.schema import Config
from livepick.errors import ConfigError, LedgerWriteError, NotOwnerError, OutputError
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
from livepick.picking.output_folder import OutputFolder
from livepick.picking.output_owner import Ownership
from livepick.picking.output_sync import Outputs
from livepick.picking.output_tree import Branches
from livepick.picking.relion_files import RelionFiles
from livepick.picking.relion_project import PIPELINE, RelionProject, relion_project
from livepick.picking.session_memory import SessionMemory

__all__ = ["Folders", "exports_of", "make_on_picked", "make_outputs", "output_folders"]

_log = logging.getLogger(__name__)

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
    memory, ownership = _ownership(config())
    project = _project(output, memory, ownership)
    finality = _finality(config, ledger)
    form = _form(output, roots)
    former = ledger.reader.written_as() or {}
    former_roots = {Path(root) for root in former.get("roots", ())}

    def diameter_angstrom() -> float:
        return config().particle.diameter_angstrom

    folders = output_folders(output, project, ownership)
    for one in (folders.main, folders.relion):
        _begin(one)
    adopts_before = None
    if not (former.get("recorded") or memory.is_recorded):
        if next(iter(ledger.reader.visible()), None) is None:
            _remember(memory.keep_recorded)  # all files to come are recorded
        else:
            _remember(memory.begin_adopting)
            adopts_before = memory.adopts_before

    def rewritten() -> None:
        ledger.session.written_as(form)
        _remember(memory.keep_recorded)

    tables: list[SessionTable] = [
        MicrographTable(
            folders.main, lists=folders.relion, project=project, optics=output.relion.optics
        )
    ]
    if "cryosparc" in output.formats:
        tables.append(
            CryosparcFiles(
                folders.main,
                diameter_angstrom=diameter_angstrom,
                min_distance_fraction=config().particle.min_distance_fraction,
                exposures=known_exposures(output.cryosparc.exposures),
            )
        )
    rechecks = [] if output.relion.publishes_all else [finality.has_come]
    if project is not None:
        rechecks.append(project.names_changed)
    return Outputs(
        exports_of(output, folders, branches, project, finality),
        ledger.reader,
        failed,
        diameter_angstrom=diameter_angstrom,
        rechecks=rechecks,
        tables=tables,
        rewritten=None if former == form else rewritten,
        lists=lists,
        former=()
        if former_roots in (set(), roots)
        else exports_of(output, folders, Branches(former_roots), project, finality),
        unexpected=unexpected,
        folders=[folders.main, folders.relion],
        adopts_before=adopts_before,
    )


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders that a session writes to."""

    main: OutputFolder
    """The output folder."""
    relion: OutputFolder
    """Folder of the files for RELION: the same, or the folder of a job in a project."""


def output_folders(output: Output, project: RelionProject | None, ownership: Ownership) -> Folders:
    """Return the folders that a session writes to."""
    main = OutputFolder(output.directory, ownership)
    if project is None or project.job_folder == output.directory:
        return Folders(main, main)
    job = OutputFolder(project.job_folder, ownership, requires=project.folder / PIPELINE)
    return Folders(main, job)


def _ownership(config: Config) -> tuple[SessionMemory, Ownership]:
    """Return what the session knows about its folders, and its claim to them."""
    memory = SessionMemory(config.state.directory)
    _remember(memory.ensure_id)
    return memory, Ownership.of_session(config.session.name, memory)


def _remember(write: Callable[[], object]) -> None:
    """Write to the memory of the session. Raises LedgerWriteError."""
    try:
        write()
    except OSError as error:
        raise LedgerWriteError(
            f"the state folder cannot be written: {error.strerror}",
            "Free space on the disk of the state directory, or fix its permissions.",
        ) from error


def _project(output: Output, memory: SessionMemory, ownership: Ownership) -> RelionProject | None:
    """Return the RELION project; while its disk is not mounted, that of the last start."""
    if output.relion.project is not None:
        return relion_project(output, may_be_away=True)
    is_away = memory.project is not None and ownership.is_unmounted(output.directory)
    project = relion_project(output, may_be_away=is_away, last=memory.project if is_away else None)
    _remember(lambda: memory.keep_project(None if project is None else project.folder))
    return project


def _begin(folder: OutputFolder) -> None:
    """Claim a folder; one that cannot be used for now is claimed later."""
    try:
        folder.begin()
    except NotOwnerError as error:
        raise ConfigError(error.what, error.remedy) from error
    except OutputError as error:
        _log.error("output: %s", error)


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
