"""Stages that clean the seeds: candidates are sorted into 2D classes, and the classes are judged.

Candidates in an accepted class are *believed*. Those in a clearly rejected class are junk: the
network learns them as background, which teaches it not to pick junk. Candidates in a doubtful
class, and those that were not sorted because their box reaches over the edge, are ignored during
training. If hardly any are believed, the classes say more about the noise than about the particle,
and the seeds stay as they were.
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from livepick.config.sections import Contrast
from livepick.core.formats.micrograph import read_micrograph
from livepick.errors import TrainerError
from livepick.host.atomic_files import write_atomically
from livepick_trainer.classification.class_picture import draw_classes
from livepick_trainer.classification.class_selection import select_classes
from livepick_trainer.classification.classify2d import classify
from livepick_trainer.classification.particles import (
    ParticleStack,
    choose_box_px,
    cut_particles,
)
from livepick_trainer.seeds.labels import BELIEVED, REJECTED, UNSORTED, Candidates
from livepick_trainer.seeds.preprocess import PreparedMicrograph

__all__ = ["CleanRules", "judged", "select_seeds", "sort_candidates"]

CLASSES_NPZ, SORTED = "classes.npz", "sorted.json"
CLASSES_PNG, CLASSES_JSON, VERDICTS = "classes.png", "classes.json", "verdicts.npz"

Verdict = NDArray[np.int8]


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanRules:
    """Rules for which candidates are sorted, and when the result is used."""

    sorted_score_fraction: float = 0.6
    """Candidates from this fraction of the seeding threshold are sorted, so that junk is sorted,
    too."""

    most_sampled: int = 4000
    """Number of candidates that classes are made from, drawn from all micrographs and all scores.
    This takes half a minute on two cores. The others are then assigned to these classes, at a cost
    that is linear in their number."""

    least_particles: int = 150
    """Fewest candidates that are sorted: averages of a handful are noise."""

    junk_score: float = 0.2
    """Classes below this score, where the evidence is strong, are learned as background. Those
    between this score and the acceptance threshold are ignored."""

    use_decoys: bool = True
    """False: classes are judged by their averages alone; used to measure the benefit of decoys."""

    centred: bool = True
    """False: seeds stay where they were picked; used to measure the benefit of the alignment."""

    least_believed: float = 0.1
    """Fraction of believed candidates, among those sorted, below which the result is not used."""


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
    decoys: Sequence[Candidates] | None = None,
) -> None:
    """Sort the candidates of all micrographs into classes, and write these to ``folder``.

    Parameters
    ----------
    micrographs
        Prepared micrographs; their originals are read again.
    folder
        Existing folder for the classes.
    threshold
        Score threshold of the seeding model.
    diameter_angstrom, contrast
        Diameter and contrast of the particle.
    seed, device
        Random seed and device of the classification; on the CPU, the same seed gives the same
        classes.
    rules
        Rules for which candidates are sorted.
    report
        Called with a sentence, the number of steps done, and the total.
    decoys
        Picks of the same picker in the negative of each micrograph; None if the negatives were not
        searched.

    Raises
    ------
    MicrographError
        A micrograph that could be prepared can no longer be read.
    """
    floor = rules.sorted_score_fraction * threshold
    chosen = _choose(micrographs, floor)
    count = sum(map(len, chosen))
    if count < rules.least_particles:
        note = f"{count} candidates are too few to be sorted into classes; all are believed"
        write_atomically(folder / SORTED, json.dumps({"note": note}).encode())
        report(note, 1, 1)
        return
    report(f"cutting {count} candidates", 0, 1)
    sample = _sample(chosen, micrographs, rules.most_sampled)
    cut = _Cutter(micrographs, diameter_angstrom=diameter_angstrom, contrast=contrast)
    negatives = [
        replace(m, candidates=found) for m, found in zip(micrographs, decoys or [], strict=False)
    ]
    in_negatives = _choose(negatives, floor)
    some_decoys = _sample(in_negatives, negatives, rules.most_sampled)
    cut_negative = _Cutter(
        negatives or micrographs,
        diameter_angstrom=diameter_angstrom,
        contrast="dark" if contrast == "bright" else "bright",
    )
    stack = ParticleStack.joined([cut(number, places) for number, places in enumerate(sample)])
    found = classify(
        stack.images,
        diameter_px=stack.diameter_px,
        seed=seed,
        device=device,
        rest=(
            cut(number, np.setdiff1d(every, some)).images
            for number, (every, some) in enumerate(zip(chosen, sample, strict=True))
            if len(every) > len(some)
        ),
        decoys=(
            cut_negative(number, places).images
            for number, places in enumerate(some_decoys)
            if len(places)
        ),
        report=report,
    )
    places = np.array(cut.done, dtype=np.int64)  # the sample, then the rest
    shift_yx_px = np.concatenate([found.shift_yx_px, found.rest.shift_yx_px])
    arrays = io.BytesIO()
    np.savez(
        arrays,
        micrograph=places[:, 0],
        candidate=places[:, 1],
        label=np.concatenate([found.label, found.rest.label]),
        probability=np.concatenate([found.probability, found.rest.probability]),
        shift_yx_angstrom=shift_yx_px * np.float32(stack.pixel_size_angstrom),
        averages=found.averages,
        halves=found.halves,
        half_sizes=found.half_sizes,
        decoys=np.bincount(found.decoys.label, minlength=len(found.averages))
        * (sum(map(len, in_negatives)) / max(1, sum(map(len, some_decoys)))),
    )
    write_atomically(folder / CLASSES_NPZ, arrays.getvalue())
    summary = {
        "classes": found.classes,
        "decoys": decoys is not None,
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
    rules
        Rules for when the result is used.
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
    found = [_Judged.unsorted(m.candidates) for m in micrographs]
    summary = json.loads((sorted_folder / SORTED).read_bytes())
    if "classes" not in summary:
        _save(
            folder,
            micrographs,
            found,
            {"used": False, "note": summary["note"]},
        )
        report(summary["note"], 1, 1)
        return None
    with np.load(sorted_folder / CLASSES_NPZ) as archive:
        arrays = {name: archive[name] for name in archive.files}
    _refuse_unknown_classes({*accept, *reject}, len(arrays["averages"]))
    decided = bool({*accept, *reject})
    if trusted:  # all classes that a person has not rejected
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
        decoys=arrays["decoys"] if summary["decoys"] and rules.use_decoys else None,
        accept=accept,
        reject=reject,
    )
    doubtful = np.array(
        [v.score >= rules.junk_score and not v.overruled for v in selection.verdicts]
    )
    scores = np.array([1.0 if v.accepted and v.overruled else v.score for v in selection.verdicts])
    count = len(selection.believed)
    share = float(selection.believed.mean())
    used = (share >= rules.least_believed and not trusted and not weak) or decided
    note = f"{share:.0%} of {count} candidates are in accepted classes"
    if trusted:
        note += "; they are a person's, and believed"
    if used:
        for number, of_micrograph in enumerate(found):
            if trusted:  # including those not sorted, as their box reaches over the edge
                of_micrograph.verdict[:] = BELIEVED
            here = arrays["micrograph"] == number
            places = arrays["candidate"][here]
            labels = arrays["label"][here]
            of_micrograph.verdict[places] = np.where(
                selection.believed[here], BELIEVED, np.where(doubtful[labels], UNSORTED, REJECTED)
            )
            of_micrograph.chance[places] = scores[labels]
            if rules.centred and not trusted:
                micrograph = micrographs[number]
                scale = np.array([micrograph.scale_y, micrograph.scale_x], dtype=np.float32)
                shift_px = arrays["shift_yx_angstrom"][here] / (
                    scale * np.float32(micrograph.original_pixel_size_angstrom)
                )
                of_micrograph.yx_px[places] += np.where(selection.believed[here, None], shift_px, 0)
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
    _save(
        folder,
        micrographs,
        found,
        {"used": used, "note": note, "classes": classes},
    )
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


def judged(folder: Path, micrographs: Sequence[PreparedMicrograph]) -> list[PreparedMicrograph]:
    """Return the micrographs with the results that ``select_seeds`` wrote to ``folder``.

    These are a verdict on each candidate, and the centre that the 2D alignment found for it.
    """
    names: list[str] = json.loads((folder / CLASSES_JSON).read_bytes())["micrographs"]
    number_of = {Path(name): number for number, name in enumerate(names)}
    with np.load(folder / VERDICTS) as arrays:
        return [
            replace(
                m,
                candidates=replace(
                    m.candidates,
                    **{name: arrays[f"{name}{number_of[m.path]}"] for name in _Judged.__slots__},
                ),
            )
            for m in micrographs
        ]


def _choose(micrographs: Sequence[PreparedMicrograph], floor: float) -> list[NDArray[np.intp]]:
    """Return the candidates of each micrograph to be sorted: from ``floor``, outside the mask."""
    above = [np.flatnonzero(m.candidates.score >= floor) for m in micrographs]
    masked = [
        m.mask[tuple(np.clip(np.rint(m.candidates.yx_px).astype(int), 0, _last(m)).T)]
        for m in micrographs
    ]
    return [a[~bad[a]] for a, bad in zip(above, masked, strict=True)]


def _sample(
    chosen: Sequence[NDArray[np.intp]], micrographs: Sequence[PreparedMicrograph], most: int
) -> list[NDArray[np.intp]]:
    """Return at most about ``most`` candidates, the same share of each micrograph.

    They are evenly spaced by score rank. If only the best were taken, junk with lower scores would
    have no class to be assigned to.
    """
    share = most / max(1, sum(map(len, chosen)))
    if share >= 1:
        return list(chosen)
    sampled = []
    for places, micrograph in zip(chosen, micrographs, strict=True):
        by_score = places[np.argsort(-micrograph.candidates.score[places], kind="stable")]
        rank = np.linspace(0, len(places) - 1, round(share * len(places))).round().astype(int)
        sampled.append(np.sort(by_score[rank]))
    return sampled


def _last(micrograph: PreparedMicrograph) -> NDArray[np.intp]:
    return np.asarray(micrograph.image.shape) - 1


class _Cutter:
    """Cutter of candidates from the original micrographs; records their order."""

    def __init__(
        self,
        micrographs: Sequence[PreparedMicrograph],
        *,
        diameter_angstrom: float,
        contrast: Contrast,
    ) -> None:
        self._micrographs = micrographs
        self._diameter_angstrom, self._contrast = diameter_angstrom, contrast
        self._box_px = choose_box_px(
            pixel_size_angstrom=max(m.original_pixel_size_angstrom for m in micrographs),
            diameter_angstrom=diameter_angstrom,
        )
        self.done: list[tuple[int, int]] = []
        """Micrograph and candidate of each particle cut so far."""

    def __call__(self, number: int, places: NDArray[np.intp]) -> ParticleStack:
        """Return the boxes around candidates of a micrograph, if they are entirely inside it."""
        micrograph = self._micrographs[number]
        scale = np.array([micrograph.scale_y, micrograph.scale_x], dtype=np.float32)
        image = read_micrograph(
            micrograph.path, pixel_size_angstrom=micrograph.original_pixel_size_angstrom
        ).image
        stack = cut_particles(
            image,
            micrograph.candidates.yx_px[places] * scale,
            pixel_size_angstrom=micrograph.original_pixel_size_angstrom,
            diameter_angstrom=self._diameter_angstrom,
            contrast=self._contrast,
            box_px=self._box_px,
            micrograph=number,
            ctf=micrograph.ctf,
        )
        self.done += [(number, int(place)) for place in places[stack.candidate]]
        return stack


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """Verdicts on the candidates of one micrograph; fields as in ``Candidates``."""

    yx_px: NDArray[np.float32]
    verdict: Verdict
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


def _save(
    folder: Path,
    micrographs: Sequence[PreparedMicrograph],
    found: Sequence[_Judged],
    summary: Mapping[str, object],
) -> None:
    names = [str(micrograph.path) for micrograph in micrographs]
    arrays = io.BytesIO()
    entries = {
        f"{name}{number}": getattr(of_micrograph, name)
        for number, of_micrograph in enumerate(found)
        for name in _Judged.__slots__
    }
    np.savez(arrays, **entries)
    write_atomically(folder / VERDICTS, arrays.getvalue())
    text = json.dumps({**summary, "micrographs": names}, indent=1)
    write_atomically(folder / CLASSES_JSON, text.encode() + b"\n")
