"""The specimen seen by the electrons: a projected phase, and the electrons that remain.

The phase (potential times the interaction constant) is made of

- whole and broken particles: pseudo-atoms dropped on the grid, then blurred; their potential is
  the difference between protein and the ice that it displaces;
- ice: random molecules, as white noise whose strength follows from their number in a column and
  from the low compressibility of water (its structure factor at long wavelengths, 0.06), and a
  pink part for the uneven film;
- carbon: thick, with a texture of its own, and without particles;
- crystals: their potential and, more important, the loss of electrons that are diffracted out of
  the aperture.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from livepick.simulate.field import Crystal, Field, Session
from livepick.simulate.optics import interaction_constant
from livepick.simulate.species import Specimen

__all__ = ["add_points", "blur", "molecule_phase", "specimen_plane"]

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


def specimen_plane(
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
    phase_per_molecule = molecule_phase(molecule, pixel, field.optics.voltage_kv)
    weight = phase_per_molecule / len(molecule.points_angstrom)
    plane = np.zeros(shape, dtype=np.float64)
    centres = np.concatenate([field.particles_angstrom, field.clumped_angstrom])
    rotations = np.concatenate([field.rotations, field.clumped_rotations])
    add_points(
        plane, _projected(centres, rotations, molecule.points_angstrom), pixel, margin, weight
    )
    # A fragment is the part on one side of a plane through the molecule.
    piece = molecule.points_angstrom[molecule.points_angstrom[:, 0] > 0]
    add_points(
        plane,
        _projected(field.fragments_angstrom, field.fragment_rotations, piece),
        pixel,
        margin,
        weight,
    )
    cloud = _unit_cloud()
    for x, y, radius, mass in field.lumps:
        spot = np.array([x, y], dtype=np.float32) + radius * cloud
        add_points(plane, spot, pixel, margin, mass * phase_per_molecule / len(cloud))
    return blur(plane.astype(np.float32), molecule.blur_angstrom / pixel)


def molecule_phase(molecule: Specimen, pixel: float, voltage_kv: float) -> float:
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


def add_points(
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


def blur(plane: FloatArray, sigma_px: float) -> FloatArray:
    """Return a plane convolved with a Gaussian, with periodic borders."""
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
    texture = blur(rng.standard_normal(dx.shape, dtype=np.float32), 6)
    texture /= np.float32(1 / (6 * math.sqrt(4 * math.pi)))  # noise sigma after the blur
    strength = (1 + 0.3 * facet + 0.12 * texture).clip(0.2)
    thickness = 0.4 * crystal.radius_angstrom * np.sqrt(inside) * strength
    return np.asarray(thickness, dtype=np.float32)


def _padded(session: Session, margin: int) -> tuple[int, int]:
    from scipy.fft import next_fast_len  # noqa: PLC0415 - only a simulation needs it

    height, width = (int(next_fast_len(n + 2 * margin)) for n in session.shape_px)
    return height, width
