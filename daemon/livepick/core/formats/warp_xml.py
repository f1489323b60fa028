"""Reader for the XML file of Warp and WarpTools beside a micrograph: ``NAME.xml``.

The root is ``Movie``, with ``CTFResolutionEstimate`` in ångström among its attributes; its child
``CTF`` has a ``Param`` of ``Name`` and ``Value`` for each number. Defoci are in micrometres: a
mean (``Defocus``) and the full difference of both axes (``DefocusDelta``). A phase shift is in
units of π. This is the conversion of Warp's own export to RELION. EPU writes files of the same name
with another root, which are ignored.

The file is read as a stream, so the memory it takes does not depend on its size, and a file with
another root is read no further than that.
"""

import math
from pathlib import Path
from xml.parsers import expat

from livepick.core.imaging.ctf import Ctf
from livepick.errors import CtfError
from livepick.host.foreign_files import errors_of_file, open_regular

__all__ = ["read_warp"]

MOST_BYTES = 64 << 20
"""Largest file that is read. Warp's have the grids of a whole movie, about a megabyte."""

MOST_PARAMS = 1000
"""Largest number of values in the element CTF. Warp writes about twenty."""

_AT_ONCE_BYTES = 1 << 16

_ANGSTROM_PER_MICROMETRE = 1e4

_REMEDY = "Write it again with Warp, or delete it."


def read_warp(path: Path) -> Ctf | None:
    """Read Warp's CTF of one micrograph; None if there is none, or the file is not Warp's.

    Raises
    ------
    CtfError
        The file cannot be read, or is Warp's but damaged.
    """
    values = _Values()
    with errors_of_file(path, CtfError, _REMEDY):
        _parse(path, values)
    if not values.has_ctf:
        return None
    try:
        mean, delta = float(values.ctf["Defocus"]), float(values.ctf["DefocusDelta"])
        return Ctf(
            defocus_u_angstrom=(mean + delta / 2) * _ANGSTROM_PER_MICROMETRE,
            defocus_v_angstrom=(mean - delta / 2) * _ANGSTROM_PER_MICROMETRE,
            astigmatism_angle_degrees=float(values.ctf["DefocusAngle"]),
            voltage_kv=float(values.ctf["Voltage"]),
            spherical_aberration_mm=float(values.ctf["Cs"]),
            amplitude_contrast=float(values.ctf["Amplitude"]),
            phase_shift_degrees=math.degrees(math.pi * float(values.ctf.get("PhaseShift", "0"))),
            fit_resolution_angstrom=_positive(values.resolution),
        )
    except KeyError as error:
        raise CtfError(f"{path} has no {error.args[0]} in its CTF", _REMEDY) from error
    except ValueError as error:
        raise CtfError(f"{path}: {error}", _REMEDY) from error


class _Values:
    """Values that the parser finds."""

    def __init__(self) -> None:
        self.is_other = False
        """True if the file is not Warp's."""
        self.has_ctf = False
        self.resolution: str | None = None
        self.ctf: dict[str, str] = {}
        self._depth = 0
        self._in_ctf = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Take the start of an element."""
        self._depth += 1
        if self.is_other:
            return
        if self._depth == 1:
            self.is_other = tag != "Movie"
            self.resolution = attributes.get("CTFResolutionEstimate")
        elif self._depth == 2 and tag == "CTF" and not self.has_ctf:
            self.has_ctf = self._in_ctf = True
        elif self._in_ctf and tag == "Param" and len(self.ctf) < MOST_PARAMS:
            self.ctf[attributes.get("Name", "")] = attributes.get("Value", "")

    def end(self, _tag: str) -> None:
        """Take the end of an element."""
        self._depth -= 1
        if self._depth == 1:
            self._in_ctf = False


def _parse(path: Path, values: _Values) -> None:
    """Read the values in a file, to its end or until it is known not to be Warp's."""
    parser = expat.ParserCreate()
    parser.StartElementHandler = values.start
    parser.EndElementHandler = values.end
    size_bytes = 0
    with open_regular(path) as file:
        while data := file.read(_AT_ONCE_BYTES):
            size_bytes += len(data)
            if size_bytes > MOST_BYTES:
                raise CtfError(f"{path} is longer than {MOST_BYTES >> 20} MiB", _REMEDY)
            parser.Parse(data, False)  # noqa: FBT003 - has no keywords
            if values.is_other:
                return
        parser.Parse(b"", True)  # noqa: FBT003 - has no keywords


def _positive(text: str | None) -> float | None:
    number = float(text or "nan")
    return number if math.isfinite(number) and number > 0 else None
