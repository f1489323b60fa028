"""CTF figures that other programs write, before or after the picks."""

from pathlib import Path

import pytest

from factories import make_result
from livepick.core.formats.file_version import FileVersion
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality import CtfFigures, Quality
from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.ingest import ctf_watcher
from livepick.ingest.ctf_watcher import CtfWatcher
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.reader import LedgerReader
from livepick.ledger.writer import LedgerWriter

V1, V2 = FileVersion(100, 1, 7), FileVersion(200, 2, 7)
CTFFIND = """\
# Output from CTFFind version 4.1.14, run on 2025-12-28 18:56:33
# Pixel size: 1.4 Angstroms ; acceleration voltage: 200.0 keV ; spherical aberration: 1.40 mm \
; amplitude contrast: 0.10
1.000000 10864.0 10564.0 78.0 0.0 0.13 {resolution}
"""


@pytest.fixture
def ledger(tmp_path):
    with Database.writable(tmp_path / LEDGER) as database:
        yield LedgerWriter(database)


def pick(ledger, root, name, version=V1):
    ledger.arrivals.landed(root, Path(name), version, 900.0)
    (claim,) = ledger.claim(1)
    result = make_result(Picks.empty(), quality=Quality(0.0, None, contrast=5.0))
    ledger.picked(claim, result)
    return claim.id


def search(ledger):
    messages = []
    with Database.read_only(ledger.database.path) as database:
        CtfWatcher(LedgerReader(database), None, found=messages.append).search_once()
    for message in messages:
        assert ledger.ctf.found(message.micrograph_id, message.content, message.figures)
    return len(messages)


def test_ctf_file_written_after_picking_is_found_and_judged(ledger, tmp_path):
    """Before, the micrograph has no CTF; afterwards, it is not searched again."""
    number = pick(ledger, tmp_path, "a.mrc")
    assert search(ledger) == 0
    assert ledger.reader.get(number).ctf is None

    (tmp_path / "a.txt").write_text(CTFFIND.format(resolution=9.5))
    assert search(ledger) == 1
    row = ledger.reader.get(number)
    assert (row.ctf.defocus_u_angstrom, row.ctf.ctf_resolution_angstrom) == (10864, 9.5)
    assert row.quality_verdict == "doubtful"
    assert "9.5" in row.quality_reason
    assert search(ledger) == 0


def test_the_optics_of_the_latest_ctf_are_kept(ledger, tmp_path):
    """They are compared with the config."""
    pick(ledger, tmp_path, "a.mrc")
    (tmp_path / "a.txt").write_text(CTFFIND.format(resolution=4.0))
    with Database.read_only(ledger.database.path) as database:
        watcher = CtfWatcher(LedgerReader(database), None, found=lambda _: None)
        assert watcher.latest is None
        watcher.search_once()
    path, ctf = watcher.latest
    assert path == tmp_path / "a.mrc"
    assert (ctf.voltage_kv, ctf.spherical_aberration_mm) == (200.0, 1.4)


def test_ctf_figures_survive_repicking_but_not_new_content(ledger, tmp_path):
    """New content is another exposure."""
    number = pick(ledger, tmp_path, "a.mrc")
    assert ledger.ctf.found(number, 1, CtfFigures(11000.0, 10000.0, 0.0, 20.0))
    ledger.requeue.stale(1, repick="all", threshold=0.5)
    pick(ledger, tmp_path, "a.mrc")
    assert ledger.reader.get(number).ctf.defocus_v_angstrom == 10000
    assert ledger.reader.get(number).quality_verdict == "bad"

    pick(ledger, tmp_path, "a.mrc", V2)
    assert ledger.reader.get(number).ctf is None
    assert ledger.reader.get(number).quality_verdict == "good"
    assert not ledger.ctf.found(number, 1, CtfFigures(11000.0, 10000.0, 0.0, 4.0))


def test_damaged_ctf_file_is_logged_once(ledger, tmp_path, caplog):
    """The micrograph is not affected."""
    pick(ledger, tmp_path, "a.mrc")
    (tmp_path / "a.txt").write_text(CTFFIND.format(resolution=4).replace("10864.0", "?"))
    with Database.read_only(ledger.database.path) as database:
        watcher = CtfWatcher(LedgerReader(database), None, found=pytest.fail)
        for _ in range(2):
            assert watcher.search_once() == 0

    assert len([r for r in caplog.records if "a.txt" in r.getMessage()]) == 1


def test_one_search_that_fails_is_not_the_last(ledger, monkeypatch):
    """An unexpected error is counted."""
    monkeypatch.setattr(ctf_watcher, "SEARCH_SECONDS", 0.01)
    monkeypatch.setattr(ctf_watcher, "find_ctfs", lambda *_: next(iter(())))
    watcher = CtfWatcher(ledger.reader, None, found=lambda _: None)
    counts = []

    def counted(part):
        counts.append(part)
        if len(counts) == 2:
            watcher.stop()

    watcher._unexpected = UnexpectedErrors(counted)
    watcher.run()

    assert counts == ["ctf", "ctf"]


def test_an_entry_is_not_taken_by_a_namesake_that_waits(ledger, tmp_path):
    """The micrograph of the entry has its figures already, so only its namesake is searched for."""
    star = tmp_path / "micrographs_ctf.star"
    star.write_text(
        "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnVoltage\n_rlnSphericalAberration\n"
        "_rlnAmplitudeContrast\n1 300 2.7 0.1\n\ndata_micrographs\n\nloop_\n"
        "_rlnMicrographName\n_rlnOpticsGroup\n_rlnDefocusU\n_rlnDefocusV\n_rlnDefocusAngle\n"
        "MotionCorr/job002/grid1/001.mrc 1 12000 11000 45\n"
    )

    def find():
        messages = []
        with Database.read_only(ledger.database.path) as database:
            CtfWatcher(LedgerReader(database), star, found=messages.append).search_once()
        return [message.micrograph_id for message in messages]

    (tmp_path / "grid1").mkdir()
    first = pick(ledger, tmp_path, "grid1/001.mrc")
    pick(ledger, tmp_path, "grid2/001.mrc")
    assert find() == [first]
    assert ledger.ctf.found(first, 1, CtfFigures(12000.0, 11000.0, 45.0, None))
    assert find() == []
