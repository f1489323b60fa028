"""The session's picks for cryoSPARC, regenerated from the ledger."""

import numpy as np
import pytest
import yaml
from picked_micrographs import LedgerOf, picks, visible

from livepick.core.formats.cryosparc_cs import Exposure
from livepick.errors import ConfigError, OutputError
from livepick.picking.cryosparc_files import CryosparcFiles, known_exposures
from livepick.picking.output_folder import OutputFolder

PATH, UID = "location/micrograph_path", "location/micrograph_uid"


def files(folder, **given):
    return CryosparcFiles(
        OutputFolder(folder), diameter_angstrom=lambda: 150.0, min_distance_fraction=0.6, **given
    )


def records(folder):
    return np.load(folder / "cryosparc" / "picks.cs", allow_pickle=False)


def test_the_files_hold_all_picks_of_the_session(tmp_path):
    """Those above each micrograph's threshold, which is 0.5; one without candidates has none."""
    ledger = LedgerOf(
        [visible("a.mrc", number=1), visible("b.tif", number=2), visible("c.mrc", number=3)],
        candidates={1: picks((10, 20, 0.9), (30, 40, 0.4)), 2: picks((100, 30, 0.6))},
    )
    assert files(tmp_path).write(ledger)

    table = records(tmp_path)
    assert table[PATH].tolist() == [b"/data/avg/a.mrc", b"/data/avg/b.tif"]
    np.testing.assert_allclose(table["location/center_x_frac"] * 400, [10, 100], atol=1e-4)
    np.testing.assert_allclose(table["location/center_y_frac"] * 300, [20, 30], atol=1e-4)
    assert table["location/min_dist_A"].tolist() == [90, 90]
    group = yaml.safe_load((tmp_path / "cryosparc" / "picks.csg").read_text())
    assert group["results"]["location"] == {
        "metafile": ">picks.cs",
        "num_items": 2,
        "type": "particle.location",
    }


def test_unchanged_files_are_not_written_again(tmp_path):
    """A group file that is missing is."""
    ledger = LedgerOf([visible("a.mrc")], candidates={1: picks((10, 20, 0.9))})
    assert files(tmp_path).write(ledger)
    assert not files(tmp_path).write(ledger)
    before = (tmp_path / "cryosparc" / "picks.cs").stat()
    (tmp_path / "cryosparc" / "picks.csg").unlink()
    assert files(tmp_path).write(ledger)
    assert (tmp_path / "cryosparc" / "picks.csg").exists()
    assert (tmp_path / "cryosparc" / "picks.cs").stat().st_ino == before.st_ino


def test_a_session_without_picks_has_an_empty_file(tmp_path):
    assert files(tmp_path).write(LedgerOf())
    assert len(records(tmp_path)) == 0


def test_micrographs_have_the_number_and_the_path_of_their_exposure(tmp_path):
    """The names match without what cryoSPARC adds to them; a name that two share does not."""
    exposures = {
        "008578565574161745010_mic_1_patch_aligned": Exposure(7, "S1/mc/0085_mic_1.mrc"),
        "001": Exposure(8, "S1/mc/001.mrc"),
    }
    entries = [
        visible("mic_1_DW.mrc", number=1),
        visible("one/001.mrc", number=2),
        visible("two/001.mrc", number=3),
    ]
    ledger = LedgerOf(entries, candidates={n: picks((10, 20, 0.9)) for n in (1, 2, 3)})
    files(tmp_path, exposures=exposures).write(ledger)

    table = records(tmp_path)
    assert table[PATH].tolist() == [
        b"S1/mc/0085_mic_1.mrc",
        b"/data/avg/one/001.mrc",
        b"/data/avg/two/001.mrc",
    ]
    assert table[UID][0] == 7
    assert len(set(table[UID].tolist()) - {8}) == 3


def test_exposures_that_share_a_stem_are_not_used(tmp_path):
    path = tmp_path / "exposures.cs"
    rows = [(1, b"one/001.mrc"), (2, b"two/001.mrc"), (3, b"two/002.mrc")]
    with path.open("wb") as file:
        np.save(file, np.array(rows, dtype=[("uid", "<u8"), ("micrograph_blob/path", "S40")]))
    assert known_exposures(path) == {"002": Exposure(3, "two/002.mrc")}
    assert known_exposures(None) == {}


@pytest.mark.parametrize("data", [None, b"", b"\x94CSDAT"])
def test_exposures_that_cannot_be_read_are_an_error_of_the_config(tmp_path, data):
    path = tmp_path / "exposures.cs"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"output\.cryosparc\.exposures") as caught:
        known_exposures(path)
    assert caught.value.remedy


def test_failed_write_is_an_output_error(tmp_path):
    """An OutputError is retried."""
    (tmp_path / "out").write_text("a file in the way")
    with pytest.raises(OutputError, match="in the way"):
        files(tmp_path / "out").write(LedgerOf())
    assert (tmp_path / "out").read_text() == "a file in the way"
