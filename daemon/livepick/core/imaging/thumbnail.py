"""Thumbnail of a micrograph: reduced, low-passed, and with robust grey limits.

The picture covers the micrograph from edge to edge, as an image in a web page does: its pixel ``i``
shows the original around ``(i + 0.5) * scale - 0.5``. ``fourier_resample`` puts its pixel ``i`` at
``i * scale``. The difference of half a picture pixel is removed by the shift theorem, in the same
product as the lowpass. Overlays in pixels of the original (centre of the first at 0, edges at -0.5)
are therefore drawn exactly in the right place.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from livepick.core.imaging.fourier import fourier_resample

__all__ = ["draw_thumbnail", "resample_mask"]

LOWPASS_DIAMETERS = 0.12
"""Wavelengths shorter than this many particle diameters are dimmed, because their noise hides the
particle. That is 15 Å for apoferritin and 36 Å for a ribosome, about what people set by hand."""

DARKEST, BRIGHTEST = 0.5, 99.5
"""Percentiles that become black and white, so that a speck of ice does not turn the rest grey."""


def draw_thumbnail(
    image: NDArray[Any],
    *,
    longest_px: int,
    pixel_size_angstrom: float,
    diameter_angstrom: float,
) -> NDArray[np.uint8]:
    """Return a micrograph as a grey picture of about ``longest_px`` along its longer side.

    Particles keep the contrast that they have in the file. A picture is never enlarged.

    Parameters
    ----------
    image
        Micrograph ``[y, x]`` of any real type; not changed.
    longest_px
        Requested number of pixels along the longer side.
    pixel_size_angstrom
        Pixel size of ``image``.
    diameter_angstrom
        Longest diameter of the particle.

    Raises
    ------
    ContentError
        The image contains NaN or infinite values, or all its pixels are the same.
    """
    factor = max(1.0, max(image.shape) / longest_px)
    reduced = fourier_resample(image, factor=factor)
    wave_angstrom = LOWPASS_DIAMETERS * diameter_angstrom
    spectrum = fft.rfft2(reduced.image)
    for axis, scale in enumerate((reduced.scale_y, reduced.scale_x)):
        count = reduced.image.shape[axis]
        frequency = (fft.fftfreq(count), fft.rfftfreq(count))[axis]
        # A Gaussian that falls to one half at the wavelength.
        relative = frequency * wave_angstrom / (scale * pixel_size_angstrom)
        factors = np.exp(-np.log(2) * relative**2 + 2j * np.pi * frequency * (0.5 - 0.5 / scale))
        spectrum *= (factors[:, None], factors[None, :])[axis].astype(np.complex64)
    smooth = fft.irfft2(spectrum, s=reduced.image.shape)
    black, white = np.percentile(smooth, (DARKEST, BRIGHTEST))
    grey = (smooth - black) * (255 / max(white - black, 1e-12))
    picture: NDArray[np.uint8] = np.clip(np.round(grey), 0, 255).astype(np.uint8)
    return picture


def resample_mask(
    mask: NDArray[np.bool_],
    *,
    scale_yx: tuple[float, float],
    shape_px: tuple[int, int],
    longest_px: int,
) -> NDArray[np.bool_]:
    """Resample the mask of a prepared micrograph to the pixels of its picture.

    Parameters
    ----------
    mask
        Mask ``[y, x]``, with pixel ``i`` at ``i * scale`` of the original.
    scale_yx
        Original pixels per pixel of the mask.
    shape_px
        Height and width of the original.
    longest_px
        Number of pixels along the longer side of the picture.
    """
    shrink = max(1.0, max(shape_px) / longest_px)
    places = []
    for size_px, count, scale in zip(shape_px, mask.shape, scale_yx, strict=True):
        wanted = max(1, round(size_px / shrink))
        original = (np.arange(wanted) + 0.5) * (size_px / wanted) - 0.5
        places.append(np.clip(np.round(original / scale), 0, count - 1).astype(int))
    on_picture: NDArray[np.bool_] = mask[np.ix_(*places)]
    return on_picture
