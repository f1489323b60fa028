"""Memory for the pixels of one micrograph after another."""

import threading
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["PixelMemory"]

MOST_KEPT_BYTES: Final = 128 << 20
"""Most memory that is kept: enough for a K3 detector, in float32 or, at super-resolution, int8."""


class PixelMemory(threading.local):
    """Memory that is kept from one micrograph to the next, separately in each thread.

    The system takes as long to provide new memory as to read a file into it, and many times as long
    if its free memory is in small pieces.
    """

    def __init__(self) -> None:
        self._kept = np.empty(0, dtype=np.uint8)

    def take(self, size_bytes: int) -> NDArray[np.uint8]:
        """Return that many bytes, with any content. The bytes returned before become invalid."""
        if size_bytes > MOST_KEPT_BYTES:
            return np.empty(size_bytes, dtype=np.uint8)
        if len(self._kept) < size_bytes:
            self._kept = np.empty(0, dtype=np.uint8)  # first give back what is there
            self._kept = np.empty(size_bytes, dtype=np.uint8)
        return self._kept[:size_bytes]
