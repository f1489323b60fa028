"""Template picking: seeds that replace the first picker's, found with the mean of blob picks.

A blob picker knows only a diameter. The mean of its picks, minus what it would find in noise, shows
what this particle looks like (``templates``). The micrographs are searched again with that
template. Its matches are the candidates that are sorted into classes, and the seeds.

The seeds are the picks of the blob picker, or those of the general model, which has the blob picker
in its graph. The template is made from the blob picker's candidates with both. Precision and recall
of the seeds that the 2D classes leave, from the blob picker and from the general model: simulated
beta-galactosidase .86 and .49, .88 and .60; proteasome .91 and .76, .90 and .79; EMPIAR-10146 sums
.99 and .81, .99 and .80.

If the signal is strong, the first picker's picks stay unless it found far fewer: it adds discs of
several sizes and a shell as each micrograph needs them, while the template is a single mean over
all directions and micrographs.

Precision and recall of the seeds, first the blob picker's, then the template's, on every other
micrograph: EMPIAR-10146 single frames .68 and .05, .57 and .52; sums .97 and .98, .95 and .99;
simulated beta-galactosidase .82 and .68, .70 and .65; apoferritin .96 and .98, .77 and .99;
proteasome .89 and .97, .84 and .95; spike .87 and .92, .79 and .92.

The **signal is weak** if less than half of the template's matches are in excess of its decoys. 2D
classes are not meaningful then (on single frames, .54 of the rejected candidates were particles,
and .54 of the accepted ones), and all seeds are believed: a network learns more from many seeds of
which half are wrong than from a few good ones (average precision .49 against .26).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from livepick.core.imaging.blob_detector import SLOPE_SIGMAS, blob_graph
from livepick.core.imaging.peaks import find_peaks
from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick_trainer.learning.evaluate import padded
from livepick_trainer.learning.export_onnx import graph_outputs
from livepick_trainer.pipeline.rounds import write_candidates, write_decoys, write_result
from livepick_trainer.seeds.labels import Candidates, is_near
from livepick_trainer.seeds.preprocess import PreparedMicrograph
from livepick_trainer.seeds.templates import find_template, match_score

__all__ = ["TemplateRules", "add_unpicked_blobs", "pick_with_template", "threshold_for"]

Image = NDArray[np.float32]

THRESHOLD = 0.5
"""Lowest score at which a match is a seed."""

LOWEST_SIGMAS = 1.0
"""Lowest peak of the blob picker's response that is kept."""

UNLABELLED_SCORE = 0.26
"""Score of candidates that only the blob picker finds, in addition to a person's picks. Those have
a score of 1 and a threshold of 0.5, so this is high enough for a candidate to be ignored during
training, and too low for it to be sorted into classes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TemplateRules:
    """Rules for when seeds are replaced, and when the signal is weak."""

    weak_purity: float = 0.5
    """Share of the template's matches in excess of its decoys, below which the signal is weak. It
    was .37 and .26 on single frames, and .76 or more on other data."""

    enough_first: float = 0.6
    """First picks divided by the template's seeds. From this ratio, if the signal is strong, the
    first picks stay. It was .65 or more on simulated sessions, where the first picks are better,
    and .1 and .3 on single frames."""

    candidate_sigmas: float = 2.5
    """Lowest blob response of the candidates, and of the decoys, that make the template. It is the
    same in all micrographs; the threshold of the blob picks is higher where they might be noise."""

    least_candidates: int = 100
    """Fewest candidates from which a template is made."""

    decoy_score: float = 0.3
    """Lowest score of the decoys that are sorted with the blob picks, if these stay the seeds."""


def pick_with_template(
    micrographs: Sequence[PreparedMicrograph],
    folder: Path,
    *,
    threshold: float,
    min_distance_fraction: float,
    expected_picks: int | None,
    threads: int,
    rules: TemplateRules,
    report: Callable[[str, int, int], None],
) -> None:
    """Find better seeds with a template made from the first ones, and write them to ``folder``.

    Parameters
    ----------
    micrographs
        Prepared micrographs, with the blob picker's candidates.
    folder
        Existing folder for the new candidates, or for the reason why there are none.
    threshold
        Score threshold of the blob picker.
    min_distance_fraction
        As in ``config.Particle``.
    expected_picks
        Number of picks in a typical micrograph, which sets the number of seeds; None if unknown.
    threads
        Number of threads of the blob picker.
    rules
        Rules for when seeds are replaced.
    report
        Called with a sentence, the number of steps done, and the total.
    """
    min_distance_px = min_distance_fraction * DIAMETER_PX
    blobs = _blobs(micrographs, min_distance_px, threads)
    candidates = [found.above(rules.candidate_sigmas) for found, _ in blobs]
    if sum(map(len, candidates)) < rules.least_candidates:
        write_result(folder, "too few candidates for a template", used=False)
        return
    decoys = [found.scored(rules.decoy_score) for _, found in blobs]
    template = find_template(
        [m.image for m in micrographs],
        [m.mask for m in micrographs],
        candidates,
        [found.above(rules.candidate_sigmas) for _, found in blobs],
        diameter_px=DIAMETER_PX,
        min_distance_px=min_distance_px,
        report=report,
    )
    if template is None or template.excess <= 0:
        write_decoys(folder, micrographs, decoys)
        note = "the template finds no more than noise would give; the first picker's seeds stay"
        write_result(folder, note, used=False)
        report(note, 1, 1)
        return
    found = [
        replace(m, candidates=Candidates(match.yx_px, match_score(match.sigmas)))
        for m, match in zip(micrographs, template.matches, strict=True)
    ]
    new_threshold = threshold_for(found, expected_picks)
    first, count = _count(micrographs, threshold), _count(found, new_threshold)
    weak = template.purity < rules.weak_purity
    if not weak and expected_picks is None and first >= rules.enough_first * count:
        write_decoys(folder, micrographs, decoys)
        note = f"the first picker's {first} seeds stay; the template finds {count}"
        write_result(folder, note, used=False)
    else:
        write_candidates(folder, found, new_threshold)
        own_decoys = [Candidates(m.yx_px, match_score(m.sigmas)) for m in template.decoys]
        write_decoys(folder, micrographs, own_decoys)
        note = (
            f"{count} seeds match the template (mean of the first picks minus"
            f" {template.share:.0%} of that of their decoys); purity {template.purity:.2f},"
            f" {'weak' if weak else 'strong'} signal"
        )
        write_result(folder, note, used=True, weak=weak)
    report(note, 1, 1)


def _count(micrographs: Sequence[PreparedMicrograph], threshold: float) -> int:
    return sum(int((m.candidates.score >= threshold).sum()) for m in micrographs)


def add_unpicked_blobs(
    micrographs: Sequence[PreparedMicrograph],
    folder: Path,
    *,
    min_distance_fraction: float,
    threshold: float,
    threads: int,
) -> None:
    """Add the blob picker's other picks to a person's picks, to be ignored during training.

    Picks made by hand are incomplete, and even more so those kept after a 2D classification: on
    public data, a selection keeps .17 to .87 of the particles. A particle that is not picked is
    unlabelled, not background.

    Parameters
    ----------
    micrographs
        Prepared micrographs, with a person's picks as candidates.
    folder
        Existing folder for the candidates.
    min_distance_fraction
        As in ``config.Particle``.
    threshold
        Score threshold of the person's picks.
    threads
        Number of threads of the blob picker.
    """
    min_distance_px = min_distance_fraction * DIAMETER_PX
    found, added = [], 0
    for micrograph, (blobs, _) in zip(
        micrographs, _blobs(micrographs, min_distance_px, threads), strict=True
    ):
        own, blob_yx_px = micrograph.candidates, blobs.scored(THRESHOLD).yx_px
        yx_px = blob_yx_px[~is_near(blob_yx_px, own.yx_px, min_distance_px)]
        score = np.full(len(yx_px), UNLABELLED_SCORE, dtype=np.float32)
        both = Candidates(np.concatenate([own.yx_px, yx_px]), np.concatenate([own.score, score]))
        found.append(replace(micrograph, candidates=both))
        added += len(yx_px)
    write_candidates(folder, found, threshold)
    note = f"{added} blobs that the person did not pick are ignored during training"
    write_result(folder, note, used=True)


def threshold_for(micrographs: Sequence[PreparedMicrograph], expected_picks: int | None) -> float:
    """Return the lowest score of a seed, which gives as many seeds as expected if that is known."""
    if expected_picks is None:
        return THRESHOLD
    scores = np.sort(np.concatenate([m.candidates.score for m in micrographs]))[::-1]
    wanted = min(expected_picks * len(micrographs), len(scores))
    return float(scores[wanted - 1]) if wanted else THRESHOLD


@dataclass(frozen=True, slots=True, eq=False)
class _Blobs:
    """Peaks of the blob picker's response in one micrograph, or in its negative."""

    yx_px: NDArray[np.float32]
    """(N, 2) in prepared pixels."""
    sigmas: NDArray[np.float32]
    """(N,): response, in standard deviations."""
    threshold_sigmas: float
    """Response that scores 0.5 in this micrograph."""

    def above(self, sigmas: float) -> NDArray[np.float32]:
        """Return the places with at least this response."""
        places: NDArray[np.float32] = self.yx_px[self.sigmas >= sigmas]
        return places

    def scored(self, floor: float) -> Candidates:
        """Return the peaks with at least this score."""
        score = 1 / (1 + np.exp((self.threshold_sigmas - self.sigmas) / np.float32(SLOPE_SIGMAS)))
        keep = score >= floor
        return Candidates(self.yx_px[keep], score[keep].astype(np.float32))


def _blobs(
    micrographs: Sequence[PreparedMicrograph], min_distance_px: float, threads: int
) -> list[tuple[_Blobs, _Blobs]]:
    """Return the blob picker's peaks in each micrograph and in its negative, outside the mask."""
    run = graph_outputs(blob_graph(DIAMETER_PX, scores=False), ["response", "threshold"], threads)
    found = []
    for m in micrographs:
        image = padded(m.image)
        height, width = m.image.shape
        mask = np.ones(image.shape, dtype=np.float32)
        mask[:height, :width] = m.mask
        response, threshold = run({"image": image[None, None], "mask": mask[None, None]})
        peaks = (
            find_peaks(
                sign * response[0, 0, :height, :width],
                min_distance_px=min_distance_px,
                floor=LOWEST_SIGMAS,
                mask=m.mask,
            )
            for sign in (np.float32(1), np.float32(-1))
        )
        blobs, decoys = (
            _Blobs(np.column_stack([y, x]).astype(np.float32), sigmas, threshold.item())
            for y, x, sigmas in peaks
        )
        found.append((blobs, decoys))
    return found
