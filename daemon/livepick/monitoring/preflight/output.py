"""Preflight checks of the output folder: it is this session's, and nothing is in the way there."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from livepick.config.schema import Config
from livepick.errors import (
    EditedError,
    LedgerError,
    LivepickError,
    MicrographError,
    OccupiedError,
    OlderLedgerError,
    OutputError,
)
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.reader import LedgerReader
from livepick.monitoring.preflight.check import Check
from livepick.monitoring.preflight.folders import writable_folder
from livepick.monitoring.preflight.micrographs import micrographs
from livepick.picking import cryosparc_files, micrograph_table, relion_files
from livepick.picking.export import Export
from livepick.picking.exports import exports_of
from livepick.picking.output_folder import OutputFolder
from livepick.picking.output_owner import Ownership
from livepick.picking.output_tree import Branches
from livepick.picking.relion_project import RelionProject, relion_project
from livepick.picking.session_folders import Folders, output_folders
from livepick.picking.session_memory import SessionMemory

__all__ = ["output_folder"]

NAME = "output folder"
IN_THE_WAY = "files in the way"

MOST_MICROGRAPHS = 20_000
"""Maximum number of micrographs whose coordinates files are looked at."""

REMEDY = (
    "livepick never overwrites what it did not write: move or delete it, or set output.directory to"
    " another folder."
)


def output_folder(config: Config) -> Iterator[Check]:
    """Check that the output folder can be written, and is not that of another session."""
    memory = SessionMemory(config.state.directory)
    ownership = Ownership.for_check(config.session.name, memory)
    project = _project(config)
    folders = output_folders(config.output, project, ownership)
    for folder in dict.fromkeys((folders.main, folders.relion)):
        name = NAME if folder is folders.main else "RELION job folder"
        check = _usable(name, folder)
        yield check
        if check.verdict == "fault":
            return
    yield _in_the_way(config, folders, project, memory)


def _project(config: Config) -> RelionProject | None:
    """Return the RELION project; None also if it cannot be used, which another check says."""
    try:
        return relion_project(config.output)
    except LivepickError:
        return None


def _usable(name: str, folder: OutputFolder) -> Check:
    try:
        folder.inspect()
    except OutputError as error:
        return Check(name, "fault", error.what, error.remedy)
    return writable_folder(name, folder.path)


def _in_the_way(
    config: Config, folders: Folders, project: RelionProject | None, memory: SessionMemory
) -> Check:
    """Check that there are no files of others where those of livepick will be."""
    known = _Known(config, memory)
    if known.is_older:
        return Check(IN_THE_WAY, "ok", "those of an earlier version of livepick are taken over")
    exports = exports_of(config.output, folders, Branches(known.roots), project)
    places = itertools.chain(
        () if known.is_adopting else _lists(config, folders, project),
        _coordinates(config, exports, known),
    )
    found: dict[str, OccupiedError] = {}  # a folder is in the way of many files
    seen: set[Path] = set()
    for folder, path in places:
        if path.parent in seen and not folder.is_there(path):
            continue
        seen.add(path.parent)
        if (error := folder.obstacle(path)) is not None:
            found[error.path] = error
    foreign = [error for error in found.values() if not isinstance(error, EditedError)]
    if foreign:
        return Check(IN_THE_WAY, "fault", _first(foreign), REMEDY)
    if found:
        return Check(IN_THE_WAY, "warning", _first(list(found.values())), REMEDY)
    return Check(IN_THE_WAY, "ok", "none")


def _first(errors: list[OccupiedError]) -> str:
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return f"{errors[0].what}{more}"


class _Known:
    """Knowledge of the ledger, if there is one.

    Parameters
    ----------
    config
        The config.
    memory
        Memory that the session has of its output folders.
    """

    def __init__(self, config: Config, memory: SessionMemory) -> None:
        self.roots = set(config.watch.directories)
        self.picked: frozenset[Path] = frozenset()
        self.is_adopting = False
        self.is_older = False
        """True if the ledger is of a version that kept no record of its files, and that only
        ``livepick run`` can read."""
        try:
            with Database.read_only(config.state.directory / LEDGER) as database:
                ledger = LedgerReader(database)
                self.roots |= set(ledger.roots())
                recorded = (ledger.written_as() or {}).get("recorded") or memory.is_recorded
                if not recorded:
                    self.picked = frozenset(
                        entry.root / entry.relative for entry in ledger.visible()
                    )
                    self.is_adopting = bool(self.picked)
        except OlderLedgerError:
            self.is_older = not memory.is_recorded
        except LedgerError:
            return  # there is none, or another check says what is wrong with it


def _coordinates(
    config: Config, exports: Iterable[Export], known: _Known
) -> Iterator[tuple[OutputFolder, Path]]:
    """Yield the coordinates files of the micrographs that are there, with their folders."""
    for root in config.watch.directories:
        for path in itertools.islice(micrographs(config, [root]), MOST_MICROGRAPHS):
            if path in known.picked:
                continue  # written by a version that kept no record of its files
            for export in exports:
                try:
                    yield export.folder, export.place(root, path.relative_to(root))
                except MicrographError:
                    continue  # it cannot have a file


def _lists(
    config: Config, folders: Folders, project: RelionProject | None
) -> Iterator[tuple[OutputFolder, Path]]:
    """Yield the files of the session as a whole, with their folders."""
    formats = config.output.formats
    lists = [relion_files.MICROGRAPHS, micrograph_table.GOOD]
    if "relion" in formats:
        lists.append(relion_files.LIST)
        if project is not None:
            lists.append(relion_files.SUFFIX_LIST)
    for name in lists:
        yield folders.relion, folders.relion.path / name
    tables = [micrograph_table.QUALITY, micrograph_table.CSV]
    if "cryosparc" in formats:
        tables += [f"{cryosparc_files.FOLDER}/{one}" for one in cryosparc_files.FILES]
    for name in tables:
        yield folders.main, folders.main.path / name
