"""The picks that class averages are made of."""

from livepick.classes.class_order import make_order
from livepick.core.contracts.class_averages import MOST_PARTICLES


def test_an_order_has_the_picks_above_the_threshold_in_the_order_they_landed(averaged_session):
    averaged_session.pick(12, picks=40)
    order = make_order(averaged_session.config, averaged_session.ledger.reader, threads=1)
    assert (order.first_id, order.last_id, order.model_version) == (1, 12, 1)
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
