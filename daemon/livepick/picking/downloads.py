"""Files of some micrographs of a session, made from the ledger for a download.

They have the bytes of the files in the output folder, and the same writers make them. What grows
with the session is made piece by piece, so that its memory is bounded.
"""

import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from livepick.config.schema import Config
from livepick.core.formats.header import printable
from livepick.core.formats.image_names import image_stem
from livepick.core.formats.relion_particles import particle_rows, particles_start
from livepick.core.formats.relion_star import coordinates_star
from livepick.errors import ConfigError, MicrographError, OutputError
from livepick.ledger.micrograph_filter import FilteredMicrographs, MicrographFilter
from livepick.ledger.output_rows import Visible
from livepick.ledger.reader import LedgerReader
from livepick.picking.coordinate_files import file_formats
from livepick.picking.cryosparc_files import CS, CSG, group_file, known_exposures, write_picks
from livepick.picking.cryosparc_files import FOLDER as CRYOSPARC
from livepick.picking.micrograph_table import CSV, GOOD, QUALITY, WITH_CTF, csv_rows, optics_table
from livepick.picking.output_tree import Branches
from livepick.picking.relion_files import LIST, MICROGRAPHS, SUFFIX_LIST, relion_place
from livepick.picking.relion_project import RelionProject, relion_project

__all__ = ["PICK_FORMATS", "Downloads", "LeftOut"]

RELION = "relion"
CS_FORMAT = "cryosparc"

PICK_FORMATS: Final = {
    RELION: "RELION (autopick.star)",
    "star": "STAR with names (Warp, cryoSPARC)",
    CS_FORMAT: "cryoSPARC (.cs)",
    "eman": "EMAN2 (.box)",
    "eman-json": "EMAN2 (info.json)",
    "cbox": "crYOLO (.cbox)",
    "topaz": "Topaz (.txt)",
    "csv": "CSV",
}
"""Formats of the picks of a micrograph, with their names for people."""

LeftOut = list[str]
"""Sentences about micrographs that have no file in an archive."""

LEFT_OUT = "left_out.txt"
"""File in an archive that names the micrographs without a file."""

PIECE_BYTES = 64 << 10
"""Least size of a piece, except the last."""

_LISTS: Final = (MICROGRAPHS, GOOD, WITH_CTF, LIST, SUFFIX_LIST)
_TABLES: Final = (QUALITY, CSV, f"{CRYOSPARC}/{CS}", f"{CRYOSPARC}/{CSG}")


class Downloads:
    """Makes the files of some micrographs. Thread-safe.

    Parameters
    ----------
    config
        Function that returns the settings in force.
    ledger
        Source of the picks.
    filtered
        Source of the micrographs.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        ledger: LedgerReader,
        filtered: FilteredMicrographs,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._filtered = filtered
        self._project = _project_of(config())

    @property
    def has_project(self) -> bool:
        """True if a RELION project takes the coordinates."""
        return self._project is not None

    def lists(self) -> dict[str, Path]:
        """Return the paths of the session's lists and tables, by name; they need not exist."""
        main = self._config().output.directory
        lists = main if self._project is None else self._project.job_folder
        return {name: lists / name for name in _LISTS} | {name: main / name for name in _TABLES}

    # --- one micrograph ----------------------------------------------------------------------

    def picks(self, micrograph_id: int, name: str) -> tuple[str, bytes] | None:
        """Return name and content of the coordinates file of a micrograph; None without picks.

        ``name``: a key of ``PICK_FORMATS``.

        Raises
        ------
        MicrographError
            The format cannot hold the name of the micrograph.
        """
        chosen = MicrographFilter(ids=((micrograph_id, micrograph_id),))
        for entry in self._filtered.visible(chosen):
            if name == CS_FORMAT:
                return f"{image_stem(entry.relative)}.zip", b"".join(self._cs_archive(chosen))
            file = self._file(entry, name)
            return None if file is None else (file[0].name, file[1])
        return None

    def _file(self, entry: Visible, name: str) -> tuple[Path, bytes] | None:
        """Return place and content of a coordinates file."""
        candidates = self._ledger.candidates(entry.id)
        if candidates is None:
            return None
        config, branches = self._config(), self._branches()
        micrograph = entry.micrograph(candidates, config.particle.diameter_angstrom)
        if name == RELION:
            place = relion_place(entry.root, entry.relative, branches, self._project)
            return place, coordinates_star(micrograph)
        mirrored = branches.place(entry.root, entry.relative)
        one = file_formats(flip_tiff=config.output.star.flip_tiff)[name]
        return one.place(mirrored), one.write(micrograph)

    # --- many micrographs --------------------------------------------------------------------

    def table(self, chosen: MicrographFilter) -> Iterator[bytes]:
        """Yield the pieces of ``micrographs.csv`` with some micrographs."""
        with_ctf = self._filtered.some_have_ctf(chosen)
        return _pieces(csv_rows(self._filtered.measured(chosen), with_ctf=with_ctf))

    def particles(self, chosen: MicrographFilter) -> Iterator[bytes]:
        """Yield the pieces of RELION's list of the particles of some micrographs."""
        return _pieces(self._particles(chosen))

    def archive(self, chosen: MicrographFilter, name: str) -> Iterator[bytes]:
        """Yield the pieces of a ZIP file with the coordinates files of some micrographs.

        For cryoSPARC it has one file with all picks, and its group file.
        """
        if name == CS_FORMAT:
            return _pieces(self._cs_archive(chosen))
        return _pieces(self._archive(chosen, name))

    def _particles(self, chosen: MicrographFilter) -> Iterator[bytes]:
        config = self._config()
        # The groups of all lists are the same: RELION joins particles by them.
        sizes = list(dict.fromkeys(map(_size, self._filtered.pixel_sizes_angstrom())))
        yield (optics_table(config.optics, sizes) + particles_start()).encode()
        for entry in self._filtered.visible(chosen):
            candidates = self._ledger.candidates(entry.id)
            if candidates is not None and (size := _size(entry.pixel_size_angstrom)) in sizes:
                yield particle_rows(
                    entry.micrograph(candidates),
                    name=self._name(entry.root / entry.relative),
                    optics_group=1 + sizes.index(size),
                )
        yield b"\n"

    def _archive(self, chosen: MicrographFilter, name: str) -> Iterator[bytes]:
        sink, left_out, seen = _Sink(), LeftOut(), set[str]()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for entry in self._filtered.visible(chosen):
                try:
                    found = self._file(entry, name)
                except MicrographError as error:
                    left_out.append(f"{error}\n")
                    continue
                if found is None:
                    continue
                place, content = found
                if str(place) in seen:
                    left_out.append(
                        f"{printable(entry.root / entry.relative)}: another micrograph has the"
                        f" file {printable(place)}\n"
                    )
                    continue
                seen.add(str(place))
                archive.writestr(printable(place), content)
                yield sink.taken()
            if left_out:
                archive.writestr(LEFT_OUT, "".join(left_out))
        yield sink.taken()

    def _cs_archive(self, chosen: MicrographFilter) -> Iterator[bytes]:
        config, sink = self._config(), _Sink()
        with TemporaryFile() as file, zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            count = write_picks(
                file,
                list(self._filtered.visible(chosen)),
                self._ledger,
                diameter_angstrom=config.particle.diameter_angstrom,
                min_distance_fraction=config.particle.min_distance_fraction,
                exposures=known_exposures(config.output.cryosparc.exposures),
            )
            file.seek(0)
            with archive.open(CS, "w", force_zip64=True) as member:
                while piece := file.read(PIECE_BYTES):
                    member.write(piece)
                    yield sink.taken()
            archive.writestr(CSG, group_file(count))
        yield sink.taken()

    def _name(self, micrograph: Path) -> str:
        return (self._project and self._project.name(micrograph)) or str(micrograph)

    def _branches(self) -> Branches:
        return Branches([*self._config().watch.directories, *self._ledger.roots()])


def _project_of(config: Config) -> RelionProject | None:
    """Return the RELION project that takes the coordinates; None also if its settings are wrong."""
    try:
        return relion_project(config.output, may_be_away=True)
    except (ConfigError, OutputError):
        return None


def _size(pixel_size_angstrom: float) -> str:
    """Return a pixel size as it is in the lists."""
    return f"{pixel_size_angstrom:.6g}"


def _pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in pieces of at least ``PIECE_BYTES``, except the last."""
    waiting = bytearray()
    for part in parts:
        waiting += part
        if len(waiting) >= PIECE_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


class _Sink(io.RawIOBase):
    """File that a ZIP is written to, whose content is taken away."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | memoryview", /) -> int:  # type: ignore[override]
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        """Return what was written since the last call."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data
