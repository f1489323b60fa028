"""A job in a RELION project that writes coordinates for the micrographs of a list.

The coordinates have the places and names that RELION's own pickers give them (``RelionFiles``), so
that Extract takes the folder of the job as it is. A micrograph that has a coordinates file is done:
a job that is continued picks the others, as RELION's Auto-picking does.

Micrographs without picks are listed in ``micrographs_without_picks.star``, with the reason. They do
not make the job fail, since a Scheme should not stop at one damaged file. The job fails if no
micrograph has picks, if the time for waiting has passed, or if a model or a disk fails.
"""

import contextlib
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from livepick import __version__
from livepick.core.formats.relion_star import MOST_LIST_BYTES, micrograph_names, model_of
from livepick.core.formats.star import Table, star_file, star_word
from livepick.core.formats.text_lines import TextFile
from livepick.errors import ConfigError, MicrographError, OccupiedError
from livepick.host.foreign_files import open_regular
from livepick.ledger.output_rows import Visible
from livepick.picking.job_picks import Event, Picked, Unpicked, relative_path
from livepick.picking.output_tree import Branches
from livepick.picking.relion_files import LIST, RelionFiles
from livepick.picking.relion_job_folder import End, JobFolder
from livepick.picking.relion_project import RelionProject, is_own_list

__all__ = ["WITHOUT_PICKS", "RelionJob", "read_list"]

WITHOUT_PICKS = "micrographs_without_picks.star"

MOST_COMMENT_BYTES = 1000
"""Length of the beginning of a coordinates file, which names the model."""


def read_list(project: Path, micrographs_star: str) -> list[str]:
    """Return the names of the micrographs in a list, each once.

    Raises
    ------
    ConfigError
        The list cannot be read, or names no micrographs.
    """
    path = project / micrographs_star
    remedy = (
        "Choose a STAR file of micrographs, such as CtfFind/job003/micrographs_ctf.star; paths are"
        " relative to the folder of the RELION project, in which livepick must be started."
    )
    try:
        names = micrograph_names(TextFile(path, limit_bytes=MOST_LIST_BYTES))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"--in_mics is {micrographs_star}, which cannot be read in {project}: {why}", remedy
        ) from error
    if not names:
        raise ConfigError(f"--in_mics is {micrographs_star}, which lists no micrographs", remedy)
    return names


class RelionJob:
    """A job that writes coordinates.

    Parameters
    ----------
    folder
        Folder of the job.
    micrographs_star
        The list of micrographs, relative to the project.
    report, warn
        Functions that take a line for the user: about progress, and about a failure.

    Raises
    ------
    ConfigError
        The list cannot be read, or names no micrographs.
    """

    def __init__(
        self,
        folder: JobFolder,
        micrographs_star: str,
        *,
        report: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._names = read_list(folder.project, micrographs_star)
        self._report = report
        self._warn = warn
        self._files = RelionFiles(
            folder.files,
            Branches([folder.project]),
            project=RelionProject(folder.project, folder.job, micrographs_star),
            micrographs_star=micrographs_star,
        )
        self._done: dict[str, Visible] = {}
        self._without: dict[str, Unpicked] = {}

    def run(self, picks: Callable[[Sequence[str]], Generator[Event]]) -> End:
        """Write the coordinates of all micrographs that have none; return how the job ended.

        Parameters
        ----------
        picks
            Function that returns the picks of these micrographs.

        Raises
        ------
        LivepickError
            Picking or writing failed; what was written before stays, and is used by a job that is
            continued.
        """
        self._adopt_lists()
        self._folder.files.sweep()
        left = self._left()
        if self._done:
            self._report(f"{self._counted()} from an earlier run")
        try:
            with contextlib.closing(picks(left)) as events:
                is_aborted = self._take(events)
        finally:
            # A job that failed or was aborted may be continued, or be marked as finished.
            self._write_lists()
        return self._end(is_aborted=is_aborted)

    def _adopt_lists(self) -> None:
        """Take over the lists of an earlier run by a livepick that kept no record of its files."""
        for name in (LIST, WITHOUT_PICKS):
            path = self._folder.path / name
            if is_own_list(path):
                self._folder.files.adopt(path)

    def _left(self) -> list[str]:
        """Return the micrographs to pick; set aside those that have or cannot have coordinates."""
        left = []
        owners: dict[Path, str] = {}
        for name in self._names:
            try:
                place = self._place(name, owners)
            except MicrographError as error:
                self._take_event(Unpicked(name, "failed", str(error)))
                continue
            if place.exists():
                self._folder.files.adopt(place)
                self._done[name] = self._entry_of_file(name, place)
            else:
                left.append(name)
        return left

    def _place(self, name: str, owners: dict[Path, str]) -> Path:
        """Return the path of a micrograph's coordinates file; note whose it is.

        Raises
        ------
        MicrographError
            It cannot have a file, or another micrograph has this one.
        """
        relative = relative_path(name)
        if relative.parts[0] == "..":
            raise MicrographError(
                "it is not below the folder of the project",
                "Make a link to its folder in the project, and import it by that path.",
            )
        place = self._files.place(self._folder.project, relative)
        owner = owners.setdefault(place, name)
        if owner != name:
            raise MicrographError(
                f"its coordinates file would be that of {owner}",
                "Pick the two in different jobs.",
            )
        return place

    def _entry_of_file(self, name: str, place: Path) -> Visible:
        """Return a micrograph whose coordinates an earlier run wrote."""
        with open_regular(place) as file:
            version, kind = model_of(file.read(MOST_COMMENT_BYTES).decode(errors="replace"))
        return Visible(
            0, self._folder.project, relative_path(name), 0.0, version, kind, (0, 0), 0.0, "good"
        )

    def _take(self, events: Generator[Event]) -> bool:
        """Write picks as they come; return True if the user has aborted the job."""
        for event in events:
            if event is not None:
                self._take_event(event)
            if self._folder.should_abort():
                return True
        return False

    def _take_event(self, event: Picked | Unpicked) -> None:
        if isinstance(event, Picked):
            micrograph = event.entry.micrograph(event.candidates)
            try:
                self._files.write(event.entry.root, event.entry.relative, micrograph)
            except (MicrographError, OccupiedError) as error:
                event = Unpicked(event.name, "failed", str(error))
            else:
                self._done[event.name] = event.entry
                self._report(f"{event.name}: {len(micrograph.picks)} particles")
                return
        self._without[event.name] = event
        say = self._report if event.state == "left_out" else self._warn
        say(f"{event.name}: {event.reason}")

    def _write_lists(self) -> None:
        if self._done:
            self._files.write_list(self._done[name] for name in self._names if name in self._done)
            self._folder.write_nodes()
        path = self._folder.path / WITHOUT_PICKS
        if not self._without:
            self._folder.files.remove(path)
            return
        rows = [
            [star_word(one.name), one.state, '"' + one.reason.replace('"', "'") + '"']
            for one in self._without.values()
        ]
        columns = ["rlnMicrographName", "livepickState", "livepickReason"]
        table = Table(columns, rows, "micrographs")
        self._folder.files.write_if_different(
            path, star_file([table], comment=f"livepick {__version__}")
        )

    def _counted(self) -> str:
        return f"{len(self._done)} of {len(self._names)} micrographs have coordinates"

    def _end(self, *, is_aborted: bool) -> End:
        counted = self._counted()
        if self._without:
            counted += f"; {self._folder.job / WITHOUT_PICKS} says why the others have none"
        self._report(counted)
        if is_aborted:
            self._warn("aborted; continue the job to pick the others")
            return End.ABORTED
        waiting = sum(one.state == "waiting" for one in self._without.values())
        if waiting:
            self._warn(
                f"the session has no final picks yet for {waiting} of {len(self._names)}"
                " micrographs, and the time for waiting has passed; continue the job to wait again"
            )
            return End.FAILURE
        return End.SUCCESS if self._done else End.FAILURE
