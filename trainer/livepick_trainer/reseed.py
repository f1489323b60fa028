"""Seeds that replace the first ones: found with a template of the accepted classes, sorted anew.

Where the first picks are mostly in classes that are no particles, the first picker does not know
this particle well: in weak signal, or where it is hollow. But the few candidates in good classes
say what it looks like. So the micrographs are looked through once more with what the classes say
(``templates``), what is found is sorted into classes again, and these are the seeds. Where the
first picks are mostly good they stay, as a template of all directions knows less of an angular
particle than they do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from livepick.core.bundle import Contrast
from livepick.core.prepare import DIAMETER_PX
from livepick_trainer.candidates import end_round, write_candidates
from livepick_trainer.clean import CleanRules, read_classes, select_seeds, sort_candidates
from livepick_trainer.prepare import PreparedMicrograph
from livepick_trainer.seeds import Candidates
from livepick_trainer.templates import Template, make_template, matched_candidates

__all__ = ["ReseedRules", "reseed", "threshold_for"]

THRESHOLD = 0.5
"""Score of a matched candidate from which it is a seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReseedRules:
    """When seeds are replaced."""

    most_believed: float = 0.5
    """Share of the first candidates in accepted classes; with more the first seeds stay."""

    least_particles: int = 50
    """In accepted classes; fewer make no template."""


def reseed(
    sorted_folder: Path,
    selected_folder: Path,
    micrographs: Sequence[PreparedMicrograph],
    folder: Path,
    *,
    diameter_angstrom: float,
    contrast: Contrast,
    min_distance_fraction: float,
    expected_picks: int | None,
    seed: int,
    device: torch.device,
    rules: ReseedRules,
    clean_rules: CleanRules,
    report: Callable[[str, int, int], None],
) -> None:
    """Find better seeds if the classes say so, and leave them in ``folder``.

    Parameters
    ----------
    sorted_folder, selected_folder
        Of the first candidates: classes and verdicts.
    micrographs
        Prepared, with the first candidates.
    folder
        Exists; gets the new candidates, their classes and verdicts, or why there are none.
    diameter_angstrom, contrast, min_distance_fraction
        Of the particle.
    expected_picks
        Of a typical micrograph, if somebody knows; so many are seeds then.
    seed, device
        Of the classification.
    rules, clean_rules
        When, and how they are sorted.
    report
        Called with a sentence, steps done and steps in all.

    Raises
    ------
    MicrographError
        A micrograph that could be prepared can no longer be read.
    """
    template, note = _template(sorted_folder, selected_folder, rules)
    if template is None:
        end_round(folder, note, used=False)
        report(note, 1, 1)
        return
    found = []
    for number, micrograph in enumerate(micrographs):
        yx_px, score = matched_candidates(
            micrograph.image,
            micrograph.mask,
            template,
            min_distance_px=min_distance_fraction * DIAMETER_PX,
        )
        found.append(replace(micrograph, candidates=Candidates(yx_px, score)))
        report(f"{micrograph.path.name}: {len(score)} candidates", number + 1, len(micrographs))
    threshold = threshold_for(found, expected_picks)
    write_candidates(folder, found, threshold)
    sort_candidates(
        found,
        folder,
        threshold=threshold,
        diameter_angstrom=diameter_angstrom,
        contrast=contrast,
        seed=seed,
        device=device,
        rules=clean_rules,
        report=report,
    )
    select_seeds(
        folder,
        found,
        folder,
        diameter_angstrom=diameter_angstrom,
        accept=(),
        reject=(),
        rules=clean_rules,
        report=report,
    )
    count = sum(int((m.candidates.score >= threshold).sum()) for m in found)
    note = f"{note}: {count} candidates look like them"
    end_round(folder, note, used=True)
    report(note, 1, 1)


def threshold_for(micrographs: Sequence[PreparedMicrograph], expected_picks: int | None) -> float:
    """Return the score from which candidates are seeds: as many as are expected, if known."""
    if expected_picks is None:
        return THRESHOLD
    scores = np.sort(np.concatenate([m.candidates.score for m in micrographs]))[::-1]
    wanted = min(expected_picks * len(micrographs), len(scores))
    return float(scores[wanted - 1]) if wanted else THRESHOLD


def _template(
    sorted_folder: Path, selected_folder: Path, rules: ReseedRules
) -> tuple[Template | None, str]:
    """Return a template of the accepted classes, or why there is none."""
    classes = read_classes(sorted_folder, selected_folder)
    if classes is None:
        return None, "there are no classes to look for; the first picks stay"
    accepted = np.flatnonzero(classes.accepted)
    particles = int(classes.particles[accepted].sum())
    share = particles / int(classes.particles.sum())
    if share > rules.most_believed:
        return None, f"{share:.0%} of the first picks are in accepted classes; they stay"
    if particles < rules.least_particles:
        return None, f"{particles} picks in accepted classes are too few to look for their like"
    template = make_template(
        classes.averages[accepted],
        classes.particles[accepted].tolist(),
        average_diameter_px=classes.diameter_px,
        diameter_px=DIAMETER_PX,
    )
    return template, f"{share:.0%} of the first picks are in accepted classes"
