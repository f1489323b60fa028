"""Metrics of the class averages of the newest picks."""

from typing import get_args

from livepick.core.contracts.class_averages import ViewState
from livepick.ledger.session_rows import ClassAveragesRow
from livepick.monitoring.metrics.instruments import InstrumentFactory

__all__ = ["ClassMetrics"]

VIEW_STATES: tuple[ViewState, ...] = get_args(ViewState)


class ClassMetrics:
    """Figures of the latest class averages. All are 0 until there are some."""

    def __init__(self, make: InstrumentFactory) -> None:
        self._good_fraction = make.gauge(
            "class_good_particle_fraction",
            "How many picks are particles? Fraction of the picks in class averages that show one.",
        )
        self._particles = make.gauge(
            "class_particles", "Of how many picks are the latest class averages?"
        )
        self._classes = make.gauge(
            "class_averages",
            "How many class averages show a particle?",
            verdict=("good", "junk"),
        )
        self._made_at = make.gauge(
            "class_averages_timestamp_seconds", "When were the latest class averages made?"
        )
        self._largest_view = make.gauge(
            "class_largest_view_fraction",
            "Is there one view only? Fraction of the particles in good classes that show the most"
            " frequent view.",
        )
        self._view_state = make.gauge(
            "class_view_state",
            "Do the particles prefer an orientation? 1 for what the class averages say: one_view"
            " if so, round if the one view could be a sphere's.",
            state=VIEW_STATES,
        )

    def show(self, row: ClassAveragesRow | None) -> None:
        """Set all of them; None changes nothing."""
        if row is None:
            return
        self._good_fraction.set(row.good_fraction)
        self._particles.set(row.particles)
        self._classes.labels("good").set(row.good_classes)
        self._classes.labels("junk").set(row.classes - row.good_classes)
        self._made_at.set(row.made_at)
        self._largest_view.set(row.view_fraction or 0.0)
        for state in VIEW_STATES:
            self._view_state.labels(state).set(state == row.view_state)
