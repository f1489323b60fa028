"""``livepick evaluate``: files are matched by name, and figures add up."""

import json

import numpy as np
import pytest

from livepick.cli import main
from livepick.commands.coordinates_comparison import compare
from livepick.errors import CoordinatesError


@pytest.fixture
def folders(tmp_path):
    """Return picks of a and b, truth of b and c: one hit, one miss, one missed."""
    picks, truth = tmp_path / "picks", tmp_path / "truth"
    picks.mkdir()
    truth.mkdir()
    (picks / "a_autopick.star").write_text("data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n1 1\n")
    (picks / "b.csv").write_text("x_px,y_px,score\n13,14,0.9\n70,70,0.8\n")
    (truth / "b_truth.star").write_text("data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n10 10\n")
    (truth / "c.csv").write_text("x_px,y_px\n5,5\n")
    return picks, truth


def test_truth_without_picks_is_missed_and_picks_without_truth_are_named(folders):
    """Each micrograph is scored or listed."""
    result = compare(*folders, radius_px=6)

    assert [(row.micrograph, row.without_picks) for row in result.rows] == [
        ("b", False),
        ("c", True),
    ]
    assert result.not_scored == ["a"]
    assert (result.pooled.truths, result.pooled.hits) == (2, 1)
    assert result.pooled.average_precision == pytest.approx(0.5)


def test_two_files_are_compared_whatever_their_names(folders):
    """The user has named both files."""
    picks, truth = folders

    result = compare(picks / "b.csv", truth / "c.csv", radius_px=20)

    assert result.pooled.hits == 1
    assert result.not_scored == []


def test_json_holds_angstrom_and_null_for_what_is_undefined(folders, capsys):
    """JSON has no NaN; distances are in ångström where the pixel size is known."""
    arguments = [str(folder) for folder in folders]

    status = main(
        ["evaluate", *arguments, "--json", "--diameter-angstrom", "48", "--pixel-size", "2"]
    )

    out = json.loads(capsys.readouterr().out)
    assert status == 0
    assert out["radius_px"] == 6
    assert out["pooled"]["localisation_mean_angstrom"] == pytest.approx(10)
    assert out["micrographs"]["c"]["precision"] is None


def test_table_shows_each_micrograph_and_all_together(folders, capsys):
    """Without ``--json`` the command prints a table."""
    assert main(["evaluate", *[str(folder) for folder in folders], "--radius-px", "6"]) == 0

    shown = capsys.readouterr().out
    assert "pooled" in shown
    assert "Not scored, because there are no true positions: a" in shown


@pytest.mark.parametrize(
    "options", [[], ["--radius-angstrom", "9"], ["--radius-px", "3", "--diameter-angstrom", "9"]]
)
def test_radius_must_be_said_once(folders, options, capsys):
    """A guessed radius would change every figure."""
    assert main(["evaluate", *[str(folder) for folder in folders], *options]) == 2
    assert "--pixel-size" in capsys.readouterr().err


def test_no_coordinates_are_an_error_of_two_lines(tmp_path, capsys):
    """The error names the folder and the remedy; the exit status is 1."""
    assert main(["evaluate", str(tmp_path), str(tmp_path), "--radius-px", "3"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2
    with pytest.raises(CoordinatesError):
        compare(tmp_path, tmp_path, radius_px=3)


def test_truths_at_the_edge_count_neither_way(tmp_path, capsys):
    """Picking leaves them out; this needs the size of the micrographs."""
    picks, truth = tmp_path / "picks.csv", tmp_path / "truth.csv"
    picks.write_text("x_px,y_px,score\n50,50,0.9\n12,50,0.8\n")
    truth.write_text("x_px,y_px\n50,50\n10,50\n50,95\n")

    every = compare(picks, truth, radius_px=6)
    inside = compare(picks, truth, radius_px=6, edge_px=15, size_px=(120, 100))
    arguments = ["evaluate", str(picks), str(truth), "--json", "--radius-px", "6"]
    assert main([*arguments, "--edge-px", "15", "--size-px", "120", "100"]) == 0

    assert (every.pooled.picks, every.pooled.truths, every.pooled.hits) == (2, 3, 2)
    assert (inside.pooled.picks, inside.pooled.truths, inside.pooled.hits) == (1, 1, 1)
    out = json.loads(capsys.readouterr().out)
    assert (out["edge_px"], out["pooled"]["truths"]) == (15, 1)


def test_an_edge_needs_the_size_of_the_micrographs(folders, capsys):
    """Without a size, the far edges are unknown."""
    assert main(["evaluate", *map(str, folders), "--radius-px", "6", "--edge-px", "9"]) == 2

    assert "--size-px" in capsys.readouterr().err


@pytest.fixture
def session(tmp_path):
    """Return picks and truth of two data sets with the same names, each in one file."""
    chance = np.random.default_rng(1)
    picks, truth = tmp_path / "picks.csv", tmp_path / "truth.star"
    ours, theirs = ["micrograph,x_px,y_px,score"], []
    for number in (1, 2):
        for x, y in chance.integers(5, 470, (40, 2)).tolist():
            ours.append(f"/data/Dataset{number}/001.tif,{x},{y},0.9")
            theirs.append(f"{x} {639 - y} MotionCorr/job2/Dataset{number}/001.tif")
    picks.write_text("\n".join(ours))
    columns = "_rlnCoordinateX\n_rlnCoordinateY\n_rlnMicrographName\n"
    truth.write_text(f"data_particles\nloop_\n{columns}" + "\n".join(theirs))
    return picks, truth


def test_files_of_many_micrographs_are_compared_by_path(session):
    """Two data sets may have micrographs of the same names."""
    result = compare(*session, radius_px=3, size_px=(480, 640))

    assert [row.micrograph for row in result.rows] == ["Dataset1/001", "Dataset2/001"]
    assert not any(row.without_picks for row in result.rows)


def test_a_truth_that_is_turned_over_is_found_out(session, capsys):
    """As in files of programs that turn a TIFF over, if the size of the micrographs is given."""
    arguments = ["evaluate", *map(str, session), "--radius-px", "3", "--json"]
    shown = []
    for options in (
        ["--size-px", "480", "640"],
        ["--size-px", "480", "640", "--flip-y", "yes"],
        ["--size-px", "480", "640", "--flip-y", "no"],
        [],
    ):
        assert main([*arguments, *options]) == 0
        shown.append(json.loads(capsys.readouterr().out))

    assert [out["flipped_y"] for out in shown] == [True, True, False, False]
    assert [out["pooled"]["recall"] for out in shown[:2]] == [1, 1]
    assert shown[2]["pooled"]["hits"] < 10
    assert "80 if y is turned over" in shown[0]["orientation"]
    assert main([*arguments, "--flip-y", "yes"]) == 1
    assert "--size-px WIDTH HEIGHT" in capsys.readouterr().err


def test_the_table_says_which_way_up_the_truth_is(session, capsys):
    arguments = ["evaluate", *map(str, session), "--radius-px", "3", "--size-px", "480", "640"]
    assert main(arguments) == 0
    assert "True positions: y is turned over: " in capsys.readouterr().out


def test_two_picks_files_of_one_micrograph_are_refused(tmp_path):
    for name in ("picks/a/m_DW.csv", "picks/b/m_DW.csv", "truth/m.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x_px,y_px\n1,2\n")

    with pytest.raises(CoordinatesError, match=r"a/m_DW and b/m_DW in .* are both for"):
        compare(tmp_path / "picks", tmp_path / "truth", radius_px=3)


def test_a_picks_file_without_rows_is_not_a_missing_one(tmp_path):
    for name, text in (("picks/m.csv", "x_px,y_px\n"), ("truth/m.csv", "x_px,y_px\n1,2\n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    result = compare(tmp_path / "picks", tmp_path / "truth", radius_px=3)

    assert [(row.micrograph, row.without_picks) for row in result.rows] == [("m", False)]


@pytest.mark.parametrize(
    ("size_px", "says"),
    [
        ((640, 480), "if x and y are exchanged"),
        ((240, 320), "micrographs that are 2 times as large"),
    ],
)
def test_positions_outside_the_micrographs_are_refused(session, size_px, says):
    """They are for images of another size, and no figure would mean anything."""
    with pytest.raises(CoordinatesError, match=r"positions in .* are outside") as caught:
        compare(*session, radius_px=3, size_px=size_px)
    assert says in caught.value.remedy


def test_files_without_a_common_micrograph_are_refused(tmp_path):
    """A name may also fit several micrographs, as a does 1/a and 2/a."""
    for name in ("picks/a.csv", "truth/1/a.csv", "truth/2/a.csv", "others/b.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x_px,y_px\n5,5\n")

    for place in ("truth", "others"):
        with pytest.raises(CoordinatesError, match="no micrograph in common"):
            compare(tmp_path / "picks", tmp_path / place, radius_px=3)


def test_a_size_is_one_pixel_or_more(folders, capsys):
    arguments = ["evaluate", *map(str, folders), "--radius-px", "6"]
    assert main([*arguments, "--size-px", "0", "100"]) == 2
    assert "both must be 1 or more" in capsys.readouterr().err
