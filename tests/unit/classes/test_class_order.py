"""The picks that class averages are made of."""

from livepick.classes.class_order import make_order
from livepick.core.contracts.class_averages import MOST_PARTICLES
from livepick.core.imaging.ctf import Ctf, CtfFit
from livepick.core.imaging.quality import CtfFigures


def test_an_order_has_the_picks_above_the_threshold_in_the_order_they_landed(averaged_session):
    averaged_session.pick(12, picks=40)
    order = make_order(averaged_session.config, averaged_session.ledger.reader, threads=1)
    assert (order.first_id, order.last_id, order.model_version) == (1, 12, 1)
    assert order.threshold == 0.5
    assert [len(m.picks) for m in order.micrographs] == [40] * 12
    assert order.micrographs[-1].path.name == "m0012.mrc"
    assert order.micrographs[0].version.inode == 0


def test_of_many_picks_each_micrograph_gives_the_same_share_of_all_scores(averaged_session):
    averaged_session.pick(10, picks=800)
    order = make_order(averaged_session.config, averaged_session.ledger.reader, threads=1)
    assert {len(m.picks) for m in order.micrographs} == {400}
    assert order.particles == MOST_PARTICLES
    worst = averaged_session.ledger.reader.candidates(1)
    last = (float(worst.x_px[-1]), float(worst.y_px[-1]))
    assert order.micrographs[0].picks[-1] == last


def test_there_is_no_order_without_picks(averaged_session):
    assert make_order(averaged_session.config, averaged_session.ledger.reader, threads=1) is None


def test_a_fitted_ctf_is_passed_on_and_one_of_another_program_comes_from_its_file(averaged_session):
    averaged_session.pick(10)
    optics = averaged_session.config.optics
    ctf = Ctf(
        defocus_u_angstrom=12000.0,
        defocus_v_angstrom=11000.0,
        astigmatism_angle_degrees=30.0,
        voltage_kv=optics.voltage_kv,
        spherical_aberration_mm=optics.spherical_aberration_mm,
        amplitude_contrast=optics.amplitude_contrast,
    )
    averaged_session.ledger.ctf.fitted(3, 1, CtfFit(ctf=ctf, score=0.4), "optics")
    averaged_session.ledger.ctf.found(4, 1, CtfFigures.of(ctf))
    order = make_order(averaged_session.config, averaged_session.ledger.reader, threads=1)
    assert [m.ctf for m in order.micrographs] == [None, None, ctf, *[None] * 7]


def test_picks_of_two_models_count_as_those_of_the_one_that_is_not_in_use(averaged_session):
    """Otherwise, averages made while micrographs are picked again would never be renewed."""
    averaged_session.pick(4, version=2)
    averaged_session.pick(4, version=1)
    averaged_session.pick(3, version=2)
    averaged_session.ledger.session.use_model(2, "trained", "particle")
    order = make_order(averaged_session.config, averaged_session.ledger.reader, threads=1)
    assert len(order.micrographs) == 11
    assert order.model_version == 1
