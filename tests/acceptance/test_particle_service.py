"""A session in which nobody says how large the particle is, and one in which it is said wrongly."""

import shutil

import numpy as np
import pytest
from session import livepick

from factories import EASY_SESSION, acquire_session
from livepick.core.formats.coordinates import read_all_positions
from livepick.models.general_model import SHIPPED

DIAMETER_ANGSTROM = 125
"""Diameter of the simulated apoferritin."""

MICROGRAPHS = 5

pytestmark = pytest.mark.skipif(
    not SHIPPED.is_dir(), reason="the general model is not in this checkout: it measures the size"
)


@pytest.fixture(scope="module")
def acquired(tmp_path_factory):
    """Return the paths of a few micrographs, and the folder with the true positions."""
    return acquire_session(tmp_path_factory.mktemp("acquired"), EASY_SESSION, MICROGRAPHS)


def land(session, acquired):
    for path in acquired[0]:
        shutil.copy(path, session.landing / path.name)


def measured_again(session):
    return session.log.read_text().count("measured for the particle's size")


def is_near(picks, truth, *, within_px):
    """Return the fraction of picks that are within a distance of a true position."""
    distances = np.hypot(*(picks[:, None, axis] - truth[None, :, axis] for axis in (0, 1)))
    return float((distances.min(axis=1) <= within_px).mean())


@pytest.mark.timeout(900)
def test_only_the_pixel_size_is_known(make_session, acquired):
    """From landing to picks of the right size; a restart measures nothing again."""
    session = make_session(
        particle={"diameter_angstrom": "auto", "contrast": "auto"},
        bootstrap={"micrographs": MICROGRAPHS, "minimum_picks": 100_000},
    )
    session.start()
    land(session, acquired)
    session.until(lambda: session.figure("particle_settled") == 1, "a size", seconds=600)
    session.until(lambda: session.counts().picked == MICROGRAPHS, "picks of that size", seconds=120)

    particle = session.status()["particle"]
    found = particle["used"]["diameter_angstrom"]
    assert found == pytest.approx(DIAMETER_ANGSTROM, rel=0.2)
    assert particle["used"]["contrast"] == "dark"
    assert f'livepick_config_info{{device="cpu",diameter_angstrom="{found:g}"' in session.get(
        "/metrics"
    )
    measured = f"The particle was measured: {found:g} Å, dark"
    session.until(lambda: measured in session.get("/"), "the page says so")
    truth = read_all_positions(acquired[1])
    radius_px = DIAMETER_ANGSTROM / 2 / EASY_SESSION.pixel_size_angstrom
    for name, true in truth.items():
        picks = np.array([row[:2] for row in session.star(name)], dtype=float)
        there = np.column_stack([true.x_px, true.y_px])
        assert is_near(picks, there, within_px=radius_px) > 0.7

    assert session.stop() == 0
    before = measured_again(session)
    session.start()
    session.until(lambda: session.figure("particle_settled") == 1, "the size again")
    assert session.status()["particle"]["used"]["diameter_angstrom"] == found
    assert measured_again(session) == before
    assert session.counts().picked == MICROGRAPHS
    listed = livepick("models", "list", session.config)
    assert listed.returncode == 0


@pytest.mark.timeout(900)
def test_a_wrong_diameter_is_said_before_anything_is_trained(make_session, acquired):
    """On the page, in the status and in the metrics; an edit clears it."""
    session = make_session(
        particle={"diameter_angstrom": 2 * DIAMETER_ANGSTROM},
        bootstrap={"micrographs": MICROGRAPHS, "minimum_picks": 1},
    )
    session.start()
    land(session, acquired)
    session.until(
        lambda: session.figure("particle_contradiction") == 1, "a contradiction", seconds=600
    )
    said = "particle.diameter_angstrom is 250"
    session.until(
        lambda: said in (session.status()["particle"]["contradiction"] or ""), "it is recorded"
    )
    told = "The micrographs contradict the config"
    session.until(lambda: told in str(session.status()["problems"]), "the status says so")
    session.until(lambda: told in session.get("/"), "the page says so")
    assert not list((session.state / "runs").glob("[0-9]*"))
    first = "sim_0001.mrc"
    session.until(lambda: session.rows()[first].pick_count is not None, "it is picked all the same")

    session.settings["particle"]["diameter_angstrom"] = DIAMETER_ANGSTROM
    session.settings["bootstrap"]["minimum_picks"] = 100_000
    session.save()
    session.until(lambda: session.figure("particle_contradiction") == 0, "that it is cleared")
