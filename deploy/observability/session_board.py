"""Dashboard for the operator: collection, picking, particles found, and quality over time."""

from livepick.config.alert_thresholds import CLASS_GOOD_FRACTION
from observability.frame import Folded, board
from observability.panels import (
    OLDEST_WAITS,
    Scale,
    curves,
    distribution,
    figure,
    listing,
    quantile,
)
from observability.quality_panels import figure_panels, quality_panels, verdict_panels

__all__ = ["session_board"]

_FIRING = 'ALERTS{alertname=~"Livepick.*", alertstate="firing", @}'

_PICKED_PER_HOUR = """
3600 * sum by (job, instance, instrument) (
    rate(livepick_micrographs_total{state=~"(re)?picked|empty", @}[$__rate_interval])
)
"""

_NOW = [
    figure(
        "Since the last micrograph",
        "Is the session collecting? A refill takes minutes; after 15 an alert fires.",
        "time() - (livepick_last_micrograph_seen_timestamp_seconds{@} > 0)",
        unit="s",
        scale=Scale(300, 900),
    ),
    figure(
        "Since the last picks",
        "Is livepick picking? This should follow the value to its left by seconds.",
        "time() - (livepick_last_micrograph_picked_timestamp_seconds{@} > 0)",
        unit="s",
        scale=Scale(300, 900),
    ),
    figure(
        "Landed per hour",
        "Micrographs that the microscope and motion correction deliver.",
        "3600 * rate(livepick_micrographs_discovered_total{@}[$__rate_interval])",
        slow=True,
    ),
    figure(
        "Picked per hour",
        "Micrographs that livepick picks, including those that are picked again.",
        _PICKED_PER_HOUR,
        slow=True,
    ),
    figure(
        "Waiting",
        "Complete micrographs that wait for picks of the current model.",
        """
        sum by (job, instance, instrument) (
            livepick_queue_depth{stage=~"queued|picking", @}
        )
        """,
        scale=Scale(20, 100),
    ),
    figure(
        "Alerts",
        "Number of alerts that fire now; the row below lists them.",
        f"""
        count by (job, instance, instrument) ({_FIRING})
        or 0 * max by (job, instance, instrument) (livepick_healthy{{@}})
        """,
        scale=Scale(None, 1),
        of_session=False,
    ),
    figure(
        "Particles",
        "Each micrograph counts once.",
        "livepick_ledger_particles{@}",
    ),
    figure(
        "Micrographs with picks",
        "Including micrographs with picks of an older model.",
        """
        sum by (job, instance, instrument) (
            livepick_ledger_micrographs{state=~"picked|stale", @}
        )
        """,
    ),
    figure(
        "Failed micrographs",
        "livepick status shows the reason and the remedy for each.",
        'livepick_ledger_micrographs{state="failed", @}',
        scale=Scale(1, 50),
    ),
    figure(
        "Model",
        "Model in use. Picks of the blob picker and of the general model are provisional.",
        "livepick_model_info{@}",
        name="{{kind}} {{version}}",
    ),
    figure(
        "Runs on",
        "CUDA is the GPU. The CPU is many times slower; an alert fires if a GPU was requested.",
        """
        label_replace(
            livepick_inference_provider_active{@} == 1,
            "provider", "$1", "provider", "(.+)ExecutionProvider"
        )
        """,
        name="{{provider}}",
    ),
    figure(
        "Collecting",
        "Yes until no micrograph has landed for six hours.",
        "livepick_session_active{@}",
        words={0: "no", 1: "yes"},
    ),
]

_ALERTS = [
    listing(
        "Firing alerts",
        "deploy/README.md has a section for each: its meaning and what to do.",
        _FIRING,
        of_session=False,
        height=5,
        width=14,
    ),
    listing(
        "Sessions",
        "Services that respond, with a link to livepick's page of each.",
        "livepick_session_info{@}",
        height=5,
        width=10,
        link="page_url",
    ),
]

_RED = [
    curves(
        "Rate: landed and picked per hour",
        "Normally equal. More picked than landed: picks of an older model are being replaced.",
        [
            ("3600 * rate(livepick_micrographs_discovered_total{@}[$__rate_interval])", "landed"),
            (
                _PICKED_PER_HOUR,
                "picked",
            ),
        ],
        slow=True,
    ),
    curves(
        "Errors: failed and empty per hour",
        "The Pipeline dashboard shows why micrographs failed; empty ones had no particle when"
        " they were first picked.",
        [
            (
                (
                    "3600 * rate(livepick_micrographs_total"
                    '{state=~"failed|empty", @}[$__rate_interval])'
                ),
                "{{state}}",
            ),
        ],
        slow=True,
    ),
    curves(
        "Duration: from landing to picks",
        "Time for half and for 95 % of the micrographs, and waiting time of the oldest.",
        [
            (
                quantile(0.5, "livepick_end_to_end_latency_seconds"),
                "half",
            ),
            (
                quantile(0.95, "livepick_end_to_end_latency_seconds"),
                "95 %",
            ),
            (
                OLDEST_WAITS,
                "oldest",
            ),
        ],
        unit="s",
        slow=True,
    ),
]

_PARTICLES = [
    curves(
        "Particles in good classes",
        "Fraction of the newest picks that are in 2D class averages that show a particle, and"
        " fraction of these that show the most frequent view. An alert fires below"
        f" {CLASS_GOOD_FRACTION:.0%}. The page shows the averages.",
        [
            (
                "livepick_class_good_particle_fraction{@} and livepick_class_particles{@} > 0",
                "good",
            ),
            ("livepick_class_largest_view_fraction{@} > 0", "largest view"),
        ],
        unit="percentunit",
        most=1,
    ),
    curves(
        "Particles per micrograph",
        "Quartiles. Causes of a fall: another grid square, thicker ice, an unsuitable model.",
        [
            (
                quantile(part, "livepick_particles_per_micrograph"),
                legend,
            )
            for part, legend in ((0.25, "lower"), (0.5, "median"), (0.75, "upper"))
        ],
        slow=True,
    ),
    distribution(
        "Scores of the picks",
        "From 0 to 1. If the band moves down or splits, the specimen has changed.",
        "livepick_particle_score",
        unit="short",
    ),
]

_MORE_PARTICLES = [
    curves(
        "Drift",
        "Difference between the last micrographs and the first that the model picked; from 1 on"
        " it matters.",
        [("livepick_drift_score{@}", "{{figure}}")],
        least=None,
    ),
    curves(
        "Spread of the scores",
        "Population stability index of the scores, compared with the first micrographs that the"
        " model picked; 0.25 above chance is usually called a large change.",
        [("livepick_score_drift_psi{@}", "")],
    ),
    curves(
        "Particles per hour",
        "Picks above the threshold, including micrographs that are picked again.",
        [("3600 * rate(livepick_particles_total{@}[$__rate_interval])", "")],
        slow=True,
    ),
    curves(
        "Particles in the session",
        "Each micrograph counts once; the number changes when another model takes over.",
        [("livepick_ledger_particles{@}", "")],
    ),
    curves(
        "Empty micrographs in a row",
        "An alert fires from ten on.",
        [("livepick_consecutive_empty_micrographs{@}", "")],
    ),
]

_SETTINGS = [
    listing(
        "Settings of the sessions",
        "Services that respond, with the settings that affect picks.",
        """
        livepick_config_info{@}
        * on (job, instance) group_left (session) livepick_session_info{@}
        * on (job, instance) group_left (version, python) livepick_build_info{@}
        """,
        height=5,
    ),
]


def session_board() -> str:
    """Return the dashboard as JSON."""
    return board(
        "Session",
        "Is the session collecting and picking, does it find particles, is the quality good?",
        {
            "Now": _NOW,
            "Alerts and pages": _ALERTS,
            "Rate, errors, duration": _RED,
            "Particles": _PARTICLES,
            "Quality of the micrographs": quality_panels(),
            "More about the particles": Folded(_MORE_PARTICLES),
            "Verdicts over time": Folded(verdict_panels()),
            "Figures behind the verdicts": Folded(figure_panels()),
            "Settings": Folded(_SETTINGS),
        },
        span="now-6h",
    )
