"""The exposure: turn a field into a micrograph with its true positions.

The specimen is a projected phase (potential times the interaction constant) made of

- whole and broken particles: pseudo-atoms dropped on the grid, then blurred; their potential is
  the difference between protein and the ice that it displaces;
- ice: random molecules, as white noise whose strength follows from their number in a column and
  from the low compressibility of water (its structure factor at long wavelengths, 0.06), and a
  pink part for the uneven film;
- carbon: thick, with a texture of its own, and without particles;
- crystals: their potential and, more important, the loss of electrons that are diffracted out of
  the aperture.

Then follow the lens (``optics``), the inelastic loss along the thickness, and counting: shot noise
for the dose that gives the requested signal-to-noise ratio. Counts are well above ten per pixel, so
a normal deviate can replace a Poisson one.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from livepick.core.imaging.picks import Picks
from livepick.simulate.field import Crystal, Field, Session, lay_out
from livepick.simulate.optics import (
    Optics,
    delocalisation_px,
    image_intensity,
    interaction_constant,
)
from livepick.simulate.species import Specimen, random_rotations, specimen

__all__ = ["Simulated", "expose", "simulate_micrograph"]

FloatArray = NDArray[np.float32]

PROTEIN_ABOVE_ICE_VOLTS = 2.2
"""Mean inner potential of protein minus that of vitreous ice (roughly 7 and 4.8 V)."""

CARBON_VOLTS = 8.0
ICE_VOLTS = 4.8
WATER_PER_ANGSTROM3 = 0.031
WATER_STRUCTURE_FACTOR = 0.06
ICE_UNEVENNESS_ANGSTROM = 4.0
"""Standard deviation of the ice thickness at lengths from 40 to 400 Å."""

ICE_FREE_PATH_ANGSTROM = 3950.0
"""Inelastic mean free path at 300 kV (Rice et al. 2018, *J. Struct. Biol.* 204, 38)."""

CARBON_FREE_PATH_ANGSTROM = 2000.0
CRYSTAL_FREE_PATH_ANGSTROM = 450.0
"""Effective value: most of the electrons that a crystal removes are diffracted out of the
aperture."""


@dataclass(frozen=True, slots=True, eq=False)
class Simulated:
    """A micrograph as recorded by a detector, and the truth about it."""

    index: int
    image: FloatArray
    """Electron counts, ``[y, x]``."""

    truth: Picks
    """Particles whose centre is inside the image, with score 1."""

    field: Field

    @property
    def note(self) -> str:
        """Short description of the content."""
        field = self.field
        defocus = 0.5e-4 * (field.optics.defocus_u_angstrom + field.optics.defocus_v_angstrom)
        words = [f"{len(self.truth)} particles", f"defocus {defocus:.2f} µm"]
        words += ["carbon"] if field.carbon is not None else []
        words += [f"{len(field.crystals)} crystals"] if field.crystals else []
        words += ["aggregates"] if len(field.lumps) else []
        return ", ".join(words)


def simulate_micrograph(session: Session, index: int) -> Simulated:
    """Return micrograph ``index`` of a session; the result is reproducible."""
    rng = np.random.default_rng([session.seed, index])
    molecule = specimen(session.species)
    margin = _margin_px(session, molecule)
    diameter = molecule.diameter_angstrom
    field = lay_out(session, diameter, 0.5 * diameter, rng)
    image = expose(field, session, molecule, margin, rng)
    if session.dead_border_px:
        dead = session.dead_border_px
        image = np.pad(image[dead:-dead, dead:-dead], dead, mode="edge")
    xy = field.particles_angstrom / np.float32(session.pixel_size_angstrom)
    height, width = session.shape_px
    inside = (xy >= -0.5).all(axis=1) & (xy[:, 0] < width - 0.5) & (xy[:, 1] < height - 0.5)
    xy = xy[inside]
    truth = Picks(xy[:, 0].copy(), xy[:, 1].copy(), np.ones(len(xy), dtype=np.float32))
    return Simulated(index, image, truth, field)


def expose(
    field: Field, session: Session, molecule: Specimen, margin: int, rng: np.random.Generator
) -> FloatArray:
    """Return the image of a field, in counts."""
    phase, transmission = _specimen_plane(field, session, molecule, margin, rng)
    intensity = image_intensity(
        phase, pixel_size_angstrom=session.pixel_size_angstrom, optics=field.optics
    )
    counts = (intensity * transmission)[_inner(session, margin)]
    counts *= np.float32(_counts_per_pixel(session))
    counts += np.sqrt(counts) * rng.standard_normal(counts.shape, dtype=np.float32)
    return counts


def _margin_px(session: Session, molecule: Specimen) -> int:
    """Return the margin that keeps wrap-around effects and cut particles outside the image."""
    far = delocalisation_px(session.pixel_size_angstrom, session.defocus_angstrom[1])
    return far + math.ceil(molecule.diameter_angstrom / session.pixel_size_angstrom)


def _padded(session: Session, margin: int) -> tuple[int, int]:
    from scipy.fft import next_fast_len  # noqa: PLC0415 - only a simulation needs it

    height, width = (int(next_fast_len(n + 2 * margin)) for n in session.shape_px)
    return height, width


def _inner(session: Session, margin: int) -> tuple[slice, slice]:
    height, width = session.shape_px
    return slice(margin, margin + height), slice(margin, margin + width)


def _specimen_plane(
    field: Field, session: Session, molecule: Specimen, margin: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Return the projected phase and the fraction of electrons that remain, with the margin."""
    pixel = session.pixel_size_angstrom
    shape = _padded(session, margin)
    sigma = interaction_constant(field.optics.voltage_kv)
    y = (np.arange(shape[0], dtype=np.float32)[:, None] - margin) * np.float32(pixel)
    x = (np.arange(shape[1], dtype=np.float32)[None, :] - margin) * np.float32(pixel)

    ice: FloatArray = np.float32(field.ice_angstrom) * (
        1
        + np.float32(field.ice_slope[0]) * (x / (session.shape_px[1] * pixel) - 0.5)
        + np.float32(field.ice_slope[1]) * (y / (session.shape_px[0] * pixel) - 0.5)
    ).clip(0.2)
    loss = ice / np.float32(ICE_FREE_PATH_ANGSTROM)

    phase = _protein(field, session, molecule, shape, margin)
    phase += _ice(ice, sigma, pixel, rng)
    if field.carbon is not None:
        carbon = field.carbon
        off = np.hypot(x - carbon.x_angstrom, y - carbon.y_angstrom)
        film = 1 / (1 + np.exp(((carbon.hole_radius_angstrom - off) / 12).clip(-30, 30)))
        grain = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.35 / pixel)
        phase += film * (sigma * CARBON_VOLTS * carbon.thickness_angstrom * 0.35 + grain)
        loss += film * np.float32(carbon.thickness_angstrom / CARBON_FREE_PATH_ANGSTROM)
    for crystal in field.crystals:
        rows, columns = _window(crystal, x[0], y[:, 0])
        thickness = _crystal(crystal, x[0, columns], y[rows, 0], rng)
        phase[rows, columns] += np.float32(0.25 * sigma * ICE_VOLTS) * thickness
        loss[rows, columns] += thickness / np.float32(CRYSTAL_FREE_PATH_ANGSTROM)
    return phase, np.exp(-loss)


def _protein(
    field: Field, session: Session, molecule: Specimen, shape: tuple[int, int], margin: int
) -> FloatArray:
    """Return the phase of all particles, fragments and lumps, with the blur of pseudo-atoms."""
    pixel = session.pixel_size_angstrom
    phase_per_molecule = _molecule_phase(molecule, pixel, field.optics.voltage_kv)
    weight = phase_per_molecule / len(molecule.points_angstrom)
    plane = np.zeros(shape, dtype=np.float64)
    centres = np.concatenate([field.particles_angstrom, field.clumped_angstrom])
    rotations = np.concatenate([field.rotations, field.clumped_rotations])
    _drop(plane, _projected(centres, rotations, molecule.points_angstrom), pixel, margin, weight)
    # A fragment is the part on one side of a plane through the molecule.
    piece = molecule.points_angstrom[molecule.points_angstrom[:, 0] > 0]
    _drop(
        plane,
        _projected(field.fragments_angstrom, field.fragment_rotations, piece),
        pixel,
        margin,
        weight,
    )
    cloud = _unit_cloud()
    for x, y, radius, mass in field.lumps:
        spot = np.array([x, y], dtype=np.float32) + radius * cloud
        _drop(plane, spot, pixel, margin, mass * phase_per_molecule / len(cloud))
    return _blur(plane.astype(np.float32), molecule.blur_angstrom / pixel)


def _molecule_phase(molecule: Specimen, pixel: float, voltage_kv: float) -> float:
    """Return the phase of a whole molecule, summed over all pixels."""
    volts_angstrom3 = PROTEIN_ABOVE_ICE_VOLTS * molecule.volume_angstrom3
    return interaction_constant(voltage_kv) * volts_angstrom3 / pixel**2


@lru_cache(maxsize=1)
def _unit_cloud() -> FloatArray:
    return np.random.default_rng(0).normal(0, 0.45, (1500, 2)).astype(np.float32)


def _projected(centres: FloatArray, rotations: FloatArray, points: FloatArray) -> FloatArray:
    """Project the pseudo-atoms of all molecules along the beam: shape (N * P, 2), in ångström."""
    turned: FloatArray = np.einsum("nij,pj->npi", rotations[:, :2, :], points)
    placed: FloatArray = (turned + centres[:, None, :]).reshape(-1, 2)
    return placed


def _drop(
    plane: NDArray[np.float64], points: FloatArray, pixel: float, margin: int, weight: float
) -> None:
    """Add points (x, y) in ångström to a plane, each split between its four nearest pixels."""
    height, width = plane.shape
    place = points / np.float32(pixel) + np.float32(margin)
    corner = np.floor(place).astype(np.int64)
    part = place - corner
    good = (corner >= 0).all(axis=1) & (corner[:, 0] < width - 1) & (corner[:, 1] < height - 1)
    corner, part = corner[good], part[good]
    flat = corner[:, 1] * width + corner[:, 0]
    right, low = part[:, 0], part[:, 1]
    for offset, share in (
        (0, (1 - right) * (1 - low)),
        (1, right * (1 - low)),
        (width, (1 - right) * low),
        (width + 1, right * low),
    ):
        plane += weight * np.bincount(flat + offset, share, plane.size).reshape(plane.shape)


def _blur(plane: FloatArray, sigma_px: float) -> FloatArray:
    from scipy.ndimage import gaussian_filter  # noqa: PLC0415 - only a simulation needs it

    blurred: FloatArray = gaussian_filter(plane, sigma_px, mode="wrap", truncate=3.5)
    return blurred


def _ice(thickness: FloatArray, sigma: float, pixel: float, rng: np.random.Generator) -> FloatArray:
    """Return the phase noise of the ice: white for its molecules, pink for the uneven film."""
    per_molecule = sigma * ICE_VOLTS / WATER_PER_ANGSTROM3 / pixel**2
    per_column = np.sqrt(WATER_STRUCTURE_FACTOR * WATER_PER_ANGSTROM3 * pixel**2 * thickness)
    noise = rng.standard_normal(thickness.shape, dtype=np.float32)
    noise *= np.float32(per_molecule) * per_column
    unevenness = sigma * ICE_VOLTS * ICE_UNEVENNESS_ANGSTROM
    noise += np.float32(unevenness) * _pink(thickness.shape, pixel, rng)
    return noise


def _pink(shape: tuple[int, int], pixel: float, rng: np.random.Generator) -> FloatArray:
    """Return noise of unit variance whose power falls from 1/400 Å⁻¹ to 1/40 Å⁻¹."""
    from scipy import fft  # noqa: PLC0415 - only a simulation needs it

    coarse = rng.standard_normal(shape, dtype=np.float32)
    gy = np.fft.fftfreq(shape[0], pixel).astype(np.float32)[:, None]
    gx = np.fft.rfftfreq(shape[1], pixel).astype(np.float32)[None, :]
    g = np.sqrt(gx * gx + gy * gy)
    spectrum = fft.rfft2(coarse) * (np.exp(-((g * 40) ** 2)) / np.maximum(g, 1 / 400))
    pink: FloatArray = fft.irfft2(spectrum, s=shape)
    pink /= pink.std()
    return pink


def _window(crystal: Crystal, x: FloatArray, y: FloatArray) -> tuple[slice, slice]:
    """Return the rows and columns, at positions ``y`` and ``x``, that a crystal may cover."""
    reach = np.array([-1.8, 1.8]) * crystal.radius_angstrom
    rows = slice(*np.searchsorted(y, crystal.y_angstrom + reach))
    return rows, slice(*np.searchsorted(x, crystal.x_angstrom + reach))


def _crystal(
    crystal: Crystal, x: FloatArray, y: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Return the effective thickness of a crystal in ångström at columns ``x`` and rows ``y``.

    It is a fifth of the width and has a steep edge, with facets that diffract more or less.
    """
    dx, dy = np.broadcast_arrays(x[None, :] - crystal.x_angstrom, y[:, None] - crystal.y_angstrom)
    angle = np.arctan2(dy, dx)
    outline = np.ones_like(angle)
    for order, (cosine, sine) in enumerate(crystal.harmonics, start=2):
        outline += cosine * np.cos(order * angle) + sine * np.sin(order * angle)
    outline = crystal.radius_angstrom * outline.clip(0.35)
    inside = (1 - (np.hypot(dx, dy) / outline) ** 4).clip(0)
    tilt_x, tilt_y = rng.normal(0, 1, 2)
    facet = np.tanh((tilt_x * dx + tilt_y * dy) / (0.4 * crystal.radius_angstrom))
    texture = _blur(rng.standard_normal(dx.shape, dtype=np.float32), 6)
    texture /= np.float32(1 / (6 * math.sqrt(4 * math.pi)))  # noise sigma after the blur
    strength = (1 + 0.3 * facet + 0.12 * texture).clip(0.2)
    thickness = 0.4 * crystal.radius_angstrom * np.sqrt(inside) * strength
    return np.asarray(thickness, dtype=np.float32)


@lru_cache(maxsize=8)
def _counts_per_pixel(session: Session) -> float:
    """Return the dose that gives the session's signal-to-noise ratio.

    The signal is measured on single particles without ice at 1.5 µm defocus, within their disc.
    """
    molecule = specimen(session.species)
    pixel = session.pixel_size_angstrom
    rng = np.random.default_rng(0)
    box = 2 * math.ceil(molecule.diameter_angstrom / pixel)
    optics = Optics(defocus_u_angstrom=15_000.0, defocus_v_angstrom=15_000.0)
    weight = _molecule_phase(molecule, pixel, optics.voltage_kv) / len(molecule.points_angstrom)
    rows, columns = np.indices((box, box)) - box // 2
    disc = np.hypot(rows, columns) * pixel < 0.5 * molecule.diameter_angstrom
    variances = []
    for rotation in random_rotations(12, rng):
        plane = np.zeros((box, box))
        points = molecule.points_angstrom @ rotation[:2].T
        _drop(plane, points, pixel, box // 2, weight)
        phase = _blur(plane.astype(np.float32), molecule.blur_angstrom / pixel)
        seen = image_intensity(phase, pixel_size_angstrom=pixel, optics=optics)
        variances.append(float(seen[disc].var()))
    return session.signal_to_noise / float(np.mean(variances))
