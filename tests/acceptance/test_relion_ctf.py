"""RELION takes livepick's list of micrographs with their CTF as the result of CTF estimation.

The real RELION extracts particles, and flips their phases by that list. They are as if livepick had
flipped them, so the angle of the astigmatism is counted as RELION does, in a TIFF, too, whose rows
it turns over.
"""

import dataclasses
import math
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile
import tifffile
from relion_scene import EXTRACT, picks_at

from factories import make_config, make_result
from livepick.core.contracts.job import CtfJob
from livepick.core.formats.file_version import FileVersion
from livepick.core.imaging.ctf import flip_phases
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.known_ctfs import known_ctfs
from livepick.ledger.writer import LedgerWriter
from livepick.picking.exports import make_outputs
from livepick.picking.fit_ctf import fit_ctf
from livepick.simulate import exposure
from livepick.simulate.field import Junk, Session, lay_out
from livepick.simulate.species import specimen

pytestmark = pytest.mark.skipif(EXTRACT is None, reason="relion_preprocess is not installed")

SIDE_PX = 1024
PIXEL_ANGSTROM = 1.5
BOX_PX = 128
PLACES = [(200, 300), (500, 511), (640, 257), (700, 800)]
"""Columns and rows of the centres of boxes, as livepick counts them."""

JOB = "External/livepick"


def simulated(index, *, angle_degrees):
    """Return a micrograph with strong astigmatism in a direction."""
    session = Session(
        shape_px=(SIDE_PX, SIDE_PX),
        pixel_size_angstrom=PIXEL_ANGSTROM,
        signal_to_noise=0.3,
        defocus_angstrom=(12_000.0, 14_000.0),
        astigmatism_angstrom=0.0,
        junk=Junk.none(),
    )
    molecule = specimen(session.species)
    rng = np.random.default_rng([5, index])
    field = lay_out(session, molecule.diameter_angstrom, 0.0, rng)
    optics = dataclasses.replace(
        field.optics,
        defocus_u_angstrom=14_200.0,
        defocus_v_angstrom=11_800.0,
        astigmatism_angle_rad=math.radians(angle_degrees),
        amplitude_contrast=0.07,
        b_factor_angstrom2=60.0,
    )
    field = dataclasses.replace(field, optics=optics)
    margin = exposure._margin_px(session, molecule)
    return exposure.expose(field, session, molecule, margin, rng).astype(np.float32)


class FittedSession:
    """A session in a RELION project, with picks at known places, whose CTFs are fitted."""

    def __init__(self, folder, ledger):
        self.project, self.ledger = folder / "project", ledger
        self.watched = self.project / "MotionCorr/job002"
        self.watched.mkdir(parents=True)
        (self.project / "default_pipeline.star").write_text("\ndata_pipeline_general\n\n")
        self.images = {
            "a.mrc": simulated(1, angle_degrees=30.0),
            "b.tif": simulated(2, angle_degrees=30.0),
            "c.mrc": np.random.default_rng(3).standard_normal((SIDE_PX, SIDE_PX)).astype("f4"),
        }
        for name, image in self.images.items():
            if name.endswith(".tif"):
                tifffile.imwrite(self.watched / name, image)
            else:
                with mrcfile.new(self.watched / name, image) as mrc:
                    mrc.voxel_size = PIXEL_ANGSTROM
        self.config = make_config(
            folder,
            watch={"directories": [self.watched]},
            micrograph={"pixel_size_angstrom": PIXEL_ANGSTROM},
            output={"directory": self.project / JOB},
        )
        self.outputs = make_outputs(
            lambda: self.config, ledger, roots=[self.watched], failed=lambda: None
        )

    def pick_and_fit(self):
        """Do what the dispatch loop and the workers do."""
        for name in self.images:
            version = FileVersion.of((self.watched / name).stat())
            self.ledger.arrivals.landed(self.watched, Path(name), version, 0.0)
        for claim in self.ledger.claim(len(self.images)):
            found = make_result(
                picks_at(PLACES),
                model_version=1,
                model_kind="trained",
                shape_px=(SIDE_PX, SIDE_PX),
                pixel_size_angstrom=PIXEL_ANGSTROM,
            )
            self.outputs.write(claim, found)
            self.ledger.picked(claim, found)
            optics = self.config.optics
            job = CtfJob(
                claim.path,
                claim.version,
                PIXEL_ANGSTROM,
                voltage_kv=optics.voltage_kv,
                spherical_aberration_mm=optics.spherical_aberration_mm,
                amplitude_contrast=optics.amplitude_contrast,
            )
            self.ledger.ctf.fitted(claim.id, 1, fit_ctf(job), str(optics))
        self.outputs.figures_changed()
        self.outputs.sync(now=True)
        self.outputs.finish()

    def extract(self):
        """Run RELION's extraction with flipped phases, and return its table of particles."""
        arguments = (
            f"--i {JOB}/micrographs_ctf.star --coord_dir {JOB}/ --coord_suffix _autopick.star"
            " --part_star Extract/job005/particles.star --part_dir Extract/job005/"
            f" --extract --extract_size {BOX_PX} --phase_flip"
        )
        (self.project / "Extract/job005").mkdir(parents=True)
        run = subprocess.run(
            [EXTRACT, *arguments.split()],
            cwd=self.project,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        path = self.project / "Extract/job005/particles.star"
        return starfile.read(path, always_dict=True)

    def boxes(self, name, *, mirrored=False):
        """Return the boxes of a micrograph, turned and with flipped phases as by RELION.

        It flips the phases of each box, not of the micrograph.
        """
        path = self.watched / name
        ctf = known_ctfs(self.config, [path], self.ledger.reader)[0][path]
        is_turned = name.endswith(".tif")
        if is_turned != mirrored:
            angle = -ctf.astigmatism_angle_degrees
            ctf = dataclasses.replace(ctf, astigmatism_angle_degrees=angle)
        image = self.images[name][::-1] if is_turned else self.images[name]
        half = BOX_PX // 2
        rows = [SIDE_PX - 1 - y if is_turned else y for _, y in PLACES]
        cut = [
            image[row - half : row + half, x - half : x + half]
            for row, (x, _) in zip(rows, PLACES, strict=True)
        ]
        size = {"pixel_size_y_angstrom": PIXEL_ANGSTROM, "pixel_size_x_angstrom": PIXEL_ANGSTROM}
        return [flip_phases(box, ctf, **size) for box in cut]


@pytest.fixture
def fitted(tmp_path):
    """Return a session whose micrographs are picked and fitted."""
    with Database.writable(tmp_path / "state" / LEDGER) as database:
        session = FittedSession(tmp_path, LedgerWriter(database))
        session.pick_and_fit()
        yield session


def test_relion_extracts_particles_with_their_ctf_and_flips_their_phases(fitted):
    """A micrograph without a trusted fit is not in the list."""
    tables = fitted.extract()
    particles, optics = tables["particles"], tables["optics"]
    names = particles["rlnMicrographName"].str.rpartition("/")[2]
    assert sorted(set(names)) == ["a.mrc", "b.tif"]
    assert len(particles) == 2 * len(PLACES)
    assert (optics["rlnVoltage"] == 300).all()
    assert np.allclose(particles["rlnDefocusU"], 14_200, atol=100)
    assert np.allclose(particles["rlnDefocusV"], 11_800, atol=100)
    for name, angle in (("a.mrc", 30), ("b.tif", -30)):
        assert np.allclose(particles["rlnDefocusAngle"][names == name], angle, atol=3)
        image_name = particles["rlnImageName"][names == name].iloc[0]
        stack = mrcfile.read(fitted.project / image_name.partition("@")[2])
        right = correlation(stack, fitted.boxes(name))
        assert right > 0.99
        assert correlation(stack, fitted.boxes(name, mirrored=True)) < 0.8


def correlation(stack, boxes):
    """Return the least correlation between the particles of a stack and boxes."""
    return min(
        float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
        for one, other in zip(stack, boxes, strict=True)
    )
