"""The stages that clean the seeds: candidates are sorted into 2D classes, and classes judged.

What is in an accepted class is *believed*; what is in a clearly rejected one is junk, and the
network learns it as background, which is what teaches it to leave junk alone; what is in a doubtful
class, or was not sorted, as its box reaches over the edge, is learned as nothing. If hardly
anything is believed, the classes say more about the noise than about the particle, and the seeds
stay as they were.
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from livepick.core.bundle import Contrast
from livepick.core.files import write_atomically
from livepick.core.micrograph import read_micrograph
from livepick.errors import TrainerError
from livepick_trainer.class_report import draw_classes
from livepick_trainer.classify2d import classify
from livepick_trainer.particles import ParticleStack, choose_box_px, cut_particles
from livepick_trainer.prepare import PreparedMicrograph
from livepick_trainer.seeds import BELIEVED, REJECTED, UNSORTED
from livepick_trainer.select import select_classes

__all__ = [
    "CLASSES_JSON",
    "CLASSES_PNG",
    "CleanRules",
    "load_verdicts",
    "select_seeds",
    "sort_candidates",
]

CLASSES_NPZ, SORTED = "classes.npz", "sorted.json"
CLASSES_PNG, CLASSES_JSON, VERDICTS = "classes.png", "classes.json", "verdicts.npz"

Verdict = NDArray[np.int8]


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanRules:
    """Which candidates are sorted, and when the outcome is used."""

    sorted_score_fraction: float = 0.6
    """Candidates from this fraction of the seeding threshold on: junk is to be sorted too."""

    most_particles: int = 4000
    """More, and the best of each micrograph are taken; a minute on two cores."""

    least_particles: int = 150
    """Fewer are not sorted: averages of a handful are noise."""

    junk_score: float = 0.25
    """Classes are learned as background only below this score, half of the limit. Between the two
    they are learned as nothing: of what is in them, up to two thirds were particles where they
    are faint, a tenth where they are not."""

    least_believed: float = 0.1
    """Fraction of the sorted particles below which the outcome is not used."""


def sort_candidates(
    micrographs: Sequence[PreparedMicrograph],
    folder: Path,
    *,
    threshold: float,
    diameter_angstrom: float,
    contrast: Contrast,
    seed: int,
    device: torch.device,
    rules: CleanRules,
    report: Callable[[str, int, int], None],
) -> None:
    """Sort the candidates of all micrographs into classes, and leave them in ``folder``.

    Parameters
    ----------
    micrographs
        Prepared; their originals are read once more.
    folder
        Exists.
    threshold
        Of the seeding model.
    diameter_angstrom, contrast
        Of the particle.
    seed, device
        Of the classification; on the CPU the same seed gives the same classes.
    rules
        What is sorted.
    report
        Called with a sentence, steps done and steps in all.

    Raises
    ------
    MicrographError
        A micrograph that could be prepared can no longer be read.
    """
    floor = rules.sorted_score_fraction * threshold
    chosen = _choose(micrographs, floor, rules.most_particles)
    count = sum(map(len, chosen))
    if count < rules.least_particles:
        note = f"{count} candidates are too few to be sorted into classes; all are believed"
        write_atomically(folder / SORTED, json.dumps({"note": note}).encode())
        report(note, 1, 1)
        return
    report(f"cutting {count} candidates", 0, 1)
    stack = ParticleStack.joined(
        _cut(micrographs, chosen, diameter_angstrom=diameter_angstrom, contrast=contrast)
    )
    found = classify(
        stack.images, diameter_px=stack.diameter_px, seed=seed, device=device, report=report
    )
    places = np.array(
        [chosen[m][c] for m, c in zip(stack.micrograph, stack.candidate, strict=True)],
        dtype=np.int64,
    )
    arrays = io.BytesIO()
    np.savez(
        arrays,
        micrograph=stack.micrograph,
        candidate=places,
        label=found.label,
        probability=found.probability,
        shift_yx_angstrom=found.shift_yx_px * np.float32(stack.pixel_size_angstrom),
        averages=found.averages,
        halves=found.halves,
        half_sizes=found.half_sizes,
    )
    write_atomically(folder / CLASSES_NPZ, arrays.getvalue())
    summary = {
        "classes": found.classes,
        "pixel_size_angstrom": stack.pixel_size_angstrom,
        "diameter_px": stack.diameter_px,
        "micrographs": [str(micrograph.path) for micrograph in micrographs],
    }
    write_atomically(folder / SORTED, json.dumps(summary, indent=1).encode() + b"\n")


def select_seeds(
    sorted_folder: Path,
    micrographs: Sequence[PreparedMicrograph],
    folder: Path,
    *,
    diameter_angstrom: float,
    accept: Sequence[int],
    reject: Sequence[int],
    rules: CleanRules,
    report: Callable[[str, int, int], None],
    trusted: bool = False,
    weak: bool = False,
) -> float | None:
    """Judge the classes that ``sort_candidates`` left; leave verdicts and picture in ``folder``.

    Returns the share of the candidates in accepted classes; None if they are not sorted.

    Parameters
    ----------
    sorted_folder
        Where the classes are.
    micrographs
        Those that were sorted.
    folder
        Exists.
    diameter_angstrom
        Of the particle.
    accept, reject
        Numbers of classes that a person has decided on.
    rules
        When the outcome is used.
    report
        Called with a sentence, steps done and steps in all.
    trusted
        The candidates are a person's, whose word counts for more: classes are for the picture, and
        only those that a person rejects here are not believed.
    weak
        The signal is so weak that classes tell nothing; they are for the picture, unless a person
        decides.

    Raises
    ------
    TrainerError
        A person decided on a class that there is not.
    """
    verdicts = [np.full(len(m.candidates.score), UNSORTED, np.int8) for m in micrographs]
    summary = json.loads((sorted_folder / SORTED).read_bytes())
    if "classes" not in summary:
        _save(folder, micrographs, verdicts, {"used": False, "note": summary["note"]})
        report(summary["note"], 1, 1)
        return None
    with np.load(sorted_folder / CLASSES_NPZ) as archive:
        arrays = {name: archive[name] for name in archive.files}
    _refuse_unknown_classes({*accept, *reject}, len(arrays["averages"]))
    decided = bool({*accept, *reject})
    if trusted:  # all that a person has not rejected
        accept = sorted(set(range(len(arrays["averages"]))) - set(reject))
    selection = select_classes(
        arrays["averages"],
        arrays["halves"],
        arrays["half_sizes"],
        arrays["label"],
        arrays["probability"],
        classes=summary["classes"],
        pixel_size_angstrom=summary["pixel_size_angstrom"],
        diameter_angstrom=diameter_angstrom,
        accept=accept,
        reject=reject,
    )
    doubtful = np.array(
        [v.score >= rules.junk_score and not v.overruled for v in selection.verdicts]
    )
    count = len(selection.believed)
    share = float(selection.believed.mean())
    used = (share >= rules.least_believed and not trusted and not weak) or decided
    note = f"{share:.0%} of {count} candidates are in accepted classes"
    if trusted:
        note += "; they are a person's, and believed"
    if used:
        for number, verdict in enumerate(verdicts):
            if trusted:  # also where there were too many to sort, or a box reaches over the edge
                verdict[:] = BELIEVED
            here = arrays["micrograph"] == number
            places = arrays["candidate"][here]
            labels = arrays["label"][here]
            verdict[places] = np.where(
                selection.believed[here], BELIEVED, np.where(doubtful[labels], UNSORTED, REJECTED)
            )
    elif weak:
        note += ", but the signal is too weak for classes to tell; all are believed"
    elif not trusted:
        note += ", too few to go by; all are believed"
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
    _save(folder, micrographs, verdicts, {"used": used, "note": note, "classes": classes})
    report(note, 1, 1)
    return share


def _refuse_unknown_classes(decided: set[int], count: int) -> None:
    unknown = sorted(number for number in decided if not 0 <= number < count)
    if unknown:
        raise TrainerError(
            f"bootstrap.classes names {', '.join(map(str, unknown))}, and there are the classes"
            f" 0 to {count - 1}",
            "Take the numbers from classes.png of the model that these seeds made.",
        )


def load_verdicts(folder: Path) -> dict[Path, Verdict]:
    """Return what ``select_seeds`` left: a verdict on each candidate, by the micrograph's path."""
    names: list[str] = json.loads((folder / CLASSES_JSON).read_bytes())["micrographs"]
    with np.load(folder / VERDICTS) as arrays:
        return {Path(name): arrays[str(number)] for number, name in enumerate(names)}


def _choose(
    micrographs: Sequence[PreparedMicrograph], floor: float, most: int
) -> list[NDArray[np.intp]]:
    """Return the candidates of each micrograph to be sorted: the best, equally many of each."""
    above = [np.flatnonzero(m.candidates.score >= floor) for m in micrographs]
    masked = [
        m.mask[tuple(np.clip(np.rint(m.candidates.yx_px).astype(int), 0, _last(m)).T)]
        for m in micrographs
    ]
    above = [a[~bad[a]] for a, bad in zip(above, masked, strict=True)]
    each = max(1, most // max(1, len(above)))
    if sum(map(len, above)) <= most:
        return above
    scores = (m.candidates.score[a] for m, a in zip(micrographs, above, strict=True))
    return [
        a[np.sort(np.argsort(-s, kind="stable")[:each])] for a, s in zip(above, scores, strict=True)
    ]


def _last(micrograph: PreparedMicrograph) -> NDArray[np.intp]:
    return np.asarray(micrograph.image.shape) - 1


def _cut(
    micrographs: Sequence[PreparedMicrograph],
    chosen: Sequence[NDArray[np.intp]],
    *,
    diameter_angstrom: float,
    contrast: Contrast,
) -> list[ParticleStack]:
    box_px = choose_box_px(
        pixel_size_angstrom=max(m.original_pixel_size_angstrom for m in micrographs),
        diameter_angstrom=diameter_angstrom,
    )
    stacks = []
    for number, (micrograph, places) in enumerate(zip(micrographs, chosen, strict=True)):
        scale = np.array([micrograph.scale_y, micrograph.scale_x], dtype=np.float32)
        image = read_micrograph(
            micrograph.path, pixel_size_angstrom=micrograph.original_pixel_size_angstrom
        ).image
        stacks.append(
            cut_particles(
                image,
                micrograph.candidates.yx_px[places] * scale,
                pixel_size_angstrom=micrograph.original_pixel_size_angstrom,
                diameter_angstrom=diameter_angstrom,
                contrast=contrast,
                box_px=box_px,
                micrograph=number,
                ctf=micrograph.ctf,
            )
        )
    return stacks


def _save(
    folder: Path,
    micrographs: Sequence[PreparedMicrograph],
    verdicts: Sequence[Verdict],
    summary: Mapping[str, object],
) -> None:
    names = [str(micrograph.path) for micrograph in micrographs]
    arrays = io.BytesIO()
    np.savez(arrays, **{str(number): verdict for number, verdict in enumerate(verdicts)})  # type: ignore[arg-type]
    write_atomically(folder / VERDICTS, arrays.getvalue())
    text = json.dumps({**summary, "micrographs": names}, indent=1)
    write_atomically(folder / CLASSES_JSON, text.encode() + b"\n")
