"""A finding of a check, with its evidence and its remedy."""

from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Finding"]

Kind = TypeVar("Kind", bound=str, covariant=True)  # noqa: PLC0105 - reads better without _co


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding(Generic[Kind]):
    """Something wrong with a training or a session, or advice on it.

    The learning curves, the seeds of a training and the drift of a session are checked for
    findings.
    """

    kind: Kind
    """Name of the finding, such as ``rate_too_high``."""
    is_fault: bool = True
    """False: the finding is only advice for the next training."""
    evidence: str
    """Observation with its numbers, without a capital letter or a full stop."""
    remedy: str
    """Advice, or a possible cause, in the same form."""

    @property
    def sentence(self) -> str:
        """The whole finding in one sentence."""
        end = "" if self.remedy.endswith("?") else "."
        return f"{self.kind.replace('_', ' ').capitalize()}: {self.evidence}; {self.remedy}{end}"
