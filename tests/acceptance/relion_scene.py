"""A RELION project as a user has it, and what arrives when RELION extracts livepick's picks."""

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import starfile
import tifffile
from scipy import ndimage

from livepick.config.output_sections import Output
from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.imaging.picks import Picks
from livepick.ledger.output_rows import Visible
from livepick.picking.output_folder import OutputFolder
from livepick.picking.output_tree import Branches
from livepick.picking.relion_files import RelionFiles
from livepick.picking.relion_project import relion_project
from livepick.simulate import exposure
from livepick.simulate.field import Junk, Session, lay_out
from livepick.simulate.species import specimen

EXTRACT = shutil.which("relion_preprocess")
BOX_PX = 48  # even, so that the centre of a box is a pixel
PIXEL_SIZE_ANGSTROM = 4.0
LIST = "CtfFind/job003/micrographs_ctf.star"
JOB = "External/livepick"
SPECIES = "polymerase"


def simulate(shape_px, index):
    """Return an image and its true positions, (N, 2) as x and y.

    The particles are clearly visible, have no symmetry, and are all seen from the same side, so
    that their average has none either.
    """
    session = Session(
        species=SPECIES,
        shape_px=shape_px,
        pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
        particles_per_micrograph=70,
        signal_to_noise=1.0,
        closest_fraction=1.2,
        defocus_angstrom=(15_000.0, 15_000.0),
        astigmatism_angstrom=0.0,
        junk=Junk.none(),
    )
    molecule = specimen(SPECIES)
    rng = np.random.default_rng([7, index])
    field = lay_out(session, molecule.diameter_angstrom, 0.0, rng)
    one_side = np.broadcast_to(np.eye(3, dtype=np.float32), field.rotations.shape)
    field = dataclasses.replace(field, rotations=one_side)
    margin = exposure._margin_px(session, molecule)
    image = exposure.expose(field, session, molecule, margin, rng).astype(np.float32)
    return image, field.particles_angstrom / PIXEL_SIZE_ANGSTROM


def picks_at(xy):
    """Return picks at positions, (N, 2) as x and y."""
    x, y = np.asarray(xy, dtype=np.float32).T
    return Picks(x, y, np.ones_like(x))


def cut(image, x, y, *, turned):
    """Return a particle as RELION cuts it, but centred between pixels where it is there.

    RELION turns the rows of a TIFF over, and the pixel ``BOX_PX / 2`` of a box is its centre.
    """
    offset = np.arange(BOX_PX) - BOX_PX // 2
    rows, columns = np.meshgrid(y - offset if turned else y + offset, x + offset, indexing="ij")
    particle = ndimage.map_coordinates(image, [rows, columns], order=3, mode="nearest")
    return (particle - particle.mean()) / particle.std()


def shift_px(image, reference):
    """Return by how much an image is shifted, as x and y, to a fraction of a pixel."""
    spectra = np.fft.fft2(image - image.mean()), np.fft.fft2(reference - reference.mean())
    peaks = np.fft.fftshift(np.fft.ifft2(spectra[0] * spectra[1].conj()).real)
    i, j = np.unravel_index(peaks.argmax(), peaks.shape)

    def vertex(before, here, after):
        return 0.5 * (before - after) / (before - 2 * here + after)

    x = j - BOX_PX // 2 + vertex(*peaks[i, j - 1 : j + 2])
    y = i - BOX_PX // 2 + vertex(*peaks[i - 1 : i + 2, j])
    return x, y


class Project:
    """A RELION project with motion-corrected micrographs and their CTF.

    ``linked`` ones are elsewhere, and the project has a link to their folder, as after an import.
    """

    def __init__(self, folder, *, shape_px=(256, 256), suffix=".mrc", linked=False, count=4):
        self.folder = folder / "project"
        self.shape_px = shape_px
        self.turned = suffix != ".mrc"
        below = "Micrographs" if linked else "MotionCorr/job002/Movies"
        self.watched = folder / "avg" if linked else self.folder / "MotionCorr" / "job002"
        for place in ("CtfFind/job003", "Extract/job005"):
            (self.folder / place).mkdir(parents=True)
        (self.folder / "default_pipeline.star").write_text("\ndata_pipeline_general\n\n")
        (self.watched if linked else self.folder / below).mkdir(parents=True)
        if linked:
            (self.folder / below).symlink_to(self.watched)
        self.names = [f"{below}/mic_{number:03d}{suffix}" for number in range(count)]
        self.images, self.truth = {}, {}
        for number, name in enumerate(self.names):
            image, xy = simulate(shape_px, number)
            self.images[name], self.truth[name] = image, xy
            if suffix == ".mrc":
                with mrcfile.new(self.folder / name, image) as mrc:
                    mrc.voxel_size = PIXEL_SIZE_ANGSTROM
            else:
                tifffile.imwrite(self.folder / name, image)
        self.write_list()
        self.output = Output.model_validate(
            {
                "directory": folder / "out",
                "relion": {"project": self.folder, "micrographs_star": LIST, "job": JOB},
            }
        )

    def write_list(self):
        """Write the list of micrographs as CtfFind does."""
        rows = [f"{name} 1 15000.0 15000.0 0.0 4.5" for name in self.names]
        (self.folder / LIST).write_text(
            "\n# version 30001\n\ndata_optics\n\nloop_ \n_rlnOpticsGroupName #1 \n"
            "_rlnOpticsGroup #2 \n_rlnMicrographOriginalPixelSize #3 \n_rlnVoltage #4 \n"
            "_rlnSphericalAberration #5 \n_rlnAmplitudeContrast #6 \n_rlnMicrographPixelSize #7 \n"
            f"opticsGroup1 1 {PIXEL_SIZE_ANGSTROM} 300.0 2.7 0.1 {PIXEL_SIZE_ANGSTROM}\n \n\n"
            "# version 30001\n\ndata_micrographs\n\nloop_ \n_rlnMicrographName #1 \n"
            "_rlnOpticsGroup #2 \n_rlnDefocusU #3 \n_rlnDefocusV #4 \n_rlnDefocusAngle #5 \n"
            "_rlnCtfMaxResolution #6 \n" + "\n".join(rows) + "\n \n"
        )

    def seen(self, name):
        """Return the folder that livepick watches, and the place of a micrograph below it."""
        below = "Micrographs" if name.startswith("Micrographs") else "MotionCorr/job002"
        return self.watched, Path(name).relative_to(below)

    def picked(self, name):
        """Return a micrograph with its true positions as picks."""
        root, relative = self.seen(name)
        return PickedMicrograph(
            root / relative,
            picks_at(self.truth[name]),
            self.shape_px,
            PIXEL_SIZE_ANGSTROM,
            specimen(SPECIES).diameter_angstrom,
            model_version=1,
            model_kind="trained",
        )

    def write_picks(self, *, output=None, spoil=lambda micrograph: micrograph):
        """Write the true positions with livepick's writer; ``spoil`` makes faults on purpose."""
        output = output or self.output
        project = relion_project(output)
        files = RelionFiles(
            OutputFolder(output.directory if project is None else project.job_folder),
            Branches([self.watched]),
            project=project,
            micrographs_star=output.relion.micrographs_star,
        )
        for name in self.names:
            files.write(*self.seen(name), spoil(self.picked(name)))
        files.write_list(
            Visible(
                number,
                *self.seen(name),
                threshold=0.5,
                model_version=1,
                model_kind="trained",
                shape_px=self.shape_px,
                pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
                verdict="good",
            )
            for number, name in enumerate(self.names)
        )

    def extract(self, *more, micrographs=LIST, coordinates=JOB):
        """Run RELION's extraction, and return its table of particles; None if it wrote none."""
        arguments = (
            f"--i {micrographs} --coord_dir {coordinates}/ --coord_suffix _autopick.star"
            " --part_star Extract/job005/particles.star --part_dir Extract/job005/"
            f" --extract --extract_size {BOX_PX} --norm --bg_radius {BOX_PX * 3 // 8}"
            " --white_dust -1 --black_dust -1"
        )
        run = subprocess.run(
            [EXTRACT, *arguments.split(), *more],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        written = re.search(r"STAR file with (\d+) particles", run.stdout)
        if written is None or written[1] == "0":
            return None
        table = starfile.read(self.folder / "Extract/job005/particles.star", always_dict=True)
        return table["particles"]

    def assert_arrived(self, particles):
        """Check that extracted particles are the true ones, in number, place and looks."""
        expected = [(name, *xy) for name, true in self.truth.items() for xy in true]
        assert particles is not None, "RELION has extracted no particles"
        assert len(particles) == len(expected)
        stacks = {name: mrcfile.read(self.folder / name) for name in set(_stacks(particles))}
        numbers = particles["rlnImageName"].str.partition("@")[0].astype(int)
        average = np.mean(
            [stacks[s][n - 1] for s, n in zip(_stacks(particles), numbers, strict=True)], axis=0
        )
        truth = np.mean(
            [cut(self.images[name], x, y, turned=self.turned) for name, x, y in expected], axis=0
        )
        x, y = shift_px(average, truth)
        correlation = np.corrcoef(average.ravel(), truth.ravel())[0, 1]
        assert abs(x) < 0.1, f"the centre is {x:+.2f} px off in x"
        assert abs(y) < 0.1, f"the centre is {y:+.2f} px off in y"
        assert correlation > 0.95


def _stacks(particles):
    return particles["rlnImageName"].str.partition("@")[2]
