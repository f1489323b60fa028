"""Metrics of training runs."""

from livepick.core.contracts.progress import Progress
from livepick.monitoring.metrics.exporter import Metrics
from livepick.retraining.eta import RunProgress


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


def test_stage_and_expected_end_of_a_run_are_exported():
    """A stage, the fraction of it that is done, and a time; all are zero without a run."""
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
