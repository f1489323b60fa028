"""The RELION project that takes the coordinates: the name of each micrograph in it.

RELION compares the name of a micrograph by its exact text, and its projects have paths relative to
the project folder. So a micrograph has the name that ``micrographs_star`` gives to the same file,
else its path below the project. The folder of coordinates mirrors the name without everything up to
the first ``/jobNNN/``, as RELION's own pickers do: ``MotionCorr/job002/Movies/x.mrc`` becomes
``Movies/x_autopick.star``.

RELION rewrites ``micrographs_star`` in place while the session runs, so it is read again, and names
that it once had are kept. A list that cannot be read does not stop the service.
"""

import logging
import os
import re
import threading
import time
from pathlib import Path, PurePosixPath

from livepick.config.output_sections import Output
from livepick.core.formats.image_names import without_compression
from livepick.core.formats.relion_star import MOST_LIST_BYTES, micrograph_names
from livepick.core.formats.text_lines import TextFile
from livepick.errors import ConfigError, OutputError
from livepick.host.foreign_files import open_regular

__all__ = [
    "PIPELINE",
    "RelionProject",
    "after_job",
    "find_project",
    "is_own_list",
    "relion_project",
]

PIPELINE = "default_pipeline.star"
"""File by which the folder of a RELION project is known."""

LOOK_SECONDS = 5.0
"""Shortest interval between two looks at the list of micrographs."""

NOT_YET = (
    "If RELION has not written it yet, the service can start: it takes the names as soon as they"
    " are there."
)
"""Remedy where the list of micrographs is missing."""

OWN_MARK = "# livepick "
"""Text at the beginning of the lists written by livepick, and not of those of RELION."""

MARK_BYTES = 1000
"""Length of the beginning in which the mark is."""

JOB_FILES = ("job.star", "run.job", "note.txt")
"""Files that RELION writes to the folder of a job."""

_JOB = re.compile(r"^(?:.*?/)?job\d{3}[^/]*/")

_log = logging.getLogger(__name__)


def relion_project(
    output: Output, *, may_be_away: bool = False, last: Path | None = None
) -> "RelionProject | None":
    """Return the project that takes the coordinates; None if there is none.

    Parameters
    ----------
    output
        Settings of the output.
    may_be_away
        True to return a project whose disk may not be mounted yet.
    last
        Project that was found above the output folder before, if its disk is not mounted now.

    Raises
    ------
    ConfigError
        A list is given without a project, or the coordinates would be written to a job of RELION.
    OutputError
        The folder is not that of a project; its disk may not be mounted yet.
    """
    settings = output.relion
    project = settings.project or find_project(output.directory) or last
    if project is None:
        if settings.micrographs_star is not None:
            raise ConfigError(
                f"output.relion.micrographs_star is {settings.micrographs_star}, but no RELION"
                f" project is known: no folder above {output.directory} has a {PIPELINE}",
                "Set output.relion.project to the folder of the project.",
            )
        return None
    if not may_be_away and not (project / PIPELINE).is_file():
        raise OutputError(
            f"output.relion.project is {project}, which is not a RELION project:"
            f" it has no {PIPELINE}",
            "Mount its disk, or set it to the folder in which RELION is started: RELION writes"
            " this file at its first start.",
        )
    job = Path(settings.job) if settings.project else output.directory.relative_to(project)
    found = RelionProject(project, job, settings.micrographs_star)
    _refuse_job_of_relion(found.job_folder)
    return found


def _refuse_job_of_relion(folder: Path) -> None:
    """Raise ConfigError if a folder is that of a job whose files livepick would overwrite."""
    present = next((name for name in JOB_FILES if (folder / name).exists()), None)
    if present is None:
        return
    if not is_own_list(folder / "autopick.star"):
        raise ConfigError(
            f"{folder} is the folder of a RELION job: it has a {present}; livepick would write its"
            " coordinates between the files of that job",
            "Choose a folder of its own below the project, such as External/livepick; to pick"
            " inside a RELION job, use livepick relion-job.",
        )


def is_own_list(path: Path) -> bool:
    """Return True if a file is there and is a list written by livepick."""
    try:
        with open_regular(path) as file:
            return OWN_MARK in file.read(MARK_BYTES).decode(errors="replace")
    except OSError:
        return False


def find_project(place: Path) -> Path | None:
    """Return the nearest folder above ``place`` that is a RELION project; None if there is none."""
    return next((one for one in place.parents if (one / PIPELINE).is_file()), None)


def after_job(name: str) -> PurePosixPath:
    """Return a name without everything through its first ``/jobNNN/``, as RELION does.

    The result is relative: RELION puts the folder of coordinates before it as text.
    """
    return PurePosixPath(_JOB.sub("", name, count=1).lstrip("/"))


class RelionProject:
    """A RELION project. Thread-safe.

    Parameters
    ----------
    folder
        Folder of the project.
    job
        Folder of the coordinates below it.
    micrographs_star
        The project's list of micrographs, below the folder. None: there is none.
    """

    def __init__(self, folder: Path, job: Path, micrographs_star: str | None = None) -> None:
        self.folder = folder
        self.job = job
        self._list = None if micrographs_star is None else folder / micrographs_star
        self._looked_at = float("-inf")
        self._list_changed_ns = 0
        self._fault = ""
        self._listed: dict[Path, str] = {}
        self._known: dict[Path, str | None] = {}
        self._names_changed = False
        self._has_warned = False
        self._lock = threading.RLock()

    @property
    def job_folder(self) -> Path:
        """Folder of the coordinates."""
        return self.folder / self.job

    def name(self, micrograph: Path) -> str | None:
        """Return the name of a micrograph in the project; None if it has none."""
        with self._lock:
            self._look()
            return self._name(micrograph)

    def _name(self, micrograph: Path) -> str | None:
        if micrograph not in self._known:
            self._known[micrograph] = self._find(micrograph)
            if self._known[micrograph] is None and not self._has_warned:
                self._has_warned = True
                _log.warning(
                    "%s: it has no name in the RELION project %s, so RELION passes over it, and"
                    " over all others outside the project; see livepick check",
                    micrograph,
                    self.folder,
                )
        return self._known[micrograph]

    def names_changed(self) -> bool:
        """Return True if a micrograph may have got another name since the last call."""
        with self._lock:
            self._look()
            changed, self._names_changed = self._names_changed, False
            return changed

    def read_names(self) -> None:
        """Read the names in the list of micrographs, unless the file is as before.

        Raises
        ------
        ConfigError
            The list cannot be read, or names no micrographs.
        """
        if self._list is None:
            return
        remedy = (
            "Set it to RELION's list of micrographs, such as CtfFind/job003/micrographs_ctf.star."
        )
        try:
            changed_ns = self._list.stat().st_mtime_ns
            if changed_ns == self._list_changed_ns:
                return
            # Of two names of one file, the first counts.
            names = micrograph_names(TextFile(self._list, limit_bytes=MOST_LIST_BYTES))[::-1]
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"output.relion.micrographs_star is {self._list}, which cannot be read:"
                f" {error.strerror if isinstance(error, OSError) else error}",
                f"{remedy} {NOT_YET}" if isinstance(error, FileNotFoundError) else remedy,
            ) from error
        if not names:
            raise ConfigError(
                f"output.relion.micrographs_star is {self._list}, which names no micrographs:"
                " it has no column rlnMicrographName, or no rows",
                remedy,
            )
        self._list_changed_ns = changed_ns
        listed = {Path(os.path.realpath(self.folder / name)): name for name in names}
        listed |= {self.folder / name: name for name in names}  # two may be links to one file
        if listed.items() <= self._listed.items():
            return
        self._listed |= listed
        self._known.clear()
        self._names_changed = True

    def _look(self) -> None:
        """Read the list again if it is time to; log a fault once."""
        if self._list is None or time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        try:
            self.read_names()
        except ConfigError as error:
            if error.what != self._fault:
                _log.warning(
                    "%s; until then, RELION gets the paths of the micrographs below the project",
                    error.what,
                )
            self._fault = error.what
        else:
            self._fault = ""

    def _find(self, micrograph: Path) -> str | None:
        """Return the name of a micrograph; RELION knows ``X.mrc.gz`` only as ``X.mrc``."""
        real = Path(os.path.realpath(micrograph))
        micrograph, real = (
            file.with_name(without_compression(file.name)) for file in (micrograph, real)
        )
        for file in (micrograph, real):
            if file in self._listed:
                return self._listed[file]
        for file, folder in (
            (micrograph, self.folder),
            (real, Path(os.path.realpath(self.folder))),
        ):
            if file.is_relative_to(folder):
                return str(file.relative_to(folder))
        return None
