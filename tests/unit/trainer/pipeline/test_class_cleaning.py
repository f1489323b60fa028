"""Seeds cleaned by 2D classes: what is believed, what is junk, and when classes are not used."""

import dataclasses
import json
import shutil

import mrcfile
import numpy as np
import pytest
import torch

from livepick.core.imaging.ctf import Ctf
from livepick.core.imaging.preprocess import prepare
from livepick.errors import TrainerError
from livepick_trainer.pipeline import candidate_sorting, class_cleaning
from livepick_trainer.pipeline.candidate_sorting import SortRules, sort_candidates
from livepick_trainer.pipeline.class_cleaning import (
    CLASSES_JSON,
    CLASSES_PNG,
    read_verdicts,
    select_seeds,
)
from livepick_trainer.seeds.labels import BELIEVED, REJECTED, UNSORTED, Candidates
from livepick_trainer.seeds.preprocess import PreparedMicrograph

DIAMETER_ANGSTROM = 120.0
PIXEL_SIZE_ANGSTROM = 3.0
SIDE_PX = 800


@pytest.fixture(scope="module")
def micrographs(tmp_path_factory):
    """Return four micrographs of 36 discs each, with as many candidates at empty places."""
    folder = tmp_path_factory.mktemp("micrographs")
    rng = np.random.default_rng(2)
    made = []
    for number in range(4):
        image = rng.standard_normal((SIDE_PX, SIDE_PX)).astype(np.float32)
        grid = np.array([(i, j) for i in range(75, 800, 130) for j in range(75, 800, 130)])
        particles = grid + rng.uniform(-8, 8, grid.shape)
        for cy, cx in particles:
            rows, columns = (slice(int(c) - 20, int(c) + 22) for c in (cy, cx))
            y, x = np.ogrid[rows, columns]
            image[rows, columns] -= np.float32(1.5) * (np.hypot(y - cy, x - cx) < 20)
        empty = (grid + 65)[(grid + 65 < 730).all(axis=1)]
        path = folder / f"mic_{number}.mrc"
        with mrcfile.new(path, image) as mrc:
            mrc.voxel_size = PIXEL_SIZE_ANGSTROM
        prepared = prepare(
            image,
            pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
            diameter_angstrom=DIAMETER_ANGSTROM,
            contrast="dark",
        )
        scale = np.array([prepared.scale_y, prepared.scale_x])
        at_corner = np.array([[4.0, 4.0]])
        yx = np.concatenate([particles, empty, at_corner]) / scale
        made.append(
            PreparedMicrograph(
                path=path,
                held_out=False,
                original_pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
                image=prepared.image,
                mask=prepared.mask,
                scale_y=prepared.scale_y,
                scale_x=prepared.scale_x,
                candidates=Candidates(yx.astype(np.float32), np.full(len(yx), 0.8, np.float32)),
            )
        )
    return made


@pytest.fixture(scope="module")
def classes(micrographs, tmp_path_factory):
    """Return a folder with the classes of all candidates."""
    folder = tmp_path_factory.mktemp("classes")
    sort(micrographs, folder)
    return folder


@pytest.fixture
def classified(classes, tmp_path):
    """Return a copy of the classes of all candidates."""
    return shutil.copytree(classes, tmp_path / "classify")


def sort(micrographs, folder, *, report=lambda *_: None, decoys=None, **rules):
    """Sort the candidates into classes."""
    sort_candidates(
        micrographs,
        folder,
        threshold=0.5,
        diameter_angstrom=DIAMETER_ANGSTROM,
        contrast="dark",
        seed=1,
        device=torch.device("cpu"),
        rules=SortRules(**rules),
        report=report,
        decoys=decoys,
    )


def clean(
    micrographs, folder, *, accept=(), reject=(), trusted=False, weak=False, decoys=None, **rules
):
    """Clean the candidates; return the verdicts, the content of classes.json, and the notes.

    Candidates that ``folder`` has no classes of are sorted first.
    """
    notes = []

    def report(note, _done, _total):
        notes.append(note)

    folder.mkdir(exist_ok=True)
    if not any(folder.iterdir()):
        sort(micrographs, folder, report=report, decoys=decoys, **rules)
    select_seeds(
        folder,
        micrographs,
        folder,
        diameter_angstrom=DIAMETER_ANGSTROM,
        accept=accept,
        reject=reject,
        report=report,
        trusted=trusted,
        weak=weak,
    )
    found = [m.candidates.verdict for m in read_verdicts(folder, micrographs)]
    return found, json.loads((folder / CLASSES_JSON).read_bytes()), notes


def test_particles_are_believed_and_empty_ice_is_not(micrographs, classified, real_pictures):
    """Most of each are recognized, even with so few; boxes that cross the edge are not sorted."""
    verdicts, summary, _ = clean(micrographs, classified)

    particles = np.concatenate([v[:36] for v in verdicts])
    empty = np.concatenate([v[36:-1] for v in verdicts])
    assert summary["used"]
    assert (particles == BELIEVED).mean() > 0.6
    assert (empty == REJECTED).mean() > 0.8
    assert all(v[-1] == UNSORTED for v in verdicts)
    assert (classified / CLASSES_PNG).read_bytes()[:4] == b"\x89PNG"


def test_particles_are_cut_with_their_micrographs_defocus(micrographs, tmp_path, monkeypatch):
    """Particles of a micrograph without a defocus are cut unchanged."""
    ctf = Ctf(
        defocus_u_angstrom=15_000,
        defocus_v_angstrom=15_000,
        astigmatism_angle_degrees=0,
        voltage_kv=300,
        spherical_aberration_mm=2.7,
        amplitude_contrast=0.1,
    )
    used = []
    resample = candidate_sorting.resample_for_boxes

    def listen(*args, **keywords):
        used.append(keywords["ctf"])
        return resample(*args, **keywords)

    monkeypatch.setattr(candidate_sorting, "resample_for_boxes", listen)
    clean([dataclasses.replace(micrographs[0], ctf=ctf), *micrographs[1:]], tmp_path / "classify")

    assert used == [ctf, None, None, None]


def test_the_same_seed_gives_the_same_verdicts(micrographs, classified, tmp_path):
    """A stage that was killed and is done again gives the same result."""
    first, _, _ = clean(micrographs, classified)
    second, _, _ = clean(micrographs, tmp_path / "again")

    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_too_few_candidates_are_not_sorted(micrographs, tmp_path):
    """Averages of a handful are noise; the seeds are left unchanged, and this is reported."""
    verdicts, summary, notes = clean(micrographs, tmp_path / "classify", least_particles=10_000)

    assert all((v == UNSORTED).all() for v in verdicts)
    assert not summary["used"]
    assert "too few" in notes[-1]


def test_classes_that_reject_nearly_all_are_not_used(micrographs, classified, monkeypatch):
    """In this case it is the particle that the classes have missed."""
    monkeypatch.setattr(class_cleaning, "LEAST_BELIEVED", 1.0)

    verdicts, summary, notes = clean(micrographs, classified)

    assert all((v == UNSORTED).all() for v in verdicts)
    assert not summary["used"]
    assert "too few to be reliable" in notes[-1]


def test_a_person_overrules_the_verdicts(micrographs, classified):
    """Nothing is sorted again: the classes keep their numbers, and the picture says who decided."""
    _, before, _ = clean(micrographs, classified)
    accepted = [number for number, c in enumerate(before["classes"]) if c["accepted"]]
    rejected = [number for number, c in enumerate(before["classes"]) if not c["accepted"]]

    _, after, _ = clean(micrographs, classified, accept=rejected[:1], reject=accepted[:1])

    assert after["classes"][rejected[0]]["accepted"]
    assert not after["classes"][accepted[0]]["accepted"]
    assert after["classes"][accepted[0]]["reason"] == "decided by a person"


def test_a_class_that_there_is_not_cannot_be_decided_on(micrographs, classified):
    """The error names the existing class numbers."""
    _, summary, _ = clean(micrographs, classified)
    count = len(summary["classes"])

    with pytest.raises(TrainerError, match=f"names 99.*0 to {count - 1}"):
        clean(micrographs, classified, reject=[99])


def test_a_persons_picks_are_believed_whatever_their_classes_look_like(
    micrographs, tmp_path, quick_classes
):
    """The classes are still shown, but none of them is a reason to leave out a pick."""
    verdicts, summary, notes = clean(micrographs, tmp_path / "classify", trusted=True)

    assert all((v == UNSORTED).all() for v in verdicts)
    assert all(c["accepted"] for c in summary["classes"])
    assert "because a person picked them" in notes[-1]
    assert (tmp_path / "classify" / CLASSES_PNG).exists()


def test_of_a_persons_picks_only_those_that_a_person_rejects_are_not_believed(
    micrographs, tmp_path, quick_classes
):
    """Picks whose box crosses the edge are believed too."""
    verdicts, _, _ = clean(micrographs, tmp_path / "classify", trusted=True, reject=[1])

    every = np.concatenate(verdicts)
    assert set(every.tolist()) == {BELIEVED, REJECTED}
    assert (every == REJECTED).sum() == (len(every) - len(verdicts)) // 2


def test_what_is_beyond_the_sample_is_sorted_into_its_classes(micrographs, tmp_path):
    """Classes are made from two thirds of the candidates; the others get a class and a verdict."""
    folder = tmp_path / "classify"
    verdicts, _, _ = clean(micrographs, folder, most_sampled=160)

    with np.load(folder / "classes.npz") as arrays:
        assert int(arrays["half_sizes"].sum()) in range(150, 170)
        assert len(arrays["label"]) == sum(len(v) - 1 for v in verdicts)
    for found in read_verdicts(folder, micrographs):
        assert np.isfinite(found.candidates.chance[:-1]).all()
        assert np.isnan(found.candidates.chance[-1])
    particles = np.concatenate([v[:36] for v in verdicts])
    empty = np.concatenate([v[36:-1] for v in verdicts])
    assert (particles == BELIEVED).mean() > 0.6
    assert (empty == BELIEVED).mean() < 0.1


def test_believed_candidates_are_moved_to_their_centres(micrographs, tmp_path):
    """Picks that are off by a tenth of the diameter lie within a pixel after the alignment."""
    rng = np.random.default_rng(4)
    off = []
    for m in micrographs:
        yx_px = m.candidates.yx_px.copy()
        yx_px[:36] += rng.normal(0, 2, (36, 2)).astype(np.float32)
        off.append(
            dataclasses.replace(m, candidates=dataclasses.replace(m.candidates, yx_px=yx_px))
        )

    clean(off, tmp_path / "classify")

    before, after = [], []
    for m, picked, found in zip(
        micrographs, off, read_verdicts(tmp_path / "classify", off), strict=True
    ):
        believed = np.flatnonzero(found.candidates.verdict[:36] == BELIEVED)
        true = m.candidates.yx_px[believed]
        before.append(np.hypot(*(picked.candidates.yx_px[believed] - true).T))
        after.append(np.hypot(*(found.candidates.yx_px[believed] - true).T))
    assert np.median(np.concatenate(after)) < 0.5 * np.median(np.concatenate(before))


def test_a_class_that_attracts_decoys_is_taken_for_noise(micrographs, tmp_path):
    """Decoys are positions in the negatives; here they are at empty places of the micrographs."""
    decoys = [
        Candidates(m.candidates.yx_px[36:-1].repeat(2, axis=0), np.full(50, 0.8, np.float32))
        for m in micrographs
    ]
    folder = tmp_path / "classify"

    verdicts, summary, _ = clean(micrographs, folder, decoys=decoys)

    ratio = {c["accepted"]: [] for c in summary["classes"]}
    for c in summary["classes"]:
        ratio[c["accepted"]].append(c["decoys"])
    assert max(ratio[True]) < 0.5
    assert max(ratio[False]) > 1
    assert (np.concatenate([v[:36] for v in verdicts]) == BELIEVED).mean() > 0.6


@pytest.mark.parametrize(("score", "taught"), [(0.1, REJECTED), (0.4, UNSORTED)])
def test_only_clear_junk_is_learned_as_background(
    micrographs, tmp_path, judge_second_class, score, taught
):
    """Members of a doubtful class may be particles, so they are ignored during training."""
    judge_second_class(score)

    verdicts, summary, _ = clean(micrographs, tmp_path / "classify")

    every = np.concatenate([v[:-1] for v in verdicts])  # the boxes of the last ones cross the edge
    assert summary["used"]
    assert (every == BELIEVED).sum() == len(every) // 2
    assert (every == taught).sum() == len(every) // 2


def test_in_weak_signal_classes_decide_nothing_but_a_person_does(
    micrographs, tmp_path, judge_second_class
):
    """There is still a picture with the class numbers that a person can decide on."""
    judge_second_class(0.0)

    verdicts, summary, notes = clean(micrographs, tmp_path / "classify", weak=True)
    assert all((v == UNSORTED).all() for v in verdicts)
    assert not summary["used"]
    assert "the signal is too weak" in notes[-1]
    assert (tmp_path / "classify" / CLASSES_PNG).exists()

    decided, summary, _ = clean(micrographs, tmp_path / "classify", weak=True, reject=[1])
    assert summary["used"]
    assert (np.concatenate(decided) == REJECTED).any()
