"""What a run leaves to judge models by: the particles of the micrographs that it never learned.

``held_out.json`` is in every trained bundle. The labels are what the 2D classes say of all that the
first picker or the network has found, or they are a person's. What only one of the two has found is
judged by the class that it falls into, so that labels do not favour whoever made them. There are
none closer to the edge than the run's ``particle.edge_fraction`` allows. A model with another
fraction is compared only where both may pick (``core.evaluation.model_comparison.Pair.area``).
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from livepick.errors import ModelError

__all__ = ["HELD_OUT", "HeldOutLabels", "LabelledMicrograph"]

HELD_OUT = "held_out.json"

Position = tuple[float, float]
"""x and y in pixels of the original micrograph (``core.imaging.picks``)."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class LabelledMicrograph(_Record):
    """What to find in one micrograph."""

    path: Path
    pixel_size_angstrom: float
    particles: list[Position]
    doubtful: list[Position]
    """A pick here counts neither way."""


class HeldOutLabels(_Record):
    """What to find in the micrographs that a run has held out."""

    by: Literal["classes", "person"]
    """Who says so."""
    radius_angstrom: float
    """Within which a pick is right."""
    micrographs: list[LabelledMicrograph]

    @classmethod
    def read(cls, bundle: Path) -> Self | None:
        """Return the labels of a bundle; None if it has none, as the blob picker.

        Raises
        ------
        ModelError
            They cannot be read.
        """
        path = bundle / HELD_OUT
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{path} cannot be read: {error}", "Restore the bundle, or train again."
            ) from error
