"""Row of the Session dashboard on micrograph quality: verdicts, and the figures behind them.

Limits in descriptions are read from ``livepick.core.imaging.quality``, so that they always agree.
"""

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from livepick.config.alert_thresholds import (
    BAD_FRACTION,
    DOUBTFUL_FRACTION,
    FAILED_FRACTION,
    FAILED_SINGLE,
    LATEST,
)
from livepick.core.imaging.quality_limits import CTF_LIMITS, LIMITS
from observability.panels import curves, distribution

__all__ = ["quality_panels"]

_VERDICTS = "livepick_micrograph_quality_verdicts_total"

_FIGURES = (
    ("score_median", "Median scores", "short",
     "Of each micrograph's picks, 0 to 1. It means another thing for each model."),
    ("contrast", "Contrast", "short",
     "Power at the size of a particle over that of the noise; 1 is noise alone."),
    ("signal_fraction", "Thon rings", "percentunit",
     "Share of the power between 40 and 7 Å that is above the noise; an empty hole has none."),
    ("skewness", "Skewness", "short",
     "Of the image at the size of a particle: 0 for noise, more for particles that stand apart."),
    ("occupied_fraction", "Area under picks", "percentunit", "Of what is not masked."),
    ("masked_fraction", "Masked area", "percentunit", "Carbon, contamination and border."),
    ("contamination_fraction", "Contamination", "percentunit", "Area under ice, gold and heaps."),
    ("carbon_fraction", "Carbon film", "percentunit",
     "Area under it. Much in every micrograph: the beam is beside the hole."),
    ("uneven_fraction", "Uneven patches", "percentunit", "Tiles of another variance than others."),
    ("mottle", "Mottled ice", "short",
     "Power wider than a particle that picks do not explain: crystalline or uneven ice."),
    ("ice_ring", "Crystalline ice", "short",
     "Its ring over what is beside it; 1 is none. Empty where pixels are too coarse to show it."),
    ("anisotropy", "Drift of the stage", "short", "Power above the noise that is along one axis."),
    ("ice_gradient_sigmas", "Wedge of ice", "short",
     "Slow change of brightness, in deviations of the noise."),
    ("ctf_resolution_angstrom", "Resolution of the CTF", "suffix: Å",
     "To which Thon rings were fitted. Empty where no CTF program writes beside the micrographs."),
    ("defocus_angstrom", "Defocus", "suffix: Å",
     "Mean of both defoci. Empty where no CTF program writes beside the micrographs."),
    ("astigmatism_angstrom", "Astigmatism", "suffix: Å",
     "Difference of both defoci. Empty where no CTF program writes beside the micrographs."),
)  # fmt: skip
"""Figures: name in the metric, title, unit and description."""


def quality_panels() -> list[Builder[Panel]]:
    """Return the panels of the row."""
    return [
        curves(
            "Verdicts",
            "Micrographs an hour that are good, doubtful and bad at their first picks; the page"
            " says why of each.",
            [(f"3600 * rate({_VERDICTS}{{@}}[$__rate_interval])", "{{verdict}}")],
            slow=True,
        ),
        curves(
            "Share by verdict",
            "Of the micrographs picked in the last minutes. Fewer good ones: another grid square,"
            " other ice, or a beam beside the hole.",
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
            "Verdicts now",
            f"Of the {LATEST} micrographs that landed last, the CTF included where it is known."
            f" More than {BAD_FRACTION:.0%} bad, or {DOUBTFUL_FRACTION:.0%} not good, is an alert.",
            [("livepick_latest_quality_verdicts{@}", "{{verdict}}")],
        ),
        curves(
            "Verdicts in the session",
            "Each micrograph by its present verdict, the CTF included where it is known.",
            [("livepick_ledger_quality_verdicts{@}", "{{verdict}}")],
        ),
        curves(
            "What became of the latest",
            f"The {LATEST} micrographs that landed last. More than {FAILED_SINGLE} failed, and more"
            f" than {FAILED_FRACTION:.0%}, is an alert.",
            [("livepick_latest_micrographs{@}", "{{state}}")],
        ),
        *(
            distribution(title, what + _limits(name), f"livepick_micrograph_{name}", unit=unit)
            for name, title, unit, what in _FIGURES
        ),
    ]


def _limits(figure: str) -> str:
    """Return the limits beyond which a figure is doubtful and bad, as text; empty without any."""
    for limit in (*LIMITS, *CTF_LIMITS):
        if limit.figure == figure:
            return f" {limit.range[0].upper()}{limit.range[1:]}."
    return ""
