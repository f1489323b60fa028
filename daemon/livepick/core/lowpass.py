"""Low-pass filter with a soft edge; its cutoff is in ångström."""

import numpy as np
from numpy.typing import NDArray
from scipy import fft

__all__ = ["lowpass"]

Image = NDArray[np.float32]

EDGE_FROM = 0.85
"""Fraction of the cutoff frequency at which the cosine starts to fall to zero; a sharp cutoff would
cause ringing beside every edge."""


def lowpass(
    image: Image, *, cutoff_angstrom: float, pixel_size_angstrom: tuple[float, float]
) -> Image:
    """Return ``image`` without any detail finer than ``cutoff_angstrom``.

    The spectrum is multiplied by a raised cosine in the spatial frequency f (the Tukey window
    of Harris 1978, *Proc. IEEE* 66, 51, table 1, as a function of f / fc = f · cutoff)::

        H(f) = 1                                              up to 0.85 fc
        H(f) = (1 + cos(π (f / fc - 0.85) / (1 - 0.85))) / 2  up to fc
        H(f) = 0                                              beyond

    equally in every direction. It is applied to the cosine transform (DCT-II), that is, to the
    image extended by its mirror images, so that opposite edges do not meet.

    Parameters
    ----------
    image
        ``[y, x]``; not changed.
    cutoff_angstrom
        Wavelength of the cutoff fc.
    pixel_size_angstrom
        Pixel size along y and x, as achieved by the resampling.
    """
    # The k-th cosine of n pixels has a wavelength of 2 n / k pixels.
    y, x = (
        np.arange(n, dtype=np.float64) / (2 * n * pixel)
        for n, pixel in zip(image.shape, pixel_size_angstrom, strict=True)
    )
    relative = np.hypot(y[:, None], x[None, :]) * cutoff_angstrom
    beyond = np.clip((relative - EDGE_FROM) / (1 - EDGE_FROM), 0, 1)
    passed = (0.5 + 0.5 * np.cos(np.pi * beyond)).astype(np.float32)
    spectrum = fft.dctn(image, type=2, norm="ortho")
    spectrum *= passed
    filtered: Image = fft.idctn(spectrum, type=2, norm="ortho", overwrite_x=True)
    return filtered.astype(np.float32, copy=False)
