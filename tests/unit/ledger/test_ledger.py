"""The ledger: transitions, fences, healing, and who may open it."""

import dataclasses
import hashlib
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from results import result

from livepick.config.alert_thresholds import GAPS
from livepick.core.formats.micrograph import FileVersion
from livepick.core.imaging.quality import CtfFigures, Quality
from livepick.core.imaging.quality_limits import judge
from livepick.errors import (
    BusyError,
    ContentError,
    LedgerError,
    LedgerWriteError,
    PixelSizeError,
    UnreadableFileError,
)
from livepick.ledger import writer as ledger_module
from livepick.ledger.rows import Arrival, Claim, Counts
from livepick.ledger.writer import (
    LEDGER,
    MAX_INTERRUPTIONS,
    SCHEMA,
    SCHEMA_VERSION,
    Ledger,
    ReadLedger,
)

ROOT = Path("/data/avg")
A, B = Path("a.mrc"), Path("sub/b.mrc")
V1, V2 = FileVersion(100, 1, 7), FileVersion(200, 2, 7)


def claim_one(ledger: Ledger, **kwargs) -> Claim:
    (claim,) = ledger.claim(1, **kwargs)
    return claim


def test_a_micrograph_goes_from_queued_to_picked(ledger):
    """Its picks, those below the threshold too, can be read back."""
    assert ledger.landed(ROOT, A, V1, 900.0) is Arrival.NEW
    claim = claim_one(ledger)
    ledger.picked(claim, result())

    (row,) = ledger.recent()
    assert (row.state, row.pick_count, row.model_version, row.shape_px) == (
        "picked",
        2,
        0,
        (400, 300),
    )
    assert [row.path for row in ledger.picked_rows()] == [ROOT / A]
    assert len(ledger.candidates(row.id)) == 3
    assert ledger.particles() == 2


def test_figures_of_quality_come_back_as_they_were(ledger):
    """What is not known is null, in the row and in the table of all."""
    quality = Quality(0.1, None, contrast=1.0, anisotropy=0.25)
    ledger.landed(ROOT, A, V1, 900.0)
    ledger.picked(claim_one(ledger), dataclasses.replace(result(), quality=quality))

    (row,), (seen,) = ledger.recent(), ledger.measured()
    assert row.quality == quality
    assert seen.figures == dataclasses.astuple(quality)
    assert (row.ctf, seen.ctf) == (None, (None,) * len(dataclasses.fields(CtfFigures)))
    assert (row.quality_verdict, row.quality_reason) == judge(quality)
    assert (seen.verdict, seen.pick_count) == ("bad", 2)
    assert ledger.verdicts() == {"good": 0, "doubtful": 0, "bad": 1}


def test_figures_of_old_content_go_with_its_picks(ledger):
    """A file that cannot be read any more has no quality."""
    ledger.landed(ROOT, A, V1, 900.0)
    ledger.picked(claim_one(ledger), result())
    ledger.set_aside(ROOT, A, V2, 950.0, ("header", "no header", "Copy it again."))

    (row,) = ledger.recent()
    assert (row.quality_verdict, row.quality, row.masked_fraction) == (None, None, 0)
    assert list(ledger.measured()) == []


def test_counts_name_each_micrograph_once(ledger):
    """Stale ones have older picks and wait; new content waits for its first picks."""
    for number in range(6):
        ledger.landed(ROOT, Path(f"{number}.mrc"), V1, 900.0)
    claims = ledger.claim(5)
    for claim in claims[:3]:
        ledger.picked(claim, result())
    ledger.failed(claims[3], ContentError("all NaN", "Look at it."))
    ledger.queue_stale(1, repick="all", threshold=0.5)
    ledger.picked(claim_one(ledger), result())  # 5.mrc: it came before those to be picked again
    ledger.landed(ROOT, Path("5.mrc"), V2, 950.0)

    assert ledger.counts() == Counts(queued=1, picking=1, picked=0, failed=1, stale=3)
    assert ledger.counts().total == 6


def test_when_micrographs_landed_and_were_picked_last_is_known_after_a_restart(ledger, clock):
    """The newest so many, oldest first; nothing before anything is picked."""
    for number, landed_at in enumerate((930.0, 900.0, 960.0)):
        ledger.landed(ROOT, Path(f"{number}.mrc"), V1, landed_at)

    assert ledger.last_landings(2) == [930.0, 960.0]
    assert ledger.last_picked_at() is None
    ledger.picked(claim_one(ledger), result())
    assert ledger.last_picked_at() == clock.now


def test_landings_of_a_session_that_collects_outlive_a_restart(ledger):
    """So many as the usual gap is taken of."""
    assert ledger.last_collected() == []
    ledger.collected([900.0, 930.0])
    ledger.collected([960.0 + number for number in range(GAPS)])

    assert ledger.last_collected() == [930.0, *(960.0 + number for number in range(GAPS))]


def test_the_figures_of_the_ctf_are_recorded_once(ledger):
    """Two looks may find the same text before the first is recorded."""
    ledger.landed(ROOT, A, V1, 900.0)
    claim = claim_one(ledger)
    ledger.picked(claim, result())
    figures = CtfFigures(12_000.0, 11_000.0, 30.0, 4.0)

    assert [ledger.ctf_found(claim.id, 1, figures) for _ in range(2)] == [True, False]


def test_new_arrivals_go_before_what_is_picked_again(ledger, clock):
    """Among equals the one goes first that has waited longest."""
    ledger.landed(ROOT, A, V1, 900.0)
    ledger.picked(claim_one(ledger), result())
    assert ledger.queue_stale(1, repick="all", threshold=0.5) == 1
    clock.now += 10
    ledger.landed(ROOT, B, V1, 1010.0)
    clock.now += 10
    ledger.landed(ROOT, Path("c.mrc"), V1, 1020.0)

    order = [(claim.relative.name, claim.repick) for claim in ledger.claim(10)]
    assert order == [("b.mrc", False), ("c.mrc", False), ("a.mrc", True)]


def test_new_content_fences_off_what_is_under_way(ledger):
    """The result of the old content is refused, the same content again is ignored."""
    ledger.landed(ROOT, A, V1, 900.0)
    old = claim_one(ledger)

    assert ledger.landed(ROOT, A, V1, 900.0) is Arrival.KNOWN
    assert ledger.holds(old)
    assert ledger.landed(ROOT, A, V2, 950.0) is Arrival.CHANGED
    assert not ledger.holds(old)
    new = claim_one(ledger)
    with pytest.raises(RuntimeError, match="not under way"):
        ledger.picked(old, result())
    ledger.picked(new, result())

    assert (new.version, new.repick) == (V2, False)
    assert ledger.get(new.id).content == 2


def test_what_failed_for_a_passing_cause_may_land_again(ledger):
    """Unreadable: the same content is queued again, also at the next start; NaN pixels stay so."""
    ledger.landed(ROOT, A, V1, 900.0)
    ledger.landed(ROOT, B, V1, 900.0)
    first, second = ledger.claim(2)
    ledger.failed(first, UnreadableFileError("EIO", "Look at the disk."))
    ledger.failed(second, ContentError("all NaN", "Look at it."))

    assert ledger.known() == {(ROOT, B): V1}
    assert ledger.landed(ROOT, A, V1, 950.0) is Arrival.AGAIN
    assert ledger.landed(ROOT, B, V1, 950.0) is Arrival.KNOWN
    assert ledger.last_landings(2) == [900.0, 900.0]


def test_what_was_set_aside_as_incomplete_may_be_new_later(ledger):
    """Its sidecar came late: only now it is a micrograph that has landed."""
    ledger.set_aside(ROOT, A, V1, 900.0, ("incomplete", "a.star is missing", "Wait."))

    assert ledger.landed(ROOT, A, V1, 900.0) is Arrival.NEW
    assert ledger.landed(ROOT, A, V1, 900.0) is Arrival.KNOWN
    assert ledger.counts().queued == 1


def test_what_is_set_aside_is_failed_with_its_reason(ledger):
    """A second word about the same content changes nothing; picks of the former content go."""
    failure = ("movie", "it has 40 frames", "Watch the averages.")
    assert ledger.set_aside(ROOT, A, V1, 900.0, failure) is Arrival.NEW
    assert ledger.set_aside(ROOT, A, V1, 900.0, failure) is Arrival.KNOWN
    ledger.landed(ROOT, B, V1, 900.0)
    ledger.picked(claim_one(ledger), result())
    assert ledger.set_aside(ROOT, B, V2, 900.0, failure) is Arrival.CHANGED

    rows = ledger.recent(state="failed")
    assert {(row.relative, row.reason, row.pick_count) for row in rows} == {
        (A, "movie", None),
        (B, "movie", None),
    }
    assert list(ledger.visible()) == []
    assert ledger.candidates(rows[0].id) is None


def test_an_edited_setting_gives_another_go(ledger):
    """A wrong pixel size lies in the config as often as in the file."""
    ledger.landed(ROOT, A, V1, 900.0)
    ledger.failed(claim_one(ledger), PixelSizeError("1.5 against 1.0 Å", "Look."))
    assert ledger.known() == {}
    assert ledger.landed(ROOT, A, V1, 900.0) is Arrival.AGAIN


def test_a_retry_waits_and_is_counted(ledger, clock):
    """A release is for no fault of its own: it is not counted, and goes to the back."""
    ledger.landed(ROOT, A, V1, 900.0)
    ledger.retry(claim_one(ledger), UnreadableFileError("EIO", "Look."), delay_seconds=5)
    assert ledger.claim(1) == []
    clock.now += 6
    claim = claim_one(ledger)
    assert claim.tries == 1

    clock.now += 1
    ledger.landed(ROOT, B, V1, 900.0)
    clock.now += 1
    ledger.released(claim)
    assert [claim.relative for claim in ledger.claim(2)] == [B, A]


def test_a_suspect_is_claimed_apart_and_given_up_after_three_crashes(ledger):
    """A success in between clears it."""
    ledger.landed(ROOT, A, V1, 900.0)
    assert not ledger.crashed(claim_one(ledger))
    assert ledger.suspects()
    assert ledger.claim(5) == []
    ledger.picked(claim_one(ledger, suspects=True), result())
    ledger.queue_stale(1, repick="all", threshold=0.5)

    assert not ledger.crashed(claim_one(ledger))
    assert not ledger.crashed(claim_one(ledger, suspects=True))
    assert ledger.crashed(claim_one(ledger, suspects=True))
    (row,) = ledger.recent()
    assert (row.state, row.reason, row.pick_count) == ("failed", "poison", None)


def test_a_folder_that_is_away_is_not_claimed_from(ledger):
    """What could not be read meanwhile is tried again when it is back."""
    ledger.landed(ROOT, A, V1, 900.0)
    assert ledger.claim(1, without={ROOT}) == []
    ledger.failed(claim_one(ledger), UnreadableFileError("EIO", "Look at the disk."))
    assert ledger.queue_vanished(ROOT) == 1
    assert ledger.counts() == Counts(queued=1)


def test_a_killed_service_heals_at_the_next_start(tmp_path):
    """What was under way is queued; what is under way at every end is given up at the cap."""
    path = tmp_path / LEDGER
    for _ in range(MAX_INTERRUPTIONS):
        ledger = Ledger(path)
        ledger.landed(ROOT, A, V1, 900.0)
        ledger.recover()
        assert len(ledger.claim(1)) == 1
        ledger.close()
    ledger = Ledger(path)
    assert ledger.recover() == 0
    (row,) = ledger.recent()
    ledger.close()

    assert (row.state, row.reason, row.interruptions) == ("failed", "poison", MAX_INTERRUPTIONS)
    assert row.error == "a.mrc was being picked at 10 ends of the service"


@pytest.mark.parametrize(
    ("repick", "for_all", "due"),
    [
        ("provisional", False, {"blob", "recut"}),
        ("provisional", True, {"blob", "recut", "old recut"}),
        ("all", False, {"blob", "recut", "old", "old recut"}),
        ("none", True, set()),
    ],
)
def test_what_another_model_picked_or_another_threshold_cut_is_due(ledger, repick, for_all, due):
    """By the policy; a model's own threshold is for no other model. A second time, nothing."""
    made = {
        "blob": result(version=0, kind="blob"),
        "old": result(version=1, kind="trained"),
        "old recut": result(version=1, kind="trained", threshold=0.3),
        "present": result(version=2, kind="trained"),
        "recut": result(version=2, kind="trained", threshold=0.3),
    }
    for name, found in made.items():
        ledger.landed(ROOT, Path(name), V1, 900.0)
        ledger.picked(claim_one(ledger), found)

    count = ledger.queue_stale(2, repick=repick, threshold=0.5, for_all=for_all)

    assert {str(row.relative) for row in ledger.recent(state="queued")} == due
    assert count == len(due)
    assert ledger.queue_stale(2, repick=repick, threshold=0.5, for_all=for_all) == 0


def test_what_waits_to_be_picked_again_may_keep_its_picks(ledger):
    """What waits for its first picks, or has new content, goes on waiting."""
    for name in ("a", "b", "c"):
        ledger.landed(ROOT, Path(name), V1, 900.0)
    for claim in ledger.claim(2):
        ledger.picked(claim, result())
    ledger.queue_stale(1, repick="all", threshold=0.5)
    ledger.landed(ROOT, Path("b"), V2, 950.0)

    assert ledger.leave_stale() == 1
    assert ledger.counts() == Counts(picked=1, queued=2)
    assert ledger.leave_stale() == 0
    assert [row.relative for row in ledger.picked_rows()] == [Path("a")]


def test_what_is_visible_is_listed_by_path_however_long_the_list(ledger, monkeypatch):
    """It is read a few at a time, and none is left out or doubled where one batch ends."""
    monkeypatch.setattr("livepick.ledger.writer.AT_ONCE", 2)
    places = [(root, Path(name)) for root in (ROOT, ROOT / "b") for name in ("x", "y", "z")]
    for root, relative in reversed(places):
        ledger.landed(root, relative, V1, 900.0)
        ledger.picked(claim_one(ledger), result())
    ledger.landed(ROOT, Path("waiting"), V1, 900.0)

    assert [(entry.root, entry.relative) for entry in ledger.visible()] == places


def test_namesakes_differ_by_extension_only(ledger):
    """They would share a coordinates file."""
    for name in ("x.mrc", "x_DW.mrc", "x.y.mrc", "sub/x.tif"):
        ledger.landed(ROOT, Path(name), V1, 900.0)

    assert ledger.namesake(ROOT, Path("x.tif")) == Path("x.mrc")
    assert ledger.namesake(ROOT, Path("x.mrc")) is None
    assert ledger.namesake(ROOT, Path("x.y.tif")) == Path("x.y.mrc")
    assert ledger.namesake(Path("/other"), Path("x.tif")) is None


def test_an_inode_may_use_all_its_bits(ledger):
    """Some network file systems have such; SQLite's integers are signed."""
    version = FileVersion(1, -1, 2**64 - 1)
    ledger.landed(ROOT, A, version, 900.0)
    assert ledger.known() == {(ROOT, A): version}


def test_runs_model_and_session_are_remembered(ledger, clock):
    """A resumed run keeps its start, the same model its date."""
    ledger.run_changed(1, "abc", "running")
    assert not ledger.use_model(0, "blob", "p")
    ledger.begin_session("s1")
    clock.now += 60
    ledger.run_changed(1, "abc", "promoted", figures={"ap": 0.9})
    assert not ledger.use_model(0, "blob", "p")

    (run,) = ledger.runs()
    assert (run.state, run.started_at, run.ended_at, run.figures) == (
        "promoted",
        1000.0,
        1060.0,
        {"ap": 0.9},
    )
    assert (ledger.model().kind, ledger.model().since) == ("blob", 1000.0)
    assert ledger.begin_session("s1").started_at == 1000.0
    assert not ledger.use_model(1, "trained", "p")
    assert ledger.use_model(2, "blob", "another particle")


def test_a_second_service_is_refused(ledger, tmp_path):
    """Also from another process, which learns who is first."""
    code = (
        "from pathlib import Path; from livepick.ledger.writer import Ledger;"
        f" Ledger(Path({str(ledger.path)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "BusyError: another livepick (process" in done.stderr
    with pytest.raises(BusyError):
        Ledger(ledger.path)


def test_others_may_look_but_not_write(ledger):
    """They see each commit at once, from any thread."""
    ledger.landed(ROOT, A, V1, 900.0)
    reader = ReadLedger(ledger.path)
    assert reader.counts() == Counts(queued=1)
    ledger.claim(1)
    assert reader.counts() == Counts(picking=1)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._db.execute("delete from micrograph")
    reader.close()


def test_no_ledger_to_look_at_is_said(tmp_path):
    """The status command may come before the first start."""
    with pytest.raises(LedgerError, match="there is no ledger"):
        ReadLedger(tmp_path / LEDGER)


@pytest.mark.parametrize("content", [b"garbage " * 1000, None])
def test_a_damaged_ledger_is_refused_with_a_remedy(tmp_path, content):
    """Overwritten as a whole, or in the middle."""
    path = tmp_path / LEDGER
    ledger = Ledger(path)
    with ledger.transaction():
        for number in range(200):
            ledger.landed(ROOT, Path(f"{number}.mrc"), V1, 900.0)
    ledger.close()
    data = path.read_bytes()
    path.write_bytes(content or data[:4096] + b"\x55" * (len(data) // 2) + data[-4096:])

    with pytest.raises(LedgerError, match=r"damaged.*aside"):
        Ledger(path)
    path.unlink()
    Ledger(path).close()  # the lock of the refused one is free


def test_the_version_of_the_schema_rises_with_its_text():
    """Whoever edits schema.sql raises ledger.SCHEMA_VERSION, and writes both down here.

    Else a ledger of the former text would be taken for one of the new, and fail at a column.
    Comments and blanks make no difference.
    """
    statements = " ".join(re.sub(r"--.*", "", SCHEMA).split())
    digest = hashlib.sha256(statements.encode()).hexdigest()[:16]

    assert (SCHEMA_VERSION, digest) == (3, "9013bc47db90f084")


@pytest.mark.parametrize(
    ("version", "remedy"), [(99, "Use the newer livepick"), (1, "starts a new one, and picks")]
)
def test_a_ledger_of_another_livepick_is_refused(tmp_path, version, remedy):
    """Its columns may be others, or mean another thing; the error names both versions."""
    path = tmp_path / LEDGER
    Ledger(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"pragma user_version = {version}")
    db.close()
    for opener in (Ledger, ReadLedger):
        with pytest.raises(LedgerError, match=rf"has version {version},") as caught:
            opener(path)
        assert str(path) in caught.value.what
        assert f"needs {SCHEMA_VERSION}" in caught.value.what
        assert remedy in caught.value.remedy
    assert path.is_file()


def test_an_older_ledger_is_migrated_whole_or_not_at_all(tmp_path, monkeypatch):
    """A copy of the older one stays beside it; who only reads is told what to do."""
    path = tmp_path / LEDGER
    first = Ledger(path)
    first.landed(ROOT, A, V1, 900.0)
    first.close()
    broken = "alter table run add column colour text; alter table nowhere add column x text"
    monkeypatch.setattr(ledger_module, "MIGRATIONS", (broken,))
    with pytest.raises(LedgerError, match="no such table: nowhere"):
        Ledger(path)
    monkeypatch.setattr(ledger_module, "MIGRATIONS", (broken.partition(";")[0],))
    with pytest.raises(LedgerError, match=rf"has version {SCHEMA_VERSION},") as caught:
        ReadLedger(path)
    assert "Start livepick run" in caught.value.remedy
    second = Ledger(path)

    assert second.counts() == Counts(queued=1)
    assert second._version() == SCHEMA_VERSION + 1
    assert (tmp_path / f"{LEDGER}.version-{SCHEMA_VERSION}").is_file()
    second.close()


def test_a_new_ledger_takes_all_steps(tmp_path, monkeypatch):
    """The schema first, then what came later."""
    monkeypatch.setattr(ledger_module, "MIGRATIONS", ("alter table run add column colour text",))
    made = Ledger(tmp_path / LEDGER)

    assert made._version() == SCHEMA_VERSION + 1
    assert made._rows("select colour from run") == []
    made.close()


def test_a_network_file_system_is_refused(tmp_path, monkeypatch):
    """SQLite's WAL needs shared memory with everybody who writes."""
    monkeypatch.setattr(ledger_module, "file_system_type", lambda path: "nfs4")
    with pytest.raises(LedgerError, match="network file system"):
        Ledger(tmp_path / LEDGER)


def test_an_old_sqlite_is_refused(tmp_path, monkeypatch):
    """In words, and not by a syntax error in the schema."""
    monkeypatch.setattr(ledger_module, "OLDEST_SQLITE", (99, 0))
    with pytest.raises(LedgerError, match=r"needs 99\.0 or newer"):
        Ledger(tmp_path / LEDGER)


def test_a_full_disk_changes_nothing_and_passes(ledger):
    """The error says to try again, and then it works."""
    ledger.landed(ROOT, A, V1, 900.0)
    claim = claim_one(ledger)
    pages = ledger._rows("pragma page_count")[0][0]
    ledger._db.execute(f"pragma max_page_count = {pages}")
    many = result(scores=tuple(np.linspace(1, 0, 5000)))
    with pytest.raises(LedgerWriteError) as caught:
        ledger.picked(claim, many)
    assert caught.value.retryable
    assert ledger.holds(claim)
    ledger._db.execute("pragma max_page_count = 1000000")
    ledger.picked(claim, many)
    assert ledger.counts() == Counts(picked=1)
