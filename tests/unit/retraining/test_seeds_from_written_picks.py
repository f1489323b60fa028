"""Picks that livepick has written come back as seeds, from every format."""

from pathlib import Path

import numpy as np
import pytest
from picked_micrographs import cs_file, picked

from livepick.core.formats.cryolo_cbox import write_cbox
from livepick.core.formats.csv_coordinates import write_csv
from livepick.core.formats.eman_box import write_box
from livepick.core.formats.eman_json import write_info
from livepick.core.formats.relion_star import (
    ListEntry,
    coordinates_star,
    list_star,
    particles_star,
)
from livepick.core.formats.topaz import write_topaz

SHAPE = (320, 240)
COUNT = 40


def particles(micrograph):
    return particles_star(micrograph, turned=True)


def one_each(name, write):
    """Return a function that writes a file for each micrograph into a folder."""

    def write_all(folder, micrographs):
        for micrograph in micrographs:
            path = folder / name.format(micrograph.path.stem)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(write(micrograph))
        return folder

    return write_all


def relion_list(project, micrographs):
    """Write the coordinates into a RELION project, and return the list of them."""
    job = Path("External/job007")
    one_each("{}_autopick.star", coordinates_star)(project / job / "Movies", micrographs)
    entries = [
        ListEntry(
            f"MotionCorr/job002/Movies/{one.path.name}",
            job / "Movies" / f"{one.path.stem}_autopick.star",
            1,
            "trained",
        )
        for one in micrographs
    ]
    path = project / job / "autopick.star"
    path.write_bytes(b"".join(list_star(entries)))
    return path


def cs_of_all(folder, micrographs):
    (folder / "picks.cs").write_bytes(cs_file(*micrographs))
    return folder / "picks.cs"


WRITERS = {
    "relion": one_each("{}_autopick.star", coordinates_star),
    "relion list": relion_list,
    "star": one_each("star/{}.star", particles),
    "cryosparc": cs_of_all,
    "eman": one_each("{}.box", write_box),
    "eman-json": one_each("info/{}_info.json", write_info),
    "cbox": one_each("{}.cbox", write_cbox),
    "topaz": one_each("{}.txt", write_topaz),
    "csv": one_each("{}.csv", write_csv),
}
TURNED = {"relion", "relion list", "star", "eman", "eman-json", "cbox"}
"""Formats of programs that turn the rows of a TIFF over."""


@pytest.mark.parametrize("suffix", ["mrc", "tif"])
@pytest.mark.parametrize("written", WRITERS)
def test_written_picks_come_back_the_right_way_up(begin, tmp_path, written, suffix):
    """The rows of a TIFF are turned over for some programs, which livepick notices."""
    folder = tmp_path / "written"
    folder.mkdir()
    chance = np.random.default_rng(1)
    session = begin(picks={"coordinates": folder})
    session.add(5, name=f"Movies/{{}}.{suffix}", shape_px=SHAPE)
    micrographs = []
    for row in session.rows:
        rows = [(x, y, 0.9) for x, y in chance.uniform(2, 230, (COUNT, 2))]
        micrographs.append(picked(*rows, path=row.path, shape_px=SHAPE))
        session.found[row.id] = micrographs[-1].picks
    place = WRITERS[written](folder, micrographs)
    bootstrap = session.config.bootstrap
    picks = bootstrap.picks.model_copy(update={"coordinates": place})
    session.planner = session.start(bootstrap=bootstrap.model_copy(update={"picks": picks}))

    spec = session.plan()

    (sentence,) = spec.orientation
    turned = suffix == "tif" and written in TURNED
    assert ("y is turned over" if turned else "y is as given") in sentence
    assert f"{5 * COUNT} of {5 * COUNT}" in sentence or turned
    for row, micrograph in zip(session.rows, spec.micrographs, strict=True):
        own = session.found[row.id]
        seeds = np.array([(x, y) for x, y, _ in micrograph.seeds])
        gaps_px = np.hypot(own.x_px - seeds[:, :1], own.y_px - seeds[:, 1:]).min(axis=1)
        assert len(seeds) == COUNT
        assert gaps_px.max() < (0.01 if written in ("cbox", "csv", "cryosparc") else 0.75)
