"""Choice between the pixel size in a header and the one in the config."""

import math
from pathlib import Path

import numpy as np
import pytest

from livepick.core.formats.header import Header
from livepick.core.formats.pixel_size import resolve_pixel_size
from livepick.errors import PixelSizeError


def resolved(x: float, y: float, configured: float | None) -> float:
    """Return the pixel size for a header with ``x`` and ``y``."""
    header = Header("mrc", (6, 10), np.dtype("f4"), 1024, 1264, (x, y))
    return resolve_pixel_size(Path("mic.mrc"), header, configured).angstrom


def test_configured_pixel_size_is_used_if_the_header_has_none_or_agrees() -> None:
    assert resolved(0, 0, 1.77) == 1.77
    assert resolved(1.76, 1.76, 1.77) == 1.77
    assert resolved(1.5, 1.5, None) == 1.5


@pytest.mark.parametrize(
    ("x", "y", "configured"),
    [
        (0, 0, None),
        (1.0, 1.0, 1.77),
        (0.885, 0.885, 1.77),
        (math.nan, 1.5, None),
        (math.inf, math.inf, None),
        (-1.5, -1.5, None),
        (1.5, 1.6, None),
        (1.5, 0, None),
        (0.0026, 0.0026, None),
        (1.5e-10, 1.5e-10, None),
        (1770, 1770, None),
    ],
)
def test_missing_implausible_or_contradicting_pixel_size_is_an_error(
    x: float, y: float, configured: float | None
) -> None:
    with pytest.raises(PixelSizeError) as caught:
        resolved(x, y, configured)
    if x:
        assert f"{x:g}" in caught.value.what
    assert "micrograph.pixel_size_angstrom" in caught.value.remedy
