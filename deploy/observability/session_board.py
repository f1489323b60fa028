"""Dashboard for the operator: collection, picking, particles found, and quality over time."""

from observability.frame import board
from observability.panels import (
    OLDEST_WAITS,
    Scale,
    curves,
    distribution,
    figure,
    listing,
    quantile,
)
from observability.quality_panels import quality_panels

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
        "Is it collecting? Minutes are normal at a refill; after 15 an alert calls.",
        "time() - (livepick_last_micrograph_seen_timestamp_seconds{@} > 0)",
        unit="s",
        scale=Scale(300, 900),
    ),
    figure(
        "Since the last picks",
        "Is it picking? Should follow the figure beside it by seconds.",
        "time() - (livepick_last_micrograph_picked_timestamp_seconds{@} > 0)",
        unit="s",
        scale=Scale(300, 900),
    ),
    figure(
        "Landed per hour",
        "What the microscope and motion correction deliver.",
        "3600 * rate(livepick_micrographs_discovered_total{@}[$__rate_interval])",
        slow=True,
    ),
    figure(
        "Picked per hour",
        "What livepick gets through, those that are picked again included.",
        _PICKED_PER_HOUR,
        slow=True,
    ),
    figure(
        "Waiting",
        "Micrographs that are complete and wait for picks of the present model.",
        """
        sum by (job, instance, instrument) (
            livepick_queue_depth{stage=~"queued|picking", @}
        )
        """,
        scale=Scale(20, 100),
    ),
    figure(
        "Alerts",
        "How many fire now; the row below says what to do about each.",
        f"""
        count by (job, instance, instrument) ({_FIRING})
        or 0 * max by (job, instance, instrument) (livepick_healthy{{@}})
        """,
        scale=Scale(None, 1),
        of_session=False,
    ),
    figure("Particles", "Of the session, each micrograph once.", "livepick_ledger_particles{@}"),
    figure(
        "Micrographs with picks",
        "Those with picks of an older model included.",
        """
        sum by (job, instance, instrument) (
            livepick_ledger_micrographs{state=~"picked|stale", @}
        )
        """,
    ),
    figure(
        "Failed micrographs",
        "livepick status has the reason and the remedy of each.",
        'livepick_ledger_micrographs{state="failed", @}',
        scale=Scale(1, 50),
    ),
    figure(
        "Model",
        "Which model picks. The blob picker's picks are provisional.",
        "livepick_model_info{@}",
        name="{{kind}} {{version}}",
    ),
    figure(
        "Runs on",
        "CUDA is the GPU. The CPU is many times slower, and an alert if a GPU was asked for.",
        "livepick_inference_provider_active{@} == 1",
        name="{{provider}}",
    ),
    figure(
        "Collecting",
        "Whether a session is under way: until no micrograph has landed for six hours.",
        "livepick_session_active{@}",
        words={0: "no", 1: "yes"},
    ),
]

_ALERTS = [
    listing(
        "Alerts that fire",
        "deploy/README.md has a section for each: what it means and what to do.",
        _FIRING,
        of_session=False,
    ),
]

_RED = [
    curves(
        "Rate: landed and picked per hour",
        "They lie on each other. Picked above landed: an older model's picks are replaced.",
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
        "Failed ones have a reason, in the Pipeline dashboard; empty ones hold no particle when"
        " they are picked first.",
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
        "Of half and of 95 % of the micrographs, and how long the oldest waits now.",
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
        "Particles per micrograph",
        "Quartiles. A fall means another grid square, thicker ice, or a model that no longer fits.",
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
        "From 0 to 1. A band that moves down or splits is a change of the specimen.",
        "livepick_particle_score",
        unit="short",
    ),
    curves(
        "Drift",
        "How far the last micrographs are from what the model picked first; 1 is the least that"
        " matters.",
        [("livepick_drift_score{@}", "{{figure}}")],
        least=None,
    ),
    curves(
        "Spread of the scores",
        "Stability index of the last micrographs' scores against those that the model picked first;"
        " 0.25 above chance is by custom a large change.",
        [("livepick_score_drift_psi{@}", "")],
    ),
    curves(
        "Particles per hour",
        "Picks above the threshold, those of micrographs that are picked again included.",
        [("3600 * rate(livepick_particles_total{@}[$__rate_interval])", "")],
        slow=True,
    ),
    curves(
        "Particles in the session",
        "Each micrograph once; it moves when another model takes over.",
        [("livepick_ledger_particles{@}", "")],
    ),
    curves(
        "Empty micrographs in a row",
        "Ten and more are an alert.",
        [("livepick_consecutive_empty_micrographs{@}", "")],
    ),
]

_SETTINGS = [
    listing(
        "Sessions",
        "Which services answer, and the settings that shape picks.",
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
        "Is it collecting, is it picking, is it finding particles, is it still good?",
        {
            "Now": _NOW,
            "Alerts": _ALERTS,
            "Rate, errors, duration": _RED,
            "Particles": _PARTICLES,
            "Quality of the micrographs": quality_panels(),
            "Settings": _SETTINGS,
        },
        span="now-6h",
    )
