"""RELION extracts the particles of a downloaded ``good_particles.star``: each, in its place."""

import subprocess

import pytest
import starfile
from relion_scene import BOX_PX, EXTRACT, LIST, Project, picks_at

from factories import make_config, make_result
from livepick.core.formats.file_version import FileVersion
from livepick.core.imaging.quality import Quality
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.micrograph_filter import FilteredMicrographs, MicrographFilter
from livepick.ledger.reader import LedgerReader
from livepick.ledger.writer import LedgerWriter
from livepick.picking.downloads import Downloads

pytestmark = pytest.mark.skipif(EXTRACT is None, reason="relion_preprocess is not installed")

GOOD = Quality(masked_fraction=0.05, median_score=0.9, contrast=3.0)
ICY = Quality(masked_fraction=0.05, median_score=0.9, contrast=3.0, ice_ring=2.5)


@pytest.fixture
def downloaded(tmp_path):
    """Return a function that picks a project's micrographs, and writes the list into the project.

    The picks of the last micrograph are not to arrive: it is bad.
    """

    def download(project):
        config = make_config(
            tmp_path,
            watch={"directories": [project.watched]},
            output=project.output.model_dump(),
        )
        with Database.writable(tmp_path / "state" / LEDGER) as database:
            ledger = LedgerWriter(database)
            for name in project.names:
                ledger.arrivals.landed(*project.seen(name), FileVersion(1, 1, 1), 0.0)
            for claim in ledger.claim(len(project.names)):
                name = next(n for n in project.names if n.endswith(claim.relative.name))
                picked = project.picked(name)
                found = make_result(
                    picks_at(project.truth[name]),
                    shape_px=picked.shape_px,
                    pixel_size_angstrom=picked.pixel_size_angstrom,
                    quality=ICY if name == project.names[-1] else GOOD,
                )
                ledger.picked(claim, found)
            downloads = Downloads(
                lambda: config, LedgerReader(database), FilteredMicrographs(database)
            )
            pieces = downloads.particles(MicrographFilter(verdicts=("good",)))
            (project.folder / "good_particles.star").write_bytes(b"".join(pieces))
        del project.truth[project.names[-1]]

    return download


def extract_again(project):
    """Let RELION extract the particles of the list, as its job *Particle extraction* does."""
    arguments = (
        f"--i {LIST} --reextract_data_star good_particles.star"
        " --part_star Extract/job005/particles.star --part_dir Extract/job005/"
        f" --extract --extract_size {BOX_PX} --norm --bg_radius {BOX_PX * 3 // 8}"
        " --white_dust -1 --black_dust -1"
    )
    run = subprocess.run(
        [EXTRACT, *arguments.split()],
        cwd=project.folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    table = starfile.read(project.folder / "Extract/job005/particles.star", always_dict=True)
    return table["particles"]


@pytest.mark.parametrize(
    ("shape_px", "suffix", "linked"),
    [((255, 333), ".mrc", False), ((256, 300), ".mrc", True), ((331, 255), ".tif", False)],
)
def test_relion_extracts_every_particle_of_the_list(tmp_path, downloaded, shape_px, suffix, linked):
    """To a tenth of a pixel, also of a TIFF, and none of a bad micrograph."""
    project = Project(tmp_path, shape_px=shape_px, suffix=suffix, linked=linked)
    downloaded(project)

    particles = extract_again(project)

    project.assert_arrived(particles)
    assert set(particles["rlnMicrographName"]) == set(project.names[:-1])


def test_a_list_with_a_wrong_name_is_found_out(tmp_path, downloaded):
    """A check that passes everything would prove nothing."""
    project = Project(tmp_path)
    downloaded(project)
    place = project.folder / "good_particles.star"
    place.write_text(place.read_text().replace(project.names[0], "Movies/other.mrc"))

    with pytest.raises(AssertionError):
        project.assert_arrived(extract_again(project))
