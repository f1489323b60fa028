"""What Prometheus sees."""

import dataclasses
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from livepick.core.contracts.job import Result, StageSeconds
from livepick.core.contracts.progress import Progress
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality import CtfFigures, Quality
from livepick.core.imaging.quality_limits import CTF_LIMITS
from livepick.ingest.watch_health import FileEvents, FolderHealth, WatchHealth
from livepick.ledger.rows import Counts
from livepick.monitoring.metrics.exporter import Metrics
from livepick.monitoring.metrics.instruments import ERROR_REASONS, ERROR_STAGES
from livepick.monitoring.metrics.picking import LATEST_STATES
from livepick.monitoring.metrics.quality import CTF_HISTOGRAMS
from livepick.retraining.eta import RunProgress

PROMTOOL = shutil.which("promtool")
"""Of Debian's package prometheus."""


def result(*scores):
    """Return a worker's result with these scores, of which those from 0.2 on are picks."""
    score = np.array(scores, dtype=np.float32)
    return Result(
        picks=Picks(score, score, score),
        threshold=0.2,
        model_version=1,
        model_kind="trained",
        shape_px=(64, 64),
        pixel_size_angstrom=1.5,
        quality=Quality(0.0, None),
        seconds=StageSeconds(0.1, 0.2, 0.3, 0.4),
        provider="CPUExecutionProvider",
    )


def test_zeros_are_exported_before_anything_happens():
    """A rate over the first failure is right only if the series was 0 before it."""
    sample = Metrics().registry.get_sample_value

    for state in ("picked", "empty", "failed"):
        assert sample("livepick_micrographs_total", {"state": state}) == 0
    for stage in ERROR_STAGES:
        assert sample("livepick_errors_total", {"stage": stage, "reason": "header"}) == 0
    assert sample("livepick_inference_provider_active", {"provider": "CUDAExecutionProvider"}) == 0
    assert sample("livepick_training_runs_total", {"result": "failed"}) == 0
    assert sample("livepick_training_findings_total", {"finding": "overfitting"}) == 0
    assert sample("livepick_training_reruns_total") == 0
    assert sample("livepick_training_stage", {"stage": "retrain"}) == 0
    assert sample("livepick_training_expected_end_timestamp_seconds") == 0


def test_quality_is_counted_by_verdict_and_unknown_figures_are_not():
    """An unknown figure has no observation, where a zero would be one."""
    metrics = Metrics()
    sample = metrics.registry.get_sample_value
    assert sample("livepick_micrograph_quality_verdicts_total", {"verdict": "bad"}) == 0

    bad = dataclasses.replace(result(0.9), quality=Quality(0.1, 0.9, contrast=1.0))
    metrics.picking.picked(bad, latency_seconds=5, export_seconds=0.01)

    assert sample("livepick_micrograph_quality_verdicts_total", {"verdict": "bad"}) == 1
    assert sample("livepick_micrograph_quality_verdicts_total", {"verdict": "good"}) == 0
    assert sample("livepick_micrograph_contrast_bucket", {"le": "1.15"}) == 1
    assert sample("livepick_micrograph_masked_fraction_count") == 1
    assert sample("livepick_micrograph_ice_ring_count") == 0


def test_a_picked_micrograph_counts_its_particles_scores_and_times():
    """One with picks is ``picked``, one without is ``empty`` and a success all the same."""
    metrics = Metrics()
    metrics.picking.picked(result(0.9, 0.4, 0.1), latency_seconds=12, export_seconds=0.01)
    metrics.picking.picked(result(0.1), latency_seconds=15, export_seconds=0.01)
    sample = metrics.registry.get_sample_value

    assert sample("livepick_micrographs_total", {"state": "picked"}) == 1
    assert sample("livepick_micrographs_total", {"state": "empty"}) == 1
    assert sample("livepick_particles_total") == 2
    assert sample("livepick_particle_score_bucket", {"le": "0.45"}) == 1
    assert sample("livepick_particles_per_micrograph_bucket", {"le": "0.0"}) == 1
    assert sample("livepick_end_to_end_latency_seconds_count") == 2
    assert sample("livepick_stage_duration_seconds_count", {"stage": "export"}) == 2
    assert sample("livepick_inference_provider_active", {"provider": "CPUExecutionProvider"}) == 1


def test_what_is_picked_again_is_no_further_micrograph():
    """Else an edit of the threshold makes 24 empty micrographs of 12."""
    metrics = Metrics()
    bad = dataclasses.replace(result(0.1), quality=Quality(0.9, None))
    for latency_seconds in (12, None, None):
        metrics.picking.picked(bad, latency_seconds=latency_seconds, export_seconds=0.01)
    sample = metrics.registry.get_sample_value

    assert sample("livepick_micrographs_total", {"state": "empty"}) == 1
    assert sample("livepick_micrographs_total", {"state": "repicked"}) == 2
    assert sample("livepick_micrograph_quality_verdicts_total", {"verdict": "bad"}) == 1
    assert sample("livepick_micrograph_masked_fraction_count") == 1
    assert sample("livepick_end_to_end_latency_seconds_count") == 1
    assert sample("livepick_stage_duration_seconds_count", {"stage": "read"}) == 3


def test_figures_of_the_ctf_are_counted_where_they_are_known():
    """None before a sidecar is read; a fit that does not say its resolution has none."""
    metrics = Metrics()
    sample = metrics.registry.get_sample_value
    assert sample("livepick_micrograph_defocus_angstrom_count") == 0

    metrics.picking.ctf_found(CtfFigures(12_000, 10_500, 30, 9.0))
    metrics.picking.ctf_found(CtfFigures(30_000, 29_000, 30, None))

    assert sample("livepick_micrograph_defocus_angstrom_sum") == 11_250 + 29_500
    assert sample("livepick_micrograph_astigmatism_angstrom_bucket", {"le": "1000.0"}) == 1
    assert sample("livepick_micrograph_ctf_resolution_angstrom_count") == 1
    assert sample("livepick_micrograph_ctf_resolution_angstrom_bucket", {"le": "8.0"}) == 0


@pytest.mark.parametrize("limit", CTF_LIMITS, ids=lambda limit: limit.figure)
def test_the_ctf_has_buckets_at_its_limits(limit):
    """So that a query may count what is doubtful and what is bad."""
    assert {limit.doubtful, limit.bad} <= set(CTF_HISTOGRAMS[limit.figure][1])


def test_the_latest_are_counted_by_what_became_of_them(micrograph_row):
    """As the ledger has them at the moment: nothing of an hour ago is left."""
    metrics = Metrics()
    rows = [
        dataclasses.replace(micrograph_row(1), state="failed", pick_count=None),
        dataclasses.replace(micrograph_row(2), pick_count=0, quality_verdict="bad"),
        dataclasses.replace(micrograph_row(3), pick_count=4, quality_verdict="good"),
        dataclasses.replace(micrograph_row(4), state="queued", pick_count=None),
    ]
    rows[0] = dataclasses.replace(rows[0], quality_verdict=None)
    rows[3] = dataclasses.replace(rows[3], quality_verdict=None)
    verdicts = {"good": 7, "doubtful": 2, "bad": 1}
    metrics.picking.session_so_far(particles=4, verdicts=verdicts, latest=rows, empty_in_row=1)
    sample = metrics.registry.get_sample_value

    for state in LATEST_STATES:
        assert sample("livepick_latest_micrographs", {"state": state}) == 1
    for verdict, latest, session in (("good", 1, 7), ("doubtful", 0, 2), ("bad", 1, 1)):
        labels = {"verdict": verdict}
        assert sample("livepick_latest_quality_verdicts", labels) == latest
        assert sample("livepick_ledger_quality_verdicts", labels) == session


def test_a_trainers_progress_is_seen():
    """Losses and accuracies of the last epoch, findings by kind, and reruns."""
    metrics = Metrics()
    metrics.training.trained(
        Progress(
            at=1,
            stage="train",
            training_loss=0.3,
            validation_loss=0.4,
            training_accuracy=0.8,
            validation_accuracy=0.7,
        )
    )
    metrics.training.trained(Progress(at=2, stage="train", note="why", finding="rate_too_high"))
    metrics.training.trained(Progress(at=3, stage="train", note="again", rerun=True))
    sample = metrics.registry.get_sample_value

    assert sample("livepick_training_loss") == 0.3
    assert sample("livepick_training_validation_loss") == 0.4
    assert sample("livepick_training_accuracy") == 0.8
    assert sample("livepick_training_validation_accuracy") == 0.7
    assert sample("livepick_training_findings_total", {"finding": "rate_too_high"}) == 1
    assert sample("livepick_training_findings_total", {"finding": "overfitting"}) == 0
    assert sample("livepick_training_reruns_total") == 1


def test_how_far_a_run_is_and_when_it_may_end_are_seen():
    """As a stage, a part of it and a time; all zeros without a run."""
    metrics = Metrics()
    metrics.training.training_at(RunProgress("train", 3, 12, ends_at=1e9))
    sample = metrics.registry.get_sample_value
    assert sample("livepick_training_stage", {"stage": "train"}) == 1
    assert sample("livepick_training_stage", {"stage": "classify"}) == 0
    assert sample("livepick_training_stage_done_ratio") == 0.25
    assert sample("livepick_training_expected_end_timestamp_seconds") == 1e9

    metrics.training.training_at(None)
    assert sample("livepick_training_stage", {"stage": "train"}) == 0
    assert sample("livepick_training_stage_done_ratio") == 0
    assert sample("livepick_training_expected_end_timestamp_seconds") == 0


def test_a_restart_goes_on_where_the_session_was():
    """Else a restart would silence the alert of a stalled acquisition, or raise it."""
    metrics = Metrics()
    metrics.session.describe(version="1", python="3", session="s", started_at=50)
    metrics.landings.restore([100, 130, 131, 170])
    metrics.picking.restore(last_picked_at=165, workers=2)
    sample = metrics.registry.get_sample_value

    assert sample("livepick_session_started_timestamp_seconds") == 50
    assert sample("livepick_last_micrograph_seen_timestamp_seconds") == 170
    assert sample("livepick_last_micrograph_picked_timestamp_seconds") == 165
    assert sample("livepick_micrograph_gap_seconds") == 30
    assert sample("livepick_micrographs_discovered_total") == 0
    assert sample("livepick_workers", {"state": "idle"}) == 2


def test_a_session_is_over_six_hours_after_its_last_micrograph():
    """Nobody is called at night about a microscope that was left on purpose.

    Nor about files that were there at the start.
    """
    metrics = Metrics()

    def active_at(now):
        metrics.landings.update_activity(now)
        return metrics.registry.get_sample_value("livepick_session_active")

    assert active_at(1e9) == 0
    metrics.picking.landed(1e9, collected=False)
    assert active_at(1e9) == 0
    metrics.picking.landed(1e9, collected=True)
    assert active_at(1e9 + 6 * 3600 - 1) == 1
    assert active_at(1e9 + 6 * 3600 + 1) == 0


def test_health_is_asked_at_each_scrape():
    """Whoever would set it hangs with the rest: a last 1 would stay for ever."""
    metrics = Metrics()
    well = [True]
    metrics.session.check_health(lambda: well[0])
    sample = metrics.registry.get_sample_value

    assert sample("livepick_healthy") == 1
    well[0] = False
    assert sample("livepick_healthy") == 0


def test_watching_is_counted_from_what_the_watcher_has_counted():
    """By type of event; images that were left out already at the first listing are not new."""
    metrics = Metrics()
    sample = metrics.registry.get_sample_value

    def watched(events, excluded, scanned_at=1e9):
        health = WatchHealth(
            folders=(FolderHealth(Path("/in"), available=True, detail="ext4", mode="inotify"),),
            last_scan_at=scanned_at,
            seconds_since_scan=1,
            last_scan_seconds=0.1,
            interval_seconds=60,
            watching=1,
            excluded=excluded,
            oversized=0,
            events=events,
            overflows=0,
            restarts=2,
            errors=0,
        )
        metrics.ingest.watched(health)
        return sample("livepick_micrographs_total", {"state": "skipped"})

    nothing = FileEvents()
    assert watched(nothing, 0, scanned_at=0) == 0
    assert watched(FileEvents(created=3, closed=2), 40) == 0
    assert watched(FileEvents(created=4, closed=2), 43) == 3
    assert watched(FileEvents(created=4, closed=2), 41) == 3
    assert watched(FileEvents(created=4, closed=2), 42) == 4

    assert sample("livepick_watch_events_total", {"type": "created"}) == 4
    assert sample("livepick_watch_events_total", {"type": "closed"}) == 2
    assert sample("livepick_watch_events_total", {"type": "moved"}) == 0
    assert sample("livepick_watch_restarts_total") == 2


def test_workers_are_busy_as_long_as_there_is_picking():
    """The engine is given more than it has workers, so that none waits for its next."""
    metrics = Metrics()
    metrics.picking.restore(last_picked_at=0, workers=2)
    busy = []
    for picking in (0, 1, 4):
        metrics.picking.queue(Counts(picking=picking), None)
        busy.append(metrics.registry.get_sample_value("livepick_workers", {"state": "busy"}))

    assert busy == [0, 1, 2]


def test_labels_are_bounded():
    """An unknown reason becomes ``internal``, and a former model's series goes away."""
    metrics = Metrics()
    metrics.picking.failed("no such reason: /secret/file.mrc", "pick")
    metrics.training.use_model(version=0, kind="blob", promoted_at=1)
    metrics.training.use_model(version=1, kind="trained", promoted_at=2)
    sample = metrics.registry.get_sample_value

    assert sample("livepick_errors_total", {"stage": "pick", "reason": "internal"}) == 1
    assert "internal" in ERROR_REASONS
    assert sample("livepick_model_info", {"version": "0", "kind": "blob"}) is None
    assert sample("livepick_model_info", {"version": "1", "kind": "trained"}) == 1
    assert b"secret" not in metrics.exposition()


def test_no_series_is_spent_on_creation_times():
    """The client's ``_created`` series would double counters and histograms."""
    assert b"_created" not in Metrics().exposition()


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_lint():
    """Names, units, types and help texts follow Prometheus' own rules."""
    metrics = Metrics()
    metrics.session.describe(version="1", python="3", session="s", started_at=0)
    metrics.picking.picked(result(0.5), latency_seconds=12, export_seconds=0.01)
    metrics.training.use_model(version=0, kind="blob", promoted_at=1)
    metrics.ingest.folder_available(0, available=True)

    lint = subprocess.run(
        [PROMTOOL, "check", "metrics"],
        input=metrics.exposition(),
        capture_output=True,
        check=False,
    )

    assert (lint.returncode, lint.stdout, lint.stderr) == (0, b"", b"")
