"""Files that land, land again, or are set aside."""

from landings import ROOT, V1, V2, A, B, claim_one

from factories import make_result
from livepick.config.alert_thresholds import GAPS
from livepick.core.formats.file_version import FileVersion
from livepick.errors import (
    ContentError,
    PixelSizeError,
    UnreadableFileError,
)
from livepick.ledger.page_queries import PageQueries
from livepick.ledger.rows import Arrival, Failure


def test_a_micrograph_that_failed_for_a_transient_reason_may_land_again(ledger):
    """Unreadable content is queued again; content with NaN pixels is not."""
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    ledger.arrivals.landed(ROOT, B, V1, 900.0)
    first, second = ledger.claim(2)
    ledger.failed(first, UnreadableFileError("EIO", "Look at the disk."))
    ledger.failed(second, ContentError("all NaN", "Look at it."))

    assert ledger.reader.known() == {ROOT: {str(B): V1}}
    assert ledger.arrivals.landed(ROOT, A, V1, 950.0) is Arrival.AGAIN
    assert ledger.arrivals.landed(ROOT, B, V1, 950.0) is Arrival.KNOWN
    assert PageQueries(ledger.database).last_landings(2) == [900.0, 900.0]


def test_a_file_set_aside_as_incomplete_may_be_new_later(ledger):
    """Its sidecar came late, so it counts as landed only then."""
    ledger.arrivals.set_aside(
        ROOT, A, V1, 900.0, Failure("incomplete", "a.star is missing", "Wait.")
    )

    assert ledger.arrivals.landed(ROOT, A, V1, 900.0) is Arrival.NEW
    assert ledger.arrivals.landed(ROOT, A, V1, 900.0) is Arrival.KNOWN
    assert ledger.reader.counts().queued == 1


def test_a_file_that_is_set_aside_fails_with_its_reason(ledger):
    """A second message for the same content changes nothing; picks of old content are deleted."""
    failure = Failure("movie", "it has 40 frames", "Watch the averages.")
    assert ledger.arrivals.set_aside(ROOT, A, V1, 900.0, failure) is Arrival.NEW
    assert ledger.arrivals.set_aside(ROOT, A, V1, 900.0, failure) is Arrival.KNOWN
    ledger.arrivals.landed(ROOT, B, V1, 900.0)
    ledger.picked(claim_one(ledger), make_result())
    assert ledger.arrivals.set_aside(ROOT, B, V2, 900.0, failure) is Arrival.CHANGED

    rows = ledger.reader.recent(state="failed")
    assert {(row.relative, row.reason, row.pick_count) for row in rows} == {
        (A, "movie", None),
        (B, "movie", None),
    }
    assert list(ledger.reader.visible()) == []
    assert ledger.reader.candidates(rows[0].id) is None


def test_a_micrograph_set_aside_while_it_waits_to_be_picked_again_keeps_its_picks(ledger):
    """Its file came back unreadable, with the same size and time."""
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    ledger.picked(claim_one(ledger), make_result())
    ledger.requeue.stale(1, repick="all", threshold=0.5)

    failure = Failure("io", "a.mrc: EIO", "Look at the disk.")
    assert ledger.arrivals.set_aside(ROOT, A, V1, 950.0, failure) is Arrival.KEPT
    (row,) = ledger.reader.recent()
    assert (row.state, row.reason, row.pick_count) == ("picked", "io", 2)
    assert ledger.arrivals.landed(ROOT, A, V1, 960.0) is Arrival.AGAIN
    assert claim_one(ledger).repick


def test_a_wrong_pixel_size_is_tried_again(ledger):
    """The mistake may be in the config, which may have been edited since."""
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    ledger.failed(claim_one(ledger), PixelSizeError("1.5 against 1.0 Å", "Look."))
    assert ledger.reader.known() == {}
    assert ledger.arrivals.landed(ROOT, A, V1, 900.0) is Arrival.AGAIN


def test_figures_of_old_content_are_deleted_with_its_picks(ledger):
    """A file that can no longer be read has no quality figures."""
    ledger.arrivals.landed(ROOT, A, V1, 900.0)
    ledger.picked(claim_one(ledger), make_result())
    ledger.arrivals.set_aside(ROOT, A, V2, 950.0, Failure("header", "no header", "Copy it again."))

    (row,) = ledger.reader.recent()
    assert (row.quality_verdict, row.quality, row.masked_fraction) == (None, None, 0)
    assert list(ledger.reader.measured()) == []


def test_landing_times_of_collected_micrographs_survive_a_restart(ledger):
    """As many are kept as the usual gap is computed from."""
    assert ledger.reader.last_collected() == []
    ledger.arrivals.collected([900.0, 930.0])
    ledger.arrivals.collected([960.0 + number for number in range(GAPS)])

    assert ledger.reader.last_collected() == [930.0, *(960.0 + number for number in range(GAPS))]


def test_an_inode_may_use_all_64_bits(ledger):
    """Some network file systems have such inodes, and SQLite's integers are signed."""
    version = FileVersion(1, -1, 2**64 - 1)
    ledger.arrivals.landed(ROOT, A, version, 900.0)
    assert ledger.reader.known() == {ROOT: {str(A): version}}
