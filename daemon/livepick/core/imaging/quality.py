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

from livepick.core.imaging.ctf import Ctf

__all__ = ["ImageFigures", "Quality"]


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
