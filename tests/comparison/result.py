"""Results of a comparison, as they are kept in files between its runs."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from livepick.core.evaluation.matching import Matches, figures, precision_recall_f1

REAL, BY_OTHERS, BY_LIVEPICK = "real", "simulated by others", "simulated by livepick"
"""Origins of samples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Result of one program on one sample."""

    program: str
    average_precision: float
    best_f1: float
    """Highest F1 over all thresholds."""

    f1: float
    """F1 of the picks at the program's own default threshold."""

    precision: float
    recall: float
    """Both of the same picks."""

    picks: int
    """Number of the same picks."""

    cpu_seconds: float
    """Per micrograph, without the start of the program."""

    start_cpu_seconds: float
    """To start, and to pick a tiny micrograph."""

    peak_bytes: int
    average_precision_half: float = math.nan
    """Average precision if a pick is right within half a diameter."""

    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleResult:
    """Results of all programs on one sample."""

    name: str
    origin: str
    """One of the origins above."""

    micrographs: int
    particles: int
    """Number of true positions in the area that counts."""

    shape_px: tuple[int, int]
    pixel_size_angstrom: float
    diameter_angstrom: float
    learned: int
    """Number of micrographs that the trained model has learned from; 0: there is none."""

    training_cpu_seconds: float
    results: list[Result]
    finished: str = "unknown"
    """Date and time (UTC) at which the sample was done."""

    load: float = math.nan
    """Load of the machine then, one minute's average."""

    remark: str = ""
    """Remarks on the origin of these figures."""

    def write(self, path: Path) -> None:
        """Write the result as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, path: Path) -> "SampleResult":
        """Read a result."""
        found = json.loads(path.read_text())
        results = [Result(**one) for one in found.pop("results")]
        shape_px = (found["shape_px"][0], found["shape_px"][1])
        return cls(**found | {"results": results, "shape_px": shape_px})

    def of(self, program: str) -> Result | None:
        """Return the result of a program; None if it has none."""
        return next((one for one in self.results if one.program == program), None)


def scored(
    program: str,
    ranked: Sequence[Matches],
    written: Sequence[Matches],
    ranked_half: Sequence[Matches],
    *,
    cpu_seconds: float,
    start_cpu_seconds: float,
    peak_bytes: int,
) -> Result:
    """Return the figures of a program.

    Parameters
    ----------
    ranked
        Matches of all candidates, for each micrograph.
    written
        Matches of the picks at the program's default threshold.
    ranked_half
        Matches of all candidates within half a diameter.
    cpu_seconds
        Per micrograph.
    """
    found = figures(ranked)
    precision, recall, f1 = precision_recall_f1(written, -math.inf)
    return Result(
        program=program,
        average_precision=found.average_precision,
        best_f1=found.best_f1,
        f1=f1,
        precision=precision,
        recall=recall,
        picks=sum(len(one.hit) for one in written),
        cpu_seconds=cpu_seconds,
        start_cpu_seconds=start_cpu_seconds,
        peak_bytes=peak_bytes,
        average_precision_half=figures(ranked_half).average_precision,
    )
