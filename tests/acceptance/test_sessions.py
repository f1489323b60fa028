"""Several sessions on one machine, and what one leaves for the next."""

import dataclasses
import re

import numpy as np
import pytest
from session import livepick

from factories import EASY_SESSION, acquire_session
from livepick.core.contracts.bundle import read_card
from livepick.core.contracts.run import RunSpec
from livepick.core.evaluation.matching import figures, match
from livepick.core.formats.coordinates import read_coordinates
from livepick.core.imaging.pick_area import PickArea
from livepick.core.imaging.picks import Picks
from livepick.simulate.species import specimen

MICROGRAPHS = 10  # not all of them are fit to learn from


def test_two_services_do_not_touch_one_another(make_session):
    """Each has its folders, ledger, models and port; an edit or the end of one is its own."""
    one = make_session("one", session={"name": "one"})
    two = make_session("two", session={"name": "two"}, particle={"diameter_angstrom": 150})
    one.start()
    two.start()
    one.drop(2)
    two.drop(3)  # of the same names
    one.until(lambda: one.picked() == 2, "2 picked")
    two.until(lambda: two.picked() == 3, "3 picked")

    addresses = {s.address for s in (one, two)}
    assert len(addresses) == 2
    for session, count in ((one, 2), (two, 3)):
        name = session.settings["session"]["name"]
        metrics = session.get("/metrics")
        assert re.search(rf'livepick_session_info{{[^}}]*session="{name}"}} 1.0', metrics)
        session.until(
            lambda session=session, count=count: (
                session.figure('micrographs_total{state="picked"}') == count
            ),
            "the counter",
        )
        assert len(list(session.output.glob("mic_*_autopick.star"))) == count
        assert (session.state / "models" / "0000").is_dir()
    two.until(lambda: two.log.read_text().count("measured for") == 3, "the size compared")
    two.until(lambda: "is not fitted" in two.log.read_text(), "the CTFs looked at")
    before = two.log.read_text()
    one.settings["picking"]["threshold"] = 1.0
    one.save()
    one.until(lambda: "picking.threshold from auto to 1.0" in one.log.read_text(), "a reload")
    assert one.stop() == 0
    assert two.log.read_text() == before
    two.drop(1, first=4)
    two.until(lambda: two.picked() == 4, "a further one")
    assert two.stop() == 0
    assert one.status()["micrographs"]["picked"] == 2


def test_a_session_on_the_state_folder_of_another_is_refused(make_session):
    """The error names the folder and the setting; all other folders are its own."""
    one = make_session("one")
    one.start()
    two = make_session("two", state={"directory": str(one.state)})

    ran = livepick("run", two.config)

    assert ran.returncode == 75
    assert f"another livepick (process {one.process.pid}) works on {one.state}" in ran.stderr
    assert "state.directory" in ran.stderr
    one.drop(1)
    one.until(lambda: one.picked() == 1, "the first goes on")


def land(session, micrographs):
    """Move micrographs into the watched folder, each when the one before is picked.

    All at once, their order depends on the machine, and so do those that are trained on.
    """
    for count, path in enumerate(micrographs, session.picked() + 1):
        path.rename(session.landing / path.name)
        session.until(lambda count=count: session.picked() >= count, f"{count} picked")


@pytest.mark.slow
@pytest.mark.timeout(900)  # a good minute alone
def test_a_model_of_an_earlier_session_starts_the_next_at_another_pixel_size(make_session):
    """Trained at 2.0 Å a pixel; its picks at 1.5 are on the particles, which are larger there."""
    diameter = specimen(EASY_SESSION.species).diameter_angstrom
    particle = {"diameter_angstrom": round(diameter)}
    bootstrap = {"micrographs": 5, "minimum_picks": 40}
    training = {
        "epochs": 3, "auto_remedy": False, "held_out_fraction": 0.3, "minibatch_size": 4,
        "device": "cpu",
    }  # fmt: skip
    earlier = make_session(
        "earlier",
        particle=particle,
        bootstrap=bootstrap,
        training=training,
        retrain={"gate": "off"},  # any model will do
    )
    settings = dataclasses.replace(
        EASY_SESSION, pixel_size_angstrom=2.0, shape_px=(768, 1024), seed=21
    )
    micrographs, _ = acquire_session(earlier.folder / "acquired", settings, MICROGRAPHS)
    earlier.start()
    land(earlier, micrographs)
    earlier.until(earlier.has_trained_model, "a model", seconds=600)
    assert earlier.stop() == 0
    bundle = earlier.state / "models" / "0001"

    following = make_session(
        "next",
        particle=particle,
        bootstrap=bootstrap | {"picks": {"model": str(bundle)}},
        training=training,
    )
    settings = dataclasses.replace(
        EASY_SESSION, pixel_size_angstrom=1.5, shape_px=(1024, 1365), seed=22
    )
    micrographs, truth = acquire_session(following.folder / "acquired", settings, MICROGRAPHS)
    following.start()
    land(following, micrographs)
    runs = following.state / "runs"
    following.until(lambda: any(runs.glob("*/run.json")), "seeds of the earlier model", seconds=300)
    assert following.stop() == 0

    (run,) = runs.glob("[0-9]*")
    spec = RunSpec.read(run)
    assert spec.seeds_from == "model"
    assert spec.seed_threshold == read_card(bundle).threshold
    matched = [
        match(
            Picks(*np.array(micrograph.seeds, dtype=np.float32).T).above(spec.seed_threshold),
            read_coordinates(truth / f"{micrograph.path.stem}_truth.star"),
            radius_px=0.25 * diameter / 1.5,
            area=PickArea.of_image(
                (1024, 1365), edge_px=read_card(bundle).edge_fraction * diameter / 1.5
            ),
        )
        for micrograph in spec.micrographs
    ]
    found = figures(matched)
    told = dataclasses.asdict(found)
    assert {micrograph.pixel_size_angstrom for micrograph in spec.micrographs} == {1.5}
    assert found.truths > 200, told
    assert found.hits > 0.9 * found.picks, told
    assert found.average_precision > 0.85, told
    assert found.localisation_mean_px * 1.5 < 0.04 * diameter, told
