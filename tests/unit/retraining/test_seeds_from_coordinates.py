"""Seeds from manual picks: matching, mismatches, and reasons to wait."""

import dataclasses

import pytest

from livepick.core.contracts.run import RUNS
from livepick.core.imaging.quality import Quality
from livepick.retraining.run_store import read_waiting


@pytest.fixture
def by_hand(begin, tmp_path):
    """Return a function that starts a session with manual picks for these micrographs."""

    def make(names, *, per_micrograph=20, x=30.0, **bootstrap):
        lines = [f"{name},{x},{y}" for name in names for y in range(per_micrograph)]
        (tmp_path / "hand.csv").write_text("\n".join(["micrograph,x_px,y_px", *lines]))
        return begin(picks={"coordinates": tmp_path / "hand.csv"}, **bootstrap)

    return make


def test_manual_picks_are_the_seeds_of_their_micrographs(by_hand):
    """All of them are accepted; mismatches are in the order, and nothing else is waited for."""
    session = by_hand(
        [f"J1/{number:021d}_mic_{number}_patch_aligned.mrc" for number in range(3, 8)]
    )
    session.add(7, name="mic_{}.mrc")
    session.queued = 1
    assert "4 are picked, 1 are not (" in session.plan()

    session.add(1, name="mic_{}.mrc")
    spec = session.plan()

    assert [m.path.stem for m in spec.micrographs] == [f"mic_{n}" for n in range(3, 8)]
    assert (spec.seeds_from, spec.parent) == ("coordinates", None)
    scores = {score for m in spec.micrographs for _, _, score in m.seeds}
    assert scores == {1.0}
    assert spec.seed_threshold < 1
    assert spec.unmatched == ["is picked but has no coordinates: mic_0, mic_1, mic_2"]


def test_mismatches_are_listed_and_long_lists_shortened(by_hand):
    """A run starts without micrographs of another session once no work is in progress."""
    names = [*(f"mic_{n}" for n in range(4)), *(f"old_{n}" for n in range(9))]
    session = by_hand(names, per_micrograph=25)
    session.queued = 1
    session.add(20, name="mic_{}.mrc")
    assert "4 are picked, 9 are not (old_0, old_1, old_2, old_3, old_4 and 4 more)" in (
        session.plan()
    )
    session.queued = 0

    missing, without = session.plan().unmatched
    assert missing.endswith("old_0, old_1, old_2, old_3, old_4 and 4 more")
    assert without.endswith("and 11 more")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"names": list("abcde")}, "is for other micrographs: it has a, b, c, d, e, and the"),
        ({"names": ["0", "1", "2"], "per_micrograph": 1}, "has 3 particles in total, and 100 are"),
        ({"names": ["0", "1"], "per_micrograph": 90}, "coordinates for 2 micrographs (0, 1)"),
        ({"names": list("01234"), "x": 500.0}, "100 of 100 positions in"),
        ({"names": list("01234"), "x": -9.0}, "are outside the images; those of 0 range"),
        ({"names": [], "per_micrograph": 0}, "contains no positions"),
    ],
)
def test_wrong_coordinates_do_not_affect_picking(by_hand, given, says, caplog):
    """The error names file, value and remedy, in the log, and in the status until it is fixed."""
    session = by_hand(**given)
    session.add(5)

    sentence = session.plan()

    assert says in sentence
    assert "hand.csv" in sentence
    assert says in caplog.text
    assert read_waiting(session.config.state.directory / RUNS).trouble
    assert session.models.current(session.config).card.version == 0


def test_coordinates_are_read_again_when_corrected(by_hand, tmp_path):
    """The service need not be restarted."""
    session = by_hand(list("01234"), per_micrograph=1)
    session.add(5)
    assert "5 particles in total" in session.plan()
    lines = [f"{name},{x},9" for name in "01234" for x in range(25)]
    (tmp_path / "hand.csv").write_text("\n".join(["micrograph,x_px,y_px", *lines]))

    assert len(session.plan().micrographs) == 5


def test_a_few_positions_outside_the_image_are_left_out(by_hand, tmp_path):
    """The edge is half a pixel beyond the centre of the last pixel."""
    session = by_hand(list("01234"))
    with (tmp_path / "hand.csv").open("a") as file:
        file.write("\n3,64.0,10\n3,63.4,10\n3,-0.4,10")
    session.add(5)

    spec = session.plan()

    assert len(spec.micrographs[3].seeds) == 22
    assert spec.unmatched == ["3: 1 positions are outside the image, and are left out"]


def test_training_does_not_wait_for_bad_micrographs_with_manual_picks(by_hand):
    """Three good ones are enough; with fewer, the sentence says why training waits."""
    session = by_hand(list("01234"), per_micrograph=40)
    session.add(2)
    session.add(3, masked_fraction=0.8)
    assert "of 5 picked micrographs" in session.plan()
    assert "2 are suitable for training, and 3 are needed" in session.plan()

    session.rows[2] = dataclasses.replace(session.rows[2], quality=Quality(0.1, 0.9))
    assert [m.path.stem for m in session.plan().micrographs] == ["0", "1", "2"]


def test_boxes_below_cryolos_threshold_are_left_out(begin, tmp_path):
    """Cbox files also contain boxes that crYOLO itself would not pick."""
    head = "data_cryolo\n\nloop_\n" + "".join(
        f"_{name}\n" for name in ("CoordinateX", "CoordinateY", "Width", "Height", "Confidence")
    )
    for number in range(5):
        rows = [f"{place} {place} 4 4 {0.2 if place < 5 else 0.9}" for place in range(30)]
        (tmp_path / f"{number}.cbox").write_text(head + "\n".join(rows))
    session = begin(picks={"coordinates": tmp_path})
    session.add(5)

    spec = session.plan()

    assert [len(m.seeds) for m in spec.micrographs] == [25] * 5
    assert "0: 5 boxes are below crYOLO's threshold, and are left out" in spec.unmatched
