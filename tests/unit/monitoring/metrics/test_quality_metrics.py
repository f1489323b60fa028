"""Metrics of micrograph quality."""

import pytest

from factories import make_result
from livepick.core.imaging.quality import CtfFigures, Quality
from livepick.core.imaging.quality_limits import CTF_LIMITS
from livepick.monitoring.metrics.exporter import Metrics
from livepick.monitoring.metrics.quality import CTF_HISTOGRAMS


def test_quality_is_counted_by_verdict_and_unknown_figures_are_not():
    """An unknown figure is not observed; a zero would be."""
    metrics = Metrics()
    sample = metrics.registry.get_sample_value
    assert sample("livepick_micrograph_quality_verdicts_total", {"verdict": "bad"}) == 0

    bad = make_result(quality=Quality(0.1, 0.9, contrast=1.0))
    metrics.picking.picked(bad, latency_seconds=5, export_seconds=0.01)

    assert sample("livepick_micrograph_quality_verdicts_total", {"verdict": "bad"}) == 1
    assert sample("livepick_micrograph_quality_verdicts_total", {"verdict": "good"}) == 0
    assert sample("livepick_micrograph_contrast_bucket", {"le": "1.15"}) == 1
    assert sample("livepick_micrograph_masked_fraction_count") == 1
    assert sample("livepick_micrograph_ice_ring_count") == 0


def test_figures_of_the_ctf_are_counted_where_they_are_known():
    """A CTF file without a fit resolution adds none."""
    metrics = Metrics()
    sample = metrics.registry.get_sample_value
    assert sample("livepick_micrograph_defocus_angstrom_count") == 0

    metrics.picking.ctf_found(CtfFigures(12_000, 10_500, 30, 9.0))
    metrics.picking.ctf_found(CtfFigures(30_000, 29_000, 30, None))

    assert sample("livepick_micrograph_defocus_angstrom_sum") == 11_250 + 29_500
    assert sample("livepick_micrograph_astigmatism_angstrom_bucket", {"le": "1000.0"}) == 1
    assert sample("livepick_micrograph_ctf_resolution_angstrom_count") == 1
    assert sample("livepick_micrograph_ctf_resolution_angstrom_bucket", {"le": "8.0"}) == 0


def test_fits_are_counted_by_their_outcome():
    """All outcomes are there from the start."""
    metrics = Metrics()
    sample = metrics.registry.get_sample_value
    assert sample("livepick_ctf_fits_total", {"outcome": "failed"}) == 0
    metrics.picking.ctf_fitted("not_trusted")
    assert sample("livepick_ctf_fits_total", {"outcome": "not_trusted"}) == 1
    assert sample("livepick_ctf_fits_total", {"outcome": "trusted"}) == 0


@pytest.mark.parametrize("limit", CTF_LIMITS, ids=lambda limit: limit.figure)
def test_the_ctf_has_buckets_at_its_limits(limit):
    """A query can count the doubtful and the bad micrographs."""
    assert {limit.doubtful, limit.bad} <= set(CTF_HISTOGRAMS[limit.figure][1])
