"""The fit of the CTF to Thon rings, and its refusal where there are none."""

import dataclasses

import numpy as np
import pytest

from livepick.core.imaging.ctf import Ctf, contrast_transfer
from livepick.core.imaging.ctf_fit import fit_ctf
from livepick.core.imaging.ctf_spectrum import polar_spectrum

SIDE_PX = 1024
PIXEL_ANGSTROM = 1.5
CTF = Ctf(
    defocus_u_angstrom=13_200.0,
    defocus_v_angstrom=12_600.0,
    astigmatism_angle_degrees=35.0,
    voltage_kv=300.0,
    spherical_aberration_mm=2.7,
    amplitude_contrast=0.07,
)


def amorphous(ctf, *, pixel=PIXEL_ANGSTROM, noise=3.0, seed=1):
    """Return an image of a featureless specimen: white noise that has passed the lens."""
    rng = np.random.default_rng(seed)
    shape = (SIDE_PX, SIDE_PX)
    specimen = np.fft.rfft2(rng.standard_normal(shape))
    transfer = contrast_transfer(
        shape, ctf, pixel_size_y_angstrom=pixel, pixel_size_x_angstrom=pixel
    )
    g = np.hypot(np.fft.fftfreq(SIDE_PX, pixel)[:, None], np.fft.rfftfreq(SIDE_PX, pixel)[None, :])
    seen = np.fft.irfft2(specimen * transfer * np.exp(-20 * g**2))
    return (seen * 3 + noise * rng.standard_normal(shape)).astype(np.float32)


def fit(image, *, pixel=PIXEL_ANGSTROM, ctf=CTF):
    return fit_ctf(
        image,
        pixel_size_angstrom=pixel,
        voltage_kv=ctf.voltage_kv,
        spherical_aberration_mm=ctf.spherical_aberration_mm,
        amplitude_contrast=ctf.amplitude_contrast,
    )


def astigmatism(ctf):
    """Return the astigmatism as a vector of twice the angle."""
    size = ctf.defocus_u_angstrom - ctf.defocus_v_angstrom
    return size * np.exp(2j * np.radians(ctf.astigmatism_angle_degrees))


@pytest.mark.parametrize(
    ("changes", "pixel"),
    [
        ({}, PIXEL_ANGSTROM),
        ({"defocus_u_angstrom": 4500.0, "defocus_v_angstrom": 4000.0}, 1.0),
        ({"defocus_u_angstrom": 36_000.0, "defocus_v_angstrom": 34_500.0}, 1.2),
        ({"voltage_kv": 200.0, "astigmatism_angle_degrees": -60.0}, 0.8),
    ],
)
def test_defocus_and_astigmatism_are_found(changes, pixel):
    """Within 50 Å, with the larger defocus first and the angle of the file's own rows."""
    ctf = dataclasses.replace(CTF, **changes)
    found = fit(amorphous(ctf, pixel=pixel), pixel=pixel, ctf=ctf)
    assert found.ctf is not None, found.reason
    mean = (found.ctf.defocus_u_angstrom + found.ctf.defocus_v_angstrom) / 2
    assert abs(mean - (ctf.defocus_u_angstrom + ctf.defocus_v_angstrom) / 2) < 50
    assert found.ctf.defocus_u_angstrom >= found.ctf.defocus_v_angstrom
    assert abs(astigmatism(found.ctf) - astigmatism(ctf)) < 150
    assert found.ctf.fit_resolution_angstrom < 8


def test_rows_turned_over_turn_the_angle():
    """The angle is from the x axis towards later rows of the array."""
    found = fit(amorphous(CTF)[::-1])
    mirrored = dataclasses.replace(CTF, astigmatism_angle_degrees=-35.0)
    assert abs(astigmatism(found.ctf) - astigmatism(mirrored)) < 150


def test_noise_has_no_figures():
    """The score is told, and why there is no defocus."""
    found = fit(np.random.default_rng(2).standard_normal((SIDE_PX, SIDE_PX)))
    assert found.ctf is None
    assert found.score < 0.2
    assert found.reason


@pytest.mark.parametrize("period_angstrom", [25.0, 60.0])
def test_equally_spaced_rings_are_not_thon_rings(period_angstrom):
    """The outline of particles, and filters of other programs, leave such rings."""
    rng = np.random.default_rng(3)
    wave = np.fft.rfft2(rng.standard_normal((SIDE_PX, SIDE_PX)))
    fy, fx = np.fft.fftfreq(SIDE_PX, PIXEL_ANGSTROM), np.fft.rfftfreq(SIDE_PX, PIXEL_ANGSTROM)
    g = np.hypot(fy[:, None], fx[None, :])
    wave *= 1 + 0.5 * np.cos(2 * np.pi * g * period_angstrom)
    assert fit(np.fft.irfft2(wave)).ctf is None


def test_a_phase_plate_gives_no_figures():
    """Its rings begin elsewhere; a defocus that ignores that would be wrong."""
    assert fit(amorphous(dataclasses.replace(CTF, phase_shift_degrees=90.0))).ctf is None


@pytest.mark.parametrize("shape", [(8, 8), (300, 200), (256, 300), (255, 4000)])
def test_small_images_have_no_figures(shape):
    """Nor can any image of that size have them."""
    found = fit(np.random.default_rng(4).standard_normal(shape))
    assert (found.ctf, found.is_possible) == (None, False)
    assert "too small" in found.reason


def test_constant_images_and_coarse_pixels_have_no_figures():
    """A constant image is a bad one of its kind, but no image with coarse pixels can be fitted."""
    constant = fit(np.zeros((SIDE_PX, SIDE_PX)))
    assert (constant.ctf, constant.is_possible) == (None, True)
    found = fit(amorphous(CTF), pixel=4.0)
    assert (found.ctf, found.score, found.is_possible) == (None, None, False)
    assert found.reason == "pixels of 4 Å are too large for a CTF fit, which needs 3 Å or less"


def test_tiles_that_differ_are_left_out():
    """A bright edge has a variance of its own, and would hide the rings of all other tiles."""
    image = amorphous(CTF)
    whole = polar_spectrum(image, pixel_size_angstrom=PIXEL_ANGSTROM)
    image[:150] *= 100
    rest = polar_spectrum(image, pixel_size_angstrom=PIXEL_ANGSTROM)
    assert 0 < rest.tiles < whole.tiles
    assert fit(image).ctf is not None


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float16, np.float64])
def test_any_kind_of_pixels_is_fitted(kind):
    """And the micrograph is not changed."""
    image = (amorphous(CTF) * 8 + 100).clip(0, 255).astype(kind)
    before = image.copy()
    assert fit(image).ctf is not None
    np.testing.assert_array_equal(image, before)
