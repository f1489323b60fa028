"""Quality figures of synthetic images, and the resulting verdict."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from livepick.core.imaging.mottle import mottle
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.power_spectrum import power_spectrum
from livepick.core.imaging.preprocess import prepare
from livepick.core.imaging.quality import Quality
from livepick.core.imaging.quality_limits import LIMITS, judge
from livepick.core.imaging.quality_measurement import measure_quality
from livepick.monitoring.metrics.quality import QUALITY_FIGURES

SIZE = 1024
GRID = [(y, x) for y in range(110, 950, 200) for x in range(110, 950, 200)]
PIXEL = 1.0
DIAMETER = 100.0


@pytest.fixture(scope="module")
def noise():
    """Return white noise of standard deviation 1."""
    return np.random.default_rng(5).standard_normal((SIZE, SIZE)).astype(np.float32)


@pytest.fixture(scope="module")
def specimen():
    """Return structure of all wavelengths above about 10 pixels, standard deviation 1."""
    rough = np.random.default_rng(6).standard_normal((SIZE, SIZE)).astype(np.float32)
    smooth = ndimage.gaussian_filter(rough, 2, mode="wrap")
    return smooth / smooth.std()


def figures(image, *, pixel_size_angstrom=PIXEL, diameter_px=DIAMETER, **keywords):
    prepared = prepare(
        image,
        pixel_size_angstrom=pixel_size_angstrom,
        diameter_angstrom=diameter_px * pixel_size_angstrom,
        contrast="dark",
        **keywords,
    )
    return measure_quality(image, prepared, pixel_size_angstrom=pixel_size_angstrom)


def with_discs(image, strength):
    """Return an image with 60 dark discs, apart from each other."""
    result = image.copy()
    y, x = np.mgrid[:SIZE, :SIZE]
    for k in range(60):
        cy, cx = 70 + 125 * (k // 8), 70 + 125 * (k % 8)
        result[np.hypot(y - cy, x - cx) < DIAMETER / 2] -= strength
    return result


def test_noise_has_no_contrast_and_no_signal(noise):
    """Contrast is 1 by definition; the anisotropy of no signal is unknown."""
    found = figures(noise)

    assert found.contrast == pytest.approx(1, abs=0.06)
    assert found.signal_fraction < 0.05
    assert found.anisotropy is None
    assert figures(noise, diameter_px=60).uneven_fraction == 0
    assert found.ice_gradient_sigmas < 0.5
    assert (found.border_fraction, found.contamination_fraction, found.carbon_fraction) == (0, 0, 0)


def test_contrast_grows_with_the_square_of_the_particles(noise):
    """It is a ratio of powers, (S + N) / N."""
    weak, strong = (figures(with_discs(noise, s)).contrast - 1 for s in (0.3, 0.6))

    assert weak > 0.2
    assert strong / weak == pytest.approx(4, rel=0.15)


def test_figures_do_not_depend_on_grey_values(noise, specimen):
    """Dose, offset and detector type change only the noise level."""
    image = noise + 0.5 * specimen
    here, there = (figures(i, diameter_px=60) for i in (image, 1000 + 40 * image))

    assert there.noise_sigma == pytest.approx(40 * here.noise_sigma, rel=1e-3)
    for name in ("contrast", "signal_fraction", "anisotropy", "uneven_fraction", "skewness"):
        assert getattr(there, name) == pytest.approx(getattr(here, name), rel=0.01)


def test_figures_do_not_depend_on_what_a_model_sees(noise, specimen):
    """Neither the low-pass filter nor the common noise has an influence."""
    image = noise + 0.5 * specimen

    assert figures(image) == figures(image, lowpass_angstrom=40, noise_sigma=3.0)


def test_drift_shows_as_anisotropy(noise, specimen):
    """The specimen is blurred along one axis, but the detector noise is not."""
    still = figures(noise + 0.7 * specimen)
    angles = {0: (20, 1), 1: (1, 20)}
    moved = [
        figures(noise + 0.7 * ndimage.uniform_filter(specimen, size, mode="wrap"))
        for size in angles.values()
    ]

    assert still.anisotropy < 0.05
    assert all(0.4 < m.anisotropy <= 1 for m in moved)


def test_a_rotated_axis_of_drift_shows_as_well(noise, specimen):
    """Drift along the diagonal is detected too."""
    blurred = np.mean([np.roll(specimen, (k, k), (0, 1)) for k in range(14)], axis=0)

    assert figures((noise + 0.7 * blurred).astype(np.float32)).anisotropy > 0.4


def test_blur_along_two_axes_alike_is_no_drift(noise, specimen):
    """A filter or a square pixel makes a cross in the spectrum."""
    both = sum(ndimage.uniform_filter(specimen, size, mode="wrap") for size in ((20, 1), (1, 20)))

    assert figures(noise + 0.7 * both).anisotropy < 0.1


def test_lines_of_a_bad_detector_are_no_drift(noise):
    """Rows of another gain lie on an axis of the spectrum, which is ignored."""
    rows = np.random.default_rng(7).standard_normal((SIZE, 1)).astype(np.float32)
    found = figures(noise + 0.3 * rows)

    assert found.anisotropy is None


def test_crystalline_ice_shows_as_a_ring(noise):
    """A sharp ring at 3.67 Å is detected; the broad ring of vitreous ice is not."""
    assert figures(noise).ice_ring < 1.15
    assert figures(noise + 0.3 * ring(3.67, 0.002)).ice_ring > 2
    assert figures(noise + 0.15 * ring(3.7, 0.05)).ice_ring < 1.2


def test_ice_is_not_known_where_pixels_are_too_coarse(noise):
    """The figure is None, not 0: with pixels of 1.7 Å, Nyquist is at 3.4 Å."""
    assert figures(noise, pixel_size_angstrom=1.5).ice_ring is not None
    assert figures(noise, pixel_size_angstrom=1.7).ice_ring is None


def test_filtered_noise_leaves_spectra_unknown(noise):
    """Denoised micrographs have no noise to compare with."""
    found = figures(ndimage.gaussian_filter(with_discs(noise, 0.5), 6))

    assert (found.contrast, found.signal_fraction, found.anisotropy) == (None, None, None)
    assert found.noise_sigma > 0


def test_a_wedge_is_a_gradient(noise):
    """The gradient is its rise between the centres of seven blocks, in deviations of the noise."""
    slope = np.linspace(0, 2, SIZE, dtype=np.float32)[None, :]
    found = figures(noise + slope)

    assert found.ice_gradient_sigmas == pytest.approx(2 * 6 / 7 / found.noise_sigma, rel=0.05)


def test_patches_of_another_variance_are_uneven(noise, specimen):
    """A quarter of the field differs; if it differed more, it would be masked as film."""
    image = noise + 0.2 * specimen
    image[: SIZE // 2, : SIZE // 2] += 0.4 * specimen[: SIZE // 2, : SIZE // 2]

    assert figures(noise + 0.2 * specimen, diameter_px=40).uneven_fraction == 0
    assert figures(image, diameter_px=40).uneven_fraction == pytest.approx(0.25, abs=0.08)


@pytest.fixture(scope="module")
def blotches():
    """Return structure wider than 60 pixels, standard deviation 1."""
    rough = np.random.default_rng(9).standard_normal((SIZE, SIZE)).astype(np.float32)
    smooth = ndimage.gaussian_filter(rough, 30, mode="wrap")
    return smooth / smooth.std()


def mottle_of(image, picks, *, diameter_px):
    prepared = prepare(image, pixel_size_angstrom=1, diameter_angstrom=diameter_px, contrast="dark")
    return mottle(prepared, picks)


def picks_at(places):
    y, x = np.array(places, dtype=np.float32).T
    return Picks(x, y, np.ones(len(places), dtype=np.float32))


def test_blotches_wider_than_a_particle_are_mottle(noise, blotches):
    """The figure is 1 for noise, and more for structure twice as wide as a particle."""
    nothing = Picks.empty()

    assert mottle_of(noise, nothing, diameter_px=60) == pytest.approx(1, abs=0.3)
    assert mottle_of(noise + 0.3 * blotches, nothing, diameter_px=60) > 4


def test_what_the_picks_explain_is_not_mottle(noise):
    """Sparse particles with too small a diameter have power beyond that diameter."""
    rng = np.random.default_rng(4)
    places = [(y + rng.integers(-30, 30), x + rng.integers(-30, 30)) for y, x in GRID]
    density = np.zeros((SIZE, SIZE), dtype=np.float32)
    for place in places:
        density[place] = 1
    image = noise - 2000 * ndimage.gaussian_filter(density, 18)

    unexplained = mottle_of(image, Picks.empty(), diameter_px=50)
    assert unexplained > 4
    assert mottle_of(image, picks_at(places), diameter_px=50) < 0.3 * unexplained


def test_picks_elsewhere_explain_nothing(noise, blotches):
    """Random picks leave most of the mottle."""
    places = np.random.default_rng(2).uniform(0, SIZE, (300, 2))
    image = noise + 0.3 * blotches
    without = mottle_of(image, Picks.empty(), diameter_px=60)

    assert mottle_of(image, picks_at(places), diameter_px=60) > 0.5 * without


def test_a_small_field_has_no_mottle(noise):
    """Too few waves wider than a particle fit into it."""
    assert mottle_of(noise[:200, :200], Picks.empty(), diameter_px=60) is None


def test_particles_are_skewed_and_noise_is_not(noise, specimen):
    """Coloured noise has none either. Bright discs among dark particles have a negative one."""
    assert figures(noise, diameter_px=40).skewness == pytest.approx(0, abs=0.1)
    assert figures(noise + specimen, diameter_px=40).skewness == pytest.approx(0, abs=0.1)
    spots = np.zeros_like(noise)
    spots[tuple(np.array(GRID).T)] = 3000
    spots = ndimage.gaussian_filter(spots, 12)
    assert figures(noise - spots, diameter_px=50).skewness > 0.4
    assert figures(noise + spots, diameter_px=50).skewness < -0.4


def test_masked_tiles_do_not_count(noise):
    """The spectrum comes from the unmasked half; without unmasked tiles there is none."""
    image = noise.copy()
    image[:, : SIZE // 2] *= 10
    mask = np.zeros((64, 64), dtype=bool)
    mask[:, :33] = True
    spectrum = power_spectrum(image, mask=mask, side_px=256)

    assert spectrum.mean((0.1, 0.4)) == pytest.approx(1, abs=0.03)
    assert power_spectrum(image, mask=np.ones((64, 64), dtype=bool), side_px=256) is None


def test_a_hot_pixel_is_not_the_spectrum(noise):
    """It would add white noise a thousand times as strong."""
    image = noise.copy()
    image[300, 300] = 1e5

    assert figures(image).contrast == pytest.approx(figures(noise).contrast, abs=0.05)


# --- the verdict ------------------------------------------------------------------------------


def fine(**others):
    """Return figures of a good micrograph, with some replaced."""
    known = dict.fromkeys((field.name for field in dataclasses.fields(Quality)), None)
    usual = {"masked_fraction": 0.05, "contrast": 5.0, "occupied_fraction": 0.3}
    return Quality(**(known | usual | others))


def test_what_is_not_known_is_not_held_against_a_micrograph():
    """The verdict is good, without a reason."""
    assert judge(Quality(0.0, None)) == ("good", "")
    assert judge(fine()) == ("good", "")


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.figure)
def test_each_limit_makes_doubtful_and_bad(limit):
    """A value at the limit counts; the reason contains the value."""
    inwards = -1e-6 if limit.bad > limit.doubtful else 1e-6
    verdicts = [
        judge(fine(**dict.fromkeys((name for name, _ in limit.unless)), **{limit.figure: value}))
        for value in (limit.doubtful + inwards, limit.doubtful, limit.bad + inwards, limit.bad)
    ]

    assert [word for word, _ in verdicts] == ["good", "doubtful", "doubtful", "bad"]
    assert all(limit.meaning in reason for _, reason in verdicts[1:])
    assert limit.form.format(limit.bad) in verdicts[3][1]


def test_visible_particles_overrule_low_contrast():
    """A hole with visible particles is not empty, whatever other figures are low."""
    assert judge(fine(contrast=1.1, skewness=0.5, signal_fraction=0.01)) == ("good", "")
    assert judge(fine(contrast=5.0, skewness=0.0, signal_fraction=0.01)) == ("good", "")
    assert judge(fine(contrast=1.1, skewness=0.1, signal_fraction=0.01))[0] == "bad"
    assert judge(fine(contrast=1.4, skewness=None, signal_fraction=0.05))[0] == "doubtful"


def test_limits_say_what_overrules_them():
    """The text is shown on the page and the dashboards."""
    (limit,) = (limit for limit in LIMITS if limit.figure == "contrast")

    assert limit.range == "doubtful up to 1.30, bad up to 1.15, unless skewness is at least 0.25"


def test_all_reasons_are_told_the_worst_first():
    """An operator may have to fix more than one thing."""
    word, reason = judge(fine(contamination_fraction=0.15, anisotropy=0.6))

    assert word == "bad"
    assert reason.index("drift") < reason.index("contamination")


def test_histograms_have_buckets_at_the_limits():
    """An alert can then count the micrographs beyond a limit."""
    for limit in LIMITS:
        _, buckets = QUALITY_FIGURES[limit.figure]
        assert {limit.doubtful, limit.bad} <= set(buckets), limit.figure


def ring(wave_angstrom, width):
    """Return noise on one ring of the spectrum, standard deviation 1."""
    spectrum = np.fft.fft2(np.random.default_rng(8).standard_normal((SIZE, SIZE)))
    frequency = np.fft.fftfreq(SIZE, PIXEL)
    off = np.hypot(frequency[:, None], frequency[None, :]) - 1 / wave_angstrom
    image = np.fft.ifft2(spectrum * np.exp(-0.5 * (off / width) ** 2)).real
    return (image / image.std()).astype(np.float32)


# --- real micrographs -------------------------------------------------------------------------

DATA = Path(os.environ.get("LIVEPICK_DATA", Path(__file__).parents[5] / "shared" / "data"))


@pytest.mark.parametrize(
    ("name", "verdicts"),
    [
        ("0Great/18feb14h_grid1_00014gr_00007sq_v02_00005hl_00005en-a.png", ["good"]),
        ("3Empty_no_ice/18sep26a_grid4e_4_00084gr_00030sq_v02_00002hl_00006en-a.png", ["bad"]),
        (
            "4Crystalline_ice/19aug14a_grid5_00086gr_00036sq_00005hl_00002en-a.png",
            ["doubtful", "bad"],
        ),
        ("2*/19oct11b_grid2Tilt2_00013gr_00031sq_00005hl_00005en-a.png", ["doubtful", "bad"]),
    ],
    ids=["great", "empty", "crystalline", "contaminated"],
)
def test_real_thumbnails_are_judged_as_their_class_says(name, verdicts):
    """These are the half that the limits were not chosen on, binned to about 7.5 Å per pixel."""
    path = next((DATA / "quality").glob(name), None)
    if path is None:
        pytest.skip(f"{DATA / 'quality' / name} is not here (LIVEPICK_DATA)")
    image = np.asarray(Image.open(path)).astype(np.float32)
    prepared = prepare(image, pixel_size_angstrom=7.5, diameter_angstrom=125, contrast="dark")
    found = measure_quality(image, prepared, pixel_size_angstrom=7.5)

    quality = Quality(prepared.masked.total, None, mottle=mottle(prepared, Picks.empty()))
    verdict, reason = judge(quality.seen(found))
    assert verdict in verdicts, reason
