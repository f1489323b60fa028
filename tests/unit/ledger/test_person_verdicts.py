"""Verdicts of people on micrographs: they overrule the figures until they are withdrawn."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from factories import make_result
from livepick.config.edit_history import DECISIONS
from livepick.core.formats.file_version import FileVersion
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality import CtfFigures
from livepick.errors import LedgerError
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.person_verdicts import (
    JudgedFile,
    PersonVerdictFile,
    decide,
    read_person_verdicts,
)
from livepick.ledger.writer import LedgerWriter

PICKS = Picks.sorted(*(np.array(a, dtype=np.float32) for a in ([40, 90], [30, 60], [0.9, 0.4])))
ROOT, NAME = Path("/data/in"), "mic_0001.mrc"
FILE = JudgedFile(str(ROOT), NAME, 1)


@pytest.fixture
def ledger(tmp_path):
    with Database.writable(tmp_path / LEDGER) as database:
        yield LedgerWriter(database)


def pick(ledger, *, mtime=1):
    """Let the micrograph land with a content, and pick it."""
    ledger.arrivals.landed(ROOT, Path(NAME), FileVersion(1000, mtime, 7), time.time())
    (claim,) = ledger.claim(1)
    ledger.picked(claim, make_result(PICKS, shape_px=(128, 192)))
    return claim


def row(ledger):
    (found,) = ledger.reader.recent(-1)
    return found


def judged(ledger):
    return row(ledger).quality_verdict


def changed(ledger, state):
    """Apply the verdicts of the file, and return the micrographs that this changed."""
    return [name for name, _ in ledger.people.use(read_person_verdicts(state))]


def test_an_exclusion_overrules_the_figures_until_it_is_withdrawn(ledger, tmp_path):
    pick(ledger)
    assert judged(ledger) == "good"
    decide(tmp_path, [FILE], "excluded", by="Ada")

    assert changed(ledger, tmp_path) == [NAME]
    assert judged(ledger) == "bad"
    assert row(ledger).quality_reason.startswith("excluded by Ada at 20")
    assert row(ledger).person_verdict == "excluded"
    assert ledger.people.use(read_person_verdicts(tmp_path)) == []  # nothing more to change

    decide(tmp_path, [FILE], None, by="Ada")
    assert changed(ledger, tmp_path) == [NAME]
    assert (judged(ledger), row(ledger).quality_reason) == ("good", "")
    assert row(ledger).person_verdict is None


def test_it_stays_when_the_micrograph_is_picked_again_or_written_again(ledger, tmp_path):
    pick(ledger)
    decide(tmp_path, [FILE], "excluded", by="Ada")
    ledger.people.use(read_person_verdicts(tmp_path))
    pick(ledger, mtime=2)
    assert judged(ledger) == "bad"
    assert row(ledger).picked_at > 0


def test_it_stays_when_a_ctf_is_found(ledger, tmp_path):
    """The CTF would make it good or bad by itself."""
    claim = pick(ledger)
    decide(tmp_path, [FILE], "included", by="Ada")
    ledger.people.use(read_person_verdicts(tmp_path))
    assert ledger.ctf.found(claim.id, 1, CtfFigures(90_000.0, 10_000.0, 0.0, 40.0))
    assert judged(ledger) == "good"
    decide(tmp_path, [FILE], None, by="Ada")
    ledger.people.use(read_person_verdicts(tmp_path))
    assert judged(ledger) != "good"  # the figures have not been forgotten


def test_it_waits_for_a_micrograph_and_outlives_the_ledger(ledger, tmp_path):
    """The file is the source of truth; another ledger gets the verdict with the first picks."""
    decide(tmp_path, [FILE], "excluded", by="Ada")
    ledger.people.use(read_person_verdicts(tmp_path))
    pick(ledger)
    assert judged(ledger) == "bad"


def test_the_list_of_good_micrographs_follows(ledger, tmp_path):
    pick(ledger)
    decide(tmp_path, [FILE], "excluded", by="Ada")
    ledger.people.use(read_person_verdicts(tmp_path))
    (measured,) = ledger.reader.measured()
    assert measured.verdict == "bad"
    assert "excluded by Ada" in measured.reason


def test_the_file_is_read_when_it_changes(tmp_path):
    file = PersonVerdictFile(tmp_path)
    assert file.changed().by_place == {}
    assert file.changed() is None
    other = JudgedFile("/data/in", "b.mrc", 1)
    decide(tmp_path, [FILE, other], "excluded", by="Ada")
    assert set(file.changed().by_place) == {FILE.place, other.place}
    assert file.changed() is None


def test_a_name_of_any_bytes_is_kept(tmp_path):
    file = JudgedFile("/data/in", "mic\udcff\u00e4.mrc", 1)
    decide(tmp_path, [file], "excluded", by="Ada")
    assert set(read_person_verdicts(tmp_path).by_place) == {file.place}


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": 2, "micrographs": []}', b"\xff"])
def test_a_damaged_file_is_said_and_never_overwritten(tmp_path, content):
    (tmp_path / DECISIONS).mkdir()
    path = tmp_path / DECISIONS / "micrographs.json"
    path.write_bytes(content)
    for call in (
        lambda: read_person_verdicts(tmp_path),
        lambda: decide(tmp_path, [FILE], "excluded", by="Ada"),
    ):
        with pytest.raises(LedgerError, match="cannot be read"):
            call()
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["mic_0001.mrc.gz", "mic_0001.mrc.bz2"])
def test_it_stays_when_the_micrograph_is_compressed_in_place(ledger, tmp_path, name):
    """Its row gets the new name, and the verdict of the old one; the new name withdraws it."""
    pick(ledger)
    decide(tmp_path, [FILE], "excluded", by="Ada")
    ledger.people.use(read_person_verdicts(tmp_path))
    ledger.arrivals.landed(ROOT, Path(name), FileVersion(600, 1, 8), time.time())
    assert str(row(ledger).relative) == name
    assert changed(ledger, tmp_path) == []
    assert judged(ledger) == "bad"
    decide(tmp_path, [JudgedFile(str(ROOT), name, 1)], None, by="Ada")
    assert changed(ledger, tmp_path) == [name]
    assert judged(ledger) == "good"


def test_it_follows_a_watched_folder_that_was_moved(ledger, tmp_path):
    """The file there has the same time; another micrograph of this name has another one."""
    at = 1_790_000_000_123_456_789
    decide(tmp_path, [JudgedFile("/old/in", NAME, at)], "excluded", by="Ada")
    ledger.people.use(read_person_verdicts(tmp_path))
    pick(ledger, mtime=at)
    assert judged(ledger) == "bad"

    decide(tmp_path, [JudgedFile(str(ROOT), NAME, at)], None, by="Ada")
    assert read_person_verdicts(tmp_path).by_place == {}
    decide(tmp_path, [JudgedFile("/old/in", NAME, at - 10**10)], "excluded", by="Ada")
    assert changed(ledger, tmp_path) == [NAME]
    assert judged(ledger) == "good"


def test_the_file_of_an_earlier_version_is_read(ledger, tmp_path):
    """Such a file has no times, and may have both names of a micrograph; the later one holds."""
    (tmp_path / DECISIONS).mkdir()
    each = {"root": str(ROOT), "by": "Ada"}
    rows = [
        each | {"relative": f"{NAME}.gz", "verdict": "included", "at": 2.0},
        each | {"relative": NAME, "verdict": "excluded", "at": 1.0},
    ]
    content = json.dumps({"format": 1, "micrographs": rows})
    (tmp_path / DECISIONS / "micrographs.json").write_text(content)
    (verdict,) = read_person_verdicts(tmp_path).by_place.values()
    assert verdict.verdict == "included"
    pick(ledger)
    ledger.people.use(read_person_verdicts(tmp_path))
    assert row(ledger).person_verdict == "included"
