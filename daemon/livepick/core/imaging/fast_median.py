"""The median by one partial sort, equal to ``numpy.median`` in a fraction of its time.

``numpy.median`` sorts around three places, of which one is for NaN, and only a sort around a single
place uses the vector instructions of the processor. Of many values, only the few near the median of
a sample are sorted (Floyd & Rivest 1975, *Commun. ACM* 18, 165).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["median"]

MANY = 2**15
"""Number of values from which a sample saves time."""

SAMPLE = 4096

NEAR = 0.04
"""The median of all values is sought among those between the quantiles of the sample this far below
and above 0.5. The standard error of the sample's median is 0.008."""


def median(values: NDArray[Any]) -> NDArray[Any]:
    """Return the medians along the last axis, in the type of the values.

    Parameters
    ----------
    values
        Floats without NaN, at least one along the last axis; not changed.
    """
    count = values.shape[-1]
    half = count // 2
    if values.ndim == 1 and count >= MANY:
        values, half = _near_median(values)
    ordered = np.partition(values, half, axis=-1)
    upper: NDArray[Any] = ordered[..., half]
    if count % 2:
        return upper
    lower = ordered[..., :half].max(axis=-1)
    return np.asarray(np.mean([lower, upper], axis=0, dtype=values.dtype))


def _near_median(values: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Return the values near the median, and the place of the (upper) median in their order.

    These are all the values if the sample is unlike them.
    """
    half = len(values) // 2
    sample = np.sort(values[:: len(values) // SAMPLE])
    low, high = (sample[int(len(sample) * (0.5 + side))] for side in (-NEAR, NEAR))
    place = half - int(np.count_nonzero(values < low))
    near = values[(values >= low) & (values <= high)]
    return (near, place) if 0 < place < len(near) else (values, half)
