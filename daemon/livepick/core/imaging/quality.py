"""Quality figures of a micrograph.

No figure depends on the unit of the grey values, except the noise itself. An unknown figure, such
as crystalline ice where the pixels are too coarse to show it, is None and counts neither way.

The limits (``core.imaging.quality_limits``) were chosen on half of the micrographs of
``tests/benchmarks/quality.py``, which prints both halves separately. They are based on a few real
micrographs that are not good, and on several hundred simulated clean ones. The verdict on the clean
ones must be good whatever the size, structure and number of their particles, the ice thickness, the
dose and the pixel size. A field without ice or particles is recognized by several figures together
(``Limit.unless``), because to each of them alone a low dose looks the same.

A verdict says what to look at; it does not restrict picking. It cannot distinguish contaminants of
the particle's size in vitreous ice from particles: they are as numerous, have equal scores and the
same contrast above the noise, and differ no more from each other than views of a particle do.
"""

import dataclasses
from dataclasses import dataclass

from livepick.core.imaging.ctf import Ctf

__all__ = ["ImageFigures", "Quality"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFigures:
    """Figures that come from the pixels alone, independent of the picker."""

    border_fraction: float
    """Area without data, 0 to 1: dead or repeated rows and columns."""

    contamination_fraction: float
    """Area covered by ice, gold and aggregates, 0 to 1: far darker or brighter than a particle."""

    carbon_fraction: float
    """Area covered by carbon film, 0 to 1, found by its edge or its texture."""

    noise_sigma: float
    """Standard deviation of the background in the file's grey values, after resampling to twenty
    pixels per diameter. It indicates dose and ice thickness, relative to other micrographs of the
    session."""

    ice_gradient_sigmas: float
    """Range (highest minus lowest) of the slow trend of brightness across the field, in
    ``noise_sigma``. The trend is a second-order polynomial, fitted robustly to blocks of 1.5
    diameters. Thicker ice dims the image by inelastic scattering (Rice et al. 2018, *J. Struct.
    Biol.* 204, 38), so a trend indicates a wedge of ice or an uneven beam."""

    contrast: float | None
    """Power at wavelengths from a diameter to a third of it, divided by that of the noise:
    (S + N) / N. The noise is the lowest stretch of the rotational average between 20 and 6 Å. 1 is
    noise alone. It is the spectral signal-to-noise ratio plus one (Unser et al. 1987,
    *Ultramicroscopy* 23, 39) of one image, with the noise taken from its own spectrum. None if
    another program has filtered the noise away."""

    skewness: float | None
    """Skewness of the image at the size of a particle, particles bright: third moment divided by
    the cube of the standard deviation. Noise, white or coloured, is symmetric and has 0. Particles
    stand out to one side: 0.5 or more, even if they are weak or few. Crowded ones may have 0 too,
    but then ``contrast`` is high. None if everything is masked."""

    uneven_fraction: float | None
    """Fraction of tiles of three diameters whose variance is more than twice the median tile's, or
    less than half of it, 0 to 1; masked tiles are left out. A single tile may be chance and gives
    0; with fewer than 16 tiles it is None. The local variance is used as in the outlier rejection
    of xmipp's screening (Vargas et al. 2013, *J. Struct. Biol.* 181, 136)."""

    signal_fraction: float | None
    """Fraction of the power between 40 and 7 Å that is above the noise, ring by ring, 0 to 1: Thon
    rings of ice, film and specimen. Near 0 in a hole without ice. None as for ``contrast``."""

    anisotropy: float | None
    """Second harmonic of that power over the directions, 0 (equal in all) to 1 (all along one
    axis). Motion dims Thon rings along its axis (Zheng et al. 2017, *Nat. Methods* 14, 331); the
    formula is in ``core.imaging.power_spectrum``. None as for ``contrast``, and if there is too
    little power to tell."""

    ice_ring: float | None
    """Highest ring between 3.95 and 3.4 Å, divided by the line through the rings on both sides; 1
    is no ring. Crystalline ice diffracts there (Dowell & Rinfret 1960, *Nature* 188, 1144).
    RELION's ``rlnCtfIceRingDensity`` is a similar figure. None unless the Nyquist frequency is
    beyond 3.1 Å."""


@dataclass(frozen=True, slots=True)
class Quality:
    """The figures of a micrograph that a model has picked.

    The figures that come from the pixels alone are described in ``ImageFigures``.
    """

    masked_fraction: float
    """Area excluded from picking (bad borders, contamination, film), 0 to 1."""

    median_score: float | None
    """Median score of the picks above the threshold; None if there are none."""

    score_p10: float | None = None
    """10th percentile of the scores of these picks."""

    score_p90: float | None = None
    """90th percentile of the scores of these picks."""

    occupied_fraction: float | None = None
    """Area of the picks, as discs of the particle's diameter, as a fraction of the area that is not
    masked: the number of picks, independent of the magnification. None if everything is masked."""

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
    """Power wider than a particle that the picks do not explain, divided by the power of particles;
    see ``core.imaging.mottle``. It is the lower of two ratios: for wavelengths between 2.5 and 1.1
    diameters, and between 4 and 2. Noise has 1, particles have less than 2 at any size, dose and
    concentration, and crystalline ice has 4 to 6. It is not a published figure. It shows
    crystalline ice where the pixels are too coarse for its rings. None if the field is narrower
    than about six diameters."""

    def seen(self, image: ImageFigures) -> "Quality":
        """Return a copy with the figures that come from the pixels."""
        return dataclasses.replace(self, **dataclasses.asdict(image))


@dataclass(frozen=True, slots=True)
class CtfFigures:
    """CTF values that another program fitted to the Thon rings, as in ``core.imaging.ctf.Ctf``."""

    defocus_u_angstrom: float
    defocus_v_angstrom: float
    astigmatism_angle_degrees: float
    ctf_resolution_angstrom: float | None
    """Resolution to which Thon rings were fitted; None if the program does not report it."""

    @classmethod
    def of(cls, ctf: Ctf) -> "CtfFigures":
        """Return the figures of a micrograph's CTF."""
        return cls(
            ctf.defocus_u_angstrom,
            ctf.defocus_v_angstrom,
            ctf.astigmatism_angle_degrees,
            ctf.fit_resolution_angstrom,
        )

    @property
    def defocus_angstrom(self) -> float:
        """Mean of both defocus values."""
        return (self.defocus_u_angstrom + self.defocus_v_angstrom) / 2

    @property
    def astigmatism_angstrom(self) -> float:
        """Absolute difference of both defocus values."""
        return abs(self.defocus_u_angstrom - self.defocus_v_angstrom)
