"""Files of a later round: candidates found by a template or by the trained network.

A round writes ``round.json``, which states whether its candidates are used, and why. If they are
used, they are stored next to it, with the verdicts of their 2D classes if they were sorted.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from livepick.host.atomic_files import write_atomically
from livepick_trainer.pipeline.class_cleaning import CLASSES_JSON, read_verdicts
from livepick_trainer.seeds.labels import Candidates
from livepick_trainer.seeds.preprocess import PreparedMicrograph

__all__ = [
    "is_sorted",
    "is_weak",
    "read_decoys",
    "read_result",
    "read_round",
    "with_candidates",
    "write_candidates",
    "write_decoys",
    "write_result",
]

CANDIDATES, DECOYS, ROUND = "candidates.npz", "decoys.npz", "round.json"


def write_candidates(
    folder: Path, micrographs: Sequence[PreparedMicrograph], threshold: float
) -> None:
    """Write each micrograph's candidates; those that score at least ``threshold`` are seeds."""
    _write(folder / CANDIDATES, micrographs, [m.candidates for m in micrographs], threshold)


def write_decoys(
    folder: Path, micrographs: Sequence[PreparedMicrograph], decoys: Sequence[Candidates]
) -> None:
    """Write the decoys of a round: its picker's picks in each micrograph's negative."""
    _write(folder / DECOYS, micrographs, decoys, 0.0)


def read_decoys(folder: Path, micrographs: Sequence[PreparedMicrograph]) -> list[Candidates] | None:
    """Return the decoys of a round, one entry per micrograph; None if there are none."""
    if not (folder / DECOYS).exists():
        return None
    found = _read(folder / DECOYS)
    return [found[m.path] for m in micrographs]


def _write(
    path: Path,
    micrographs: Sequence[PreparedMicrograph],
    found: Sequence[Candidates],
    threshold: float,
) -> None:
    arrays = io.BytesIO()
    entries = {
        f"{kind}{number}": array
        for number, of_one in enumerate(found)
        for kind, array in (("yx", of_one.yx_px), ("score", of_one.score))
    }
    names = np.array([str(m.path) for m in micrographs])
    np.savez(arrays, names=names, threshold=np.float64(threshold), **entries)  # type: ignore[arg-type]
    write_atomically(path, arrays.getvalue())


def _read(path: Path) -> dict[Path, Candidates]:
    with np.load(path) as archive:
        threshold = float(archive["threshold"])
        return {
            Path(name): Candidates(
                archive[f"yx{number}"], archive[f"score{number}"], threshold=threshold
            )
            for number, name in enumerate(archive["names"].tolist())
        }


def write_result(folder: Path, note: str, *, used: bool, weak: bool = False) -> None:
    """Write whether a round's candidates are used, why, and whether the signal is weak."""
    said = {"used": used, "note": note, "weak": weak}
    write_atomically(folder / ROUND, json.dumps(said).encode() + b"\n")


def is_weak(folder: Path) -> bool:
    """Return True if a round found that the signal is weak."""
    return bool(json.loads((folder / ROUND).read_bytes())["weak"])


def is_sorted(folder: Path) -> bool:
    """Return True if a round has sorted its candidates into classes."""
    return (folder / CLASSES_JSON).exists()


def read_result(folder: Path) -> tuple[bool, str]:
    """Return True if a round's candidates are used, else False, with the reason."""
    said = json.loads((folder / ROUND).read_bytes())
    return bool(said["used"]), str(said["note"])


def read_round(
    folder: Path, micrographs: Sequence[PreparedMicrograph]
) -> list[PreparedMicrograph] | None:
    """Return the micrographs with the candidates of a round; None if none are to be used."""
    if not (folder / ROUND).exists() or not read_result(folder)[0]:
        return None
    return with_candidates(folder, micrographs)


def with_candidates(
    folder: Path, micrographs: Sequence[PreparedMicrograph]
) -> list[PreparedMicrograph]:
    """Return the micrographs with a round's candidates, and their verdicts if there are any."""
    found = _read(folder / CANDIDATES)
    with_them = [replace(m, candidates=found[m.path]) for m in micrographs]
    return read_verdicts(folder, with_them) if is_sorted(folder) else with_them
