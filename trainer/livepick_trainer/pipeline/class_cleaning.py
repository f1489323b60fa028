"""Cleaning of the seeds: the 2D classes are judged, and their members become seeds or junk.

Candidates in an accepted class are *believed*. Those in a clearly rejected class are junk: the
network learns them as background, which teaches it not to pick junk. Candidates in a doubtful
class, and those that were not sorted because their box reaches over the edge, are ignored during
training. If very few are believed, the classes say more about the noise than about the particle,
and the seeds stay as they were.
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from livepick.errors import TrainerError
from livepick.host.atomic_files import write_atomically
from livepick_trainer.classification.class_picture import draw_classes
from livepick_trainer.classification.class_selection import Selection, select_classes
from livepick_trainer.pipeline.candidate_sorting import CLASSES_NPZ, SORTED
from livepick_trainer.seeds.labels import BELIEVED, REJECTED, UNSORTED, Candidates
from livepick_trainer.seeds.preprocess import PreparedMicrograph

__all__ = ["CLASSES_JSON", "CLASSES_PNG", "read_verdicts", "select_seeds"]

CLASSES_PNG, CLASSES_JSON, VERDICTS = "classes.png", "classes.json", "verdicts.npz"

_AVERAGED = ("averages", "halves", "half_sizes", "label", "probability")
"""Arrays of ``CLASSES_NPZ`` that the classes are judged by."""

JUNK_SCORE = 0.2
"""Classes below this score, where the evidence is strong, are learned as background. Those between
this score and the acceptance threshold are ignored."""

LEAST_BELIEVED = 0.1
"""Fraction of believed candidates, among those sorted, below which the result is not used."""


def select_seeds(
    sorted_folder: Path,
    micrographs: Sequence[PreparedMicrograph],
    folder: Path,
    *,
    diameter_angstrom: float,
    accept: Sequence[int],
    reject: Sequence[int],
    report: Callable[[str, int, int], None],
    trusted: bool = False,
    weak: bool = False,
) -> float | None:
    """Judge the classes that ``sort_candidates`` made; write verdicts and a picture to ``folder``.

    Returns the share of the candidates in accepted classes; None if they were not sorted.

    Parameters
    ----------
    sorted_folder
        Folder with the classes.
    micrographs
        Micrographs whose candidates were sorted.
    folder
        Existing folder for the verdicts.
    diameter_angstrom
        Particle diameter.
    accept, reject
        Numbers of the classes that a person has accepted or rejected.
    report
        Called with a sentence, the number of steps done, and the total.
    trusted
        True if the candidates are a person's picks, which take precedence: classes are only shown
        in the picture, and only those that a person rejects here are not believed.
    weak
        True if the signal is too weak for classes to be meaningful: they are only shown in the
        picture, unless a person decides on some.

    Raises
    ------
    TrainerError
        A person decided on a class that does not exist.
    """
    found = [_CandidateVerdicts.unsorted(m.candidates) for m in micrographs]
    summary = json.loads((sorted_folder / SORTED).read_bytes())
    if "classes" not in summary:
        _save(folder, micrographs, found, {"used": False, "note": summary["note"]})
        report(summary["note"], 1, 1)
        return None
    with np.load(sorted_folder / CLASSES_NPZ) as archive:
        arrays = {name: archive[name] for name in archive.files}
    count = len(arrays["averages"])
    _refuse_unknown_classes({*accept, *reject}, count)
    selection = select_classes(
        **{name: arrays[name] for name in _AVERAGED},
        classes=summary["classes"],
        pixel_size_angstrom=summary["pixel_size_angstrom"],
        diameter_angstrom=diameter_angstrom,
        decoys=arrays["decoys"] if summary["decoys"] else None,
        accept=sorted(set(range(count)) - set(reject)) if trusted else accept,
        reject=reject,
    )
    share = float(selection.believed.mean())
    decided = bool({*accept, *reject})
    used = (share >= LEAST_BELIEVED and not trusted and not weak) or decided
    if used:
        for number, (of_one, micrograph) in enumerate(zip(found, micrographs, strict=True)):
            if trusted:  # including those not sorted, as their box reaches over the edge
                of_one.verdict[:] = BELIEVED
            of_one.apply(selection, arrays, number)
            if not trusted:
                of_one.centre(selection, arrays, number, micrograph)
    note = f"{share:.0%} of {len(selection.believed)} candidates are in accepted classes"
    note += _consequence(used=used, trusted=trusted, weak=weak)
    picture = draw_classes(
        arrays["averages"],
        selection.figures,
        selection.verdicts,
        diameter_px=summary["diameter_px"],
    )
    write_atomically(folder / CLASSES_PNG, picture)
    classes = [
        asdict(figures) | asdict(verdict)
        for figures, verdict in zip(selection.figures, selection.verdicts, strict=True)
    ]
    _save(folder, micrographs, found, {"used": used, "note": note, "classes": classes})
    report(note, 1, 1)
    return share


def _consequence(*, used: bool, trusted: bool, weak: bool) -> str:
    """Return the end of the sentence about the classes: what follows for the seeds."""
    if trusted:
        unless = ", except those in rejected classes" if used else ""
        return f"; all are used as seeds, because a person picked them{unless}"
    if used:
        return ""
    if weak:
        return "; the signal is too weak for classes to be reliable, so all are used as seeds"
    return "; this is too few to be reliable, so all are used as seeds"


def _refuse_unknown_classes(decided: set[int], count: int) -> None:
    unknown = sorted(number for number in decided if not 0 <= number < count)
    if unknown:
        raise TrainerError(
            f"bootstrap.classes names {', '.join(map(str, unknown))}, but the classes are"
            f" numbered 0 to {count - 1}",
            "Take the numbers from classes.png of the model that was trained on these seeds.",
        )


def read_verdicts(
    folder: Path, micrographs: Sequence[PreparedMicrograph]
) -> list[PreparedMicrograph]:
    """Return the micrographs with the results that ``select_seeds`` wrote to ``folder``.

    These are a verdict on each candidate, and the centre that the 2D alignment found for it.
    """
    names: list[str] = json.loads((folder / CLASSES_JSON).read_bytes())["micrographs"]
    number_of = {Path(name): number for number, name in enumerate(names)}
    fields = _CandidateVerdicts.__slots__
    with np.load(folder / VERDICTS) as arrays:
        return [
            replace(
                m,
                candidates=replace(
                    m.candidates,
                    **{name: arrays[f"{name}{number_of[m.path]}"] for name in fields},
                ),
            )
            for m in micrographs
        ]


@dataclass(frozen=True, slots=True, eq=False)
class _CandidateVerdicts:
    """Verdicts on the candidates of one micrograph; fields as in ``Candidates``."""

    yx_px: NDArray[np.float32]
    verdict: NDArray[np.int8]
    chance: NDArray[np.float32]

    @classmethod
    def unsorted(cls, candidates: Candidates) -> Self:
        """Return the state before the classes are judged."""
        count = len(candidates.score)
        return cls(
            candidates.yx_px.copy(),
            np.full(count, UNSORTED, np.int8),
            np.full(count, np.nan, np.float32),
        )

    def apply(self, selection: Selection, arrays: Mapping[str, NDArray[Any]], number: int) -> None:
        """Give each sorted candidate of micrograph ``number`` the verdict on its class."""
        doubtful = np.array([v.score >= JUNK_SCORE and not v.overruled for v in selection.verdicts])
        chance = np.array(
            [1.0 if v.accepted and v.overruled else v.score for v in selection.verdicts]
        )
        here = arrays["micrograph"] == number
        places, labels = arrays["candidate"][here], arrays["label"][here]
        self.verdict[places] = np.where(
            selection.believed[here], BELIEVED, np.where(doubtful[labels], UNSORTED, REJECTED)
        )
        self.chance[places] = chance[labels]

    def centre(
        self,
        selection: Selection,
        arrays: Mapping[str, NDArray[Any]],
        number: int,
        micrograph: PreparedMicrograph,
    ) -> None:
        """Move each believed candidate to the centre that the 2D alignment found."""
        here = arrays["micrograph"] == number
        scale = np.array([micrograph.scale_y, micrograph.scale_x], dtype=np.float32)
        shift_px = arrays["shift_yx_angstrom"][here] / (
            scale * np.float32(micrograph.original_pixel_size_angstrom)
        )
        self.yx_px[arrays["candidate"][here]] += np.where(
            selection.believed[here, None], shift_px, 0
        )


def _save(
    folder: Path,
    micrographs: Sequence[PreparedMicrograph],
    found: Sequence[_CandidateVerdicts],
    summary: Mapping[str, object],
) -> None:
    names = [str(micrograph.path) for micrograph in micrographs]
    arrays = io.BytesIO()
    entries = {
        f"{name}{number}": getattr(of_micrograph, name)
        for number, of_micrograph in enumerate(found)
        for name in _CandidateVerdicts.__slots__
    }
    np.savez(arrays, **entries)
    write_atomically(folder / VERDICTS, arrays.getvalue())
    text = json.dumps({**summary, "micrographs": names}, indent=1)
    write_atomically(folder / CLASSES_JSON, text.encode() + b"\n")
