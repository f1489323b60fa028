"""Rows of the Session dashboard on micrograph quality: verdicts, and the figures behind them.

The functions are lists of panels, hence their length. Limits in descriptions are read from
``livepick.core.imaging.quality``, so that they always agree.
"""

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from livepick.config.alert_thresholds import (
    BAD_FRACTION,
    CTF_NOT_TRUSTED_FRACTION,
    DOUBTFUL_FRACTION,
    FAILED_FRACTION,
    FAILED_SINGLE,
    LATEST,
)
from livepick.core.imaging.quality_limits import CTF_LIMITS, LIMITS
from observability.panels import curves, distribution, quantile

__all__ = ["figure_panels", "quality_panels", "verdict_panels"]

_VERDICTS = "livepick_micrograph_quality_verdicts_total"

_FIGURES = (
    ("score_median", "Median scores", "short",
     "Median score of a micrograph's picks, 0 to 1. Values of two models cannot be compared."),
    ("contrast", "Contrast", "short",
     "Power at the size of a particle divided by that of the noise; noise alone has 1."),
    ("signal_fraction", "Thon rings", "percentunit",
     "Fraction of the power between 40 and 7 Å that is above the noise; an empty hole has 0."),
    ("skewness", "Skewness", "short",
     "Skewness of the image at the size of a particle: 0 for noise, more for separate particles."),
    ("occupied_fraction", "Area under picks", "percentunit",
     "As a fraction of the area that is not masked."),
    ("masked_fraction", "Masked area", "percentunit", "Carbon, contamination and border."),
    ("contamination_fraction", "Contamination", "percentunit", "Area of ice, gold and aggregates."),
    ("carbon_fraction", "Carbon film", "percentunit",
     "Area of the film. If it is large in all micrographs, the beam is beside the hole."),
    ("uneven_fraction", "Uneven patches", "percentunit", "Tiles with a different variance."),
    ("mottle", "Mottled ice", "short",
     "Power at wavelengths wider than a particle, without that of picks: uneven ice."),
    ("ice_ring", "Crystalline ice", "short",
     "Power of the ice ring divided by that beside it; 1: no ring. Empty if pixels are too large."),
    ("anisotropy", "Drift of the stage", "short", "Power above the noise along one axis, 0 to 1."),
    ("ice_gradient_sigmas", "Wedge of ice", "short",
     "Slow change of brightness, in standard deviations of the noise."),
    ("ctf_resolution_angstrom", "Resolution of the CTF", "suffix: Å",
     "Resolution to which the CTF was fitted to Thon rings."),
    ("astigmatism_angstrom", "Astigmatism", "suffix: Å",
     "Difference of both defocus values."),
)  # fmt: skip
"""Figures: name in the metric, title, unit and description."""


def quality_panels() -> list[Builder[Panel]]:
    """Return the panels that an operator looks at."""
    return [
        curves(
            "Verdicts now",
            f"The {LATEST} micrographs that landed last, judged with their CTF if it is known. An"
            f" alert fires if more than {BAD_FRACTION:.0%} are bad, or {DOUBTFUL_FRACTION:.0%} not"
            " good.",
            [("livepick_latest_quality_verdicts{@}", "{{verdict}}")],
        ),
        curves(
            "CTF fits of the latest micrographs",
            f"Of the {LATEST} micrographs that landed last. A fit that is not trusted has no"
            " figures; the page shows the reason. An alert fires if more than"
            f" {CTF_NOT_TRUSTED_FRACTION:.0%} are not trusted.",
            [("livepick_latest_ctf_fits{@}", "{{outcome}}")],
        ),
        curves(
            "Defocus",
            "Mean of both defocus values: 10th percentile, median and 90th percentile of the CTFs"
            " that came in the last minutes. Empty without any.",
            [
                (f"{quantile(part, 'livepick_micrograph_defocus_angstrom')} / 10000", f"{part:.0%}")
                for part in (0.1, 0.5, 0.9)
            ],
            unit="suffix: µm",
            slow=True,
        ),
    ]


def verdict_panels() -> list[Builder[Panel]]:
    """Return the panels about the verdicts over time."""
    return [
        curves(
            "Verdicts",
            "Micrographs per hour that are good, doubtful and bad at their first picks; the page"
            " shows the reasons.",
            [(f"3600 * rate({_VERDICTS}{{@}}[$__rate_interval])", "{{verdict}}")],
            slow=True,
        ),
        curves(
            "Fraction by verdict",
            "Micrographs picked in the last minutes. Causes of fewer good ones: another grid"
            " square, other ice, or a beam beside the hole.",
            [
                (
                    f"""
                    rate({_VERDICTS}{{@}}[$__rate_interval])
                    / ignoring (verdict) group_left sum without (verdict) (
                        rate({_VERDICTS}{{@}}[$__rate_interval])
                    )
                    """,
                    "{{verdict}}",
                )
            ],
            unit="percentunit",
            most=1,
            slow=True,
        ),
        curves(
            "Verdicts in the session",
            "Micrographs by their current verdict, with the CTF if it is known.",
            [
                ("livepick_ledger_quality_verdicts{@}", "{{verdict}}"),
                ("livepick_person_verdicts{@}", "{{verdict}} by people"),
            ],
        ),
        curves(
            "Outcome of the latest micrographs",
            f"The {LATEST} micrographs that landed last. An alert fires if more than"
            f" {FAILED_SINGLE} failed, and more than {FAILED_FRACTION:.0%}.",
            [("livepick_latest_micrographs{@}", "{{state}}")],
        ),
    ]


def figure_panels() -> list[Builder[Panel]]:
    """Return the panels of the figures."""
    return [
        distribution(title, what + _limits(name), f"livepick_micrograph_{name}", unit=unit)
        for name, title, unit, what in _FIGURES
    ]


def _limits(figure: str) -> str:
    """Return the limits beyond which a figure is doubtful and bad, as text; empty without any."""
    for limit in (*LIMITS, *CTF_LIMITS):
        if limit.figure == figure:
            return f" {limit.range[0].upper()}{limit.range[1:]}."
    return ""
