"""Evidence about the particle from one simulated micrograph."""

import math

import numpy as np
import pytest

from livepick.core.contracts.particle_measurement import LADDER_ANGSTROM, ParticleJob
from livepick.errors import ContentError, SmallImageError, VanishedFileError
from livepick.particle import tasks
from livepick.particle.decide import decide
from livepick.particle.measure import measure_image
from livepick.simulate.exposure import simulate_micrograph
from livepick.simulate.field import Junk, Session

BOUNDS_ANGSTROM = (60.0, 400.0)
PIXEL_SIZE_ANGSTROM = 3.0


def session(species="apoferritin", **settings):
    return Session(
        species=species,
        shape_px=(640, 640),
        pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
        signal_to_noise=0.15,
        junk=Junk.none(),
        seed=3,
        **settings,
    )


@pytest.fixture(scope="module")
def image():
    return simulate_micrograph(session(), 0).image


def measured(image):
    return measure_image(
        image,
        pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
        scorer=None,
        bounds_angstrom=BOUNDS_ANGSTROM,
    )


def test_discs_alone_show_the_diameter_and_the_contrast(image):
    verdict = decide([measured(image)])
    assert verdict.best.diameter_angstrom == pytest.approx(125, rel=0.2)
    assert verdict.best.contrast == "dark"


def test_the_negative_has_the_other_contrast(image):
    dark, bright = decide([measured(image)]), decide([measured(-image)])
    assert bright.best.contrast == "bright"
    assert bright.best.diameter_angstrom == pytest.approx(dark.best.diameter_angstrom, rel=0.05)


def test_a_dead_border_changes_nothing(image):
    bordered = decide([measured(np.pad(image, 40, mode="edge"))])
    assert bordered.best.diameter_angstrom == pytest.approx(
        decide([measured(image)]).best.diameter_angstrom, rel=0.02
    )


def test_steps_beyond_the_bounds_and_the_image_are_not_tried(image):
    blobs = np.array(measured(image).dark.blobs)
    ladder = np.array(LADDER_ANGSTROM)
    assert np.isnan(blobs[ladder > 500]).all()
    assert np.isfinite(blobs[(ladder > 70) & (ladder < 380)]).all()


def test_noise_shows_nothing():
    noise = np.random.default_rng(1).normal(size=(640, 640)).astype(np.float32)
    assert decide([measured(noise)] * 3).best is None


def test_the_scores_of_a_model_are_kept_for_both_contrasts(image):
    """The stand-in for a model likes whatever is brighter than the background."""

    def scorer(prepared):
        return np.clip(prepared / 5, 0, 1).astype(np.float32)

    found = measure_image(
        image,
        pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
        scorer=scorer,
        bounds_angstrom=BOUNDS_ANGSTROM,
    )
    tried = ~np.isnan(found.dark.network)
    assert tried.sum() >= 5
    assert (np.array(found.dark.network)[tried] != np.array(found.bright.network)[tried]).all()
    assert math.isfinite(found.masked_fraction)


def test_an_image_that_is_too_small_is_refused():
    small = np.random.default_rng(1).normal(size=(40, 40)).astype(np.float32)
    with pytest.raises(SmallImageError, match="60 to 400"):
        measured(small)


def test_an_image_without_content_is_refused():
    with pytest.raises(ContentError):
        measured(np.ones((640, 640), dtype=np.float32))


def test_a_job_of_a_missing_file_names_it(tmp_path):
    with pytest.raises(VanishedFileError, match=r"gone\.mrc"):
        tasks.measure(ParticleJob(tmp_path / "gone.mrc", pixel_size_angstrom=1.0))
