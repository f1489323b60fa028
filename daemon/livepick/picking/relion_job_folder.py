"""The folder of a RELION job: the files by which RELION and a job talk to each other.

A job ends by writing one of three empty files. RELION writes ``RELION_JOB_ABORT_NOW`` if the user
aborts the job. It learns which results a job has from ``RELION_OUTPUT_NODES.star``:

- RELION 3.1 reads the integer ``rlnPipeLineNodeType``, and extracts from the node
  ``coords_suffix_autopick.star``.
- RELION 4 and later read ``rlnPipeLineNodeTypeLabel``, and extract from the node ``autopick.star``.

A file with both columns works in all versions, but 3.1 warns about the label that it does not know,
and both nodes in one file would be offered to the user, who could choose the wrong one. So the file
has the node of the version that started the job, which ``job.star`` tells: RELION writes it to the
folder before it starts the job, in 3.1 with ``rlnJobType``, later with ``rlnJobTypeLabel``.
"""

import contextlib
from enum import Enum
from pathlib import Path

from livepick.core.formats.star import Table, star_file, star_tables, star_word
from livepick.host.foreign_files import read_bounded
from livepick.picking.output_folder import OutputFolder
from livepick.picking.output_owner import Owner, Ownership
from livepick.picking.relion_files import LIST, SUFFIX_LIST

__all__ = ["ABORT", "NODES", "End", "JobFolder"]

ABORT = "RELION_JOB_ABORT_NOW"
NODES = "RELION_OUTPUT_NODES.star"

_COORDINATES_31 = 2
"""RELION 3.1's number of a node of coordinates."""

_COORDINATES = "MicrographCoordsGroup.star.relion.autopick"
"""Label of such a node since RELION 4."""


class End(Enum):
    """The ways in which a job ends, with the files that tell RELION."""

    SUCCESS = "RELION_JOB_EXIT_SUCCESS"
    FAILURE = "RELION_JOB_EXIT_FAILURE"
    ABORTED = "RELION_JOB_EXIT_ABORTED"

    @property
    def exit_status(self) -> int:
        """Exit status of RELION's own programs."""
        return list(End).index(self)


class JobFolder:
    """The folder of a job in a RELION project.

    Parameters
    ----------
    project
        Folder of the project.
    job
        Folder of the job below it, such as ``External/job012``.
    """

    def __init__(self, project: Path, job: Path) -> None:
        self.project = project
        self.job = job
        self.path = project / job
        self.files = OutputFolder(self.path, Ownership(Owner.of_command("livepick relion-job")))

    def begin(self) -> None:
        """Remove the files of an earlier end. Raises OutputError.

        A request to abort stays: RELION removes older ones when it starts a job.
        """
        self.files.begin()
        for end in End:
            self._remove(end.value)

    def should_abort(self) -> bool:
        """Return True if the user has aborted the job."""
        return (self.path / ABORT).exists()

    def end(self, end: End) -> None:
        """Tell RELION that the job has ended. Raises OutputError."""
        if end is End.ABORTED:
            self._remove(ABORT)
        self.files.write(self.path / end.value, b"")

    def write_nodes(self) -> None:
        """Tell RELION where the coordinates are. Raises OutputError."""
        if self._is_of_relion_31():
            node = [star_word(f"{self.job}/{SUFFIX_LIST}"), str(_COORDINATES_31)]
            column = "rlnPipeLineNodeType"
        else:
            node = [star_word(f"{self.job}/{LIST}"), _COORDINATES]
            column = "rlnPipeLineNodeTypeLabel"
        table = Table(["rlnPipeLineNodeName", column], [node], "output_nodes")
        self.files.write_if_different(self.path / NODES, star_file([table]))

    def _remove(self, name: str) -> None:
        """Remove a file by which RELION and its jobs talk, whichever of the two wrote it."""
        self.files.adopt(self.path / name)
        self.files.remove(self.path / name)

    def _is_of_relion_31(self) -> bool:
        """Return True if RELION 3.1 started the job; False also if nobody knows."""
        with contextlib.suppress(OSError):
            data = read_bounded(self.path / "job.star", limit_bytes=1 << 20)
            text = data.decode(errors="replace")
            return any("rlnJobType" in table.columns for table in star_tables(text))
        return False
