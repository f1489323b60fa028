"""Seeds from a template, which replace those of the blob picker, and the notes on the signal."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from livepick.core.imaging.blob_detector import blob_graph
from livepick.core.imaging.peaks import find_peaks
from livepick_trainer.learning.export_onnx import graph_scores
from livepick_trainer.pipeline.class_cleaning import VERDICTS, _CandidateVerdicts, _save
from livepick_trainer.pipeline.rounds import (
    is_weak,
    read_result,
    read_round,
    with_candidates,
    write_candidates,
    write_result,
)
from livepick_trainer.pipeline.template_picking import (
    TemplateRules,
    add_unpicked_blobs,
    pick_with_template,
    threshold_for,
)
from livepick_trainer.seeds.labels import (
    BELIEVED,
    REJECTED,
    UNSORTED,
    Candidates,
    choose_seeds,
)
from livepick_trainer.seeds.preprocess import PreparedMicrograph

DIAMETER_PX = 20
SIDE_PX = 320


def with_shells(seed, height):
    """Return a prepared micrograph of hollow shells, with the blob picker's candidates."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(28, SIDE_PX - 20, 44)] * 2, indexing="ij"), -1)
    truth = grid.reshape(-1, 2) + rng.uniform(-9, 9, (49, 2))
    y, x = np.indices((SIDE_PX, SIDE_PX))
    image = rng.normal(0, 1, y.shape).astype(np.float32)
    for cy, cx in truth:
        image += height * np.exp(-(((np.hypot(y - cy, x - cx) - 8) / 2) ** 2)).astype(np.float32)
    scores = graph_scores(blob_graph(DIAMETER_PX), 1)(image)
    top, left, score = find_peaks(scores, min_distance_px=12, floor=0.02)
    micrograph = PreparedMicrograph(
        path=Path(f"mic_{seed}.mrc"),
        held_out=False,
        original_pixel_size_angstrom=5.0,
        image=image,
        mask=np.zeros(image.shape, dtype=bool),
        scale_y=1.0,
        scale_x=1.0,
        candidates=Candidates(np.column_stack([top, left]).astype(np.float32), score),
    )
    return micrograph, truth


def reseeded(micrographs, folder, *, expected_picks=None, **rules):
    """Reseed; return the micrographs with their new seeds or None, and the note."""
    folder.mkdir(exist_ok=True)
    notes = []
    pick_with_template(
        micrographs,
        folder,
        threshold=0.5,
        min_distance_fraction=0.6,
        expected_picks=expected_picks,
        threads=1,
        rules=TemplateRules(**rules),
        report=lambda note, _done, _total: notes.append(note),
    )
    return read_round(folder, micrographs), notes


@pytest.fixture(scope="module")
def weak():
    """Return four micrographs of weak shells and their true positions; tests only read them."""
    made = [with_shells(n, 0.4) for n in range(4)]
    return [micrograph for micrograph, _ in made], [truth for _, truth in made]


def right(micrographs, truths):
    """Return the correct fraction of the best N candidates, where N is the number of particles."""
    shares = []
    for micrograph, truth in zip(micrographs, truths, strict=True):
        order = np.argsort(-micrograph.candidates.score, kind="stable")[: len(truth)]
        distance, _ = cKDTree(truth).query(micrograph.candidates.yx_px[order])
        shares.append(float((distance < DIAMETER_PX / 4).mean()))
    return float(np.mean(shares))


def test_in_weak_signal_there_are_new_and_more_seeds(weak, tmp_path):
    """The blob picker picks few, since most would be noise; the best ones are as often right."""
    micrographs, truths = weak

    found, notes = reseeded(micrographs, tmp_path)

    assert right(found, truths) > right(micrographs, truths)
    first, new = (sum((m.candidates.score >= 0.5).sum() for m in of) for of in (micrographs, found))
    assert new > 2 * first
    assert read_result(tmp_path) == (True, notes[-1])
    assert "weak signal" in notes[-1]
    assert is_weak(tmp_path)
    assert all(m.candidates.threshold == 0.5 for m in found)


def test_in_strong_signal_seeds_are_no_worse(tmp_path):
    """They come from the template too, and the note says what part of them exceeds noise."""
    made = [with_shells(n, 1.0) for n in range(4)]
    micrographs, truths = [m for m, _ in made], [truth for _, truth in made]

    found, notes = reseeded(micrographs, tmp_path, enough_first=10)

    assert right(found, truths) >= max(0.95, right(micrographs, truths))
    assert "strong signal" in notes[-1]
    assert not is_weak(tmp_path)


def test_in_strong_signal_as_many_first_picks_stay(tmp_path):
    """Blobs of several sizes describe a particle better than one average over all directions."""
    micrographs = [with_shells(n, 1.0)[0] for n in range(4)]

    found, notes = reseeded(micrographs, tmp_path, enough_first=0.1)

    assert found is None
    assert "seeds stay" in notes[-1]
    assert not is_weak(tmp_path)


def test_what_a_person_has_not_picked_is_learned_as_nothing(tmp_path):
    """Manual picks are incomplete, and a particle must not be treated as background."""
    micrograph, truth = with_shells(3, 1.0)
    by_hand = truth[:20].astype(np.float32)
    picked = replace(micrograph, candidates=Candidates(by_hand, np.ones(20, dtype=np.float32)))

    add_unpicked_blobs([picked], tmp_path, min_distance_fraction=0.6, threshold=0.5, threads=1)

    (found,) = read_round(tmp_path, [picked])
    seeds = choose_seeds(
        found.image,
        found.mask,
        found.candidates,
        threshold=0.5,
        diameter_px=DIAMETER_PX,
    )
    distance, _ = cKDTree(seeds.ignored_yx_px).query(truth[20:])
    assert (distance < 5).mean() > 0.8
    assert len(seeds.positive_yx_px) >= 19
    distance, _ = cKDTree(by_hand).query(seeds.positive_yx_px)
    assert distance.max() < 1e-3


def test_too_few_candidates_make_no_template(weak, tmp_path):
    """An average of a few is noise."""
    micrograph = weak[0][0]
    corner = replace(
        micrograph, image=micrograph.image[:112, :112].copy(), mask=micrograph.mask[:112, :112]
    )

    found, _ = reseeded([corner], tmp_path)

    assert found is None
    assert "too few" in read_result(tmp_path)[1]


def test_an_expected_count_decides_how_many_are_seeds(weak, tmp_path):
    """The count applies to each micrograph, regardless of the scores."""
    found, _ = reseeded(weak[0], tmp_path, expected_picks=30)

    thresholds = {m.candidates.threshold for m in found}
    assert len(thresholds) == 1
    seeds = sum(int((m.candidates.score >= m.candidates.threshold).sum()) for m in found)
    assert seeds == 4 * 30


def test_without_an_expected_count_a_seed_scores_one_half():
    """A count above the number of candidates makes all of them seeds; no candidates give none."""
    one, other = (
        candidates_of([0.9, 0.4, 0.2]),
        candidates_of([0.8, 0.7]),
    )

    assert threshold_for([one, other], None) == 0.5
    assert threshold_for([one, other], 1) == pytest.approx(0.8)
    assert threshold_for([one, other], 2) == pytest.approx(0.4)
    assert threshold_for([one, other], 50) == pytest.approx(0.2)
    assert threshold_for([candidates_of([])], 5) == 0.5


def candidates_of(scores, path="mic.mrc"):
    """Return a micrograph with candidates in a row."""
    yx_px = np.column_stack([np.full(len(scores), 7.25), 10.5 * np.arange(len(scores))])
    return PreparedMicrograph(
        path=Path(path),
        held_out=False,
        original_pixel_size_angstrom=1.0,
        image=np.zeros((40, 40), dtype=np.float32),
        mask=np.zeros((40, 40), dtype=bool),
        scale_y=1.0,
        scale_x=1.0,
        candidates=Candidates(yx_px.astype(np.float32), np.array(scores, dtype=np.float32)),
    )


def test_a_rounds_candidates_come_back_as_they_were_written(tmp_path):
    """They are bit-identical, by micrograph path, in any order, with threshold and verdicts."""
    round_of = [candidates_of([0.9, 0.4], "a.mrc"), candidates_of([0.7], "b.mrc")]
    verdicts = [np.array([BELIEVED, REJECTED], np.int8), np.array([UNSORTED], np.int8)]
    write_candidates(tmp_path, round_of, 0.35)
    found = [
        _CandidateVerdicts(m.candidates.yx_px, verdict, np.full(len(verdict), 0.6, np.float32))
        for m, verdict in zip(round_of, verdicts, strict=True)
    ]
    _save(tmp_path, round_of, found, {"used": True})
    write_result(tmp_path, "because", used=True)

    found = read_round(tmp_path, [candidates_of([], "b.mrc"), candidates_of([0.1] * 5, "a.mrc")])

    for micrograph, written, verdict in zip(found[::-1], round_of, verdicts, strict=True):
        candidates = micrograph.candidates
        np.testing.assert_array_equal(candidates.yx_px, written.candidates.yx_px)
        np.testing.assert_array_equal(candidates.score, written.candidates.score)
        np.testing.assert_array_equal(candidates.verdict, verdict)
        assert candidates.threshold == 0.35
    assert read_result(tmp_path) == (True, "because")


def test_candidates_that_were_not_sorted_have_no_verdicts(tmp_path):
    write_candidates(tmp_path, [candidates_of([0.9])], 0.5)

    (found,) = with_candidates(tmp_path, [candidates_of([])])

    assert not (tmp_path / VERDICTS).exists()
    assert found.candidates.verdict is None


def test_a_round_that_is_not_used_gives_no_candidates(tmp_path):
    """The same is true of a round that is missing or was not completed."""
    micrographs = [candidates_of([0.9])]
    assert read_round(tmp_path / "nowhere", micrographs) is None

    write_candidates(tmp_path, micrographs, 0.5)
    assert read_round(tmp_path, micrographs) is None

    write_result(tmp_path, "no better", used=False)
    assert read_round(tmp_path, micrographs) is None
