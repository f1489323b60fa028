"""The programs of ``make compare``: their commands, and what they write."""

from pathlib import Path

import pytest

from comparison.livepick_command import Livepick
from comparison.program import Task
from comparison.relion_log import RelionLog
from comparison.topaz import Topaz, downsampling

RELION_STAR = """
# version 30001

data_

loop_ 
_rlnCoordinateX #1 
_rlnCoordinateY #2 
_rlnAutopickFigureOfMerit #3 
_rlnClassNumber #4 
_rlnAnglePsi #5 
 2008.103896  1821.922078     0.100163            0     0.000000 
    0.000000     6.649351     0.003125            0     0.000000 
 
"""  # noqa: W291, W293 - RELION 3.1.3 ends its lines like this
RELION_STAR_WITHOUT_PICKS = "\n# version 30001\n\ndata_\n\n"

TOPAZ_TABLE = """\
image_name\tx_coord\ty_coord\tscore
mic_0001\t798\t189\t9.809368133544922
mic_0001\t0\t3\t-5.9821
mic_0003\t1737\t1686\t-5.994511604309082
"""


def task(folder: Path, **changes: float) -> Task:
    particle = {"pixel_size_angstrom": 1.5, "diameter_angstrom": 125.0} | changes
    return Task(folder=folder, names=["mic_0001", "mic_0002", "mic_0003"], **particle)


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_relion_s_coordinates_are_read_as_they_are(tmp_path: Path) -> None:
    """RELION counts from the first pixel at 0; without picks it writes no table."""
    folder = tmp_path / "picks" / "mics"
    folder.mkdir(parents=True)
    for name in ("mic_0001", "mic_0003"):
        (folder / f"{name}_autopick.star").write_text(RELION_STAR)
    (folder / "mic_0002_autopick.star").write_text(RELION_STAR_WITHOUT_PICKS)
    first, second, _ = RelionLog().picks(task(tmp_path))
    assert first.x_px.tolist() == pytest.approx([2008.103896, 0])
    assert first.y_px.tolist() == pytest.approx([1821.922078, 6.649351])
    assert first.score.tolist() == pytest.approx([0.100163, 0.003125])
    assert len(second) == 0


def test_relion_gets_the_true_diameter_and_its_own_defaults(tmp_path: Path) -> None:
    """The threshold is changed for the ranking only."""
    (command,) = RelionLog().commands(task(tmp_path))
    (ranking,) = RelionLog().commands(task(tmp_path), ranking=True)
    assert option(command, "--angpix") == "1.5"
    assert (option(command, "--LoG_diam_min"), option(command, "--LoG_diam_max")) == (
        "112.5",
        "137.5",
    )
    assert option(command, "--LoG_adjust_threshold") == "0"
    assert float(option(ranking, "--LoG_adjust_threshold")) < -5


def test_topaz_s_table_is_read_by_micrograph(tmp_path: Path) -> None:
    """Its coordinates count from the first pixel at 0, its scores may be negative."""
    (tmp_path / "picks.txt").write_text(TOPAZ_TABLE)
    first, second, third = Topaz("resnet8_u64").picks(task(tmp_path))
    assert (first.x_px.tolist(), first.y_px.tolist()) == ([798, 0], [189, 3])
    assert first.score.tolist() == pytest.approx([9.809368, -5.9821])
    assert len(second) == 0
    assert third.x_px.tolist() == [1737]


@pytest.mark.parametrize(
    ("pixel_size_angstrom", "diameter_angstrom", "factor"),
    [(1.5, 125, 3), (1.77, 180, 3), (2.0, 125, 2), (4.2, 125, 1), (1.5, 300, 6), (1.0, 299, 4)],
)
def test_topaz_s_pixels_have_the_size_its_guide_advises(
    tmp_path: Path, pixel_size_angstrom: float, diameter_angstrom: float, factor: int
) -> None:
    """4 Å or a little more, 8 Å for particles from 300 Å."""
    given = task(
        tmp_path, pixel_size_angstrom=pixel_size_angstrom, diameter_angstrom=diameter_angstrom
    )
    assert downsampling(given) == factor


def test_topaz_s_picks_are_scaled_back_to_the_micrograph(tmp_path: Path) -> None:
    """The radius is in pixels of the downsampled micrograph: 62.5 Å of 4.5 Å each."""
    preprocess, extract = Topaz("resnet16_u64").commands(task(tmp_path))
    assert option(preprocess, "--scale") == option(extract, "--up-scale") == "3"
    assert option(extract, "--radius") == "14"
    assert option(extract, "--model") == "resnet16_u64"
    assert "small/mic_0003.mrc" in extract


def test_a_ranking_of_livepick_has_no_threshold(tmp_path: Path) -> None:
    """Without the ranking, the threshold is the model's."""
    program = Livepick("first picker", "general")
    (command,) = program.commands(task(tmp_path))
    (ranking,) = program.commands(task(tmp_path), ranking=True)
    assert "--threshold" not in command
    assert option(ranking, "--threshold") == "0"
    assert option(command, "--diameter") == "125"
