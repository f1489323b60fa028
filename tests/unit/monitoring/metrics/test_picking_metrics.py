"""Metrics of picking: micrographs, particles, times, workers."""

import dataclasses

import numpy as np

from factories import make_result, make_row
from livepick.core.formats.header import Note
from livepick.core.imaging.quality import Quality
from livepick.ledger.rows import Counts
from livepick.monitoring.metrics.exporter import Metrics
from livepick.monitoring.metrics.instruments import InstrumentFactory
from livepick.monitoring.metrics.picking import LATEST_STATES, MOST_UNCOUNTED


def test_a_picked_micrograph_counts_its_particles_scores_and_times():
    """One with picks is ``picked``; one without is ``empty``, which is a success too."""
    metrics = Metrics()
    metrics.picking.picked(
        make_result((0.9, 0.4, 0.1), threshold=0.2), latency_seconds=12, export_seconds=0.01
    )
    metrics.picking.picked(make_result((0.1,)), latency_seconds=15, export_seconds=0.01)
    sample = metrics.registry.get_sample_value

    assert sample("livepick_micrographs_total", {"state": "picked"}) == 1
    assert sample("livepick_micrographs_total", {"state": "empty"}) == 1
    assert sample("livepick_particles_total") == 2
    assert sample("livepick_particle_score_bucket", {"le": "0.45"}) == 1
    assert sample("livepick_particles_per_micrograph_bucket", {"le": "0.0"}) == 1
    assert sample("livepick_end_to_end_latency_seconds_count") == 2
    assert sample("livepick_stage_duration_seconds_count", {"stage": "export"}) == 2
    assert sample("livepick_inference_provider_active", {"provider": "CPUExecutionProvider"}) == 1


def test_a_micrograph_that_is_picked_again_is_not_counted_twice():
    """Otherwise an edit of the threshold would make 24 empty micrographs of 12."""
    metrics = Metrics()
    bad = make_result((0.1,), quality=Quality(0.9, None))
    for latency_seconds in (12, None, None):
        metrics.picking.picked(bad, latency_seconds=latency_seconds, export_seconds=0.01)
    sample = metrics.registry.get_sample_value

    assert sample("livepick_micrographs_total", {"state": "empty"}) == 1
    assert sample("livepick_micrographs_total", {"state": "repicked"}) == 2
    assert sample("livepick_micrograph_quality_verdicts_total", {"verdict": "bad"}) == 1
    assert sample("livepick_micrograph_masked_fraction_count") == 1
    assert sample("livepick_end_to_end_latency_seconds_count") == 1
    assert sample("livepick_stage_duration_seconds_count", {"stage": "read"}) == 3


def test_notes_are_counted_once_per_micrograph_and_kind():
    metrics = Metrics()
    notes = (Note("bad_pixels", "3 pixels"), Note("pixel_size", "0 Å"), Note("pixel_size", "1 Å"))
    for latency_seconds in (12, None):
        metrics.picking.picked(
            make_result(notes=notes), latency_seconds=latency_seconds, export_seconds=0.01
        )
    sample = metrics.registry.get_sample_value
    for kind, count in (("bad_pixels", 1), ("pixel_size", 1), ("byte_order", 0)):
        assert sample("livepick_micrograph_notes_total", {"kind": kind}) == count


def test_the_latest_micrographs_are_counted_by_outcome():
    """Counts are replaced, not added: they describe the ledger as it is now."""
    metrics = Metrics()
    rows = [
        make_row(1, state="failed", pick_count=None),
        make_row(2, pick_count=0, quality_verdict="bad"),
        make_row(3, pick_count=4, quality_verdict="good"),
        make_row(4, state="queued", pick_count=None),
    ]
    rows[0] = dataclasses.replace(rows[0], quality_verdict=None)
    rows[3] = dataclasses.replace(rows[3], quality_verdict=None)
    verdicts = {"good": 7, "doubtful": 2, "bad": 1}
    metrics.picking.session_so_far(
        particles=4, repicks_failed=2, verdicts=verdicts, latest=rows, empty_in_row=1
    )
    sample = metrics.registry.get_sample_value
    assert sample("livepick_repick_failed_micrographs") == 2

    for state in LATEST_STATES:
        assert sample("livepick_latest_micrographs", {"state": state}) == 1
    for verdict, latest, session in (("good", 1, 7), ("doubtful", 0, 2), ("bad", 1, 1)):
        labels = {"verdict": verdict}
        assert sample("livepick_latest_quality_verdicts", labels) == latest
        assert sample("livepick_ledger_quality_verdicts", labels) == session


def test_workers_are_busy_as_long_as_there_is_picking():
    """The engine gets more jobs than it has workers, so that none has to wait for its next."""
    metrics = Metrics()
    metrics.picking.restore(last_picked_at=0, workers=2)
    busy = []
    for picking in (0, 1, 4):
        metrics.picking.queue(Counts(picking=picking), None)
        busy.append(metrics.registry.get_sample_value("livepick_workers", {"state": "busy"}))

    assert busy == [0, 1, 2]


def test_many_values_are_observed_at_once_as_one_by_one():
    """Values on a bound of a bucket, below the first and above the last included."""
    make = InstrumentFactory()
    bounds = (0.25, 0.5, 0.7)
    at_once = make.histogram("at_once", "?", bounds)
    singly = make.histogram("singly", "?", bounds)
    for values in ([0.25, 0.7, 0.1, 0.3, 0.9, 0.5], [], [0.2]):
        at_once.observe_all(np.array(values, dtype=np.float32))
        for value in np.array(values, dtype=np.float32).tolist():
            singly.observe(value)
    text = make.exposition().decode()
    found, expected = (
        [line.split("{")[-1] for line in text.splitlines() if line.startswith(f"livepick_{name}_")]
        for name in ("at_once", "singly")
    )
    assert [one.replace("at_once", "singly") for one in found] == expected
    assert "livepick_at_once_count 7.0" in text


def test_picked_micrographs_are_counted_together_and_never_later_than_a_scrape():
    """A scrape sees all that were picked before it, each once, without waiting for more."""
    metrics = Metrics()
    sample = metrics.registry.get_sample_value
    found = []
    for count in (1, 2, MOST_UNCOUNTED + 50):
        for _ in range(count):
            metrics.picking.picked(make_result((0.9,)), latency_seconds=1, export_seconds=0.01)
        found.append(sample("livepick_micrographs_total", {"state": "picked"}))
        assert sample("livepick_stage_duration_seconds_count", {"stage": "export"}) == found[-1]

    assert found == [1, 3, MOST_UNCOUNTED + 53]
    assert b'livepick_micrographs_total{state="picked"} 153.0' in metrics.exposition()


def test_a_long_time_without_a_scrape_keeps_no_more_than_a_few_micrographs():
    """They are counted without one as soon as there are many."""
    metrics = Metrics()
    for _ in range(3 * MOST_UNCOUNTED + 1):
        metrics.picking.picked(make_result((0.9,)), latency_seconds=1, export_seconds=0.01)

    assert len(metrics.picking._uncounted) == 1
