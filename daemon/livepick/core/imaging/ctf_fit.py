"""Fit of the CTF to the Thon rings of one micrograph.

The spectrum is averaged over tiles (``ctf_spectrum``), the best defocus and astigmatism are
searched for (``ctf_search``), and the fit is tested (``ctf_trust``). A fit that fails a test gives
no figures.

A phase plate is not supported: its phase shift is not fitted, and the rings of a micrograph that
was recorded with one fail a test.
"""

import dataclasses
import math
from typing import Any

from numpy.typing import NDArray

from livepick.core.imaging.ctf import Ctf, CtfFit, pixels_too_large
from livepick.core.imaging.ctf_search import Candidate, Rings, best_search
from livepick.core.imaging.ctf_spectrum import is_too_small, polar_spectrum
from livepick.core.imaging.ctf_trust import doubt, reach

__all__ = ["fit_ctf"]


def fit_ctf(
    image: NDArray[Any],
    *,
    pixel_size_angstrom: float,
    voltage_kv: float,
    spherical_aberration_mm: float,
    amplitude_contrast: float,
) -> CtfFit:
    """Return the CTF of a micrograph, without figures if the fit cannot be trusted.

    Parameters
    ----------
    image
        Image ``[y, x]`` of any real type; not changed.
    pixel_size_angstrom
        Its pixel size.
    voltage_kv, spherical_aberration_mm, amplitude_contrast
        Settings of the microscope, as in ``Ctf``.
    """
    if reason := pixels_too_large(pixel_size_angstrom):
        return CtfFit(ctf=None, score=None, reason=reason, is_possible=False)
    if is_too_small(image.shape, pixel_size_angstrom=pixel_size_angstrom):
        reason = "the micrograph is too small for a CTF fit"
        return CtfFit(ctf=None, score=None, reason=reason, is_possible=False)
    spectrum = polar_spectrum(image, pixel_size_angstrom=pixel_size_angstrom)
    if spectrum is None:
        return CtfFit(ctf=None, score=None, reason="too little of the micrograph is even")
    microscope = Ctf(
        defocus_u_angstrom=0.0,
        defocus_v_angstrom=0.0,
        astigmatism_angle_degrees=0.0,
        voltage_kv=voltage_kv,
        spherical_aberration_mm=spherical_aberration_mm,
        amplitude_contrast=amplitude_contrast,
    )
    rings = Rings.of(spectrum, microscope)
    data = rings.flat(spectrum.power)
    search, coarse = best_search(rings, data)
    best = search.refined(data, coarse)
    reached = reach(search, data, best)
    of_halves = map(rings.flat, spectrum.halves)
    halves = [search.refined(half, search.best(half)) for half in of_halves]
    if reason := doubt(search, data, best, halves, reached):
        return CtfFit(ctf=None, score=best.score, reason=reason)
    return CtfFit(ctf=_ctf(microscope, best, 1 / reached), score=best.score)


def _ctf(microscope: Ctf, best: Candidate, resolution_angstrom: float) -> Ctf:
    """Return the CTF of a fit, with the larger defocus first."""
    half = best.half_astigmatism
    return dataclasses.replace(
        microscope,
        defocus_u_angstrom=best.defocus + half,
        defocus_v_angstrom=best.defocus - half,
        astigmatism_angle_degrees=0.5 * math.degrees(math.atan2(best.b, best.a)),
        fit_resolution_angstrom=resolution_angstrom,
    )
