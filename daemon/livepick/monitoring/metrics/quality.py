"""Metrics of micrograph quality: verdicts, and a histogram of each figure."""

import collections
from collections.abc import Mapping, Sequence

from livepick.config.alert_thresholds import LATEST
from livepick.core.imaging.quality import CtfFigures, Quality
from livepick.core.imaging.quality_limits import VERDICTS, QualityVerdict, judge
from livepick.ledger.rows import CTF_OUTCOMES, CtfOutcome, MicrographRow
from livepick.monitoring.ctf_fits import judged_fits
from livepick.monitoring.metrics.instruments import InstrumentFactory

__all__ = ["CTF_HISTOGRAMS", "QUALITY_FIGURES", "SCORE_BUCKETS", "QualityMetrics"]

SCORE_BUCKETS = (0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95)

QUALITY_FIGURES: dict[str, tuple[str, tuple[float, ...]]] = {
    "median_score": (
        "How certain is the model? Median score of a micrograph's picks.",
        SCORE_BUCKETS,
    ),
    "masked_fraction": (
        "How much is carbon, contamination or border? Fraction of the area.",
        (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9),
    ),
    "contamination_fraction": (
        "How much is ice or other contamination? Fraction of the area.",
        (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5),
    ),
    "carbon_fraction": (
        "How much is carbon film? Fraction of the area.",
        (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7),
    ),
    "occupied_fraction": (
        "Is the field full? Area under picks, as a fraction of the area that is not masked.",
        (0.005, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5),
    ),
    "contrast": (
        "Is there more than noise? Power at the size of a particle over the noise's; noise has 1.",
        (1.05, 1.15, 1.3, 1.5, 2, 3, 5, 10, 20, 50),
    ),
    "signal_fraction": (
        "Are there Thon rings? Power above the noise between 40 and 7 Å; an empty hole has none.",
        (0.02, 0.05, 0.08, 0.1, 0.2, 0.3, 0.5),
    ),
    "skewness": (
        "Are there particles? Skewness at the size of a particle; noise has 0.",
        (0, 0.1, 0.25, 0.5, 1, 2, 4),
    ),
    "mottle": (
        (
            "Is the ice mottled? Power at wavelengths wider than a particle that the picks do not"
            " explain, over the power of particles."
        ),
        (0.25, 0.5, 1, 1.5, 2, 2.5, 4, 6, 10),
    ),
    "uneven_fraction": (
        "Are there patches that differ? Fraction of tiles with a different variance.",
        (0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    ),
    "anisotropy": (
        "Does the stage drift? Power above the noise along one axis, 0 to 1.",
        (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7),
    ),
    "ice_ring": (
        "Is the ice crystalline? Its ring over the spectrum beside it; 1 is no ring.",
        (1.05, 1.1, 1.2, 1.3, 1.5, 2, 5),
    ),
    "ice_gradient_sigmas": (
        "Is there a wedge of ice? Slow change of brightness, in standard deviations of the noise.",
        (0.5, 1, 2, 4, 6, 10, 15),
    ),
}
"""Fields of ``core.imaging.quality.Quality``, each with its question and buckets at its limits.
Unknown values are not observed."""

CTF_HISTOGRAMS: dict[str, tuple[str, tuple[float, ...]]] = {
    "ctf_resolution_angstrom": (
        "How far do Thon rings reach? Resolution to which the CTF was fitted.",
        (3, 4, 5, 6, 8, 10, 15, 20, 30),
    ),
    "defocus_angstrom": (
        "Is it in focus? Mean of both defocus values, in ångström.",
        (2500, 5000, 10_000, 15_000, 20_000, 25_000, 30_000, 40_000, 60_000),
    ),
    "astigmatism_angstrom": (
        "Is the objective lens astigmatic? Difference of both defocus values.",
        (100, 250, 500, 1000, 2000, 5000, 10_000),
    ),
}
"""Fields of ``core.imaging.quality.CtfFigures``, in the same form."""

_NAMED = {"median_score": "score_median"}
"""Metric names that differ from the field name: the measured quantity comes first."""

PERSON_VERDICTS = ("excluded", "included")


class QualityMetrics:
    """Verdicts on the micrographs, and histograms of their quality figures."""

    def __init__(self, make: InstrumentFactory) -> None:
        self._at_first_picks = make.counter(
            "micrograph_quality_verdicts",
            "Are the micrographs any good? Each counts once, as judged at its first picks; a CTF"
            " that is fitted later does not change that.",
            verdict=VERDICTS,
        )
        self._in_ledger = make.gauge(
            "ledger_quality_verdicts",
            "Is the session any good? Micrographs by their current verdict, CTF included.",
            verdict=VERDICTS,
        )
        self._latest = make.gauge(
            "latest_quality_verdicts",
            f"Is it still good? Current verdicts on the {LATEST} micrographs that landed last.",
            verdict=VERDICTS,
        )
        self._by_people = make.gauge(
            "person_verdicts",
            "What have people decided? Micrographs that they have excluded from the good ones, or"
            " included whatever their figures.",
            verdict=PERSON_VERDICTS,
        )
        self._figures = {
            figure: make.histogram(
                f"micrograph_{_NAMED.get(figure, figure)}", f"{question} At first picks.", buckets
            )
            for figure, (question, buckets) in QUALITY_FIGURES.items()
        }
        self._ctf_figures = {
            figure: make.histogram(f"micrograph_{figure}", question, buckets)
            for figure, (question, buckets) in CTF_HISTOGRAMS.items()
        }
        self._latest_fits = make.gauge(
            "latest_ctf_fits",
            f"Do the CTF fits hold? Those of the {LATEST} micrographs that landed last; bad ones"
            " and those without picks do not count.",
            outcome=CTF_OUTCOMES,
        )
        self._fits = make.counter(
            "ctf_fits",
            "Do the CTF fits hold? Fits by their outcome; one that is not trusted has no figures,"
            " and a micrograph with too large pixels is not fitted.",
            outcome=CTF_OUTCOMES,
        )

    def first_picked(self, qualities: Sequence[Quality]) -> None:
        """Count the verdicts and observe the figures of micrographs at their first picks.

        No CTF is known then.
        """
        for verdict, count in collections.Counter(judge(each)[0] for each in qualities).items():
            self._at_first_picks.labels(verdict).inc(count)
        for figure, histogram in self._figures.items():
            found = [getattr(quality, figure) for quality in qualities]
            if values := [value for value in found if value is not None]:
                histogram.observe_all(values)

    def ctf_found(self, figures: CtfFigures) -> None:
        """Observe CTF figures, fitted or of another program; called once per micrograph."""
        for figure, histogram in self._ctf_figures.items():
            value = getattr(figures, figure)
            if value is not None:
                histogram.observe(value)

    def ctf_fitted(self, outcome: CtfOutcome) -> None:
        """Count a fit of the CTF."""
        self._fits.labels(outcome).inc()

    def set_person_verdicts(self, counts: Mapping[str, int]) -> None:
        """Set the numbers of micrographs that people have excluded and included."""
        for word in PERSON_VERDICTS:
            self._by_people.labels(word).set(counts.get(word, 0))

    def set_verdicts(
        self, verdicts: Mapping[QualityVerdict, int], latest: Sequence[MicrographRow]
    ) -> None:
        """Set the verdict counts of the session, and those of the micrographs that landed last."""
        of_latest = collections.Counter(row.quality_verdict for row in latest)
        for verdict in VERDICTS:
            self._in_ledger.labels(verdict).set(verdicts[verdict])
            self._latest.labels(verdict).set(of_latest[verdict])
        outcomes = collections.Counter(row.ctf_outcome for row in judged_fits(latest))
        for outcome in CTF_OUTCOMES:
            self._latest_fits.labels(outcome).set(outcomes[outcome])
