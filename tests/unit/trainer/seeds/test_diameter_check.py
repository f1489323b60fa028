"""A diameter that is far from that of the particles is reported, and a right one is not."""

import numpy as np
import pytest

from livepick.errors import ContentError
from livepick.simulate.exposure import simulate_micrograph
from livepick.simulate.field import Session
from livepick.simulate.species import specimen
from livepick_trainer.seeds.diameter_check import SIZES_DIAMETERS, size_finding, size_support

PIXEL_SIZE_ANGSTROM = 3.0
MICROGRAPHS = 4


def supports(images, diameter_angstrom, *, contrast="dark"):
    return [
        size_support(
            image,
            pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
            diameter_angstrom=diameter_angstrom,
            contrast=contrast,
        )
        for image in images
    ]


@pytest.fixture(scope="module")
def session():
    """Return a function that gives the images of a species, with ice, carbon and aggregates.

    The images of each species are made once.
    """
    made = {}

    def images(species):
        if species not in made:
            settings = Session(
                species=species,
                shape_px=(768, 768),
                pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
                signal_to_noise=0.15,
                seed=5,
            )
            made[species] = [simulate_micrograph(settings, i).image for i in range(MICROGRAPHS)]
        return made[species]

    return images


@pytest.mark.parametrize(
    ("species", "ratio"),
    [
        ("apoferritin", 1 / 3),
        ("apoferritin", 1 / 2),
        ("apoferritin", 2),
        ("apoferritin", 3),
        ("proteasome", 1 / 3),
        ("proteasome", 3),
        ("ribosome", 1 / 3),
        ("ribosome", 3),
    ],
)
def test_a_wrong_diameter_is_noticed(session, species, ratio):
    """The message names a width within a factor of 1.6 of the true one."""
    true_angstrom = specimen(species).diameter_angstrom
    given_angstrom = round(ratio * true_angstrom, 1)

    sentence = size_finding(
        supports(session(species), given_angstrom), diameter_angstrom=given_angstrom
    )

    assert sentence is not None
    assert f"particle.diameter_angstrom ({given_angstrom:g})" in sentence
    width_angstrom = float(sentence.split(" about ")[1].split(" Å")[0])
    assert 1 / 1.6 < width_angstrom / true_angstrom < 1.6


@pytest.mark.parametrize(
    ("species", "ratio"),
    [
        ("apoferritin", 0.9),
        ("apoferritin", 1),
        ("apoferritin", 1.1),
        ("proteasome", 1),
        ("ribosome", 1),
        ("beta-galactosidase", 1),
    ],
)
def test_a_right_diameter_is_not(session, species, ratio):
    """A diameter is also right if it is off by a tenth, or the longest one of a flat diamond."""
    given_angstrom = ratio * specimen(species).diameter_angstrom

    found = supports(session(species), given_angstrom)

    assert size_finding(found, diameter_angstrom=given_angstrom) is None


def test_bright_particles_are_measured_as_dark_ones(session):
    images = session("apoferritin")[:1]

    np.testing.assert_array_equal(
        supports([-image for image in images], 125, contrast="bright"), supports(images, 125)
    )


def test_noise_says_nothing():
    """There is no finding either with fewer than three informative micrographs."""
    noise = np.random.default_rng(0).normal(size=(4, 400, 500)).astype(np.float32)
    found = supports(noise, 100)
    assert not np.any(found)
    assert size_finding(found, diameter_angstrom=100) is None

    loud = np.zeros(len(SIZES_DIAMETERS))
    loud[0] = 1
    assert size_finding([*found, loud, loud], diameter_angstrom=100) is None
    assert "about 25 Å" in size_finding([*found, loud, loud, loud], diameter_angstrom=100)


def test_no_picture_is_refused():
    with pytest.raises(ContentError):
        supports([np.zeros((300, 300), dtype=np.float32)], 100)
