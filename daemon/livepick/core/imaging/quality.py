"""What tells a good micrograph from a bad one: the figures, their limits, and the verdict.

No figure depends on the unit of the grey values, but for the noise itself. One that is not known,
as crystalline ice where the pixels are too coarse to show it, is None and counts neither way.

The limits were chosen on half of the micrographs of ``tests/benchmarks/quality.py``, which prints
both halves apart. They rest on a few real micrographs that are not good, and on several hundred
simulated clean ones, whose verdict must be good whatever the size, structure and number of their
particles, the thickness of the ice, the dose and the pixel size. A field without ice or particles
is recognized by several figures together (``Limit.unless``), as a low dose alone looks the same to
each of them.

A verdict says what to look at, and takes nothing away from picking. It cannot tell contaminants of
the particle's size in vitreous ice from particles: they are as many, as sure and as far above the
noise, and no more unlike one another than particles in their views.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal, get_args

from livepick.core.imaging.ctf import Ctf

__all__ = [
    "CTF_LIMITS",
    "LIMITS",
    "VERDICTS",
    "ImageFigures",
    "Limit",
    "Quality",
    "Verdict",
    "judge",
]

Verdict = Literal["good", "doubtful", "bad"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFigures:
    """What the pixels say, whatever picks."""

    border_fraction: float
    """Area without data, 0 to 1: dead or repeated rows and columns."""

    contamination_fraction: float
    """Area under ice, gold and heaps, 0 to 1: far darker or brighter than a particle."""

    carbon_fraction: float
    """Area under the film, 0 to 1, by its edge or its texture."""

    noise_sigma: float
    """Standard deviation of the background in the file's grey values, after resampling to a
    twentieth of a diameter a pixel. It says dose and ice thickness, relative to other micrographs
    of the session."""

    ice_gradient_sigmas: float
    """How far the slow trend of brightness goes across the field, from its lowest to its highest,
    between blocks of 1.5 diameters, in ``noise_sigma``. A polynomial of second order, fitted
    robustly. Thickness dims the image by
    inelastic scattering (Rice et al. 2018, *J. Struct. Biol.* 204, 38), so a trend is a wedge of
    ice, or an uneven beam."""

    contrast: float | None
    """Power at wavelengths from a diameter to a third of it, over that of the noise: (S + N) / N.
    The noise is the lowest stretch of the rotational average between 20 and 6 Å. 1 is noise alone.
    It is the spectral signal-to-noise ratio plus one (Unser et al. 1987, *Ultramicroscopy* 23,
    39) of one image, with the noise taken from its own spectrum. None where another program has
    filtered the noise away."""

    skewness: float | None
    """Skewness of the image at the size of a particle, particles bright: third moment over the
    cube of the standard deviation. Noise is symmetric, white or coloured, and has 0. Particles
    stand out to one side: from 0.5 where they are weak or few. Crowded ones may have 0 too, but
    then ``contrast`` is high. None if all is masked."""

    uneven_fraction: float | None
    """Tiles of three diameters whose variance is more than twice the median tile's, or less than
    half of it, 0 to 1; masked ones are left out. A single tile may be chance and gives 0; with
    fewer than 16 tiles it is None. Local variance as in the outlier rejection of xmipp's screening
    (Vargas et al. 2013, *J. Struct. Biol.* 181, 136)."""

    signal_fraction: float | None
    """Power between 40 and 7 Å that is above the noise, ring by ring, 0 to 1: Thon rings of ice,
    film and specimen. A hole without ice has next to none. None as ``contrast``."""

    anisotropy: float | None
    """Second harmonic of that power over the directions, 0 (alike in all) to 1 (along one axis).
    Motion dims Thon rings along its axis (Zheng et al. 2017, *Nat. Methods* 14, 331); formula in
    ``core.imaging.power_spectrum``. None as ``contrast``, and where there is too little power to
    tell."""

    ice_ring: float | None
    """Highest ring between 3.95 and 3.4 Å over the line through what is beside it; 1 is none.
    Crystalline ice diffracts there (Dowell & Rinfret 1960, *Nature* 188, 1144); a like figure is
    RELION's ``rlnCtfIceRingDensity``. None unless the Nyquist frequency is beyond 3.1 Å."""


@dataclass(frozen=True, slots=True)
class Quality:
    """The figures of a micrograph that a model has picked, and what to think of it.

    Those that only pixels tell are as in ``ImageFigures``.
    """

    masked_fraction: float
    """Area taken out of picking (bad borders, contamination, film), 0 to 1."""

    median_score: float | None
    """Of the picks above the threshold; None without any."""

    score_p10: float | None = None
    """Score that a tenth of these picks is below."""

    score_p90: float | None = None
    """Score that a tenth of these picks is above."""

    occupied_fraction: float | None = None
    """Area under the picks, as discs of the particle's diameter, of what is not masked: the number
    of picks, whatever the magnification. None if all is masked."""

    border_fraction: float | None = None
    contamination_fraction: float | None = None
    carbon_fraction: float | None = None
    noise_sigma: float | None = None
    ice_gradient_sigmas: float | None = None
    contrast: float | None = None
    skewness: float | None = None
    uneven_fraction: float | None = None
    signal_fraction: float | None = None
    anisotropy: float | None = None
    ice_ring: float | None = None

    mottle: float | None = None
    """Power wider than a particle that the picks do not explain, over the power of particles; see
    ``core.imaging.mottle``. The lower of two ratios: between 2.5 diameters and 1.1, and between 4
    and 2. Noise has 1, particles have less than 2 at any size, dose and concentration, and
    crystalline ice has 4 to 6. Not a published figure. It shows crystalline ice where the pixels
    are too coarse for its rings. None if the field is narrower than some six diameters."""

    def seen(self, image: ImageFigures) -> "Quality":
        """Return the same with what the pixels say."""
        return dataclasses.replace(self, **dataclasses.asdict(image))


@dataclass(frozen=True, slots=True)
class CtfFigures:
    """What another program has fitted to the Thon rings, as in ``core.imaging.ctf.Ctf``."""

    defocus_u_angstrom: float
    defocus_v_angstrom: float
    astigmatism_angle_degrees: float
    ctf_resolution_angstrom: float | None
    """To which rings were fitted; None where the program does not say."""

    @classmethod
    def of(cls, ctf: Ctf) -> "CtfFigures":
        """Return what of a CTF is a figure of the micrograph."""
        return cls(
            ctf.defocus_u_angstrom,
            ctf.defocus_v_angstrom,
            ctf.astigmatism_angle_degrees,
            ctf.fit_resolution_angstrom,
        )

    @property
    def defocus_angstrom(self) -> float:
        """Mean of both."""
        return (self.defocus_u_angstrom + self.defocus_v_angstrom) / 2

    @property
    def astigmatism_angstrom(self) -> float:
        """How far both defoci are apart."""
        return abs(self.defocus_u_angstrom - self.defocus_v_angstrom)


@dataclass(frozen=True, slots=True)
class Limit:
    """From where on a figure makes a micrograph doubtful, and from where on bad."""

    figure: str
    """Name of the field of ``Quality`` or ``CtfFigures``."""

    doubtful: float
    bad: float
    """Below ``doubtful`` if small values are the bad ones."""

    meaning: str
    """What is wrong, in words."""

    remedy: str
    """What to do if many micrographs are so, in whole sentences."""

    form: str = "{:.2f}"
    """How the value is written."""

    unless: tuple[tuple[str, float], ...] = ()
    """Other fields of ``Quality`` that overrule this limit, each with its least value for that: a
    micrograph that visibly has particles is not empty, however low its contrast."""

    @property
    def range(self) -> str:
        """The limits as text, with the figures that overrule them."""
        side = "from" if self.bad > self.doubtful else "up to"
        doubtful, bad = (self.form.format(value) for value in (self.doubtful, self.bad))
        text = f"doubtful {side} {doubtful}, bad {side} {bad}"
        others = " or ".join(f"{name} is at least {value:g}" for name, value in self.unless)
        return f"{text}, unless {others}" if others else text

    def verdict(self, value: float | None, others: object = None) -> Verdict:
        """Return what a value means; unknown is good.

        Parameters
        ----------
        value
            The figure.
        others
            All figures of the micrograph, for ``unless``; None if they are not known.
        """
        if value is None:
            return "good"
        for name, from_value in self.unless:
            other: float | None = getattr(others, name, None)
            if other is not None and other >= from_value:
                return "good"
        sign = 1 if self.bad > self.doubtful else -1
        if sign * value >= sign * self.bad:
            return "bad"
        return "doubtful" if sign * value >= sign * self.doubtful else "good"

    def sentence(self, value: float, verdict: Verdict) -> str:
        """Return why a value is not good."""
        limit = self.bad if verdict == "bad" else self.doubtful
        side = "from" if self.bad > self.doubtful else "up to"
        value_text, limit_text = self.form.format(value), self.form.format(limit)
        return f"{self.meaning} ({value_text}; {verdict} {side} {limit_text})"


LIMITS = (
    Limit(
        "contrast",
        1.3,
        1.15,
        "hardly more than noise, as a field without ice or particles",
        "Empty holes, or ice too thick to see through? Choose other holes or another square.",
        unless=(("skewness", 0.25),),
    ),
    Limit(
        "signal_fraction",
        0.08,
        0.02,
        "hardly any Thon rings above the noise",
        "Empty holes, or no defocus? See to beam, focus and choice of holes.",
        unless=(("skewness", 0.25), ("contrast", 1.75)),
    ),
    Limit(
        "occupied_fraction",
        0.02,
        0.005,
        "hardly any picks for the area",
        "Few particles in these holes, or a threshold or diameter that does not fit them?",
        "{:.1%}",
    ),
    Limit(
        "masked_fraction",
        0.3,
        0.7,
        "much carbon, contamination or border",
        "See below where the mask lies: do the exposures miss the middle of the holes?",
        "{:.0%}",
    ),
    Limit(
        "contamination_fraction",
        0.1,
        0.3,
        "much contamination or thick carbon",
        "Choose another square; if it grows with time, see to the vacuum and the cold trap.",
        "{:.0%}",
    ),
    Limit(
        "uneven_fraction",
        0.05,
        0.2,
        "patches that differ from the rest",
        "Cracks, edges of holes, or heaps of particles? Choose other holes.",
        "{:.0%}",
    ),
    Limit(
        "mottle",
        2.5,
        6.0,
        "mottled, as by crystalline or uneven ice",
        "Choose other holes or another square; if all are so, another grid.",
        "{:.1f}",
    ),
    Limit(
        "ice_ring",
        1.3,
        2.0,
        "a ring of crystalline ice",
        "Choose another square; if all are so, another grid.",
    ),
    Limit(
        "anisotropy",
        0.2,
        0.5,
        "Thon rings dimmed along one axis, as by drift",
        "Let the stage settle longer before the exposure, and see whether motion correction works.",
    ),
    Limit(
        "ice_gradient_sigmas",
        6.0,
        15.0,
        "a strong gradient, as of a wedge of ice",
        "Centre the beam, and choose the middle of the holes.",
        "{:.1f}",
    ),
)
"""In the order in which an operator wants to hear of them. Scores have no limit of their own: they
mean another thing for each model, and ``core.evaluation.drift_test`` compares them with the model's
first.

Margins: mottle is 3.8 or more in three real micrographs of crystalline ice, and at most 1.5 in
clean ones if the diameter is right. Skewness is at most 0.21 in real empty holes and single frames,
and 0.4 or more in clean simulations whose contrast is below 1.75."""


CTF_LIMITS = (
    Limit(
        "ctf_resolution_angstrom",
        8.0,
        15.0,
        "Thon rings fade early",
        "Thick ice, drift, or a focus that is off? Look at the fits of the CTF.",
        "{:.1f} Å",
    ),
    Limit(
        "astigmatism_angstrom",
        1000.0,
        5000.0,
        "much astigmatism",
        "Correct the astigmatism of the objective lens.",
        "{:.0f} Å",
    ),
)
"""Of the CTF that another program has fitted. No data here has one, so they are those of practice:
1000 Å of astigmatism is where Scipion's monitor warns."""


def judge(quality: Quality, ctf: CtfFigures | None = None) -> tuple[Verdict, str]:
    """Return the verdict of the worst figure, and all that is not good in words.

    The reasons of a bad micrograph come before its doubts; a good one has none.
    """
    found: dict[Verdict, list[str]] = {"bad": [], "doubtful": [], "good": []}
    for limits, figures in ((LIMITS, quality), (CTF_LIMITS, ctf)):
        for limit in limits:
            value: float | None = getattr(figures, limit.figure, None)
            verdict = limit.verdict(value, figures)
            if value is not None and verdict != "good":
                found[verdict].append(limit.sentence(value, verdict))
    worst: Verdict = next((verdict for verdict, reasons in found.items() if reasons), "good")
    return worst, "; ".join(found["bad"] + found["doubtful"])
