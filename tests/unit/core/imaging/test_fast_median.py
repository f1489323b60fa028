"""The fast median is numpy's."""

import numpy as np
import pytest

from livepick.core.imaging.fast_median import median


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1,), (2,), (7,), (1000,), (3, 5), (2, 3, 256)])
def test_it_equals_the_median_of_numpy_exactly(shape, dtype, rng):
    """The count may be even or odd, and values may be equal; the input does not change."""
    values = rng.standard_normal(shape).round(2).astype(dtype)
    before = values.copy()

    found = median(values)

    np.testing.assert_array_equal(found, np.median(values, axis=-1))
    assert found.dtype == dtype
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("count", [2**15, 2**17 + 1])
@pytest.mark.parametrize("kind", ["noise", "sorted", "periodic", "few", "constant"])
def test_the_median_of_many_values_is_exact_however_they_are_arranged(kind, count, rng):
    """A sample may be unlike the values; equal values may fill the part that is sorted."""
    values = rng.standard_normal(count).astype(np.float32)
    arranged = {
        "noise": values,
        "sorted": np.sort(values),
        "periodic": np.where(np.arange(count) % (count // 4096) == 0, 100 + values, values),
        "few": np.abs(values.round()),
        "constant": np.full(count, 3, np.float32),
    }[kind]

    assert median(arranged) == np.median(arranged)
