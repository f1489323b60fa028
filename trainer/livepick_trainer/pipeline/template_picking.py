"""Seeds that replace the blob picker's: what looks like the mean of all that it found.

A blob picker knows only a diameter. What it found, all together and less what it would find in
noise, says what this particle looks like (``templates``). The micrographs are looked through once
more with that, and what is found are the candidates that are sorted into classes, and the seeds.

Where the signal is strong and the blob picker found as many, its picks stay: it knows discs of
several sizes and a shell, where the template knows one mean of all directions. On EMPIAR-10017,
whose particle is angular, its seeds taught better (average precision .79, and .77).

Precision and recall of seeds, blob picks first, then the template's, on micrographs that were
learned from: EMPIAR-10146 single frames .34 and .27, .52 and .59; sums .89 and .95, .91 and .98;
EMPIAR-10017 .77 and .83, .79 and .84; simulated beta-galactosidase .73 and .34, .71 and .77;
proteasome .80 and .58, .75 and .91.

In **weak signal** less than half of what the template finds is beyond its decoys. Then 2D classes
tell nothing (on single frames, of those rejected .54 were particles, of those accepted too), and
all seeds are believed: a network learns more from many seeds of which half are wrong than from a
few good ones (average precision .49, and .26).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from livepick.core.imaging.blob_detector import blob_graph
from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick_trainer.learning.evaluate import score_peaks
from livepick_trainer.learning.export_onnx import graph_scores
from livepick_trainer.pipeline.rounds import end_round, write_candidates, write_decoys
from livepick_trainer.seeds.labels import Candidates, is_near
from livepick_trainer.seeds.preprocess import PreparedMicrograph
from livepick_trainer.seeds.templates import find_template, match_score

__all__ = ["ReseedRules", "beside_coordinates", "reseed", "threshold_for"]

Image = NDArray[np.float32]

THRESHOLD = 0.5
"""Score of a match from which it is a seed."""

UNLABELLED_SCORE = 0.26
"""Of what only the blob picker finds beside a person's picks, whose score is 1 and threshold a
half: high enough to be learned as nothing, too low to be sorted into classes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReseedRules:
    """When seeds are replaced, and when the signal is weak."""

    weak_purity: float = 0.5
    """Share of the template's matches that are beyond its decoys; with less the signal is weak. It
    was .32 and .41 on single frames, and .66 and more on all else."""

    enough_first: float = 0.9
    """Of as many as the template finds; with more, and strong signal, the first picks stay. It was
    1.0 on EMPIAR-10017 and on sums, .4 to .75 on simulated sessions."""

    candidate_score: float = 0.3
    """Blob picks from here on make the template, and so do decoys."""

    least_candidates: int = 100
    """Fewer make no template."""


def reseed(
    micrographs: Sequence[PreparedMicrograph],
    folder: Path,
    *,
    threshold: float,
    min_distance_fraction: float,
    expected_picks: int | None,
    threads: int,
    rules: ReseedRules,
    report: Callable[[str, int, int], None],
) -> None:
    """Find better seeds with a template of the first ones, and leave them in ``folder``.

    Parameters
    ----------
    micrographs
        Prepared, with the blob picker's candidates.
    folder
        Exists; gets the new candidates, or why there are none.
    threshold
        Of the blob picker.
    min_distance_fraction
        As in ``config.Particle``.
    expected_picks
        Of a typical micrograph, if somebody knows; so many are seeds then.
    threads
        For the blob picker.
    rules
        When.
    report
        Called with a sentence, steps done and steps in all.
    """
    candidates = [
        m.candidates.yx_px[m.candidates.score >= rules.candidate_score] for m in micrographs
    ]
    if sum(map(len, candidates)) < rules.least_candidates:
        end_round(folder, "too few candidates to say what they look like", used=False)
        return
    min_distance_px = min_distance_fraction * DIAMETER_PX
    decoys = _blobs(
        [-m.image for m in micrographs],
        micrographs,
        min_distance_px,
        rules.candidate_score,
        threads,
    )
    template = find_template(
        [m.image for m in micrographs],
        [m.mask for m in micrographs],
        candidates,
        [found.yx_px for found in decoys],
        diameter_px=DIAMETER_PX,
        min_distance_px=min_distance_px,
        report=report,
    )
    if template is None or template.excess <= 0:
        write_decoys(folder, micrographs, decoys)
        note = "a template finds no more than noise would; the blob picker's seeds stay"
        end_round(folder, note, used=False)
        report(note, 1, 1)
        return
    found = [
        replace(m, candidates=Candidates(match.yx_px, match_score(match.sigmas)))
        for m, match in zip(micrographs, template.matches, strict=True)
    ]
    new_threshold = threshold_for(found, expected_picks)
    count = _count(found, new_threshold)
    weak = template.purity < rules.weak_purity
    first = _count(micrographs, threshold)
    if not weak and expected_picks is None and first >= rules.enough_first * count:
        write_decoys(folder, micrographs, decoys)
        note = f"{first} first picks, and {count} like their mean: they stay"
        end_round(folder, note, used=False)
        report(note, 1, 1)
        return
    write_candidates(folder, found, new_threshold)
    negatives = [Candidates(match.yx_px, match_score(match.sigmas)) for match in template.decoys]
    write_decoys(folder, micrographs, negatives)
    note = (
        f"{count} seeds look like the first picks' mean less {template.share:.0%} of their decoys';"
        f" purity {template.purity:.2f}, {'weak' if weak else 'strong'} signal"
    )
    end_round(folder, note, used=True, weak=weak)
    report(note, 1, 1)


def _count(micrographs: Sequence[PreparedMicrograph], threshold: float) -> int:
    return sum(int((m.candidates.score >= threshold).sum()) for m in micrographs)


def beside_coordinates(
    micrographs: Sequence[PreparedMicrograph],
    folder: Path,
    *,
    min_distance_fraction: float,
    threshold: float,
    threads: int,
) -> None:
    """Add to a person's picks what the blob picker finds besides, to be learned as nothing.

    Picks by hand, and more so those kept after a 2D classification, are not all that there is: on
    public data a selection keeps .17 to .87 of the particles. What is not picked is unlabelled,
    which is not background.

    Parameters
    ----------
    micrographs
        Prepared, with a person's picks as candidates.
    folder
        Exists; gets the candidates.
    min_distance_fraction
        As in ``config.Particle``.
    threshold
        Of the person's picks.
    threads
        For the blob picker.
    """
    min_distance_px = min_distance_fraction * DIAMETER_PX
    blobs = _blobs([m.image for m in micrographs], micrographs, min_distance_px, THRESHOLD, threads)
    found, added = [], 0
    for micrograph, blob in zip(micrographs, blobs, strict=True):
        own = micrograph.candidates
        yx_px = blob.yx_px[~is_near(blob.yx_px, own.yx_px, min_distance_px)]
        score = np.full(len(yx_px), UNLABELLED_SCORE, dtype=np.float32)
        both = Candidates(np.concatenate([own.yx_px, yx_px]), np.concatenate([own.score, score]))
        found.append(replace(micrograph, candidates=both))
        added += len(yx_px)
    write_candidates(folder, found, threshold)
    note = f"{added} blobs that nobody picked are learned as neither particle nor background"
    end_round(folder, note, used=True)


def threshold_for(micrographs: Sequence[PreparedMicrograph], expected_picks: int | None) -> float:
    """Return the score from which candidates are seeds: as many as are expected, if known."""
    if expected_picks is None:
        return THRESHOLD
    scores = np.sort(np.concatenate([m.candidates.score for m in micrographs]))[::-1]
    wanted = min(expected_picks * len(micrographs), len(scores))
    return float(scores[wanted - 1]) if wanted else THRESHOLD


def _blobs(
    images: Sequence[Image],
    micrographs: Sequence[PreparedMicrograph],
    min_distance_px: float,
    floor: float,
    threads: int,
) -> list[Candidates]:
    """Return what the blob picker finds in each image outside of each micrograph's mask."""
    scores = graph_scores(blob_graph(DIAMETER_PX), threads)
    peaks = (
        score_peaks(scores, image, m.mask, min_distance_px=min_distance_px, floor=floor)
        for image, m in zip(images, micrographs, strict=True)
    )
    return [Candidates(yx_px, score) for yx_px, score in peaks]
