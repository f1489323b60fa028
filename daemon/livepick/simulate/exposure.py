"""The exposure: turn a field into a micrograph with its true positions.

The specimen's phase (``specimen_plane``) passes the lens (``optics``), and electrons are lost along
its thickness. Counting adds shot noise for the dose that gives the requested signal-to-noise ratio.
Counts are well above ten per pixel, so a normal deviate can replace a Poisson one.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from livepick.core.imaging.picks import Picks
from livepick.simulate.field import Field, Session, lay_out
from livepick.simulate.optics import Optics, delocalisation_px, image_intensity
from livepick.simulate.species import Specimen, random_rotations, specimen
from livepick.simulate.specimen_plane import add_points, blur, molecule_phase, specimen_plane

__all__ = ["Simulated", "expose", "simulate_micrograph"]

FloatArray = NDArray[np.float32]


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
    phase, transmission = specimen_plane(field, session, molecule, margin, rng)
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


def _inner(session: Session, margin: int) -> tuple[slice, slice]:
    height, width = session.shape_px
    return slice(margin, margin + height), slice(margin, margin + width)


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
    weight = molecule_phase(molecule, pixel, optics.voltage_kv) / len(molecule.points_angstrom)
    rows, columns = np.indices((box, box)) - box // 2
    disc = np.hypot(rows, columns) * pixel < 0.5 * molecule.diameter_angstrom
    variances = []
    for rotation in random_rotations(12, rng):
        plane = np.zeros((box, box))
        points = molecule.points_angstrom @ rotation[:2].T
        add_points(plane, points, pixel, box // 2, weight)
        phase = blur(plane.astype(np.float32), molecule.blur_angstrom / pixel)
        seen = image_intensity(phase, pixel_size_angstrom=pixel, optics=optics)
        variances.append(float(seen[disc].var()))
    return session.signal_to_noise / float(np.mean(variances))
