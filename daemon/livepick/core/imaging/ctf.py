"""The contrast transfer function of one micrograph, and its signs.

A lens that is out of focus turns the contrast of every other band of frequencies round. Where the
defocus is known, turning it back (*phase flipping*) lets particles of differently focused
micrographs agree with each other beyond the first zero. Amplitudes stay as they are.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ctf", "contrast_transfer", "flip_phases"]

Image = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ctf:
    """How one micrograph was taken, in the convention of CTFFIND and RELION."""

    defocus_u_angstrom: float
    """Along the axis at ``astigmatism_angle_degrees``; positive is underfocus."""

    defocus_v_angstrom: float
    """Across that axis."""

    astigmatism_angle_degrees: float
    """From the x axis towards y, that is, towards later rows of the file."""

    voltage_kv: float

    spherical_aberration_mm: float

    amplitude_contrast: float
    """Fraction of the contrast that is absorption: 0.07 to 0.1 for protein in ice."""

    phase_shift_degrees: float = 0.0
    """By a phase plate."""

    fit_resolution_angstrom: float | None = None
    """To which Thon rings were fitted; None where the program does not say, or failed."""

    def __post_init__(self) -> None:
        numbers = [getattr(self, name) for name in self.__slots__]
        numbers = [number for number in numbers if number is not None]
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError(f"not all of {numbers} are finite numbers")
        if self.voltage_kv <= 0:
            raise ValueError(f"the voltage is {self.voltage_kv:g} kV")
        if not 0 <= self.amplitude_contrast <= 1:
            raise ValueError(f"the amplitude contrast is {self.amplitude_contrast:g}, not 0 to 1")


def contrast_transfer(
    shape: tuple[int, int],
    ctf: Ctf,
    *,
    pixel_size_y_angstrom: float,
    pixel_size_x_angstrom: float,
) -> Image:
    """Return the transfer of contrast at each frequency of ``rfft2``, positive at the lowest.

    It is ``sin(χ + φ + arcsin w)`` with ``χ = π λ g² (Δf - ½ λ² g² Cs)``, the phase shift φ, the
    amplitude contrast w and ``Δf = ½ (Δf₁ + Δf₂ + (Δf₁ - Δf₂) cos 2(θ - θ₀))``: Rohou & Grigorieff
    2015 (*J. Struct. Biol.* 192, 216), equations 2 to 5. They have a minus in front, as what is
    dense looks dark; here it is left out, so that what looks dark where the transfer is positive
    is what the particle's contrast means everywhere else.

    Parameters
    ----------
    shape
        Height and width of the image.
    ctf
        Of the micrograph.
    pixel_size_y_angstrom, pixel_size_x_angstrom
        Achieved, as after resampling.
    """
    volts = ctf.voltage_kv * 1e3
    lam = 12.2643 / math.sqrt(volts + 0.97845e-6 * volts**2)  # of the electrons, in Å
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
    """Return the image with the contrast of all frequencies as that of the lowest.

    Dark particles stay dark, and bright ones bright. To be done before particles are cut: the
    lens has carried their detail further than a box reaches. The edges of the image, which wrap
    around, should be near its mean.

    Parameters
    ----------
    image
        ``[y, x]``, of mean 0; not changed.
    ctf
        Of the micrograph.
    pixel_size_y_angstrom, pixel_size_x_angstrom
        Achieved, as after resampling.
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
