"""Seeds from manual picks: matching, mismatches, and reasons to wait."""

import dataclasses

import numpy as np
import pytest

from livepick.core.contracts.run import RUNS
from livepick.core.imaging.picks import Picks
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


def test_micrographs_of_the_same_name_are_told_apart_by_their_folders(begin, tmp_path):
    """A project with several data sets has one file for all of them."""
    lines = [
        f"MotionCorr/job002/Dataset{number}/001.mrc,{number + 1},{y}"
        for number in range(5)
        for y in range(20)
    ]
    (tmp_path / "hand.csv").write_text("\n".join(["micrograph,x_px,y_px", *lines]))
    session = begin(picks={"coordinates": tmp_path / "hand.csv"})
    session.add(6, name="Dataset{}/001.mrc")

    spec = session.plan()

    found = {m.path.parent.name: {x for x, _, _ in m.seeds} for m in spec.micrographs}
    assert found == {f"Dataset{number}": {number + 1} for number in range(5)}
    assert spec.unmatched == ["is picked but has no coordinates: Dataset5/001"]


def test_names_that_fit_nothing_are_listed_with_the_nearest(by_hand):
    names = [*(f"mic_{n:03d}" for n in range(4)), "mic_0004", "elsewhere"]
    session = by_hand(names, per_micrograph=25)
    session.add(6, name="mic_00{}.mrc")

    missing, without = session.plan().unmatched

    assert missing == (
        "has coordinates but is not among the picked micrographs: elsewhere, mic_0004 (the nearest"
        " is mic_004)"
    )
    assert without == "is picked but has no coordinates: mic_004, mic_005"


def test_a_name_that_fits_two_micrographs_is_listed_as_such(by_hand):
    """Nothing is guessed, and the nearest name would be the same."""
    session = by_hand([*(f"mic_{n}" for n in range(4)), "001"], per_micrograph=25)
    session.add(4, name="mic_{}.mrc")
    session.add(2, name="Dataset{}/001.mrc")

    missing, without = session.plan().unmatched

    assert missing.endswith("001 (its name does not tell which micrograph it is)")
    assert without == "is picked but has no coordinates: Dataset4/001, Dataset5/001"


def test_coordinates_that_fit_a_micrograph_twice_are_named(by_hand):
    """Two files for one micrograph: neither is chosen."""
    names = [f"{folder}/{n}" for folder in ("job1", "job2") for n in range(5)]
    session = by_hand(names)
    session.add(5)

    assert "has 2 micrographs that may be 0: job1/0, job2/0" in session.plan()


def test_one_micrograph_that_is_there_twice_is_left_out(by_hand):
    session = by_hand([*"01234", "job2/5_DW", "job1/5_aligned"])
    session.add(6)

    spec = session.plan()

    assert [m.path.stem for m in spec.micrographs] == list("01234")
    assert "5: job2/5_DW, job1/5_aligned fit it equally well, and are left out" in spec.unmatched


@pytest.mark.parametrize(
    ("row", "shape", "remedy"),
    [
        ("{name},{x},{y}", (64, 64), None),
        ("{name},{y2},{x}", (64, 200), "if x and y are exchanged"),
        ("{name},{x},-{y}", (64, 64), "y is negative"),
        ("{name},{x4},{y4}", (64, 64), "micrographs that are 4 times as large"),
        ("{name},{x},{x}999", (64, 64), "not of binned or unbinned ones"),
    ],
)
def test_a_file_with_positions_outside_the_images_is_refused(begin, tmp_path, row, shape, remedy):
    """The remedy says what would explain them: another binning, or another axis."""
    chance = np.random.default_rng(1)
    rows = []
    for name in "01234":
        for x, y in chance.integers(1, 64, (40, 2)).tolist():
            rows.append(row.format(name=name, x=x, y=y, x4=4 * x, y4=4 * y, y2=y))
            rows[-1] = rows[-1].replace(f"{name},{y},{x}", f"{name},{y},{3 * x}")
    (tmp_path / "hand.csv").write_text("\n".join(["micrograph,x_px,y_px", *rows]))
    session = begin(picks={"coordinates": tmp_path / "hand.csv"})
    session.add(5, shape_px=shape)

    planned = session.plan()

    if remedy is None:
        assert len(planned.micrographs) == 5
    else:
        assert "positions in" in planned
        assert "are outside the images" in planned
        assert remedy in planned


@pytest.fixture
def picked_by_hand(begin, tmp_path):
    """Return a function that starts a session and picks the same particles by hand."""

    def make(*, turned, suffix="mrc", count=40, flip_y=None, others=False):
        chance = np.random.default_rng(1)
        settings = {} if flip_y is None else {"flip_y": flip_y}
        session = begin(picks={"coordinates": tmp_path / "hand.csv"}, **settings)
        session.add(5, name=f"{{}}.{suffix}", shape_px=(640, 480))
        rows = []
        for number in range(5):
            xy = chance.uniform(5, 470, (count, 2)).astype(np.float32)
            session.found[number] = Picks(xy[:, 0], xy[:, 1], np.full(count, 0.9, np.float32))
            given = chance.uniform(5, 470, (count, 2)) if others else xy
            for x, y in given.tolist():
                rows.append(f"{number},{x},{639 - y if turned else y}")
        (tmp_path / "hand.csv").write_text("\n".join(["micrograph,x_px,y_px", *rows]))
        return session

    return make


def as_picked(session, spec):
    """Return the share of the seeds that are within a pixel of the session's own picks."""
    hits = total = 0
    for number, micrograph in enumerate(spec.micrographs):
        own = session.found[number]
        for x, y, _ in micrograph.seeds:
            total += 1
            hits += bool((np.hypot(own.x_px - x, own.y_px - y) < 1).any())
    return hits / total


@pytest.mark.parametrize("suffix", ["mrc", "tif"])
@pytest.mark.parametrize("turned", [True, False])
def test_seeds_are_the_way_up_that_agrees_with_our_own_picks(
    picked_by_hand, turned, suffix, caplog
):
    """Files of programs that turn a TIFF over count y from the other end."""
    caplog.set_level("INFO")
    session = picked_by_hand(turned=turned, suffix=suffix)

    spec = session.plan()

    assert as_picked(session, spec) == 1
    (sentence,) = spec.orientation
    assert ("y is turned over" if turned else "y is as given") in sentence
    assert sentence.startswith("TIFF" if suffix == "tif" else "MRC")
    assert "200 of" not in sentence or "200 of 200 positions agree" in sentence
    assert sentence in caplog.text


@pytest.mark.parametrize(("flip_y", "share"), [("yes", 1), ("no", 0)])
def test_a_person_may_say_which_way_up_the_seeds_are(picked_by_hand, flip_y, share):
    session = picked_by_hand(turned=True, flip_y=flip_y)

    spec = session.plan()

    assert round(as_picked(session, spec), 1) == share
    assert spec.orientation[0].endswith(f"(flip_y: {flip_y})")


def test_seeds_stay_as_given_if_neither_way_agrees(picked_by_hand):
    session = picked_by_hand(turned=True, others=True)

    spec = session.plan()

    assert "as given, but may be the wrong way round" in spec.orientation[0]


def test_tiff_and_mrc_micrographs_are_judged_apart(picked_by_hand, tmp_path):
    """Most programs turn only a TIFF over."""
    session = picked_by_hand(turned=False)
    for number in (0, 1):
        session.rows[number] = dataclasses.replace(
            session.rows[number], relative=session.rows[number].relative.with_suffix(".tiff")
        )
    lines = (tmp_path / "hand.csv").read_text().split("\n")
    for i, line in enumerate(lines):
        if line[:2] in ("0,", "1,"):
            name, x, y = line.split(",")
            lines[i] = f"{name},{x},{639 - float(y)}"
    (tmp_path / "hand.csv").write_text("\n".join(lines))

    spec = session.plan()

    assert as_picked(session, spec) == 1
    mrc, tiff = spec.orientation
    assert "MRC micrographs: y is as given: 120 of 120" in mrc
    assert "TIFF micrographs: y is turned over" in tiff


def test_a_list_by_relion_is_read_again_when_one_of_its_files_changes(begin, tmp_path):
    """The list itself stays as it is when somebody picks further."""
    job = tmp_path / "AutoPick" / "job004"
    job.mkdir(parents=True)
    head = "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n"
    rows = []
    for number in range(5):
        (job / f"{number}_autopick.star").write_text(f"{head}1 2\n")
        rows.append(f"Micrographs/{number}.mrc AutoPick/job004/{number}_autopick.star\n")
    (job / "autopick.star").write_text(
        "data_coordinate_files\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\n"
        + "".join(rows)
    )
    session = begin(picks={"coordinates": job / "autopick.star"})
    session.add(5)
    assert "5 particles in total" in session.plan()

    for number in range(5):
        places = "".join(f"{x} 9\n" for x in range(25))
        (job / f"{number}_autopick.star").write_text(head + places)

    assert len(session.plan().micrographs) == 5
