"""The session's picks for cryoSPARC: one cs file with all particles, and its group file.

cryoSPARC imports ``picks.csg`` (*Import Result Group*). The files are regenerated from the ledger.
"""

import dataclasses
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from livepick import __version__
from livepick.core.formats.cryosparc_cs import Exposure, read_exposures, write_cs, write_csg
from livepick.core.formats.image_names import image_stem
from livepick.core.formats.name_matching import match_names
from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.errors import ConfigError, CoordinatesError
from livepick.host.foreign_files import errors_of_file, read_bounded
from livepick.ledger.output_rows import Visible
from livepick.ledger.reader import LedgerReader
from livepick.picking.output_folder import OutputFolder

__all__ = [
    "CS",
    "CSG",
    "FILES",
    "FOLDER",
    "CryosparcFiles",
    "group_file",
    "known_exposures",
    "write_picks",
]

MOST_BYTES = 1 << 30
"""Largest file of exposures that is read."""

FOLDER = "cryosparc"
FILES = CS, CSG = "picks.cs", "picks.csg"


def known_exposures(path: Path | None) -> dict[str, Exposure]:
    """Return the exposures in a cs file, by the stem of the micrograph, if only one has it.

    Raises
    ------
    ConfigError
        The file cannot be read, or has no exposures.
    """
    if path is None:
        return {}
    try:
        data = read_bounded(path, limit_bytes=MOST_BYTES)
        with errors_of_file(path, CoordinatesError, ""):
            exposures = read_exposures(path, data)
    except (OSError, CoordinatesError) as error:
        fault = f"read: {error.strerror}" if isinstance(error, OSError) else f"used: {error.what}"
        raise ConfigError(
            f"output.cryosparc.exposures is {path}, which cannot be {fault}",
            "Give it the exposures.cs of a cryoSPARC job, or leave it out.",
        ) from error
    stems = Counter(image_stem(Path(one.path)) for one in exposures)
    return {stem: one for one in exposures if stems[stem := image_stem(Path(one.path))] == 1}


def write_picks(
    file: BinaryIO,
    entries: Sequence[Visible],
    ledger: LedgerReader,
    *,
    diameter_angstrom: float,
    min_distance_fraction: float,
    exposures: Mapping[str, Exposure],
) -> int:
    """Write the cs file of some micrographs; return the number of picks in it.

    Parameters
    ----------
    file
        New file, open for writing.
    entries
        The micrographs.
    ledger
        Source of their picks.
    diameter_angstrom
        Diameter of the particle.
    min_distance_fraction
        Closest distance of two picks as a fraction of the diameter.
    exposures
        Exposures that cryoSPARC knows, by the stem of the micrograph.
    """
    matched = match_names(exposures, [image_stem(one.relative) for one in entries]).pairs
    known = [exposures.get(matched.get(image_stem(one.relative), "")) for one in entries]
    paths = [
        entry.root / entry.relative if exposure is None else Path(exposure.path)
        for entry, exposure in zip(entries, known, strict=True)
    ]

    def micrographs() -> Iterator[tuple[PickedMicrograph, int | None]]:
        for entry, exposure, path in zip(entries, known, paths, strict=True):
            candidates = ledger.candidates(entry.id)
            if candidates is not None:
                micrograph = entry.micrograph(candidates, diameter_angstrom)
                uid = None if exposure is None else exposure.uid
                yield dataclasses.replace(micrograph, path=path), uid

    return write_cs(
        file,
        micrographs(),
        min_distance_angstrom=min_distance_fraction * diameter_angstrom,
        path_bytes=max((len(os.fsencode(path)) for path in paths), default=0),
    )


def group_file(count: int) -> bytes:
    """Return the group file beside a cs file with this number of picks."""
    return write_csg(
        CS,
        count=count,
        created=time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
        version=__version__,
    )


class CryosparcFiles:
    """The particles of a session as a cs file.

    Parameters
    ----------
    folder
        Output folder; its sub-folder ``cryosparc`` is created when the first file is written.
    diameter_angstrom
        Function that returns the diameter of the particle.
    min_distance_fraction
        Closest distance of two picks as a fraction of the diameter.
    exposures
        Exposures that cryoSPARC knows, by the stem of the micrograph.
    """

    def __init__(
        self,
        folder: OutputFolder,
        *,
        diameter_angstrom: Callable[[], float],
        min_distance_fraction: float,
        exposures: Mapping[str, Exposure] | None = None,
    ) -> None:
        self._folder = folder
        self._directory = folder.path / FOLDER
        self._diameter_angstrom = diameter_angstrom
        self._min_distance_fraction = min_distance_fraction
        self._exposures = exposures or {}

    def write(self, ledger: LedgerReader) -> bool:
        """Write the files if the picks differ from those in them; return True if they did.

        Raises
        ------
        OutputError
            Writing to the folder failed; a later try may succeed.
        """
        entries = list(ledger.visible())
        count = 0

        def write(file: BinaryIO) -> None:
            nonlocal count
            count = write_picks(
                file,
                entries,
                ledger,
                diameter_angstrom=self._diameter_angstrom(),
                min_distance_fraction=self._min_distance_fraction,
                exposures=self._exposures,
            )

        changed = self._folder.write_large_if_different(self._directory / CS, write)
        if not self._folder.wrote(self._directory / CS):
            return False  # another file is in its place
        if not changed and not self._folder.is_due(self._directory / CSG):
            return False
        group = group_file(count)
        self._folder.write_if_different(self._directory / CSG, group)
        return True
