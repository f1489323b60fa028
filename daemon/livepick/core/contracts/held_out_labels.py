"""Labels to evaluate models with: the particles of a run's held-out micrographs.

``held_out.json`` is in every trained bundle. The labels come from the 2D classes of all that the
first picker or the network has found, or from a person. A particle that only one of the two has
found is judged by its class, so that the labels do not favour either of them. No label is closer to
the edge than the run's ``particle.edge_fraction`` allows. A model with another fraction is compared
only where both may pick (``core.evaluation.model_comparison.Pair.area``).
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from livepick.core.formats.file_version import FileVersion
from livepick.errors import ModelError
from livepick.host.foreign_files import errors_of_file, read_bounded

__all__ = ["HELD_OUT", "HeldOutLabels", "LabelledMicrograph", "Position"]

HELD_OUT = "held_out.json"

MOST_BYTES = 256 << 20
"""Largest file of labels that is read."""

Position = tuple[float, float]
"""x and y in pixels of the original micrograph (``core.imaging.picks``)."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class LabelledMicrograph(_Record):
    """Labels of one micrograph."""

    path: Path
    pixel_size_angstrom: float
    particles: list[Position]
    doubtful: list[Position]
    """Positions at which a pick counts neither as right nor as wrong."""
    version: FileVersion | None = None
    """Content that was labelled, as in ``RunMicrograph``; None in bundles of earlier versions."""


class HeldOutLabels(_Record):
    """Labels of the micrographs that a run has held out."""

    by: Literal["classes", "person"]
    """Source of the labels."""
    radius_angstrom: float
    """Distance from a label within which a pick is right."""
    micrographs: list[LabelledMicrograph]

    @classmethod
    def read(cls, bundle: Path) -> Self | None:
        """Return the labels of a bundle; None if it has none, as for the blob picker.

        Raises
        ------
        ModelError
            The labels cannot be read.
        """
        path = bundle / HELD_OUT
        with errors_of_file(path, ModelError, "Restore the bundle, or train again."):
            try:
                data = read_bounded(path, limit_bytes=MOST_BYTES)
            except FileNotFoundError:
                return None
            return cls.model_validate_json(data)
