"""Comparison of the configured microscope with what other programs say about it."""

from pathlib import Path

from livepick.config.sections import Microscope
from livepick.core.formats.header import printable
from livepick.core.imaging.ctf import Ctf

__all__ = ["OPTICS_REMEDY", "optics_contradiction"]

LEAST_KV = 1.0
LEAST_MM = 0.05
"""Smallest differences that count; programs round."""

OPTICS_REMEDY = (
    "Correct microscope.voltage_kv or microscope.spherical_aberration_mm, and all CTFs are fitted"
    " again; or correct the other program. RELION's lists have the values of the config."
)


def optics_contradiction(microscope: Microscope, source: Path, ctf: Ctf) -> str:
    """Return how the config contradicts a CTF of another program, as a clause; empty if it agrees.

    Parameters
    ----------
    microscope
        Optics of the config.
    source
        Micrograph that the CTF is of.
    ctf
        CTF that another program has written. Its amplitude contrast is a choice of that program and
        is not compared.
    """
    differences = []
    if abs(ctf.voltage_kv - microscope.voltage_kv) >= LEAST_KV:
        differences.append(
            f"microscope.voltage_kv is {microscope.voltage_kv:g} kV, and the CTF file says"
            f" {ctf.voltage_kv:g} kV"
        )
    if abs(ctf.spherical_aberration_mm - microscope.spherical_aberration_mm) >= LEAST_MM:
        differences.append(
            "microscope.spherical_aberration_mm is"
            f" {microscope.spherical_aberration_mm:g} mm, and the CTF file says"
            f" {ctf.spherical_aberration_mm:g} mm"
        )
    if not differences:
        return ""
    return f"{'; '.join(differences)} ({printable(source.name)})"
