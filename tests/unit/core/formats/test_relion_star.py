"""RELION STAR files: positions of one or many micrographs."""

from livepick.core.formats.coordinates import read_all_positions, read_coordinates

RELION = """\
# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
1 opticsGroup1

# version 30001

data_

loop_
_rlnCoordinateX #1
_rlnCoordinateY #2
_rlnClassNumber #3
_rlnAnglePsi #4
_rlnAutopickFigureOfMerit #5
  120.500000   30.250000            0    -999.00000     0.250000
   10.000000   20.000000            0    -999.00000     0.750000

"""


PARTICLES = """\
data_optics

loop_
_rlnOpticsGroup #1
_rlnMicrographOriginalPixelSize #2
_rlnImagePixelSize #3
1 2.0 4.0

data_particles

loop_
_rlnCoordinateX #1
_rlnCoordinateY #2
_rlnImageName #3
_rlnMicrographName #4
_rlnOpticsGroup #5
_rlnOriginXAngst #6
_rlnOriginYAngst #7
100 50 000001@Extract/job4/a.mrcs MotionCorr/job2/Movies/mic_1.mrc 1 4.0 -8.0
20  30 000001@Extract/job4/b.mrcs MotionCorr/job2/Movies/mic_2.mrc 1 0.0 0.0
200 60 000002@Extract/job4/a.mrcs MotionCorr/job2/Movies/mic_1.mrc 1 0.0 2.0
"""
"""As RELION's selection of classes writes it."""


def xy(positions, **given):
    picks = positions.picks(**given)
    return sorted(zip(picks.x_px.tolist(), picks.y_px.tolist(), strict=True))


def test_relion_star_is_read_best_first(tmp_path):
    """The table with coordinates is found among others; picks come in order of score."""
    path = tmp_path / "mic_autopick.star"
    path.write_text(RELION)

    picks = read_coordinates(path)

    assert picks.x_px.tolist() == [10, 120.5]
    assert picks.y_px.tolist() == [20, 30.25]
    assert picks.score.tolist() == [0.75, 0.25]


def test_relion_particles_are_read_by_micrograph_at_refined_centres(tmp_path):
    """Centres are the coordinates minus the shifts, in pixels of the micrograph."""
    (tmp_path / "particles.star").write_text(PARTICLES)

    found = read_all_positions(tmp_path / "particles.star")

    assert set(found) == {"mic_1", "mic_2"}
    assert xy(found["mic_1"]) == [(98, 54), (200, 59)]
    assert xy(found["mic_1"], pixel_size_angstrom=1.0) == [(96, 58), (200, 58)]
    assert xy(found["mic_2"]) == [(20, 30)]


def test_centres_are_not_shifted_if_the_pixel_size_is_unknown(tmp_path):
    """Shifts are in ångström. Optics groups with different pixel sizes do not give one either."""
    path = tmp_path / "particles.star"
    for lines in ("1 2.0 4.0\n2 1.0 4.0\n", ""):
        path.write_text(PARTICLES.replace("1 2.0 4.0\n", lines))

        assert xy(read_all_positions(path)["mic_1"]) == [(100, 50), (200, 60)]
