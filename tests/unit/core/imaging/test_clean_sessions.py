"""Verdicts on simulated sessions: clean micrographs are good, spoilt ones are not."""

import mrcfile
import numpy as np
import pytest
from scipy import ndimage

from factories import publish_blob
from livepick.core.contracts.job import Job
from livepick.core.imaging.quality_limits import judge
from livepick.picking import onnx_session
from livepick.picking.worker import pick
from livepick.simulate.exposure import simulate_micrograph
from livepick.simulate.field import Junk, Session
from livepick.simulate.species import specimen

CLEAN = {
    "small": Session(species="apoferritin", shape_px=(768, 768)),
    "large": Session(species="ribosome", shape_px=(900, 900), pixel_size_angstrom=3.0),
    "large and strong": Session(
        species="ribosome", shape_px=(900, 900), pixel_size_angstrom=3.0, signal_to_noise=0.3
    ),
    "weak": Session(species="proteasome", shape_px=(900, 900), signal_to_noise=0.02),
    "near focus": Session(
        species="beta-galactosidase", shape_px=(900, 900), defocus_angstrom=(4000.0, 6000.0)
    ),
    "thick ice": Session(
        species="beta-galactosidase", shape_px=(900, 900), ice_angstrom=(900.0, 1200.0)
    ),
    "few": Session(species="proteasome", shape_px=(900, 900), particles_per_micrograph=15),
    "crowded": Session(
        species="apoferritin",
        shape_px=(768, 768),
        particles_per_micrograph=2000,
        closest_fraction=0.7,
    ),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Return a blob picker for dark particles."""
    models = tmp_path_factory.mktemp("models")
    yield publish_blob(models, diameter_angstrom=100.0, contrast="dark")
    onnx_session._kept.clear()


@pytest.fixture
def verdict_on(tmp_path, bundle):
    def verdict(image, pixel_size_angstrom, diameter_angstrom):
        with mrcfile.new(tmp_path / "m.mrc", image.astype(np.float32), overwrite=True) as mrc:
            mrc.voxel_size = pixel_size_angstrom
        job = Job(tmp_path / "m.mrc", None, bundle, diameter_angstrom=diameter_angstrom)
        return judge(pick(job).quality)

    return verdict


def clean(name):
    """Return a micrograph without contamination, its pixel size and the particle's diameter."""
    keywords = {slot: getattr(CLEAN[name], slot) for slot in Session.__slots__}
    session = Session(**(keywords | {"junk": Junk.none(), "seed": 31}))
    image = simulate_micrograph(session, 1).image
    return image, session.pixel_size_angstrom, specimen(session.species).diameter_angstrom


@pytest.mark.parametrize("name", CLEAN)
def test_clean_micrographs_are_good(name, verdict_on):
    """They stay good with a diameter that is too large by a third, as an operator's often is.

    With one that is too small, nothing but the number of picks is blamed: a shell has no pieces
    that are darker than their surroundings.
    """
    image, pixel_size_angstrom, diameter_angstrom = clean(name)

    for factor in (1, 4 / 3):
        assert verdict_on(image, pixel_size_angstrom, factor * diameter_angstrom) == ("good", "")
    _, reason = verdict_on(image, pixel_size_angstrom, 2 / 3 * diameter_angstrom)
    assert all(part.startswith("very few picks") for part in reason.split("); ") if part)


@pytest.mark.parametrize("name", ["small", "large", "weak", "few"])
def test_mottled_ice_is_not_good(name, verdict_on):
    """The same particles are covered by dim blotches of two to eight diameters."""
    image, pixel_size_angstrom, diameter_angstrom = clean(name)
    diameter_px = diameter_angstrom / pixel_size_angstrom
    rough = np.random.default_rng(3).standard_normal(image.shape)
    blotches = ndimage.gaussian_filter(rough, 0.4 * diameter_px)
    blotches -= ndimage.gaussian_filter(rough, 1.5 * diameter_px)
    spoilt = image * (1 + 0.04 * blotches / blotches.std())

    word, reason = verdict_on(spoilt, pixel_size_angstrom, diameter_angstrom)
    assert word != "good"
    assert "mottled" in reason


@pytest.mark.parametrize("diameter_angstrom", [100, 150, 260])
def test_an_empty_hole_is_bad(diameter_angstrom, verdict_on):
    """It contains only shot noise, so the particle diameter does not matter."""
    counts = np.random.default_rng(6).poisson(40, (1024, 1024))

    word, reason = verdict_on(counts, 2.0, diameter_angstrom)
    assert word == "bad"
    assert "little more than noise" in reason
