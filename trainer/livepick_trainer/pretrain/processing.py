"""Changes by other software before a micrograph lands: filters, denoisers, eight bits."""

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from livepick_trainer.pretrain.noise import gaussian_transfer

__all__ = ["random_processing"]

FloatArray = NDArray[np.float32]


def random_processing(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return an image after none or some of these steps."""
    if rng.random() < 0.3:
        sigma_px = float(np.exp(rng.uniform(np.log(0.4), np.log(2.6))))
        spectrum = fft.rfft2(image) * gaussian_transfer(image.shape, sigma_px)
        image = fft.irfft2(spectrum, s=image.shape)
    if rng.random() < 0.12:
        image = _without_weak_details(image, rng)
    if rng.random() < 0.15:
        low, high = np.quantile(image[::3, ::3], [0.001, 0.999])
        step = np.float32(max(float(high - low), 1e-6) / rng.integers(24, 256))
        image = np.rint(np.clip(image, low, high) / step) * step
    return image.astype(np.float32, copy=False)


def _without_weak_details(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return an image whose weak cosine terms are 0 in each block, as in a strong JPEG."""
    block = int(rng.choice([4, 8, 16]))
    rows, columns = (n // block for n in image.shape)
    whole = image[: rows * block, : columns * block]
    terms = fft.dctn(whole.reshape(rows, block, columns, block), axes=(1, 3), norm="ortho")
    limit = np.float32(rng.uniform(0.3, 2.0) * 1.4826) * np.median(np.abs(terms))
    strong = np.sign(terms) * np.maximum(np.abs(terms) - limit, 0)
    result = image.copy()
    blocks = fft.idctn(strong, axes=(1, 3), norm="ortho")
    result[: rows * block, : columns * block] = blocks.reshape(whole.shape)
    return result
