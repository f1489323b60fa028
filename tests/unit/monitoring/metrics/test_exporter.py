"""The exposition that Prometheus scrapes."""

import shutil
import subprocess

import pytest

from factories import make_result
from livepick.monitoring.metrics.exporter import Metrics
from livepick.monitoring.metrics.instruments import ERROR_REASONS, ERROR_STAGES

PROMTOOL = shutil.which("promtool")
"""Program of Debian's package prometheus."""


def test_zeros_are_exported_before_anything_happens():
    """A rate over the first failure is correct only if the series was 0 before it."""
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


def test_labels_are_bounded():
    """An unknown reason becomes ``internal``, and the series of a former model is removed."""
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
    metrics.picking.picked(make_result(), latency_seconds=12, export_seconds=0.01)
    metrics.training.use_model(version=0, kind="blob", promoted_at=1)
    metrics.ingest.folder_available(0, available=True)

    lint = subprocess.run(
        [PROMTOOL, "check", "metrics"],
        input=metrics.exposition(),
        capture_output=True,
        check=False,
    )

    assert (lint.returncode, lint.stdout, lint.stderr) == (0, b"", b"")
