"""The candidates of a later round on disk: what a template or the trained network found.

A round leaves ``round.json``, which says whether its candidates are used, and why. If so they are
beside it, with the verdicts of their 2D classes where they were sorted.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from livepick.core.files import write_atomically
from livepick_trainer.clean import CLASSES_JSON, load_verdicts
from livepick_trainer.prepare import PreparedMicrograph
from livepick_trainer.seeds import Candidates

__all__ = ["end_round", "is_weak", "read_round", "why_round", "with_candidates", "write_candidates"]

CANDIDATES, ROUND = "candidates.npz", "round.json"


def write_candidates(
    folder: Path, micrographs: Sequence[PreparedMicrograph], threshold: float
) -> None:
    """Write each micrograph's candidates; from ``threshold`` on one is a seed."""
    arrays = io.BytesIO()
    entries = {
        f"{kind}{number}": array
        for number, m in enumerate(micrographs)
        for kind, array in (("yx", m.candidates.yx_px), ("score", m.candidates.score))
    }
    names = np.array([str(m.path) for m in micrographs])
    np.savez(arrays, names=names, threshold=np.float64(threshold), **entries)  # type: ignore[arg-type]
    write_atomically(folder / CANDIDATES, arrays.getvalue())


def end_round(folder: Path, note: str, *, used: bool, weak: bool = False) -> None:
    """Say whether a round's candidates are used, why, and whether the signal is weak."""
    said = {"used": used, "note": note, "weak": weak}
    write_atomically(folder / ROUND, json.dumps(said).encode() + b"\n")


def is_weak(folder: Path) -> bool:
    """Return whether a round found that the signal is weak."""
    return bool(json.loads((folder / ROUND).read_bytes())["weak"])


def why_round(folder: Path) -> tuple[bool, str]:
    """Return whether a round's candidates are used, and why."""
    said = json.loads((folder / ROUND).read_bytes())
    return bool(said["used"]), str(said["note"])


def read_round(
    folder: Path, micrographs: Sequence[PreparedMicrograph]
) -> list[PreparedMicrograph] | None:
    """Return the micrographs with the candidates of a round; None if there are none to be used."""
    if not (folder / ROUND).exists() or not why_round(folder)[0]:
        return None
    return with_candidates(folder, micrographs)


def with_candidates(
    folder: Path, micrographs: Sequence[PreparedMicrograph]
) -> list[PreparedMicrograph]:
    """Return the micrographs with a round's candidates, and the verdicts on them if there are."""
    verdicts = load_verdicts(folder) if (folder / CLASSES_JSON).exists() else {}  # sorted later
    with np.load(folder / CANDIDATES) as archive:
        threshold = float(archive["threshold"])
        found = {
            Path(name): Candidates(
                archive[f"yx{number}"], archive[f"score{number}"], threshold=threshold
            )
            for number, name in enumerate(archive["names"].tolist())
        }
    return [
        replace(m, candidates=replace(found[m.path], verdict=verdicts.get(m.path)))
        for m in micrographs
    ]
