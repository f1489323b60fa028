"""The science between the file and the peaks: resampling, normalization, masks, blobs, peaks."""

import time

import numpy as np
import onnxruntime
import pytest
from scipy import ndimage

from livepick.core.imaging.blob_detector import MIDDLE_SIGMAS, blob_graph, templates
from livepick.core.imaging.fourier import fourier_resample, lowpass
from livepick.core.imaging.masks import Borders, Outlier, find_borders, outlier_mask
from livepick.core.imaging.normalize import flatten, trend
from livepick.core.imaging.peaks import _highest_first, find_peaks
from livepick.core.imaging.preprocess import DIAMETER_PX, prepare
from livepick.errors import ContentError, PixelSizeError


@pytest.fixture
def rng():
    """Return random numbers that are the same in each test."""
    return np.random.default_rng(7)


def blob_image(shape, centres, sigma):
    """Return an image with a Gaussian of height 1 at each (y, x)."""
    y, x = np.indices(shape)
    image = np.zeros(shape, dtype=np.float32)
    for cy, cx in centres:
        image += np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * sigma**2)).astype(np.float32)
    return image


def score_map(image):
    """Return the blob picker's scores."""
    session = onnxruntime.InferenceSession(
        blob_graph(DIAMETER_PX), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"image": image[None, None]})[0][0, 0]


@pytest.mark.parametrize("shape", [(512, 640), (511, 643), (1023, 250), (409, 576)])
@pytest.mark.parametrize("factor", [0.7, 1.0, 2.3, 6.9])
def test_resampling_keeps_a_blob_in_place_near_the_far_corner(shape, factor):
    """Position times scale is the original position, to a tenth of a new pixel."""
    truth = (shape[0] - 61.3, shape[1] - 47.8)
    resampled = fourier_resample(blob_image(shape, [truth], sigma=14), factor=factor)

    y, x = np.indices(resampled.image.shape)
    top = resampled.image > 0.5 * resampled.image.max()
    weight = resampled.image[top]
    found = (
        np.average(y[top], weights=weight) * resampled.scale_y,
        np.average(x[top], weights=weight) * resampled.scale_x,
    )
    assert found == pytest.approx(truth, abs=0.1 * max(factor, 1))


def test_resampling_says_what_it_achieved(rng):
    """The two scales differ on a rectangular detector, and each is the ratio of the shapes."""
    resampled = fourier_resample(rng.standard_normal((409, 576)), factor=5.0)

    assert resampled.image.shape == (82, 116)
    assert (resampled.scale_y, resampled.scale_x) == (409 / 82, 576 / 116)


@pytest.mark.parametrize("dtype", ["int8", "int16", ">i2", "uint16", "float16", ">f4", "float64"])
def test_every_type_gives_the_same_picture(dtype, rng):
    """Type and byte order of the file make no difference beyond rounding."""
    image = (50 + 20 * rng.standard_normal((256, 256))).clip(0, 120).round()
    expected = fourier_resample(image.astype(np.float32), factor=4).image

    np.testing.assert_allclose(
        fourier_resample(image.astype(dtype), factor=4).image, expected, atol=1e-3
    )


def test_the_mean_is_kept_and_a_hot_pixel_does_not_ring(rng):
    """A pixel of a million counts changes the image around it by less than the noise."""
    image = (100 + rng.standard_normal((512, 512))).astype(np.float32)
    hot = image.copy()
    hot[200, 300] = 1e6

    clean, dirty = (fourier_resample(i, factor=4).image for i in (image, hot))

    assert clean.mean() == pytest.approx(image.mean(), rel=1e-3)
    assert np.abs(dirty - clean).max() < 1.0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_no_number_is_found_wherever_it_is(value, rng):
    """NaN is named, not spread over the scores; an infinite pixel is clipped as a hot one."""
    image = rng.standard_normal((300, 300)).astype(np.float32)
    image[173, 211] = value

    if np.isnan(value):
        with pytest.raises(ContentError, match="NaN"):
            fourier_resample(image, factor=3)
    else:
        assert np.isfinite(fourier_resample(image, factor=3).image).all()


def test_a_constant_image_is_no_picture():
    """The error says the value."""
    with pytest.raises(ContentError, match="all pixels are 42"):
        fourier_resample(np.full((128, 128), 42, dtype=np.int16), factor=2)


def test_a_far_too_coarse_image_is_refused(rng):
    """Nothing is invented by enlarging more than twofold."""
    with pytest.raises(PixelSizeError, match=r"4\.0 times too coarse"):
        fourier_resample(rng.standard_normal((128, 128)), factor=0.25)


def test_gradients_and_dark_things_do_not_upset_the_normalization(rng):
    """Noise under a steep gradient, with a black disc, comes out with deviation 1 elsewhere."""
    y, x = np.indices((400, 400))
    noise = 5 * rng.standard_normal((400, 400)).astype(np.float32)
    dirty = noise + 0.3 * x.astype(np.float32) + 100
    disc = np.hypot(y - 100, x - 120) < 25
    dirty[disc] -= 500

    flat = flatten(dirty, window_px=60).flat

    far = np.hypot(y - 100, x - 120) > 60
    inner = far & (np.minimum(x, 399 - x) > 15)
    assert flat[inner].std() == pytest.approx(1, abs=0.1)
    assert abs(flat[inner].mean()) < 0.1
    assert flat[disc].max() < -50


def test_a_dead_border_does_not_pull_the_background_down(rng):
    """Ignored pixels get the background of their neighbours."""
    image = 10 + rng.standard_normal((200, 200)).astype(np.float32)
    ignore = np.zeros(image.shape, dtype=bool)
    image[:, :40], ignore[:, :40] = -100, True

    flat = flatten(image, window_px=40, ignore=ignore).flat

    assert abs(flat[:, 40:60].mean()) < 0.1


def test_the_trend_is_that_of_the_ice_not_of_the_carbon():
    """A quarter of the field in carbon does not bend a gradient of ice."""
    y, x = np.meshgrid(np.linspace(-1, 1, 20), np.linspace(-1, 1, 26), indexing="ij")
    ice = (5 + 2 * x - y + 0.5 * x * x).astype(np.float32)
    carbon = (x > 0.4) & (y > -0.5)

    np.testing.assert_allclose(trend(np.where(carbon, ice - 20, ice)), ice, atol=0.1)


@pytest.mark.parametrize("kind", ["streaks", "constant", "streaks after a filter that wraps"])
def test_borders_without_data_are_found_on_their_side_only(kind, rng):
    """Width to a few pixels, whether the last line is repeated or the border is empty."""
    image = (20 + 4 * rng.standard_normal((600, 800))).astype(np.float32)
    image[:, 750:] = 0 if kind == "constant" else image[:, 749:750]
    image[:30] = image[30:31] if kind != "constant" else 0
    if "wraps" in kind:
        image[:, -6:] += rng.standard_normal((600, 6)).astype(np.float32)

    borders = find_borders(image)

    assert borders.left == borders.bottom == 0
    assert borders.top == pytest.approx(30, abs=2)
    assert borders.right == pytest.approx(50, abs=2)
    mask = borders.mask((150, 200), scale_y=4, scale_x=4)
    assert mask[:7].all()
    assert not mask[9:, :186].any()


def test_a_whole_image_has_no_borders(rng):
    """Noise, also where a quarter is black, is not taken for a border."""
    image = rng.standard_normal((512, 512)).astype(np.float32)
    image[:256, :256] *= 0.7

    assert find_borders(image) == Borders(0, 0, 0, 0)


def test_only_large_dark_areas_are_masked():
    """Two strong particles that touch are none; a disc of twice their width is."""
    y, x = np.indices((300, 300))
    particles = (np.hypot(y - 50, x - 50) < 10) | (np.hypot(y - 50, x - 70) < 10)
    ice = np.hypot(y - 180, x - 180) < 25
    flat = np.where(particles | ice, np.float32(-5), np.float32(0))

    mask = outlier_mask(flat, [Outlier(4.5, 28)], grow_px=10)

    assert not mask[:120].any()
    assert mask[ice].all()
    assert mask.sum() < 2.5 * ice.sum()


def test_peaks_have_sub_pixel_positions_and_keep_their_distance():
    """Of two close blobs the higher one stays."""
    centres = [(40.3, 50.7), (49.5, 57.1), (100.6, 20.2)]
    score = sum(
        h * blob_image((128, 128), [c], sigma=2.5)
        for h, c in zip((1, 0.6, 0.8), centres, strict=True)
    )

    y, x, height = find_peaks(score, min_distance_px=12, floor=0.1)

    assert len(y) == 2
    np.testing.assert_allclose(np.column_stack([y, x]), [centres[0], centres[2]], atol=0.3)
    assert height[0] > height[1]


def test_a_peak_on_the_edge_is_kept_and_one_in_the_mask_is_not():
    """The mask alone says where no peak may be; the edge rule is in the mask of the worker."""
    score = blob_image((64, 64), [(0, 30), (40, 40)], sigma=3)
    mask = np.zeros((64, 64), dtype=bool)
    mask[30:50, 30:50] = True

    y, x, _ = find_peaks(score, min_distance_px=10, floor=0.1, mask=mask)

    np.testing.assert_allclose(np.column_stack([y, x]), [(0, 30)], atol=0.01)


def test_a_plateau_gives_one_peak():
    """Equal neighbours are one peak, not many."""
    score = np.zeros((64, 64), dtype=np.float32)
    score[30:33, 30:33] = 0.9

    assert len(find_peaks(score, min_distance_px=8, floor=0.1)[0]) == 1


def test_a_map_without_peaks_gives_none():
    """Nothing above the floor is nothing."""
    y, x, height = find_peaks(np.zeros((32, 32), np.float32), min_distance_px=8, floor=0.1)

    assert len(y) == len(x) == len(height) == 0


def test_templates_have_mean_zero_and_norm_near_one():
    """A constant background gives no response; averaging to the grid takes little of the norm."""
    shapes, areas = templates(10)

    np.testing.assert_allclose(shapes.sum(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(areas.sum(axis=(1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("kind", ["disc", "shell"])
@pytest.mark.parametrize("diameter_px", [15, 18, 21])
def test_the_blob_picker_finds_discs_and_shells_in_noise(kind, diameter_px, rng):
    """All of nine weak particles are the nine best picks, in place, not on a gradient's edge."""
    y, x = np.indices((320, 320))
    centres = [(60.0 + 100 * i + 3.3, 60.0 + 100 * j + 7.6) for i in range(3) for j in range(3)]
    image = rng.standard_normal((320, 320)).astype(np.float32)
    for cy, cx in centres:
        distance = np.hypot(y - cy, x - cx)
        inside = distance < diameter_px / 2
        if kind == "shell":
            inside &= distance > 0.3 * diameter_px
        image += 1.3 * inside

    y, x, score = find_peaks(score_map(image), min_distance_px=12, floor=0.02)

    found = np.column_stack([y, x])[:9]
    order = np.lexsort((np.rint(found[:, 1] / 100), np.rint(found[:, 0] / 100)))
    np.testing.assert_allclose(found[order], centres, atol=1.5)
    assert score[8] > 0.9
    assert score[9] < score[8]


def test_the_score_of_the_middle_is_one_half(rng):
    """The response that ``MIDDLE_SIGMAS`` names scores 0.5, so that the card's threshold fits."""
    score = score_map(rng.standard_normal((320, 320)).astype(np.float32))
    sigmas = np.log(score / (1 - score)) * 0.7 + MIDDLE_SIGMAS

    assert sigmas.std() == pytest.approx(1, abs=0.01)


def test_ice_much_wider_than_the_background_window_is_masked(rng):
    """Six diameters of black ice are background to themselves, and no place to pick."""
    y, x = np.indices((1000, 1000))
    image = 100 + 0.01 * x + 3 * rng.standard_normal((1000, 1000))
    ice = np.hypot(y - 300, x - 400) < 200
    image[ice] -= 30

    prepared = prepare(image, pixel_size_angstrom=2, diameter_angstrom=120, contrast="dark")

    inside, outside = (
        prepared.mask[(yy / prepared.scale_y).astype(int), (xx / prepared.scale_x).astype(int)]
        for yy, xx in (np.nonzero(ice), np.nonzero(np.hypot(y - 300, x - 400) > 260))
    )
    assert inside.all()
    assert not outside.any()


def test_preparing_makes_particles_bright_and_of_standard_size(rng):
    """A dark disc of the particle's diameter comes out bright and 20 pixels wide."""
    y, x = np.indices((800, 1000))
    image = 100 + 3 * rng.standard_normal((800, 1000))
    image -= 10.0 * (np.hypot(y - 400, x - 500) < 60)  # 120 px, 180 Å at 1.5 Å

    prepared = prepare(image, pixel_size_angstrom=1.5, diameter_angstrom=180, contrast="dark")

    smooth = ndimage.gaussian_filter(prepared.image, 2)
    py, px = np.unravel_index(smooth.argmax(), smooth.shape)
    assert np.hypot(py * prepared.scale_y - 400, px * prepared.scale_x - 500) < 50
    width_px = 2 * np.sqrt((smooth > 0.5 * smooth.max()).sum() / np.pi)
    assert width_px == pytest.approx(DIAMETER_PX, rel=0.15)


def test_bright_contrast_is_the_mirror_image(rng):
    """The same pixels with the other contrast have the other sign."""
    image = rng.standard_normal((256, 256)).astype(np.float32)
    dark, bright = (
        prepare(image, pixel_size_angstrom=2, diameter_angstrom=100, contrast=c).image
        for c in ("dark", "bright")
    )

    np.testing.assert_array_equal(dark, -bright)


def wave(shape, cycles_y, cycles_x):
    """Return a wave that the mirrors at the edges continue: so many half periods along y and x."""
    y, x = ((np.arange(n) + 0.5) / n for n in shape)
    return np.outer(np.cos(np.pi * cycles_y * y), np.cos(np.pi * cycles_x * x)).astype(np.float32)


@pytest.mark.parametrize(("cycles_y", "cycles_x"), [(0, 41), (81, 0), (60, 30), (99, 49)])
def test_a_wave_beyond_the_cutoff_vanishes(cycles_y, cycles_x):
    """Pixels of 4 x 8 ångström, 100 x 50 of them: 20 ångström are 40 half periods, each way."""
    image = wave((100, 50), cycles_y, cycles_x)

    filtered = lowpass(image, cutoff_angstrom=20, pixel_size_angstrom=(4, 8))

    assert np.abs(filtered).max() < 1e-5


@pytest.mark.parametrize(("cycles_y", "cycles_x"), [(0, 0), (0, 33), (33, 0), (20, 20)])
def test_a_wave_below_the_cutoff_stays(cycles_y, cycles_x):
    """Up to 0.85 of the cutoff frequency it is passed as it is."""
    image = wave((100, 50), cycles_y, cycles_x)

    filtered = lowpass(image, cutoff_angstrom=20, pixel_size_angstrom=(4, 8))

    np.testing.assert_allclose(filtered, image, atol=1e-5)


def test_the_filters_edge_is_soft():
    """Half-way down the edge, half of a wave is left."""
    image = wave((400, 8), 74, 0)  # (0.85 + 1) / 2 of the cutoff

    filtered = lowpass(image, cutoff_angstrom=80, pixel_size_angstrom=(8, 1))

    np.testing.assert_allclose(filtered, image / 2, atol=1e-5)


@pytest.fixture
def noisy(rng):
    """Return a micrograph of the prepared pixel size with a border, a blob and ice."""
    image = rng.normal(100, 3, (240, 220))
    image[:12] = 0
    y, x = np.indices(image.shape)
    image -= 8 * (np.hypot(y - 90, x - 70) < 9)
    image -= 60 * (np.hypot(y - 170, x - 150) < 25)
    return image.astype(np.float32)


def test_the_lowpass_changes_the_image_and_not_the_mask(noisy):
    """What is masked, and how strong a particle is, is the same with and without."""
    keywords = {"pixel_size_angstrom": 5, "diameter_angstrom": 100, "contrast": "dark"}
    plain = prepare(noisy, **keywords)
    filtered = prepare(noisy, **keywords, lowpass_angstrom=40)

    assert (filtered.mask == plain.mask).all()
    assert plain.mask.any()
    good = ~plain.mask
    assert filtered.image[good].std() < 0.6 * plain.image[good].std()
    assert (filtered.image[:12] == 0).all()
    around = np.s_[84:97, 64:77]
    assert filtered.image[around].mean() == pytest.approx(plain.image[around].mean(), rel=0.1)


def test_without_normalization_a_noisier_micrograph_looks_noisier(noisy):
    """Divided by one number; its own background is taken out all the same, and its mask kept."""
    keywords = {"pixel_size_angstrom": 5, "diameter_angstrom": 100, "contrast": "dark"}
    own = prepare(noisy, **keywords)

    common = prepare(3 * noisy + 50, **keywords, noise_sigma=own.noise_sigma)

    assert own.noise_sigma == pytest.approx(3, rel=0.1)
    assert (common.mask == own.mask).all()
    np.testing.assert_allclose(common.image, 3 * own.image, atol=1e-2)


@pytest.mark.parametrize("size", [25, 60])
def test_close_peaks_go_as_one_by_one(rng, size):
    """From the highest on, each that stays removes its neighbours, in a crowd and elsewhere."""
    points = np.round(rng.uniform(0, size, (300, 2)))
    gaps = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    expected = np.ones(len(points), dtype=bool)
    for i in range(len(points)):
        if expected[i]:
            expected[i + 1 :] &= gaps[i, i + 1 :] > 5

    keep = _highest_first(points, 5)

    assert (keep == expected).all()
    assert 10 < keep.sum() < 200


def test_a_flat_map_takes_no_time():
    """A network that learned nothing calls every pixel a peak; minutes once, now a second."""
    started = time.process_time()

    y, _, _ = find_peaks(np.ones((400, 400), dtype=np.float32), min_distance_px=12, floor=0.02)

    assert 900 < len(y) < 1400
    assert time.process_time() - started < 20
