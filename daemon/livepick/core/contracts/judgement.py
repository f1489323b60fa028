"""Judgement of the promotion gate on a new model, as it is stored with the run."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, TypeAdapter

from livepick.core.evaluation.model_comparison import Comparison, Decision

__all__ = ["VERDICT", "Judgement"]

VERDICT = "verdict.json"
"""Name of the file in a run's folder. It is not in the bundle, because a bundle never changes."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A decision, with the figures that it is based on."""

    candidate: int
    """Version of the new model."""
    current: Annotated[int, Field(alias="champion")]
    """Version of the model that it was compared with."""
    decision: Annotated[Decision, Field(alias="verdict")]
    comparison: Comparison | None
    """Figures of both models; None if there was nothing to compare them on."""

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Return the judgement that ``as_json`` returned.

        Raises
        ------
        ValueError
            A value is missing or has another type.
        """
        judgement: Self = _adapter.validate_python(values)
        return judgement

    def as_json(self) -> dict[str, Any]:
        """Return the judgement as a JSON-serializable dict; scripts depend on its keys."""
        values: dict[str, Any] = _adapter.dump_python(self, mode="json", by_alias=True)
        return values

    def to_bytes(self) -> bytes:
        """Return the content of the run's file ``VERDICT``."""
        return _adapter.dump_json(self, by_alias=True, indent=1)


_adapter: TypeAdapter[Any] = TypeAdapter(Judgement)
