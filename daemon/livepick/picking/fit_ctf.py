"""Fit of the CTF of one micrograph, made by a worker.

It is a job of its own, after the picks: reading the file once more costs little while it is in the
page cache, and the picks do not wait.
"""

from livepick.core.contracts.job import CtfJob
from livepick.core.formats.micrograph import read_picked
from livepick.core.imaging import ctf_fit
from livepick.core.imaging.ctf import CtfFit, pixels_too_large

__all__ = ["fit_ctf"]


def fit_ctf(job: CtfJob) -> CtfFit:
    """Return the CTF of a micrograph, without figures if the fit cannot be trusted.

    Raises
    ------
    MicrographError
        The file is missing, has changed, or contains no image.
    """
    if reason := pixels_too_large(job.pixel_size_angstrom):
        return CtfFit(ctf=None, score=None, reason=reason, is_possible=False)  # without reading it
    micrograph = read_picked(job.path, job.version, job.pixel_size_angstrom)
    return ctf_fit.fit_ctf(
        micrograph.image,
        pixel_size_angstrom=micrograph.pixel_size_angstrom,
        voltage_kv=job.voltage_kv,
        spherical_aberration_mm=job.spherical_aberration_mm,
        amplitude_contrast=job.amplitude_contrast,
    )
