"""The CTF of micrographs, from other programs and from livepick's own fits."""

from collections.abc import Sequence
from pathlib import Path

from livepick.config.schema import Config
from livepick.core.formats.ctf_files import find_ctfs
from livepick.core.imaging.ctf import Ctf
from livepick.core.imaging.quality import CtfFigures
from livepick.errors import CtfError
from livepick.ledger.reader import LedgerReader

__all__ = ["known_ctfs"]


def known_ctfs(
    config: Config, micrographs: Sequence[Path], ledger: LedgerReader
) -> tuple[dict[Path, Ctf], list[CtfError]]:
    """Return the CTF of each micrograph that has one, and the files that cannot be read.

    What another program has written takes precedence over a trusted fit.

    Parameters
    ----------
    config
        Config of the session.
    micrographs
        Paths of the micrographs.
    ledger
        Read access to the fits.

    Raises
    ------
    LedgerError
        The ledger cannot be read.
    """
    found, faults = find_ctfs(config.micrograph.ctf_place, micrographs, ledger.paths())
    fitted = ledger.fitted_ctfs()
    for path in micrographs:
        if path not in found and path in fitted:
            found[path] = _ctf(fitted[path], config)
    return found, faults


def _ctf(figures: CtfFigures, config: Config) -> Ctf:
    return Ctf(
        defocus_u_angstrom=figures.defocus_u_angstrom,
        defocus_v_angstrom=figures.defocus_v_angstrom,
        astigmatism_angle_degrees=figures.astigmatism_angle_degrees,
        voltage_kv=config.optics.voltage_kv,
        spherical_aberration_mm=config.optics.spherical_aberration_mm,
        amplitude_contrast=config.optics.amplitude_contrast,
        fit_resolution_angstrom=figures.ctf_resolution_angstrom,
    )
