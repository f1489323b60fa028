"""Metrics of the class averages of the newest picks."""

from factories import make_class_averages
from livepick.monitoring.metrics.exporter import Metrics


def figures(metrics):
    """Return the values of the series about class averages."""
    return {
        f"{sample.name}{sample.labels or ''}": sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name.startswith("livepick_class_")
    }


def test_all_are_zero_until_there_are_some():
    metrics = Metrics()
    metrics.classes.show(None)
    assert set(figures(metrics).values()) == {0.0}


def test_they_are_those_of_the_latest():
    metrics = Metrics()
    row = make_class_averages(view_state="one_view", view_fraction=0.9, views=2)
    metrics.classes.show(row)
    assert figures(metrics) == {
        "livepick_class_good_particle_fraction": 0.75,
        "livepick_class_particles": 4000.0,
        "livepick_class_averages{'verdict': 'good'}": 30.0,
        "livepick_class_averages{'verdict': 'junk'}": 10.0,
        "livepick_class_averages_timestamp_seconds": 1000.0,
        "livepick_class_largest_view_fraction": 0.9,
        "livepick_class_view_state{'state': 'balanced'}": 0.0,
        "livepick_class_view_state{'state': 'one_view'}": 1.0,
        "livepick_class_view_state{'state': 'unknown'}": 0.0,
        "livepick_class_view_state{'state': 'round'}": 0.0,
    }
