"""Class averages of an order: what is made, left out, and found after a kill."""

import io
import subprocess
import sys

import matplotlib.image
import mrcfile
import numpy as np
import pytest

from livepick.config.sections import Particle
from livepick.core.contracts.class_averages import (
    PARTICLES,
    PICTURE,
    PROGRAM,
    RESULT,
    ClassesOrder,
    ClassesResult,
    ClassFigures,
    OrderedMicrograph,
)
from livepick.errors import TrainerError
from livepick_trainer.live_classes import make_classes as making
from livepick_trainer.live_classes.make_classes import make_classes
from livepick_trainer.live_classes.montage import COLUMNS, draw_montage

PIXEL_SIZE_ANGSTROM, DIAMETER_ANGSTROM = 4.0, 100.0


def write_micrograph(path, seed):
    """Write dark bars in any direction on noise; return their places, x and y."""
    rng = np.random.default_rng(seed)
    cells = np.stack(np.meshgrid(np.arange(30, 290, 40), np.arange(30, 290, 40)), -1)
    xy = cells.reshape(-1, 2) + rng.uniform(-3, 3, (cells.size // 2, 2))
    y, x = np.indices((320, 320))
    image = rng.normal(0, 1, (320, 320))
    for cx, cy in xy:
        turn = rng.uniform(0, np.pi)
        u = np.cos(turn) * (x - cx) + np.sin(turn) * (y - cy)
        v = np.cos(turn) * (y - cy) - np.sin(turn) * (x - cx)
        image -= 2.5 * ((np.abs(u) < 11) & (np.abs(v) < 4))
    with mrcfile.new(path, image.astype(np.float32)) as mrc:
        mrc.voxel_size = PIXEL_SIZE_ANGSTROM
    return [(float(cx), float(cy)) for cx, cy in xy]


@pytest.fixture(scope="module")
def micrographs(tmp_path_factory):
    """Return eight micrographs with their picks."""
    place = tmp_path_factory.mktemp("micrographs")
    return [
        OrderedMicrograph(
            path=place / f"{n}.mrc",
            pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
            picks=write_micrograph(place / f"{n}.mrc", n),
        )
        for n in range(8)
    ]


@pytest.fixture
def order(tmp_path, micrographs):
    """Return a function that writes an order for some micrographs, and returns its folder."""

    def write(some=micrographs):
        ClassesOrder(
            session="test",
            particle=Particle(diameter_angstrom=DIAMETER_ANGSTROM),
            model_version=1,
            first_id=1,
            last_id=len(some),
            micrographs=list(some),
        ).write(tmp_path)
        return tmp_path

    return write


def test_the_program_makes_a_picture_figures_and_the_class_of_each_particle(order):
    folder = order()
    done = subprocess.run(
        [sys.executable, "-m", PROGRAM, folder], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    result = ClassesResult.read(folder)
    assert (result.micrographs, result.particles) == (8, 8 * 49)
    assert result.good_fraction > 0.8
    ranks = [(not one.is_good, -one.particles) for one in result.classes]
    assert ranks == sorted(ranks)
    picture = matplotlib.image.imread(folder / RESULT / PICTURE)
    assert picture.shape[:2] == (result.height_px, result.width_px)
    with np.load(folder / RESULT / PARTICLES) as arrays:
        assert len(arrays["label"]) == result.particles
        counts = np.bincount(arrays["label"], minlength=len(result.classes))
        assert counts.tolist() == [one.particles for one in result.classes]
        assert arrays["good"].sum() == result.good_particles


def test_a_micrograph_that_cannot_be_read_is_left_out_and_named(order, micrographs, tmp_path):
    gone = micrographs[0].model_copy(update={"path": tmp_path / "gone.mrc"})
    result = make_classes(order([gone, *micrographs[1:]]))
    assert result.micrographs == 7
    assert result.left_out[0].startswith("gone.mrc: ")


def test_too_few_particles_and_no_readable_micrograph_are_errors(order, micrographs, tmp_path):
    with pytest.raises(TrainerError, match=r"only 49 of 49 picks are far enough"):
        make_classes(order(micrographs[:1]))
    gone = micrographs[0].model_copy(update={"path": tmp_path / "gone.mrc"})
    with pytest.raises(TrainerError, match=r"none of the 1 micrographs can be read"):
        make_classes(order([gone]))


def test_a_kill_while_it_is_written_leaves_no_result_and_is_no_obstacle(order, monkeypatch):
    folder = order()

    def killed(path, data):
        path.write_bytes(data[: len(data) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(making, "write_synced", killed)
        with pytest.raises(KeyboardInterrupt):
            make_classes(folder)
    assert not (folder / RESULT).exists()
    assert make_classes(folder) == ClassesResult.read(folder)


def test_a_result_that_is_there_is_not_made_again(order):
    folder = order()
    first = make_classes(folder)
    assert make_classes(folder) == first


@pytest.mark.parametrize("count", [1, COLUMNS, COLUMNS + 1])
def test_the_picture_has_the_size_that_it_says(count):
    one = ClassFigures(
        particles=1234, resolution_angstrom=12.0, is_good=True, score=1.0, reason="12 Å"
    )
    averages = np.random.default_rng(0).normal(0, 1, (count, 48, 48)).astype(np.float32)
    montage = draw_montage(averages, [one] * count, diameter_px=30)
    picture = matplotlib.image.imread(io.BytesIO(montage.png))
    assert picture.shape[:2] == (montage.height_px, montage.width_px)
