"""Sets of real micrographs with expert picks, which are stored outside the repository.

Their folder is ``--data`` of the programs that use them, or ``LIVEPICK_DATA``.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
from PIL import Image

from livepick.core.imaging.picks import Picks

Image.MAX_IMAGE_PIXELS = None
DEFAULT_DATA = Path(__file__).parents[2] / "shared" / "data"


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """A set of micrographs with expert picks."""

    name: str
    images: str
    """Glob pattern of the images, relative to the data folder."""
    picks: str
    """Folder with one CSV file per micrograph."""
    pixel_size_angstrom: float
    diameter_angstrom: float
    radius_angstrom: float
    """Maximum distance of a correct pick from an expert pick, in ångström."""


SETS = {
    one.name: one
    for one in (
        DataSet(
            name="10146-sums",
            images="empiar-10146/sum/*.png",
            picks="empiar-10146/picks",
            pixel_size_angstrom=1.5,
            diameter_angstrom=125,
            radius_angstrom=31.25,
        ),
        DataSet(
            name="10017",
            images="empiar-10017/image/*.jpg",
            picks="empiar-10017/picks",
            pixel_size_angstrom=1.77,
            diameter_angstrom=180,
            radius_angstrom=51,
        ),
        DataSet(
            name="10146-frames",
            images="empiar-10146/frame/*.png",
            picks="empiar-10146/picks",
            pixel_size_angstrom=1.5,
            diameter_angstrom=125,
            radius_angstrom=31.25,
        ),
    )
}


def read_truth(path: Path) -> Picks:
    """Return the expert picks, without particles of which less than half is inside the image."""
    with path.open() as file:
        rows = [
            (float(row["x_px"]), float(row["y_px"]))
            for row in csv.DictReader(file)
            if float(row.get("fraction_of_disc_inside_image") or 1) >= 0.5
        ]
    x, y = np.array(rows, dtype=np.float32).reshape(-1, 2).T
    return Picks(x.copy(), y.copy(), np.ones(len(rows), dtype=np.float32))


def stem(path: Path) -> str:
    """Return a file name without its last suffix; micrograph names contain dots."""
    return path.name.removesuffix(path.suffix)


def write_micrograph(image: Path, data: DataSet, path: Path) -> None:
    """Write a compact image of a set as the MRC file that a microscope writes, and rename it."""
    draft = path.with_name(f".{path.name}")
    with mrcfile.new(draft, np.asarray(Image.open(image)).astype(np.float32)) as mrc:
        mrc.voxel_size = data.pixel_size_angstrom
    draft.rename(path)
