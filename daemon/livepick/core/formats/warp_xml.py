"""Reader for the XML file of Warp and WarpTools beside a micrograph: ``NAME.xml``.

The root is ``Movie``, with ``CTFResolutionEstimate`` in ångström among its attributes; its child
``CTF`` has a ``Param`` of ``Name`` and ``Value`` for each number. Defoci are in micrometres: a
mean (``Defocus``) and the full difference of both axes (``DefocusDelta``). A phase shift is in
units of π. This is the conversion of Warp's own export to RELION. EPU writes files of the same name
with another root, which are ignored.
"""

import math
from pathlib import Path
from xml.etree import ElementTree

from livepick.core.imaging.ctf import Ctf
from livepick.errors import CtfError

__all__ = ["read_warp"]

_ANGSTROM_PER_MICROMETRE = 1e4


def read_warp(path: Path) -> Ctf | None:
    """Read Warp's CTF of one micrograph; None if there is none, or the file is not Warp's.

    Raises
    ------
    CtfError
        The file cannot be read, or is Warp's but damaged.
    """
    try:
        root = ElementTree.fromstring(path.read_bytes())  # noqa: S314 - expat limits expansion
    except (OSError, ElementTree.ParseError) as error:
        raise CtfError(f"{path} cannot be read: {error}", _REMEDY) from error
    ctf = root.find("CTF")
    if root.tag != "Movie" or ctf is None:
        return None
    values = {param.get("Name", ""): param.get("Value", "") for param in ctf.iter("Param")}
    try:
        mean, delta = float(values["Defocus"]), float(values["DefocusDelta"])
        return Ctf(
            defocus_u_angstrom=(mean + delta / 2) * _ANGSTROM_PER_MICROMETRE,
            defocus_v_angstrom=(mean - delta / 2) * _ANGSTROM_PER_MICROMETRE,
            astigmatism_angle_degrees=float(values["DefocusAngle"]),
            voltage_kv=float(values["Voltage"]),
            spherical_aberration_mm=float(values["Cs"]),
            amplitude_contrast=float(values["Amplitude"]),
            phase_shift_degrees=math.degrees(math.pi * float(values.get("PhaseShift", "0"))),
            fit_resolution_angstrom=_positive(root.get("CTFResolutionEstimate")),
        )
    except KeyError as error:
        raise CtfError(f"{path} has no {error.args[0]} in its CTF", _REMEDY) from error
    except ValueError as error:
        raise CtfError(f"{path}: {error}", _REMEDY) from error


def _positive(text: str | None) -> float | None:
    number = float(text or "nan")
    return number if math.isfinite(number) and number > 0 else None


_REMEDY = "Write it again with Warp, or delete it."
