"""RELION's list of particles of many micrographs: their positions, to extract them again.

In RELION: *Particle extraction*, "re-extract refined particles", or *Import* as particle
coordinates of other programs. The coordinates are whole pixels, and the rows of a TIFF are turned
over, as in ``relion_star``.
"""

from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.formats.star import star_word, table_start

__all__ = ["particle_rows", "particles_start"]

_COLUMNS = [
    "rlnCoordinateX",
    "rlnCoordinateY",
    "rlnAutopickFigureOfMerit",
    "rlnMicrographName",
    "rlnOpticsGroup",
]


def particles_start() -> str:
    """Return the beginning of the table of particles, after that of the optics."""
    return table_start("particles", _COLUMNS)


def particle_rows(micrograph: PickedMicrograph, *, name: str, optics_group: int) -> bytes:
    """Return the rows of the picks of one micrograph.

    Parameters
    ----------
    micrograph
        The micrograph and its picks.
    name
        Name of the micrograph in RELION, which compares it by its exact text.
    optics_group
        Number of its group in the optics table.
    """
    word = star_word(name)
    return "".join(
        f"{x:6d}.000000 {y:6d}.000000 {score:12.6f} {word} {optics_group}\n"
        for (x, y), score in zip(
            micrograph.whole_xy(turned=True).tolist(),
            micrograph.picks.score.tolist(),
            strict=True,
        )
    ).encode()
