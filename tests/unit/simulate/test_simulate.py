"""The simulated microscope: its physics, its truth, and its ways of writing files."""

import math
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import typer

from livepick.commands.durations import parse_duration
from livepick.commands.simulate import _truth_folder, parse_size
from livepick.core.formats.coordinates import read_coordinates
from livepick.core.formats.mrc import mrc_bytes
from livepick.simulate.acquisition import NOTES, Pace, Plan, acquire
from livepick.simulate.delivery import MODES, Stopped, deliver
from livepick.simulate.exposure import simulate_micrograph
from livepick.simulate.field import Junk, Session
from livepick.simulate.optics import (
    Optics,
    image_intensity,
    interaction_constant,
    wavelength_angstrom,
)
from livepick.simulate.species import SPECIES, random_rotations, specimen

SMALL = Session(shape_px=(192, 256), pixel_size_angstrom=4.0)
CONTENT = bytes(range(1, 251)) * 40
UNDOSE = CONTENT[::-1]


@pytest.mark.parametrize(("kilovolts", "angstrom"), [(100, 0.0370), (200, 0.0251), (300, 0.0197)])
def test_wavelength_is_that_of_the_textbook(kilovolts, angstrom):
    """Relativistic wavelengths, to the usual digits."""
    assert wavelength_angstrom(kilovolts) == pytest.approx(angstrom, abs=5e-5)


def test_interaction_constant_is_that_of_the_textbook():
    """6.53e-4 rad per volt and ångström at 300 kV, 7.29e-4 at 200 kV."""
    assert interaction_constant(300) == pytest.approx(6.53e-4, rel=2e-3)
    assert interaction_constant(200) == pytest.approx(7.29e-4, rel=2e-3)


def test_weak_object_sees_the_usual_contrast_transfer():
    """For a weak phase the image is 1 - 2 F[phase] sin(χ + arctan w) with the envelope."""
    optics = Optics(defocus_u_angstrom=12_000, defocus_v_angstrom=10_000, astigmatism_angle_rad=0.4)
    rng = np.random.default_rng(2)
    phase = rng.normal(0, 1e-3, (96, 128)).astype(np.float32)

    image = image_intensity(phase, pixel_size_angstrom=2.0, optics=optics)

    gy, gx = np.meshgrid(np.fft.fftfreq(96, 2.0), np.fft.fftfreq(128, 2.0), indexing="ij")
    g2, theta = gx**2 + gy**2, np.arctan2(gy, gx)
    defocus = 11_000 + 1_000 * np.cos(2 * (theta - 0.4))
    lam = wavelength_angstrom(300)
    chi = np.pi * lam * g2 * (defocus - 0.5 * lam**2 * 2.7e7 * g2)
    transfer = -np.sin(chi + math.asin(optics.amplitude_contrast))
    transfer *= np.exp(-optics.b_factor_angstrom2 * g2 / 4)
    expected = 1 + 2 * np.fft.ifft2(np.fft.fft2(phase) * transfer).real
    # What remains is second order: a hundredth of the contrast.
    assert np.abs(image - expected).max() < 0.03 * np.abs(expected - 1).max()


@pytest.mark.parametrize("name", SPECIES)
def test_molecules_have_their_size(name):
    """The longest diameter is within a fifth of the published one."""
    molecule = specimen(name)
    along = [
        np.ptp(molecule.points_angstrom @ rotation[0])
        for rotation in random_rotations(200, np.random.default_rng(1))
    ]

    assert max(along) == pytest.approx(molecule.diameter_angstrom, rel=0.2)


def test_rotations_are_rotations():
    """They are orthogonal and keep the handedness of a molecule."""
    for rotation in random_rotations(20, np.random.default_rng(1)):
        assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-5)
        assert np.linalg.det(rotation) == pytest.approx(1, abs=1e-5)


def test_same_seed_makes_the_same_micrograph():
    """The content depends only on the seed and the number."""
    once = simulate_micrograph(SMALL, 5)
    simulate_micrograph(SMALL, 6)
    again = simulate_micrograph(SMALL, 5)

    assert np.array_equal(once.image, again.image)
    assert np.array_equal(once.truth.x_px, again.truth.x_px)
    assert not np.array_equal(once.image, simulate_micrograph(SMALL, 6).image)


def test_truth_is_where_the_particles_are():
    """Averaged around the true positions there is a dark disc, centred to half a pixel."""
    session = Session(
        shape_px=(384, 512),
        pixel_size_angstrom=2.0,
        signal_to_noise=5,
        junk=Junk.none(),
        closest_fraction=1.6,
    )
    half, boxes = 40, []
    for index in range(3):
        simulated = simulate_micrograph(session, index)
        image = np.pad(simulated.image - np.median(simulated.image), half, mode="symmetric")
        for x, y in zip(simulated.truth.x_px, simulated.truth.y_px, strict=True):
            row, column = round(float(y)), round(float(x))
            boxes.append(image[row : row + 2 * half + 1, column : column + 2 * half + 1])
    average = np.mean(boxes, axis=0)
    rows, columns = np.indices(average.shape) - half
    disc = np.hypot(rows, columns) < 0.55 * 125 / 2.0
    darkness = np.where(disc, average[~disc].mean() - average, 0)

    assert len(boxes) > 15
    assert average[disc].mean() < average[~disc].mean()
    assert np.average(rows, weights=darkness.clip(0)) == pytest.approx(0, abs=0.7)
    assert np.average(columns, weights=darkness.clip(0)) == pytest.approx(0, abs=0.7)


def test_empty_field_has_no_truth():
    """An empty field is a micrograph like any other."""
    session = Session(shape_px=(192, 256), pixel_size_angstrom=4.0, junk=Junk(empty_probability=1))
    simulated = simulate_micrograph(session, 1)

    assert len(simulated.truth) == 0
    assert simulated.field.empty
    assert np.isfinite(simulated.image).all()


def test_mrc_file_is_what_mrcfile_expects(tmp_path):
    """Float32 passes the validation of the format's own library, and float16 is read by it."""
    image = simulate_micrograph(SMALL, 1).image
    for dtype, mode in ((np.float32, 2), (np.float16, 12)):
        path = tmp_path / f"{mode}.mrc"
        path.write_bytes(mrc_bytes(image.astype(dtype), 4.0))

        with mrcfile.open(path) as mrc:
            assert mrc.header.mode == mode
            assert mrc.voxel_size.x == pytest.approx(4.0)
            assert np.allclose(mrc.data, image, rtol=1e-3)
    # Not the float16 one: mrcfile takes its statistics in half precision, and finds them off.
    with (tmp_path / "log").open("w") as log:
        assert mrcfile.validate(tmp_path / "2.mrc", print_file=log)


class Watcher:
    """Replaces the clock of a delivery and checks the folder at each pause."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: list[dict[str, bytes]] = []

    def __call__(self, _seconds: float) -> None:
        self.seen.append({p.name: p.read_bytes() for p in self.folder.iterdir()})


@pytest.mark.parametrize("mode", MODES)
def test_every_way_of_writing_ends_with_the_same_file(tmp_path, mode):
    """The file is complete at the end."""
    path = tmp_path / "a.mrc"

    deliver(path, CONTENT, mode, seconds=0, pause=lambda _: None, undose=UNDOSE)

    assert path.read_bytes() == CONTENT


def test_a_watcher_sees_what_real_software_shows(tmp_path):
    """Growing files, holes, full size at once, temporary names, the wrong sum first."""
    seen = {}
    for mode in MODES:
        folder = tmp_path / mode
        folder.mkdir()
        watcher = Watcher(folder)
        deliver(folder / "a.mrc", CONTENT, mode, seconds=0, pause=watcher, undose=UNDOSE)
        seen[mode] = watcher.seen

    sizes = [len(files["a.mrc"]) for files in seen["inplace"]]
    assert sizes == sorted(sizes)
    assert sizes[0] < len(CONTENT)
    assert all(
        files["a.mrc"][:1024] == bytes(1024)[: len(files["a.mrc"])] for files in seen["header-last"]
    )
    assert all(len(files["a.mrc"]) == len(CONTENT) for files in seen["presized"])
    assert all("a.mrc" not in files for files in seen["rename"])
    assert all(set(files) == {f".a.mrc.{name[7:]}"} for files in seen["rsync"] for name in files)
    assert any(files.get("a.mrc") == UNDOSE for files in seen["mc2"])
    assert {p.name for p in (tmp_path / "mc2").iterdir()} == {"a.mrc", "a_noDW.mrc", "a.star"}


def test_rsync_keeps_the_time_of_the_source(tmp_path):
    """A new file may have a modification time one hour ago."""
    old, new = tmp_path / "new.mrc", tmp_path / "old.mrc"
    deliver(new, CONTENT, "inplace", seconds=0, pause=lambda _: None)
    deliver(old, CONTENT, "rsync", seconds=0, pause=lambda _: None)

    assert old.stat().st_mtime < new.stat().st_mtime - 3000


@pytest.mark.parametrize("mode", MODES)
def test_stopping_leaves_nothing_half_written(tmp_path, mode):
    """An acquisition that stops in the middle of a file deletes it."""
    waits = iter(range(5))

    def pause(_seconds: float) -> None:
        if next(waits) == 4:
            raise Stopped

    with pytest.raises(Stopped):
        deliver(tmp_path / "a.mrc", CONTENT, mode, seconds=0, pause=pause, undose=UNDOSE)

    assert not any(tmp_path.iterdir())


def test_acquisition_lands_truth_before_micrographs(tmp_path):
    """The true positions exist before the micrograph, in the convention of picks."""
    plan = Plan(
        session=SMALL,
        output=tmp_path / "out",
        truth=tmp_path / "truth",
        micrographs=None,
        every_seconds=0,
        write_seconds=0,
        first=40,
    )
    pace, landed = Pace(0), []

    def tell(path, simulated):
        truth = read_coordinates(plan.truth / f"{path.stem}_truth.star")
        assert np.sort(truth.x_px) == pytest.approx(np.sort(simulated.truth.x_px), abs=1e-3)
        landed.append(path.name)
        if len(landed) == 2:
            pace.stop()

    assert acquire(plan, pace, tell) == 2
    assert landed == ["sim_0040.mrc", "sim_0041.mrc"]
    assert sorted(p.name for p in plan.output.iterdir()) == landed
    assert len((plan.truth / NOTES).read_text().splitlines()) == 2


def test_the_truth_folder_is_outside_the_watched_folder(tmp_path):
    """A service would treat it as part of the acquisition."""
    assert _truth_folder(tmp_path / "raw", None) == tmp_path / "raw-truth"
    with pytest.raises(typer.BadParameter, match="lies inside"):
        _truth_folder(tmp_path, tmp_path / "truth")


def test_durations_and_sizes_are_parsed():
    """Durations and sizes of the command line are parsed, and invalid ones rejected."""
    assert [parse_duration(t) for t in ("2s", "500ms", "1.5m", "3")] == [2, 0.5, 90, 3]
    assert (parse_size("1024"), parse_size("5760x4092")) == ((1024, 1024), (4092, 5760))
    for bad in ("soon", "2 weeks", "-1s"):
        with pytest.raises(typer.BadParameter, match="not a duration"):
            parse_duration(bad)
    with pytest.raises(typer.BadParameter, match="outside"):
        parse_size("64")
