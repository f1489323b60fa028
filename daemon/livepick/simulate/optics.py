"""The microscope: from the wave that leaves the specimen to the intensity on the detector.

The full wave is propagated (``|F⁻¹[ψ̂·H]|²``), without the weak-phase approximation, so that
carbon, crystals and thick clumps have their true Fresnel fringes. For a weak particle the result is
the usual contrast transfer function of Rohou & Grigorieff 2015 (*J. Struct. Biol.* 192, 216,
equations 2 to 5; astigmatism as in Mindell & Grigorieff 2003, *J. Struct. Biol.* 142, 334): protein
is dark in underfocus.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Optics",
    "delocalisation_px",
    "image_intensity",
    "interaction_constant",
    "transfer",
    "wavelength_angstrom",
]

ELECTRON_REST_ENERGY_EV = 510_998.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Optics:
    """Settings of the microscope for one micrograph."""

    defocus_u_angstrom: float
    """Underfocus (positive) along the axis at ``astigmatism_angle_rad``."""

    defocus_v_angstrom: float
    """Underfocus perpendicular to that axis."""

    astigmatism_angle_rad: float = 0.0
    """Angle from the x axis towards y, in radians."""

    voltage_kv: float = 300.0
    spherical_aberration_mm: float = 2.7
    amplitude_contrast: float = 0.07
    """Fraction w₂ of Rohou & Grigorieff; 0.07 to 0.1 for protein in ice."""

    b_factor_angstrom2: float = 120.0
    """Envelope ``exp(-B g²/4)``: partial coherence, motion and the detector together."""


def wavelength_angstrom(voltage_kv: float) -> float:
    """Return the relativistic electron wavelength (0.0197 Å at 300 kV)."""
    volts = voltage_kv * 1e3
    return 12.2643 / math.sqrt(volts + 0.97845e-6 * volts**2)


def interaction_constant(voltage_kv: float) -> float:
    """Return the phase shift in radians per volt and ångström of projected potential.

    Kirkland, *Advanced Computing in Electron Microscopy*, equation 5.6: 6.53e-4 at 300 kV.
    """
    energy_ev = voltage_kv * 1e3
    relativistic = (ELECTRON_REST_ENERGY_EV + energy_ev) / (2 * ELECTRON_REST_ENERGY_EV + energy_ev)
    return 2 * math.pi / (wavelength_angstrom(voltage_kv) * energy_ev) * relativistic


def transfer(
    shape: tuple[int, int], pixel_size_angstrom: float, optics: Optics
) -> NDArray[np.complex64]:
    """Return the factor of the lens for each Fourier term of the wave: ``exp(iχ) · envelope``.

    ``χ = π λ g² (Δf - ½ λ² g² Cs)``, where ``Δf = ½ (Δf₁ + Δf₂ + (Δf₁ - Δf₂) cos 2(θ - θ₀))``.
    The array has ``shape``, in the order of ``fft2``.
    """
    lam = wavelength_angstrom(optics.voltage_kv)
    cs_angstrom = optics.spherical_aberration_mm * 1e7
    gy = np.fft.fftfreq(shape[0], pixel_size_angstrom).astype(np.float32)[:, None]
    gx = np.fft.fftfreq(shape[1], pixel_size_angstrom).astype(np.float32)[None, :]
    g2 = gx * gx + gy * gy
    mean = 0.5 * (optics.defocus_u_angstrom + optics.defocus_v_angstrom)
    half = 0.5 * (optics.defocus_u_angstrom - optics.defocus_v_angstrom)
    # g² cos 2(θ - θ₀), without an arctangent for each pixel
    double = 2 * optics.astigmatism_angle_rad
    g2_cos = (gx * gx - gy * gy) * math.cos(double) + 2 * gx * gy * math.sin(double)
    chi = math.pi * lam * (mean * g2 + half * g2_cos - 0.5 * lam**2 * cs_angstrom * g2 * g2)
    envelope = np.exp(-0.25 * optics.b_factor_angstrom2 * g2)
    result = np.empty(shape, dtype=np.complex64)
    result.real = np.cos(chi) * envelope
    result.imag = np.sin(chi) * envelope
    return result


def image_intensity(
    phase_rad: NDArray[np.float32], *, pixel_size_angstrom: float, optics: Optics
) -> NDArray[np.float32]:
    """Return the intensity (1 without a specimen) of a phase object ``[y, x]``.

    Amplitude contrast is modelled as an absorption proportional to the phase. ``phase_rad`` should
    have a margin of ``delocalisation_px``, because the Fourier transform wraps around.
    """
    from scipy import fft  # noqa: PLC0415 - only a simulation needs it

    ratio = optics.amplitude_contrast / math.sqrt(1 - optics.amplitude_contrast**2)
    modulus = np.exp(-ratio * phase_rad)
    wave = np.empty(phase_rad.shape, dtype=np.complex64)
    wave.real = modulus * np.cos(phase_rad)
    wave.imag = modulus * np.sin(phase_rad)
    spectrum = fft.fft2(wave, overwrite_x=True)
    spectrum *= transfer(phase_rad.shape, pixel_size_angstrom, optics)
    wave = fft.ifft2(spectrum, overwrite_x=True)
    intensity: NDArray[np.float32] = wave.real**2 + wave.imag**2
    return intensity


def delocalisation_px(pixel_size_angstrom: float, defocus_angstrom: float) -> int:
    """Return how far the lens carries a detail of the image: ``λ Δf g`` at the Nyquist limit."""
    nyquist = 0.5 / pixel_size_angstrom
    # Beyond 1/5 Å⁻¹ the envelope has removed all detail.
    reach_angstrom = wavelength_angstrom(300.0) * defocus_angstrom * min(nyquist, 0.2)
    return math.ceil(reach_angstrom / pixel_size_angstrom)
