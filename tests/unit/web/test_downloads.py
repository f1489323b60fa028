"""Downloads: the files of the output folder as they are, and others made from the ledger."""

import csv
import http.client
import io
import threading
import zipfile
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlencode

import numpy as np
import pytest
from waiting import until

from listed_session import FORMATS, landing, listed_session
from livepick.core.formats.star import star_tables
from livepick.errors import LedgerError
from livepick.ledger.person_verdicts import KnownVerdicts, PersonVerdict
from livepick.picking.downloads import PICK_FORMATS
from livepick.web import download_routes
from livepick.web.attachment import attachment

COUNT = 122
PICKED = COUNT - 2


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    with listed_session(tmp_path_factory.mktemp("downloads"), count=COUNT) as made:
        yield made


@pytest.fixture
def ask(session):
    """Return a function that sends a request and returns status, headers and body."""

    def send(path, *, method="GET", address=None, **headers):
        connection = http.client.HTTPConnection(address or session.address, timeout=60)
        connection.request(method, path, headers=headers)
        try:
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        return SimpleNamespace(status=answer.status, headers=answer.headers, body=body)

    return send


def rows(body):
    """Return the rows of a CSV file as dictionaries."""
    return list(csv.DictReader(io.StringIO(body.decode())))


@pytest.mark.parametrize(
    "name",
    [
        *("micrographs.star", "good_micrographs.star", "micrographs_ctf.star"),
        *("micrograph_quality.star", "autopick.star", "cryosparc/picks.cs", "cryosparc/picks.csg"),
    ],
)
def test_a_file_of_the_output_folder_is_sent_as_it_is(session, ask, name):
    """With its length, its time, and a tag, by which a browser need not fetch it again."""
    answer = ask(f"/files/{name}")

    assert answer.body == (session.output / name).read_bytes()
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert "attachment" in answer.headers["content-disposition"]
    written_at = parsedate_to_datetime(answer.headers["last-modified"]).timestamp()
    assert written_at == int((session.output / name).stat().st_mtime)
    again = ask(f"/files/{name}", **{"If-None-Match": answer.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    head = ask(f"/files/{name}", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == answer.headers["content-length"]


def test_the_table_is_as_of_now_though_its_file_is_older(session, ask):
    """The file is written at most once a minute; it has the same bytes when nothing changed."""
    assert ask("/files/micrographs.csv").body == (session.output / "micrographs.csv").read_bytes()
    verdict = PersonVerdict("excluded", "Ada", 1_790_000_000.0)
    place = (str(session.watched), "mic_0000.mrc")
    try:
        session.ledger.people.use(KnownVerdicts({place: verdict}))
        found = rows(ask("/files/micrographs.csv").body)
        assert ["excluded by Ada" in str(row) for row in found].count(True) == 1
    finally:
        session.ledger.people.use(KnownVerdicts({}))


@pytest.mark.parametrize(
    "name", ["../session.yaml", "..%2fstate%2fledger.sqlite", "session_report.html", "x", ""]
)
def test_no_other_file_is_sent(ask, name):
    assert ask(f"/files/{name}").status == 404


@pytest.mark.parametrize("name", FORMATS)
def test_picks_of_a_micrograph_are_those_in_the_output_folder(session, ask, name):
    """To the byte, in every format. cryoSPARC has one file for all."""
    answer = ask(f"/micrographs/5/picks?as={name}")

    assert answer.status == 200
    if name == "cryosparc":
        with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
            assert archive.namelist() == ["picks.cs", "picks.csg"]
            picks = np.load(io.BytesIO(archive.read("picks.cs")))
        everything = np.load(session.output / "cryosparc" / "picks.cs")
        path = picks["location/micrograph_path"][0]
        same = everything[everything["location/micrograph_path"] == path]
        assert picks.tobytes() == same.tobytes()
        return
    folder = session.output if name == "relion" else session.output / name
    (written,) = [
        path
        for path in folder.rglob("mic_0004*")
        if name != "relion" or path.name.endswith("_autopick.star")
    ]
    assert answer.body == written.read_bytes()
    assert written.name in answer.headers["content-disposition"]


@pytest.mark.parametrize("name", [n for n in FORMATS if n != "cryosparc"])
def test_an_archive_has_the_files_of_the_output_folder(session, ask, name):
    """All of them, in the tree that they have there."""
    answer = ask(f"/download?as={name}")

    folder = session.output if name == "relion" else session.output / name
    written = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("mic_*")
        if name != "relion" or path.name.endswith("_autopick.star")
    }
    written = {n: d for n, d in written.items() if name != "relion" or "/" not in n}
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        assert {one: archive.read(one) for one in archive.namelist()} == written
    assert len(written) == PICKED


def test_the_table_of_all_is_that_of_the_output_folder(session, ask):
    assert ask("/download?as=micrographs").body == (session.output / "micrographs.csv").read_bytes()
    assert ask("/download?as=cryosparc").status == 200


def test_the_table_of_some_has_only_them(session, ask):
    """By the filter in the address, or by their numbers."""
    found = rows(
        ask("/download?as=micrographs&verdict=bad&picks_min=10&which=hits&micrograph=1").body
    )
    assert {row["quality_verdict"] for row in found} == {"bad"}
    assert all(int(row["pick_count"]) >= 10 for row in found)
    assert len(found) > 10

    chosen = rows(
        ask("/download?as=micrographs&which=selected&micrograph=7&ids=1-2,5&verdict=bad").body
    )
    names = [Path(row["micrograph"]).stem for row in chosen]
    assert names == ["mic_0000", "mic_0001", "mic_0004", "mic_0006"]
    span = urlencode(
        {"as": "micrographs", "from": landing(session, 3), "until": landing(session, 5)}
    )
    assert len(rows(ask(f"/download?{span}").body)) == 3


def test_good_particles_are_the_picks_of_good_micrographs(session, ask):
    """In one list for RELION, with an optics group a pixel size."""
    answer = ask("/download?as=good_particles")
    tables = {table.name: table for table in star_tables(answer.body.decode())}

    names = tables["particles"].column("rlnMicrographName")
    good = [row for row in session.reader.with_picks() if row.quality_verdict == "good"]
    assert set(names) == {str(row.path) for row in good}
    assert len(names) == sum(row.pick_count for row in good)
    assert tables["optics"].column("rlnMicrographPixelSize") == ["1.5"]
    assert "good_particles.star" in answer.headers["content-disposition"]
    assert (
        len(star_tables(ask("/download?as=good_particles&verdict=bad").body.decode())[1].rows) == 0
    )
    every = star_tables(ask("/download?as=particles").body.decode())[1]
    assert len(every.rows) == sum(row.pick_count for row in session.reader.with_picks())


def test_a_report_of_now_is_one_file(ask):
    answer = ask("/report.html")

    assert answer.body.startswith(b"<!doctype html>")
    assert b"session report" in answer.body
    assert b"session: {name: krios}" in answer.body


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/download", 400),
        ("/download?as=exe", 400),
        ("/download?as=micrographs&which=selected", 400),
        ("/download?as=micrographs&ids=1-x", 400),
        ("/download?as=micrographs&picks_min=many", 400),
        ("/download?as=micrographs&from=yesterday", 400),
        ("/download?as=micrographs&picks_min=nan", 400),
        (f"/download?as=micrographs&ids={'1,' * 2001}1", 400),
        (f"/download?as=micrographs&ids={'1,' * 2050}1", 414),
        ("/micrographs/5/picks", 400),
        ("/micrographs/999999/picks?as=topaz", 404),
        (f"/micrographs/{PICKED + 1}/picks?as=topaz", 404),
        ("/micrographs/numbers?picks_min=x", 400),
    ],
)
def test_a_request_that_makes_no_sense_says_so(ask, path, status):
    """A filter that cannot be read must not let everything pass."""
    assert ask(path).status == status


def test_a_head_request_makes_no_file(ask):
    answer = ask("/download?as=topaz", method="HEAD")

    assert (answer.status, answer.body) == (200, b"")
    assert "application/zip" in answer.headers["content-type"]


def test_a_ledger_that_cannot_be_read_is_no_empty_file(session, ask, monkeypatch):
    """Before the first byte the answer says so; later, the connection ends too soon."""

    def lost(*_):
        raise LedgerError("it is gone", "Bring it back.")

    with monkeypatch.context() as patch:
        patch.setattr(type(session.queries.filtered), "visible", lost)
        assert ask("/download?as=particles").status == 503

    calls = []

    def fails_later(self, micrograph_id):
        calls.append(micrograph_id)
        if len(calls) > 100:
            raise LedgerError("it is gone", "Bring it back.")
        return original(self, micrograph_id)

    original = type(session.reader).candidates
    monkeypatch.setattr(type(session.reader), "candidates", fails_later)
    monkeypatch.setattr("livepick.picking.downloads.PIECE_BYTES", 100)
    with pytest.raises(http.client.IncompleteRead):
        ask("/download?as=topaz")


def test_only_so_many_downloads_run_at_a_time(session, ask, monkeypatch):
    """A further one is told to come again; the page is there all the same."""
    begun, go_on = threading.Semaphore(0), threading.Event()
    original = type(session.reader).candidates
    monkeypatch.setattr(download_routes, "MOST_DOWNLOADS", 1)
    monkeypatch.setattr("livepick.picking.downloads.PIECE_BYTES", 100)
    seen = []

    def waits(self, micrograph_id):
        seen.append(micrograph_id)
        if len(seen) == 5:
            begun.release()
            go_on.wait(60)
        return original(self, micrograph_id)

    monkeypatch.setattr(type(session.reader), "candidates", waits)
    bodies = []
    first = threading.Thread(target=lambda: bodies.append(ask("/download?as=topaz").body))
    first.start()
    assert begun.acquire(timeout=60)
    assert ask("/download?as=micrographs").status == 503
    assert ask("/micrographs").status == 200
    go_on.set()
    first.join()
    assert zipfile.ZipFile(io.BytesIO(bodies[0])).testzip() is None
    until(lambda: ask("/download?as=micrographs").status == 200)


@pytest.mark.parametrize(
    ("session_name", "name", "plain"),
    [
        ("krios", "micrographs.csv", "krios_micrographs.csv"),
        ("krios-ünï", "a b.star", "krios-uni_a_b.star"),
        ("x", '../../"\r\n;<é>.box', "x_.._.._e.box"),
        ("日本", "y.zip", "y.zip"),
        ("s" * 300, "y.zip", "s" * 117 + ".zip"),
        ("s", "=cmd|x.csv", "s__cmd_x.csv"),
        ("s", "\udcff.csv", "s.csv"),
    ],
)
def test_a_name_of_a_file_is_safe_everywhere(session_name, name, plain):
    """No separator, quotation mark or line break; other letters are in the second name."""
    header = attachment(session_name, name)["content-disposition"]

    assert header.split("; ")[1] == f'filename="{plain}"'
    assert header.isascii()
    assert header.isprintable()


def test_a_cell_of_a_table_is_never_a_formula(session, ask):
    """Its first column is an absolute path; the others are figures and our own words."""
    for row in csv.reader(io.StringIO(ask("/download?as=micrographs").body.decode())):
        assert not any(cell[:1] in "=+@\t\r" for cell in row if cell)
        assert not any(cell[:1] == "-" and not is_number(cell) for cell in row)
    assert PICK_FORMATS.keys() == set(FORMATS)


def test_a_micrograph_with_the_name_of_a_formula_is_taken_away_all_the_same(tmp_path, ask):
    """In tables its cell begins with the folder; the names of its files are harmless."""
    name = "=cmd|' &C calc'!A0 ü;$(x)"
    with listed_session(tmp_path, count=3) as other:
        other.ledger.database.change(
            "update micrograph set relative = ? where id = 1", f"{name}.mrc"
        )
        table = ask("/download?as=micrographs", address=other.address)
        assert rows(table.body)[0]["micrograph"] == f"{other.watched}/{name}.mrc"
        picks = ask("/micrographs/1/picks?as=topaz", address=other.address)
        assert picks.headers["content-disposition"].startswith(
            'attachment; filename="krios-uni__cmd'
        )
        assert name.encode() in picks.body
        archive = ask("/download?as=eman", address=other.address)
        with zipfile.ZipFile(io.BytesIO(archive.body)) as opened:
            assert opened.namelist() == [f"{name}.box"]
        text = ask("/micrographs", address=other.address).body.decode()
        assert "=cmd|&#39; &amp;C calc" in text


def is_number(cell):
    """Return True if a cell is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_the_list_says_how_many_pass_and_what_was_asked(session, ask):
    """All fields of the form are filled again; links keep the filter."""
    text = ask("/micrographs?verdict=bad&picks_min=5&name=mic&sort=picks&order=up").body.decode()

    assert 'name="picks_min" step="1" value="5"' in text
    assert 'value="bad" checked' in text
    bad = sum(n % 3 == 2 and 3 + n % 40 >= 0 for n in range(PICKED))
    assert f"of {COUNT} micrographs" in text
    assert f"<b>{bad}</b> of" in ask("/micrographs?verdict=bad").body.decode()
    assert "verdict=bad" in text.partition("<table")[2]
    assert 'aria-sort="ascending"' in text


def test_a_list_of_several_pages_ends(ask):
    """A page beyond the last is the last."""
    for page in ("2", "99", "0", "x", "-1", "٣"):
        answer = ask("/micrographs?" + urlencode({"page": page}))
        assert answer.status == 200
    assert "page 2 of 2" in ask("/micrographs?page=99").body.decode()
    assert b"No micrograph passes" in ask("/micrographs?name=nothing").body


def test_a_filter_that_cannot_be_read_is_said(ask):
    answer = ask("/micrographs?defocus_min=deep&from=x&name=%3Cscript%3E")

    assert answer.status == 400
    assert b"defocus min is not a number" in answer.body
    assert b"from is not a time" in answer.body
    assert b"<script>" not in answer.body


def test_the_numbers_of_all_hits_are_ranges(ask):
    assert ask("/micrographs/numbers").body == f"1-{COUNT}".encode()
    assert ask("/micrographs/numbers?ids=3,5-9,4").body == b"3-9"
    assert ask("/micrographs/numbers?name=nothing").body == b""
