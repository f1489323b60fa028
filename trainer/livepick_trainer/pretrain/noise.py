"""Random optics and noise of a scene, as curves over spatial frequency.

The spectra span those of the background of real micrographs at 20 pixels a particle: from white
(single frames, counting detectors) over slopes of one to two (thick ice, uneven film) to images
that lost everything finer than six pixels to a denoiser.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from livepick.core.imaging.ctf import Ctf, contrast_transfer

__all__ = [
    "detectability",
    "frequencies",
    "gaussian_transfer",
    "random_noise",
    "random_noise_power",
    "random_transfer",
    "visible_sigma",
]

FloatArray = NDArray[np.float32]

FLATTENED_BELOW = 1 / 60
"""Frequency, in 1/px, below which flattening removes all power."""


@lru_cache(maxsize=4)
def frequencies(shape: tuple[int, ...]) -> FloatArray:
    """Return the length of each frequency vector of ``rfft2``, in 1/px."""
    y = np.fft.fftfreq(shape[0])[:, None]
    x = np.fft.rfftfreq(shape[1])[None, :]
    length: FloatArray = np.hypot(y, x).astype(np.float32)
    length.flags.writeable = False
    return length


def random_transfer(
    shape: tuple[int, int], diameter_px: float, rng: np.random.Generator
) -> FloatArray:
    """Return the transfer, at each frequency of ``rfft2``, of a random lens and detector.

    The particle has a random size in ångström, and so have the pixels. Some scenes have no lens:
    their particles are as bright as they are thick.
    """
    diameter_angstrom = float(np.exp(rng.uniform(np.log(60), np.log(450))))
    pixel = diameter_angstrom / diameter_px
    defocus = float(np.exp(rng.uniform(np.log(4_000), np.log(40_000))))
    astigmatism = float(rng.uniform(0, 0.05)) * defocus
    ctf = Ctf(
        defocus_u_angstrom=defocus + astigmatism,
        defocus_v_angstrom=defocus - astigmatism,
        astigmatism_angle_degrees=float(rng.uniform(0, 180)),
        voltage_kv=float(rng.choice([200.0, 300.0])),
        spherical_aberration_mm=2.7,
        amplitude_contrast=float(rng.uniform(0.05, 0.2)),
        phase_shift_degrees=float(rng.uniform(30, 110)) if rng.random() < 0.06 else 0.0,
    )
    transfer = contrast_transfer(
        shape, ctf, pixel_size_y_angstrom=pixel, pixel_size_x_angstrom=pixel
    )
    if rng.random() < 0.06:
        transfer = np.ones_like(transfer)
    elif rng.random() < 0.12:  # phases flipped, or restored by a denoiser
        transfer = np.abs(transfer)
    g2 = (frequencies(shape) / np.float32(pixel)) ** 2
    b_factor = float(np.exp(rng.uniform(np.log(60), np.log(1500))))
    transfer *= np.exp(np.float32(-0.25 * b_factor) * g2)
    return transfer


def random_noise_power(
    shape: tuple[int, int], transfer: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Return the power of a random noise at each frequency of ``rfft2``, 1 for white noise.

    It is the sum of shot noise, which falls a little towards high frequencies, of noise with a
    power law, and of structure in the ice, which passes the lens and shows as Thon rings.
    """
    f = np.maximum(frequencies(shape), np.float32(0.5 / max(shape)))
    shot = np.exp(-((f / np.float32(rng.uniform(0.35, 2.0))) ** 2))
    power: FloatArray = shot.astype(np.float32)
    if rng.random() < 0.65:
        slope = rng.uniform(0.5, 3.0)
        corner = float(np.exp(rng.uniform(np.log(0.01), np.log(0.15))))
        power += (f / np.float32(corner)) ** np.float32(-slope)
    if rng.random() < 0.6:
        strength = float(np.exp(rng.uniform(np.log(0.3), np.log(20))))
        softness = rng.uniform(0.0, 1.0)
        rings = transfer**2 * (f / np.float32(0.1)) ** np.float32(-softness)
        power += np.float32(strength) * rings
    return power


def random_noise(power: FloatArray, shape: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Return noise with this power at each frequency."""
    spectrum = fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    spectrum *= np.sqrt(power)
    noise: FloatArray = fft.irfft2(spectrum, s=shape, overwrite_x=True)
    return noise


def gaussian_transfer(shape: tuple[int, ...], sigma_px: float) -> FloatArray:
    """Return the transfer of a Gaussian blur at each frequency of ``rfft2``."""
    f = frequencies(shape)
    return np.asarray(np.exp(np.float32(-2 * (np.pi * sigma_px) ** 2) * f * f))


def visible_sigma(power: FloatArray, shape: tuple[int, int]) -> float:
    """Return the standard deviation that noise of this power has after flattening."""
    total = (power * _visible(shape)).sum(dtype=np.float64)
    return float(np.sqrt(total / (shape[0] * shape[1])))


def detectability(
    spectrum: NDArray[np.complex64], power: FloatArray, shape: tuple[int, int], particles: int
) -> float:
    """Return the signal-to-noise ratio of a matched filter for one of the particles in an image.

    It is the root of the sum over all frequencies of signal power by noise power (North 1943,
    *Proc. IEEE* 51, 1016). Particles at random places add up in power.

    Parameters
    ----------
    spectrum
        ``rfft2`` of the image of all particles, without noise.
    power
        Power of the noise, as from ``random_noise_power``.
    shape
        Height and width of the image.
    particles
        Number of particles.
    """
    ratio = (spectrum.real**2 + spectrum.imag**2) / power * _visible(shape)
    return float(np.sqrt(ratio.sum(dtype=np.float64) / (shape[0] * shape[1] * particles)) + 1e-9)


@lru_cache(maxsize=4)
def _visible(shape: tuple[int, int]) -> FloatArray:
    """Return how often each frequency of ``rfft2`` counts: 0 where flattening removes it."""
    counts = np.full((shape[0], shape[1] // 2 + 1), 2.0, dtype=np.float32)
    counts[:, 0] = counts[:, -1] = 1
    counts[frequencies(shape) < FLATTENED_BELOW] = 0
    counts.flags.writeable = False
    return counts
