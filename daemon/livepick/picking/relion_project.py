"""The RELION project that takes the coordinates: the name of each micrograph in it.

RELION compares the name of a micrograph by its exact text, and its projects have paths relative to
the project folder. So a micrograph has the name that ``micrographs_star`` gives to the same file,
else its path below the project. The folder of coordinates mirrors the name without everything up to
the first ``/jobNNN/``, as RELION's own pickers do: ``MotionCorr/job002/Movies/x.mrc`` becomes
``Movies/x_autopick.star``.
"""

import contextlib
import os
import re
from pathlib import Path, PurePosixPath

from livepick.config.output_sections import Output
from livepick.core.formats.star import star_tables
from livepick.errors import ConfigError

__all__ = ["PIPELINE", "RelionProject", "after_job", "find_project", "relion_project"]

PIPELINE = "default_pipeline.star"
"""File by which the folder of a RELION project is known."""

_JOB = re.compile(r"^.*?/job\d{3}[^/]*/")


def relion_project(output: Output) -> "RelionProject | None":
    """Return the project that takes the coordinates; None if there is none.

    Raises
    ------
    ConfigError
        The project or its list of micrographs is not what the config says.
    """
    settings = output.relion
    project = settings.project or find_project(output.directory)
    if project is None:
        if settings.micrographs_star is not None:
            raise ConfigError(
                f"output.relion.micrographs_star is {settings.micrographs_star}, but no RELION"
                f" project is known: no folder above {output.directory} has a {PIPELINE}",
                "Give output.relion.project the folder of the project.",
            )
        return None
    if not project.is_dir():
        raise ConfigError(
            f"output.relion.project is {project}, which is not a folder",
            f"Give it the folder of a RELION project, which has a {PIPELINE}.",
        )
    job = Path(settings.job) if settings.project else output.directory.relative_to(project)
    found = RelionProject(project, job, settings.micrographs_star)
    found.read_names()
    return found


def find_project(place: Path) -> Path | None:
    """Return the nearest folder above ``place`` that is a RELION project; None if there is none."""
    return next((one for one in (place, *place.parents) if (one / PIPELINE).is_file()), None)


def after_job(name: PurePosixPath) -> PurePosixPath:
    """Return a name without everything through its first ``/jobNNN/``, as RELION does."""
    return PurePosixPath(_JOB.sub("", str(name), count=1))


class RelionProject:
    """A RELION project.

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
        self._list_changed_ns = 0
        self._names: dict[Path, str] = {}

    @property
    def job_folder(self) -> Path:
        """Folder of the coordinates."""
        return self.folder / self.job

    def name(self, micrograph: Path) -> PurePosixPath | None:
        """Return the name of a micrograph in the project; None if it has none."""
        real = Path(os.path.realpath(micrograph))
        if self._list is not None and real not in self._names:
            with contextlib.suppress(ConfigError):  # reported at the start; RELION rewrites it
                self.read_names()
        if real in self._names:
            return PurePosixPath(self._names[real])
        for file, folder in (
            (micrograph, self.folder),
            (real, Path(os.path.realpath(self.folder))),
        ):
            if file.is_relative_to(folder):
                return PurePosixPath(file.relative_to(folder))
        return None

    def read_names(self) -> None:
        """Read the names in the list of micrographs, unless it is as before.

        Raises
        ------
        ConfigError
            The list cannot be read, or names no micrographs.
        """
        if self._list is None:
            return
        remedy = "Give it RELION's list of micrographs, as CtfFind/job003/micrographs_ctf.star."
        try:
            changed_ns = self._list.stat().st_mtime_ns
            if changed_ns == self._list_changed_ns:
                return
            tables = star_tables(self._list.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"output.relion.micrographs_star is {self._list}, which cannot be read: {error}",
                remedy,
            ) from error
        names = [name for table in tables for name in table.column("rlnMicrographName") or []]
        if not names:
            raise ConfigError(
                f"output.relion.micrographs_star is {self._list}, which names no micrographs:"
                " it has no column rlnMicrographName, or no rows",
                remedy,
            )
        self._names = {Path(os.path.realpath(self.folder / name)): name for name in names}
        self._list_changed_ns = changed_ns
