"""Parameters of the 2D classification."""

from dataclasses import dataclass

__all__ = ["ClassificationRules", "ClassificationStage"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassificationStage:
    """Passes at one resolution; afterwards each particle is centred where it was found."""

    passes: int
    most_ring: int
    """Finest ring that is compared, in cycles per box."""
    angles: int
    shifts_px: tuple[float, ...]
    """Radii of the circles on which shifts are tried, with 6 shifts on the first and 12 on the
    second; no shift is always tried, too."""
    temperature: tuple[float, float]
    """Temperature at the start and at the end, as a fraction of how much the classes differ for
    a particle; the likelihood is never sharpened beyond its own temperature of 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassificationRules:
    """Parameters of the classification; do not tune them to a data set."""

    particles_per_class: int = 50
    """Particles per class; the average of fewer shows mostly noise."""

    least_classes: int = 5
    most_classes: int = 40

    mask_diameters: float = 1.0
    """Diameter of the soft disc that is compared: it holds little of the neighbours and leaves room
    to shift."""

    most_shift_diameters: float = 0.4
    """Longest shift; anything further away is another particle."""

    most_centring_diameters: float = 0.25
    """Longest shift when a class is centred; a class whose body is further off its centre shows
    something between particles."""

    empty_share: float = 0.15
    """A class with less than this fraction of its share counts as empty."""

    sorting: tuple[ClassificationStage, ...] = (
        ClassificationStage(
            passes=6, most_ring=5, angles=32, shifts_px=(3.0,), temperature=(1.0, 0.2)
        ),
        ClassificationStage(
            passes=6, most_ring=6, angles=48, shifts_px=(2.0, 4.0), temperature=(0.2, 0.1)
        ),
    )
    """Sorting stages. Particles are sorted at low resolution: a sixth of the box is a quarter of
    the diameter. On real data, finer rings gave worse classes even though they are weighted by
    their noise: particles were sorted by chance agreement of the noise, and by traces of denoising
    and neighbours."""

    refining: tuple[ClassificationStage, ...] = (
        ClassificationStage(
            passes=2, most_ring=10, angles=64, shifts_px=(1.5,), temperature=(0, 0)
        ),
        ClassificationStage(
            passes=2, most_ring=18, angles=96, shifts_px=(1.0,), temperature=(0, 0)
        ),
    )
    """Refining stages. Within a class, each half-set finds its poses at higher resolution,
    independently of the other."""

    common_ring: int = 4
    """Rings up to this one are shared by the first references of the two half-sets."""
