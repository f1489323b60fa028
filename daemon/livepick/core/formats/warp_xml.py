"""What Warp and WarpTools write beside a micrograph: ``NAME.xml``.

The root is ``Movie``, with ``CTFResolutionEstimate`` in ångström among its attributes; its child
``CTF`` has a ``Param`` of ``Name`` and ``Value`` for each number. Defoci are in micrometres: a
mean (``Defocus``) and the whole difference of both axes (``DefocusDelta``). A phase shift is in
units of π. All this is how Warp's own export to RELION turns them. EPU writes files of the same
name and another root, which are none of ours.
"""

import math
from pathlib import Path
from xml.etree import ElementTree

from livepick.core.imaging.ctf import Ctf
from livepick.errors import CtfError

__all__ = ["read_warp"]

_ANGSTROM_PER_MICROMETRE = 1e4


def read_warp(path: Path) -> Ctf | None:
    """Return what Warp found in one micrograph; None if it has not, or if another wrote the file.

    Raises
    ------
    CtfError
        The file cannot be read, or is Warp's and damaged.
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


_REMEDY = "Let Warp write it anew, or take it away."
