"""cryoSPARC cs files, and the errors for malformed ones."""

import io
from pathlib import Path

import numpy as np
import pytest
import yaml
from cryosparc.dataset import Dataset
from picked_micrographs import cs_file, picked

from livepick.core.formats.coordinates import read_all_positions
from livepick.core.formats.cryosparc_cs import Exposure, read_exposures, write_csg
from livepick.core.formats.name_matching import match_names
from livepick.errors import CoordinatesError


def xy(positions, **given):
    picks = positions.picks(**given)
    return sorted(zip(picks.x_px.tolist(), picks.y_px.tolist(), strict=True))


def cs_table(rows, path_type="S80"):
    return np.array(
        rows,
        dtype=[
            ("uid", "<u8"),
            ("location/micrograph_path", path_type),
            ("location/micrograph_shape", "<u4", (2,)),
            ("location/center_x_frac", "<f4"),
            ("location/center_y_frac", "<f4"),
        ],
    )


CS_ROWS = [
    (1, b"J14/motioncorrected/008578565574161745010_mic_1_patch_aligned.mrc", (100, 200), 0.5, 0.1),
    (2, b"J14/motioncorrected/004512345574161745011_mic_2_patch_aligned.mrc", (100, 200), 0.0, 1.0),
]


def test_cs_files_have_fractions_of_width_and_height(tmp_path):
    """The fractions fit a micrograph of another binning as well."""
    with (tmp_path / "particles.cs").open("wb") as file:
        np.save(file, cs_table(CS_ROWS))

    found = read_all_positions(tmp_path)

    names = match_names(found, ["mic_1", "mic_2", "mic_3"]).pairs
    one, two = found[names["mic_1"]], found[names["mic_2"]]
    assert xy(one) == [pytest.approx((100, 10))]
    assert xy(one, shape_px=(200, 400)) == [pytest.approx((200, 20))]
    assert xy(two) == [pytest.approx((0, 100))]


def test_malformed_cs_file_is_refused(tmp_path):
    """Nothing in the file is executed, and the error names what is missing."""
    path = tmp_path / "particles.cs"
    whole = io.BytesIO()
    np.save(whole, cs_table(CS_ROWS))
    pickled = io.BytesIO()
    np.save(pickled, cs_table(CS_ROWS, path_type="O"), allow_pickle=True)
    no_numbers = cs_table(CS_ROWS)
    no_numbers["location/center_x_frac"] = np.nan
    nan = io.BytesIO()
    np.save(nan, no_numbers)
    other = io.BytesIO()
    np.save(other, np.zeros(3))
    for data, says in (
        (b"", "not a readable cs file"),
        (b"\x94CSDAT" + bytes(100), "not a readable cs file"),
        (b"\x95CSDAT" + bytes(100), "compressed format .CSDAT."),
        (b"PK\x03\x04" + bytes(100), "not a readable cs file"),
        (whole.getvalue()[:-9], "not a readable cs file"),
        (whole.getvalue()[:60], "not a readable cs file"),
        (pickled.getvalue(), "not a readable cs file"),
        (other.getvalue(), "lacks location/micrograph_path"),
        (nan.getvalue(), r"record 1 has the position \[nan, "),
    ):
        path.write_bytes(data)
        with pytest.raises(CoordinatesError, match=says) as caught:
            read_all_positions(path)
        assert str(path) in str(caught.value)


FIELDS = {
    "uid": "<u8",
    "location/micrograph_uid": "<u8",
    "location/exp_group_id": "<u4",
    "location/micrograph_path": "S",
    "location/micrograph_shape": ("<u4", (2,)),
    "location/micrograph_psize_A": "<f4",
    "location/center_x_frac": "<f4",
    "location/center_y_frac": "<f4",
    "location/min_dist_A": "<f4",
    "pick_stats/ncc_score": "<f4",
    "pick_stats/power": "<f4",
}


def written(*micrographs):
    """Return the records of a cs file."""
    return np.load(io.BytesIO(cs_file(*micrographs)), allow_pickle=False)


def test_records_have_the_fields_and_types_of_a_picking_job():
    """The server rejects a file without ``micrograph_shape``."""
    table = written(picked((1, 2, 0.9)))
    assert set(table.dtype.names) == set(FIELDS)
    for name, kind in FIELDS.items():
        if kind != "S":
            assert table.dtype[name] == np.dtype(kind)
    assert table.dtype["location/micrograph_path"].kind == "S"


def test_cryosparcs_own_library_reads_the_file(tmp_path):
    """Positions are fractions of width and height, also for a TIFF: no row is turned over."""
    path = tmp_path / "picks.cs"
    first = picked((100.5, 50.25, 0.9), (0, 299, 0.8), path="/d/a.tif", shape_px=(300, 400))
    second = picked((3838, 7, 0.25), path="S1/é x.mrc", shape_px=(3710, 3838))
    path.write_bytes(cs_file(first, second, uids=[7, None]))

    found = Dataset.load(path)

    assert len(found) == 3
    assert set(found.fields()) == set(FIELDS)
    assert found["location/micrograph_path"].tolist() == ["/d/a.tif", "/d/a.tif", "S1/é x.mrc"]
    assert found["location/micrograph_shape"].tolist() == [[300, 400], [300, 400], [3710, 3838]]
    height, width = found["location/micrograph_shape"].T
    np.testing.assert_allclose(
        np.column_stack(
            [found["location/center_x_frac"] * width, found["location/center_y_frac"] * height]
        ),
        [[100.5, 50.25], [0, 299], [3838, 7]],
        atol=0.01,
    )
    assert found["location/micrograph_uid"].tolist()[:2] == [7, 7]
    assert found["location/min_dist_A"].tolist() == [90, 90, 90]
    assert found["location/micrograph_psize_A"].tolist() == [1.5, 1.5, 1.5]
    assert found["pick_stats/ncc_score"].tolist() == pytest.approx([0.9, 0.8, 0.25])


def test_each_particle_has_a_number_of_its_own_which_stays():
    """A particle of a micrograph keeps its number when others land; 0 is never one."""
    few, many = (
        [picked(*[(number, 7, 0.9)] * 50, path=f"/d/{number}.mrc") for number in numbers]
        for numbers in ((1, 2), range(200))
    )
    uids = written(*many)["uid"]
    assert len(np.unique(uids)) == len(uids) == 10_000
    assert (uids > 0).all()
    assert written(*few)["uid"].tolist() == uids[50:150].tolist()


@pytest.mark.parametrize(
    ("name", "uid"),
    [
        ("S1/motioncorrected/008578565574161745010_mic_1_patch_aligned.mrc", 8578565574161745010),
        ("18446744073709551615_mic.mrc", 2**64 - 1),
        ("123456789012345_mic.mrc", 123456789012345),
    ],
)
def test_the_number_of_a_micrograph_is_that_in_its_name(name, uid):
    """CryoSPARC puts it before the first underscore."""
    table = written(picked((1, 2, 0.9), path=name))
    assert table["location/micrograph_uid"].tolist() == [uid]


def test_other_micrographs_have_a_number_by_their_path():
    """Dates and numbers that are too large are none of cryoSPARC's."""
    paths = [
        "/d/20261123_mic.mrc",
        "/d/99999999999999999999_mic.mrc",
        "/d/one/001.mrc",
        "/d/two/001.mrc",
    ]
    uids = written(*[picked((1, 2, 0.9), path=path) for path in paths])["location/micrograph_uid"]
    assert len(set(uids.tolist())) == 4
    assert 20261123 not in uids
    assert written(picked((1, 2, 0.9), path=paths[2]))["location/micrograph_uid"] == uids[2]


def test_no_picks_are_a_file_without_records(tmp_path):
    for micrographs in ([], [picked()]):
        path = tmp_path / f"{len(micrographs)}.cs"
        path.write_bytes(cs_file(*micrographs))
        assert len(Dataset.load(path)) == 0
        assert not any(len(here) for here in read_all_positions(path).values())


def test_the_group_file_says_what_the_cs_file_holds():
    """*Import Result Group* reads it; the path is relative to the group file."""
    group = yaml.safe_load(write_csg("picks.cs", count=12, created="2026-11-29", version="1.2"))
    assert group["group"]["type"] == "particle"
    assert group["results"] == {
        kind: {"metafile": ">picks.cs", "num_items": 12, "type": f"particle.{kind}"}
        for kind in ("location", "pick_stats")
    }


def test_exposures_give_numbers_and_paths():
    table = np.array(
        [(7, b"S1/import/a.mrc"), (8, b"S1/import/b.mrc")],
        dtype=[("uid", "<u8"), ("micrograph_blob/path", "S40")],
    )
    data = io.BytesIO()
    np.save(data, table)
    assert read_exposures(Path("x.cs"), data.getvalue()) == [
        Exposure(7, "S1/import/a.mrc"),
        Exposure(8, "S1/import/b.mrc"),
    ]
    with pytest.raises(CoordinatesError, match="lacks uid"):
        read_exposures(Path("x.cs"), write_exposures_without_numbers(table))


def write_exposures_without_numbers(table):
    data = io.BytesIO()
    np.save(data, table[["micrograph_blob/path"]].copy())
    return data.getvalue()
