"""cryoSPARC cs files, and the errors for malformed ones."""

import io

import numpy as np
import pytest

from livepick.core.formats.coordinates import read_all_positions
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

    names = match_names(found, ["mic_1", "mic_2", "mic_3"])
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
        (whole.getvalue()[:-9], "not a readable cs file"),
        (whole.getvalue()[:60], "not a readable cs file"),
        (pickled.getvalue(), "not a readable cs file"),
        (other.getvalue(), "lacks location/micrograph_path"),
        (nan.getvalue(), "not numbers"),
    ):
        path.write_bytes(data)
        with pytest.raises(CoordinatesError, match=says) as caught:
            read_all_positions(path)
        assert str(path) in str(caught.value)
