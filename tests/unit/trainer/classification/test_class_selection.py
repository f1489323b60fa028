"""Automatic judgement of classes."""

import subprocess
import sys

import numpy as np
import pytest

from livepick_trainer.classification.class_picture import draw_classes
from livepick_trainer.classification.class_selection import select_classes
from livepick_trainer.pipeline.class_cleaning import JUNK_SCORE

BOX_PX, DIAMETER_PX, PIXEL_SIZE_ANGSTROM = 64, 42.0, 3.0
Y, X = np.indices((BOX_PX, BOX_PX)) - BOX_PX // 2
NOISE = 0.08  # of an average of 150 particles


def disc(radius_px, centre=(0, 0), height=1.0):
    distance = np.hypot(Y - centre[0], X - centre[1])
    return height / (1 + np.exp((distance - radius_px) / 1.0))


GOOD = disc(16) - disc(9, (4, 5), 0.4)
BAD = {
    "faint": 0.3 * GOOD,
    "strong": 6 * GOOD,
    "small": disc(4.5, height=3),
    "off centre": disc(11, (0, 13)),
    "core": disc(12, (0, 29)) + disc(12, (25, -15)) + disc(12, (-25, -15)) - disc(9, height=0.3),
    "agree only": np.zeros_like(GOOD),
}


def select(signals, sizes=None, probability=0.5, **keywords):
    rng = np.random.default_rng(0)
    signal = np.array(signals)
    halves = signal + rng.normal(0, NOISE * np.sqrt(2), (2, *signal.shape))
    halves = halves.astype(np.float32)
    sizes = [150] * len(signal) if sizes is None else sizes
    label = np.repeat(np.arange(len(signal)), sizes)
    return select_classes(
        halves.mean(axis=0),
        halves,
        np.stack([np.array(sizes) // 2, np.array(sizes) - np.array(sizes) // 2]),
        label,
        np.full(len(label), probability, dtype=np.float32),
        classes=max(10, len(signal)),
        pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
        diameter_angstrom=DIAMETER_PX * PIXEL_SIZE_ANGSTROM,
        **keywords,
    )


def test_good_classes_are_accepted():
    """Their verdict states the resolution, and all their particles are believed."""
    found = select([GOOD] * 4)

    assert [v.accepted for v in found.verdicts] == [True] * 4
    assert found.verdicts[0].reason.endswith("Å")
    assert found.believed.all()


@pytest.mark.parametrize("inner_radius_px", [11, 17])
def test_a_hollow_shell_is_a_particle(inner_radius_px):
    """Shells with thick and with thin walls are accepted."""
    found = select([disc(20) - disc(inner_radius_px)] * 3)

    assert all(v.accepted for v in found.verdicts)


@pytest.mark.parametrize("fault", BAD)
def test_a_fault_is_named(fault):
    """One bad class among good ones is rejected, with its fault as the reason."""
    found = select([*[GOOD] * 9, BAD[fault]])

    assert [v.accepted for v in found.verdicts] == [True] * 9 + [False]
    assert fault in found.verdicts[9].reason
    assert (~found.believed).sum() == 150


def test_a_sample_of_mostly_noise_keeps_its_particles():
    """The usual strength depends on signal, so many faint classes do not make a good one strong."""
    found = select([GOOD] + [0.25 * GOOD] * 6)

    assert [v.accepted for v in found.verdicts] == [True] + [False] * 6


def coarse(image, most_ring=4):
    """Return an image without the rings beyond the coarsest."""
    y, x = (np.fft.fftfreq(BOX_PX)[:, None] * BOX_PX, np.fft.rfftfreq(BOX_PX) * BOX_PX)
    return np.fft.irfft2(np.fft.rfft2(image) * (np.hypot(y, x) <= most_ring), s=image.shape)


def like_noise(count):
    """Return averages like those of aligned noise, which have a shape, but no fine detail."""
    rng = np.random.default_rng(1)
    return [
        0.4 * coarse(disc(15) - disc(7, place, 0.5)) for place in rng.uniform(-8, 8, (count, 2))
    ]


def test_classes_of_noise_alone_are_rejected_if_they_must_be_clear():
    """Compared with each other they are usual; their halves agree in coarse rings only."""
    noise = like_noise(12)
    assert sum(v.accepted for v in select(noise).verdicts) >= 6
    verdicts = select(noise, must_be_clear=True).verdicts
    assert not any(v.accepted for v in verdicts)
    assert "cannot be told from noise: its halves agree as little" in {v.reason for v in verdicts}


def test_a_clear_class_sets_the_usual_strength_among_classes_of_noise():
    """It would be too strong otherwise, and the noise would be usual."""
    signals = [2 * GOOD, *like_noise(30)]
    assert not select(signals).verdicts[0].accepted
    verdicts = select(signals, must_be_clear=True).verdicts
    assert [v.accepted for v in verdicts] == [True] + [False] * 30


def test_a_class_without_detail_stays_good_among_clear_ones():
    """Where the classes together are clear, each is compared with the others, as ever."""
    found = select([*[GOOD] * 8, 0.8 * coarse(GOOD)], must_be_clear=True)
    assert found.figures[8].agreement_sigmas < 3.7
    assert all(v.accepted for v in found.verdicts)


def test_a_class_of_few_particles_is_not_judged_good():
    found = select([GOOD, GOOD], sizes=[150, 6])

    assert [v.accepted for v in found.verdicts] == [True, False]
    assert found.verdicts[1].reason == "only 6 particles"


def test_a_class_by_chance_is_rejected():
    """If each particle fits equally well into any other class, the classes are meaningless."""
    found = select([GOOD] * 10, probability=0.1)

    assert not any(v.accepted for v in found.verdicts)


def test_a_person_overrules():
    found = select([GOOD, GOOD, BAD["faint"]], accept=[2], reject=[0])

    assert [v.accepted for v in found.verdicts] == [False, True, True]
    assert [v.overruled for v in found.verdicts] == [True, False, True]


@pytest.mark.parametrize("decision", [{"accept": [0], "reject": [0]}, {"accept": [5]}])
def test_a_decision_that_makes_no_sense_is_refused(decision):
    with pytest.raises(ValueError, match="class"):
        select([GOOD, GOOD], **decision)


def test_the_picture_is_a_png():
    found = select([GOOD, BAD["faint"]])

    picture = draw_classes(
        np.array([GOOD, GOOD]), found.figures, found.verdicts, diameter_px=DIAMETER_PX
    )

    assert picture.startswith(b"\x89PNG")


def test_selection_needs_no_torch():
    """It is only arithmetic on averages, which others may want to repeat."""
    code = (
        "import livepick_trainer.classification.class_selection, sys; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "False"


def test_a_class_without_decoys_is_more_than_noise_even_if_it_is_faint():
    """One half as strong as usual is believed if the negatives have none like it, not if many."""
    signals = [*[GOOD] * 3, 0.5 * GOOD, 0.5 * GOOD]

    found = select(signals, decoys=np.array([0.0, 0, 0, 0, 600]))

    assert [v.accepted for v in found.verdicts] == [True] * 4 + [False]
    assert found.figures[3].decoys == pytest.approx(1 / 151)


def test_what_is_small_is_told_by_the_other_classes_and_not_by_a_number():
    """If all classes are that small, they are the particle, whose diameter was not known."""
    small = disc(6) - disc(3, (1, 2), 0.4)

    assert all(v.accepted for v in select([small] * 4).verdicts)
    assert not select([*[GOOD] * 9, disc(4.5, height=3)]).verdicts[9].accepted


def test_length_alone_makes_nothing_background():
    """A class that is only short is doubtful, since it may be an end-on view."""
    verdict = select([*[GOOD] * 9, 2 * disc(6)], decoys=np.zeros(10)).verdicts[9]

    assert not verdict.accepted
    assert verdict.reason.startswith("small")
    assert verdict.score > JUNK_SCORE
