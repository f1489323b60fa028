"""The contrast transfer function of one micrograph, and its signs.

Defocus inverts the contrast of every other band of frequencies. Where the defocus is known,
*phase flipping* restores it, so that particles from micrographs with different defocus agree beyond
the first zero. Amplitudes are not changed.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Ctf",
    "CtfFit",
    "contrast_transfer",
    "flip_phases",
    "pixels_too_large",
    "wavelength_angstrom",
]

Image = NDArray[np.float32]

LARGEST_PIXEL_ANGSTROM = 3.0
"""Largest pixel size to which a CTF is fitted; larger ones show few Thon rings."""

MOST_KV = 3000.0
"""Highest voltage of an electron microscope, with room."""

_MOST = {
    "defocus_u_angstrom": 1e6,
    "defocus_v_angstrom": 1e6,
    "astigmatism_angle_degrees": 3600.0,
    "spherical_aberration_mm": 1000.0,
    "phase_shift_degrees": 3600.0,
}
"""Limits of the numbers, far beyond what a microscope can do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ctf:
    """CTF parameters of one micrograph, in the convention of CTFFIND and RELION."""

    defocus_u_angstrom: float
    """Defocus along the axis at ``astigmatism_angle_degrees``; positive is underfocus."""

    defocus_v_angstrom: float
    """Defocus perpendicular to that axis."""

    astigmatism_angle_degrees: float
    """Angle from the x axis towards y, that is, towards later rows of the file."""

    voltage_kv: float

    spherical_aberration_mm: float

    amplitude_contrast: float
    """Fraction of the contrast that is absorption: 0.07 to 0.1 for protein in ice."""

    phase_shift_degrees: float = 0.0
    """Phase shift of a phase plate."""

    fit_resolution_angstrom: float | None = None
    """Resolution to which Thon rings were fitted; None if not reported, or if the fit failed."""

    def __post_init__(self) -> None:
        numbers = [getattr(self, name) for name in self.__slots__]
        numbers = [number for number in numbers if number is not None]
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError(f"not all of {numbers} are finite numbers")
        if not 0 < self.voltage_kv <= MOST_KV:
            raise ValueError(f"the voltage is {self.voltage_kv:g} kV")
        for name, most in _MOST.items():
            if abs(getattr(self, name)) > most:
                what = name.replace("_", " ")
                raise ValueError(f"the {what} is {getattr(self, name):g}, beyond ±{most:g}")
        if not 0 <= self.amplitude_contrast <= 1:
            raise ValueError(f"the amplitude contrast is {self.amplitude_contrast:g}, not 0 to 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class CtfFit:
    """Outcome of fitting the CTF to the Thon rings of one micrograph."""

    ctf: Ctf | None
    """The CTF; None if the fit cannot be trusted: there is no figure then."""

    score: float | None
    """Correlation of the fit with the spectrum, -1 to 1, also if it cannot be trusted. None if
    there is too little of the micrograph to have a spectrum."""

    reason: str = ""
    """Reason that it cannot be trusted or made, in words."""

    is_possible: bool = True
    """False if no such micrograph can be fitted, however good it is."""


def pixels_too_large(pixel_size_angstrom: float) -> str:
    """Return why no CTF can be fitted with pixels of this size, in words; empty if it can."""
    if pixel_size_angstrom <= LARGEST_PIXEL_ANGSTROM:
        return ""
    return (
        f"pixels of {pixel_size_angstrom:.3g} Å are too large for a CTF fit, which needs"
        f" {LARGEST_PIXEL_ANGSTROM:g} Å or less"
    )


def wavelength_angstrom(voltage_kv: float) -> float:
    """Return the wavelength of an electron, with the relativistic correction."""
    volts = voltage_kv * 1e3
    return 12.2643 / math.sqrt(volts + 0.97845e-6 * volts**2)


def contrast_transfer(
    shape: tuple[int, int],
    ctf: Ctf,
    *,
    pixel_size_y_angstrom: float,
    pixel_size_x_angstrom: float,
) -> Image:
    """Return the contrast transfer at each frequency of ``rfft2``, positive at the lowest.

    It is ``sin(χ + φ + arcsin w)`` with ``χ = π λ g² (Δf - ½ λ² g² Cs)``, the phase shift φ, the
    amplitude contrast w and ``Δf = ½ (Δf₁ + Δf₂ + (Δf₁ - Δf₂) cos 2(θ - θ₀))``: Rohou & Grigorieff
    2015 (*J. Struct. Biol.* 192, 216), equations 2 to 5. Their formula has a minus sign in front,
    because dense matter looks dark. It is left out here, so that frequencies with a positive
    transfer have the particle's contrast as it is defined everywhere else.

    Parameters
    ----------
    shape
        Height and width of the image.
    ctf
        CTF parameters of the micrograph.
    pixel_size_y_angstrom, pixel_size_x_angstrom
        Achieved pixel sizes, after any resampling.
    """
    lam = wavelength_angstrom(ctf.voltage_kv)
    gy = np.fft.fftfreq(shape[0], pixel_size_y_angstrom)[:, None]
    gx = np.fft.rfftfreq(shape[1], pixel_size_x_angstrom)[None, :]
    g2 = gx * gx + gy * gy
    mean = 0.5 * (ctf.defocus_u_angstrom + ctf.defocus_v_angstrom)
    half = 0.5 * (ctf.defocus_u_angstrom - ctf.defocus_v_angstrom)
    # g² cos 2(θ - θ₀), without an arctangent for each frequency
    double = 2 * math.radians(ctf.astigmatism_angle_degrees)
    g2_cos = (gx * gx - gy * gy) * math.cos(double) + 2 * gx * gy * math.sin(double)
    cs_angstrom = ctf.spherical_aberration_mm * 1e7
    chi = math.pi * lam * (mean * g2 + half * g2_cos - 0.5 * lam**2 * cs_angstrom * g2 * g2)
    constant = math.radians(ctf.phase_shift_degrees) + math.asin(ctf.amplitude_contrast)
    transfer: Image = np.sin(chi + constant).astype(np.float32)
    return transfer


def flip_phases(
    image: Image, ctf: Ctf, *, pixel_size_y_angstrom: float, pixel_size_x_angstrom: float
) -> Image:
    """Return the image with all frequencies in the same contrast as the lowest.

    Dark particles stay dark, and bright ones stay bright. Call this before particles are cut out,
    because the lens spreads their detail beyond the box. The edges of the image wrap around, so
    they should be near its mean.

    Parameters
    ----------
    image
        Image ``[y, x]`` of mean 0; not changed.
    ctf
        CTF parameters of the micrograph.
    pixel_size_y_angstrom, pixel_size_x_angstrom
        Achieved pixel sizes, after any resampling.
    """
    from scipy import fft  # noqa: PLC0415 - the service reads orders and flips nothing

    height, width = image.shape
    transfer = contrast_transfer(
        (height, width),
        ctf,
        pixel_size_y_angstrom=pixel_size_y_angstrom,
        pixel_size_x_angstrom=pixel_size_x_angstrom,
    )
    spectrum = fft.rfft2(image)
    np.negative(spectrum, out=spectrum, where=transfer < 0)
    flipped: Image = fft.irfft2(spectrum, s=(height, width), overwrite_x=True)
    return flipped.astype(np.float32, copy=False)
