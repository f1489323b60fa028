"""The contrast transfer function, and phase flipping."""

import math

import numpy as np
import pytest
from scipy import ndimage

from livepick.core.imaging.ctf import Ctf, contrast_transfer, flip_phases
from livepick.simulate.optics import Optics, image_intensity, transfer

PIXEL_SIZE_ANGSTROM = 3.0
SIZES = {"pixel_size_y_angstrom": PIXEL_SIZE_ANGSTROM, "pixel_size_x_angstrom": PIXEL_SIZE_ANGSTROM}
CTF = Ctf(
    defocus_u_angstrom=26_000,
    defocus_v_angstrom=22_000,
    astigmatism_angle_degrees=30,
    voltage_kv=300,
    spherical_aberration_mm=2.7,
    amplitude_contrast=0.08,
)
OPTICS = Optics(
    defocus_u_angstrom=26_000,
    defocus_v_angstrom=22_000,
    astigmatism_angle_rad=math.radians(30),
    amplitude_contrast=0.08,
)


def with_changes(**changes):
    fields = {name: getattr(CTF, name) for name in CTF.__slots__}
    return Ctf(**(fields | changes))


def test_it_is_what_the_simulated_lens_does_to_a_weak_phase():
    """The contrast of a weak phase grating is inverted where the transfer is negative."""
    shape, order = (128, 128), np.arange(1, 30)
    expected = contrast_transfer(shape, CTF, **SIZES)
    seen = []
    for along_x in order:
        phase = 1e-3 * np.cos(2 * np.pi * along_x * np.arange(128) / 128)
        intensity = image_intensity(
            np.broadcast_to(phase, shape).astype(np.float32).copy(),
            pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
            optics=OPTICS,
        )
        seen.append(np.fft.rfft2(intensity)[0, along_x].real)
    dark = -np.array(seen)

    clear = np.abs(expected[0, order]) > 0.1
    assert {-1, 1} == set(np.sign(expected[0, order][clear]))
    np.testing.assert_array_equal(np.sign(dark[clear]), np.sign(expected[0, order][clear]))


def test_all_directions_are_those_of_the_simulated_lens():
    """The angle of the astigmatism is measured from x towards y."""
    shape = (64, 96)
    lens = transfer(shape, PIXEL_SIZE_ANGSTROM, OPTICS)[:, :48]
    lens = lens / np.abs(lens) * np.exp(1j * math.asin(0.08))

    seen = contrast_transfer(shape, CTF, **SIZES)[:, :48]  # at the last, x has no sign

    np.testing.assert_allclose(seen, lens.imag, atol=2e-4)


def test_the_first_zero_is_where_the_textbook_has_it():
    """For a defocus of 1.5 µm at 300 kV without aberrations: g² = 1 / (λ Δf), 17.2 Å."""
    ctf = with_changes(
        defocus_u_angstrom=15_000,
        defocus_v_angstrom=15_000,
        spherical_aberration_mm=0,
        amplitude_contrast=0,
    )
    along_x = contrast_transfer((8, 4096), ctf, pixel_size_y_angstrom=1, pixel_size_x_angstrom=1)[0]

    first = np.flatnonzero(along_x[1:] < 0)[0] + 1

    assert 4096 / first == pytest.approx(math.sqrt(0.0197 * 15_000), abs=0.1)


def test_a_phase_plate_shifts_the_phase():
    """At 90 degrees even the lowest frequencies have their full contrast."""
    ctf = with_changes(phase_shift_degrees=90, amplitude_contrast=0)

    assert contrast_transfer((16, 16), ctf, **SIZES)[0, 0] == 1


def test_unequal_pixels_are_told_apart():
    """An image of pixels half as high is sampled twice as finely along y."""
    ctf = with_changes(defocus_v_angstrom=26_000)
    square = contrast_transfer((32, 32), ctf, **SIZES)
    flat = contrast_transfer((64, 32), ctf, pixel_size_y_angstrom=1.5, pixel_size_x_angstrom=3)

    np.testing.assert_allclose(flat[:16], square[:16], atol=1e-5)


@pytest.mark.parametrize("defocus_angstrom", [24_000, 36_000])
def test_flipping_brings_back_what_the_lens_has_spread(defocus_angstrom):
    """A particle with detail looks like its negative projection again, and stays dark."""
    ctf = with_changes(defocus_u_angstrom=defocus_angstrom, defocus_v_angstrom=defocus_angstrom)
    optics = Optics(defocus_u_angstrom=defocus_angstrom, defocus_v_angstrom=defocus_angstrom)
    y, x = np.indices((256, 256)) - 128
    body = (np.hypot(y, x) < 24) & ((x // 4 + y // 6) % 2 == 0)
    phase = ndimage.gaussian_filter(0.05 * body.astype(np.float32), 1)
    image = image_intensity(phase, pixel_size_angstrom=PIXEL_SIZE_ANGSTROM, optics=optics) - 1

    flipped = flip_phases(image, ctf, **SIZES)

    before, after = (np.corrcoef(-phase.ravel(), i.ravel())[0, 1] for i in (image, flipped))
    assert after > before + 0.1
    assert after > 0.6
    inside = np.hypot(y, x) < 24
    assert flipped[inside].mean() < flipped[~inside].mean() - 0.5 * flipped.std()


def test_flipping_twice_is_nothing():
    image = np.random.default_rng(0).normal(size=(50, 71)).astype(np.float32)

    twice = flip_phases(flip_phases(image, CTF, **SIZES), CTF, **SIZES)

    np.testing.assert_allclose(twice, image, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [{"defocus_u_angstrom": math.nan}, {"voltage_kv": 0}, {"amplitude_contrast": 7}],
)
def test_what_is_no_microscope_is_refused(changes):
    with pytest.raises(ValueError, match=r"finite|voltage|amplitude"):
        with_changes(**changes)
