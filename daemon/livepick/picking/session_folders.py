"""The folders that a session writes to, their owner, and the RELION project around them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from livepick.config.output_sections import Output
from livepick.config.schema import Config
from livepick.errors import ConfigError, LedgerWriteError, NotOwnerError, OutputError
from livepick.picking.output_folder import OutputFolder
from livepick.picking.output_owner import Ownership
from livepick.picking.relion_project import PIPELINE, RelionProject, relion_project
from livepick.picking.session_memory import SessionMemory

__all__ = ["Folders", "begin", "output_folders", "ownership_of", "project_of", "remember"]

_log = logging.getLogger(__name__)


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


def ownership_of(config: Config) -> tuple[SessionMemory, Ownership]:
    """Return what the session knows about its folders, and its claim to them."""
    memory = SessionMemory(config.state.directory)
    remember(memory.ensure_id)
    return memory, Ownership.of_session(config.session.name, memory)


def remember(write: Callable[[], object]) -> None:
    """Write to the memory of the session. Raises LedgerWriteError."""
    try:
        write()
    except OSError as error:
        raise LedgerWriteError(
            f"the state folder cannot be written: {error.strerror}",
            "Free space on the disk of the state directory, or fix its permissions.",
        ) from error


def project_of(output: Output, memory: SessionMemory, ownership: Ownership) -> RelionProject | None:
    """Return the RELION project; while its disk is not mounted, that of the last start."""
    if output.relion.project is not None:
        return relion_project(output, may_be_away=True)
    is_away = memory.project is not None and ownership.is_unmounted(output.directory)
    project = relion_project(output, may_be_away=is_away, last=memory.project if is_away else None)
    remember(lambda: memory.keep_project(None if project is None else project.folder))
    return project


def begin(folder: OutputFolder) -> None:
    """Claim a folder; one that cannot be used for now is claimed later."""
    try:
        folder.begin()
    except NotOwnerError as error:
        raise ConfigError(error.what, error.remedy) from error
    except OutputError as error:
        _log.error("output: %s", error)
