"""The page, the metrics and the health check."""

import contextlib
import http.client
import io
import json
import re
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from waiting import until

from factories import make_result
from livepick.core.formats.file_version import FileVersion
from livepick.core.imaging.picks import Picks
from livepick.errors import ConfigError, LedgerError
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.page_queries import PageQueries
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import Counts
from livepick.ledger.writer import LedgerWriter
from livepick.monitoring.headline import Headline
from livepick.monitoring.health import Health
from livepick.monitoring.metrics.exporter import Metrics
from livepick.monitoring.problem import Problem
from livepick.monitoring.status import Row, Status
from livepick.monitoring.training_status import TrainingStatus
from livepick.picking.engine import threads
from livepick.web.app import create_app
from livepick.web.live_updates import MOST_LISTENERS
from livepick.web.page import Sources
from livepick.web.server import Door, Web, listen

HOSTILE = "<script>alert(1)</script>.mrc"

STATUS = Status(
    session="krios2",
    started=True,
    counts=Counts(queued=1, picked=2, failed=1),
    particles=12345,
    training=TrainingStatus("failed", "Run 0001 failed: no memory."),
    failures=[
        Row(HOSTILE, "failed", None, None, 1.0, "io", "It is <gone>", ""),
        Row("bad.mrc", "movie", None, None, 1.0, "movie", "It is a movie", "Give the sum."),
    ],
    problems=(Problem("folder_gone", "bad", "/data is not there.", "Mount it."),),
)


PICKS = Picks.sorted(*(np.array(a, dtype=np.float32) for a in ([40, 90], [30, 60], [0.9, 0.4])))


@pytest.fixture
def ledger(tmp_path):
    """Return the ledger of a session, to write to."""
    with Database.writable(tmp_path / "state" / LEDGER) as database:
        yield LedgerWriter(database)


@pytest.fixture
def land(ledger, write_mrc):
    """Return a function that writes a micrograph with a particle at (40, 30), and picks it."""

    def landed(name):
        path = write_mrc(name, centres=((30, 40),))
        version = FileVersion.of(path.stat())
        ledger.arrivals.landed(path.parent, Path(name), version, time.time())
        (claim,) = ledger.claim(1)
        ledger.picked(claim, make_result(PICKS, shape_px=(128, 192)))
        return claim.id

    return landed


@pytest.fixture
def ask(ledger, make_config):
    """Return a function that sends one request to a real server and returns its answer."""
    state = {"health": Health(ok=True, seconds_since={"dispatch": 0.5}), "fault": None}

    def status():
        if state["fault"] is not None:
            raise state["fault"]
        return STATUS

    config, engine = make_config(), threads(1)
    shared = Database.read_only(ledger.database.path)
    sources = Sources(
        status,
        lambda: state["health"],
        lambda: config,
        LedgerReader(shared),
        PageQueries(shared),
    )
    app = create_app(Metrics(), sources, engine.submit)
    web = Web(Door(listen("127.0.0.1:0"), app.asgi), closing=app.close)
    web.start()

    def send(path, *, method="GET", host=None, health=None, fault=None, until=None):
        state["fault"] = fault
        if health is not None:
            state["health"] = health
        connection = http.client.HTTPConnection(web.address, timeout=60)
        connection.request(method, path, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        body = answer.read() if until is None else answer.readline()
        connection.close()
        picture = answer.headers.get_content_type() == "image/png"
        return answer, body if picture else body.decode()

    send.address = web.address
    yield send
    web.stop()
    engine.stop()
    until(lambda: not web.alive, "the end of the server")
    shared.close()


def test_page_shows_counts_failures_and_remedies(ask):
    """Everything the operator needs is on one page; file names are text, never markup."""
    answer, text = ask("/")

    assert answer.status == 200
    for words in (
        "12,345",
        "It is &lt;gone&gt;",
        "Run 0001 failed",
        "Give the sum.",
        "/data is not there.",
    ):
        assert words in text
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_page_loads_nothing_from_elsewhere(ask):
    """Style, script and icon are served by livepick."""
    _, text = ask("/")
    answer, _ = ask("/style.css")
    for script in re.findall(r'<script src="([^"]+)"', text):
        assert ask(f"/{script}")[0].headers["content-type"].startswith("text/javascript")
    assert "uplot.min.js" in text

    assert "http://" not in text
    assert "https://" not in text
    assert answer.headers["content-type"].startswith("text/css")


def test_a_micrograph_is_in_the_strip_with_its_picks(ask, land):
    """It is addressed by number, with its name escaped and a ring for each pick."""
    number = land(HOSTILE.replace("/", "|"))
    _, text = ask("/")

    assert f'href="micrographs/{number}"' in text
    assert "<script>alert" not in text
    assert 'viewBox="-0.5 -0.5 192 128"' in text
    assert 'd="M40 30"' in text


def test_a_picture_shows_the_particle_where_the_pick_is_drawn(ask, land):
    """Full view and thumbnail use the same coordinates as the picks."""
    number = land("mic.mrc")
    for kind in ("thumbnail", "full"):
        answer, png = ask(f"/micrographs/{number}/{kind}.png")
        picture = np.asarray(Image.open(io.BytesIO(png)).convert("L"), dtype=float)

        assert answer.status == 200
        assert "immutable" in answer.headers["cache-control"]
        y, x = np.indices(picture.shape)
        weight = np.where(np.hypot(y - 30, x - 40) < 25, picture, 0)
        assert (weight * x).sum() / weight.sum() == pytest.approx(40, abs=0.2)
        assert (weight * y).sum() / weight.sum() == pytest.approx(30, abs=0.2)


def test_the_full_view_has_all_candidates(ask, land):
    """It also has the effect of each threshold on the newest micrographs."""
    number = land("mic.mrc")
    _, text = ask(f"/micrographs/{number}")
    _, facts = ask(f"/micrographs/{number}/candidates")
    facts = json.loads(facts)

    assert f"/micrographs/{number}/mask.png" in text
    assert facts["candidates"] == [[40, 30, 0.9], [90, 60, 0.4]]
    assert facts["ring_px"] == 50.0  # 150 Å across, at 1.5 Å a pixel
    assert facts["newest"]["micrographs"] == 1
    assert [facts["newest"]["picks"][i] for i in (0, 20, 21, 45, 50)] == [2, 2, 1, 1, 0]


def test_a_rewritten_micrograph_has_no_picture(ask, land, write_mrc):
    """Picks of one content are never drawn over another."""
    number = land("mic.mrc")
    write_mrc("mic.mrc", shape=(64, 64))

    answer, _ = ask(f"/micrographs/{number}/full.png")

    assert answer.status in (404, 503)


@pytest.mark.parametrize(
    "path",
    [
        "/micrographs/99",
        "/micrographs/99/full.png",
        "/micrographs/99/candidates",
        f"/micrographs/{2**63}",
        f"/micrographs/{10**17}",
        f"/micrographs/{'9' * 4000}",
        f"/micrographs/{'9' * 4000}/candidates",
        f"/micrographs/{'9' * 4000}/full.png",
        f"/models/{'9' * 4000}/classes.png",
        f"/models/{10**17}/classes.png",
        "/micrographs/-1",
        "/micrographs/nan",
        "/micrographs/1e3",
        "/micrographs/%D9%A1",
        "/search/",
        "/sections/..%2findex",
        "/micrographs/1/..%2f..%2fetc.png",
        "/models/1/classes.png",
        "/sections/index",
        "/micrographs/mic.mrc",
    ],
)
def test_unknown_paths_are_404(ask, path):
    """Nothing is addressed by a path."""
    assert ask(path)[0].status == 404


def test_a_picture_whose_file_is_gone_says_why(ask, land, tmp_path):
    """The reason is a text of its own, because a browser shows nothing of a failed picture."""
    number = land("mic.mrc")
    (tmp_path / "mic.mrc").unlink()

    assert ask(f"/micrographs/{number}/full.txt")[1] == ""
    assert ask(f"/micrographs/{number}/full.png")[0].status == 404
    answer, why = ask(f"/micrographs/{number}/full.txt")
    assert (answer.status, why) == (200, f"{tmp_path}/mic.mrc no longer exists")
    assert ask(f"/micrographs/{number}/other.txt")[0].status == 404


def test_the_number_of_simultaneous_requests_for_events_is_limited(ask):
    """Simultaneous requests are counted before any of them gets an event."""
    with contextlib.ExitStack() as listening:
        answers = []
        for _ in range(40):
            connection = http.client.HTTPConnection(ask.address, timeout=60)
            listening.callback(connection.close)
            connection.request("GET", "/events")
            answers.append(connection)
        statuses = [connection.getresponse().status for connection in answers]
    assert sorted(statuses) == [200] * MOST_LISTENERS + [503] * (40 - MOST_LISTENERS)

    give_up = time.monotonic() + 60
    while ask("/events", until="line")[0].status != 200:
        assert time.monotonic() < give_up
        time.sleep(0.2)


def test_the_headline_is_available_to_programs(ask):
    """The same words as on the page, also if the ledger cannot be read."""
    answer, text = ask("/headline.json")
    top = Headline.of_json(text.encode())

    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert (top.level, top.sentence, top.remedy) == ("bad", "/data is not there.", "Mount it.")
    assert top.problems[0] == STATUS.problems[0]
    assert [problem.sentence for problem in top.problems[1:]] == ["Run 0001 failed: no memory."]
    assert top.doing.startswith("Picked so far: 2 of 4 micrographs")
    assert all(problem.sentence in ask("/")[1] for problem in top.problems)

    answer, text = ask("/headline.json", fault=LedgerError("it is damaged", "Move it aside."))
    (problem,) = Headline.of_json(text.encode()).problems
    assert answer.status == 503
    assert problem == Problem(
        "ledger_not_readable", "bad", "The ledger cannot be read: it is damaged.", "Move it aside."
    )


def test_search_finds_by_any_part_of_the_name(ask, land):
    """Wildcards of SQL are treated as ordinary letters."""
    land("grid1_square7_0001.mrc")
    land("grid1_square8_0002.mrc")

    assert "grid1_square8_0002.mrc" in ask("/search?name=SQUARE8")[1]
    assert "square7" not in ask("/search?name=SQUARE8")[1]
    assert "0 micrographs" in ask("/search?name=%25")[1]
    assert "&lt;b&gt;" in ask("/search?name=<b>".replace("<", "%3C").replace(">", "%3E"))[1]


def test_a_long_search_is_refused(ask, land):
    """No file has such a name, and SQLite refuses long patterns with an error."""
    land("mic.mrc")
    assert ask("/search?name=" + "m" * 500)[0].status == 200
    assert ask("/search?name=" + "%25" * 501)[0].status == 414
    assert ask("/search?name=" + "m" * 5000)[0].status == 414
    assert ask("/search?part&name=" + "m" * 60_000)[0].status == 414


@pytest.mark.parametrize("text", ["%00", "%ff", "%ed%a0%80", "%5C", "a%0d%0ab", "%27--", "nan"])
def test_a_search_may_have_any_characters(ask, land, text):
    land("mic.mrc")
    assert ask(f"/search?name={text}")[0].status == 200


def test_the_head_of_the_events_is_not_a_stream(ask):
    answer, _ = ask("/events", method="HEAD")
    assert (answer.status, answer.headers.get_content_type()) == (200, "text/event-stream")


def test_a_picture_of_classes_that_is_a_link_is_not_served(ask, tmp_path, make_config):
    """A model of somebody else must not publish other files."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    classes = make_config().state.directory / "models" / "0001" / "classes.png"
    classes.parent.mkdir(parents=True)
    classes.write_bytes(b"png")
    assert ask("/models/1/classes.png")[1] == b"png"

    classes.unlink()
    classes.symlink_to(secret)
    assert ask("/models/1/classes.png")[0].status == 404


def test_events_name_the_parts_that_change(ask, land):
    """A new micrograph changes the strip, but not the models."""
    before = json.loads(ask("/events", until="line")[1].removeprefix("data: "))
    land("mic.mrc")
    time.sleep(1.1)  # the parts are made once a second
    after = json.loads(ask("/events", until="line")[1].removeprefix("data: "))

    assert before["newest"] != after["newest"]
    assert before["trends"] != after["trends"]
    assert before["models"] == after["models"]
    assert "mic.mrc" in ask("/sections/newest")[1]


@pytest.mark.parametrize("path", ["/", "/sections/glance", "/events"])
def test_an_unreadable_ledger_is_reported_with_its_remedy(ask, path):
    """The events end too, because a page without updates must not call itself live."""
    fault = LedgerError("ledger.sqlite cannot be used: disk I/O error", "Look at the disk.")
    answer, text = ask(path, fault=fault)

    assert answer.status == 503
    assert "disk I/O error. Look at the disk." in text


def test_the_data_of_the_plots_are_those_of_the_micrographs(ask, land):
    """The whole session, or a span of it; a new micrograph is in them at once."""
    first = land("a.mrc")
    data = json.loads(ask("/timeline.json")[1])
    assert (data["micrographs"], data["id"]) == (1, [first])
    second = land("b.mrc")
    assert json.loads(ask("/timeline.json")[1])["id"] == [first, second]

    until = datetime.fromtimestamp(data["until"] - 60).astimezone()
    answer, text = ask(f"/timeline.json?until={quote(until.isoformat())}")
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(text) == {"micrographs": 0, "figures": []}


def test_the_micrographs_of_a_span_are_listed(ask, land):
    """Times are in the zone of the service, or have an offset; a missing end is open."""
    number = land("a.mrc")
    now = datetime.now().astimezone()
    before, after = now - timedelta(hours=2), now + timedelta(hours=2)
    naive = f"from={before:%Y-%m-%dT%H:%M:%S}&until={after:%Y-%m-%dT%H:%M}"
    for query in (naive, f"from={quote(before.isoformat())}", ""):
        _, text = ask(f"/between?part&{query}")
        assert "1 micrograph" in text
        link = f'href="micrographs/{number}{"?from=" if query else chr(34)}'
        assert link in text  # its arrows stay in the span
    assert "0 micrographs" in ask(f"/between?part&from={after:%Y-%m-%dT%H:%M}")[1]
    assert ask("/between")[1].startswith("<!doctype html>")


@pytest.mark.parametrize("time", ["yesterday", "99999-01-01", "0001-01-01T00:00", "nan"])
@pytest.mark.parametrize("path", ["/between", "/timeline.json"])
def test_a_time_that_is_none_is_refused_with_an_example(ask, path, time):
    answer, text = ask(f"{path}?from={time}")
    assert answer.status == 400
    assert text.startswith("from is not a time: write it as 2026-11-30T14:05:09")


def test_metrics_are_in_the_format_that_prometheus_scrapes(ask):
    """Text format 0.0.4, with every known series."""
    answer, text = ask("/metrics")

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'livepick_micrographs_total{state="picked"} 0.0' in text


def test_health_is_503_when_a_part_has_stopped(ask):
    """A load balancer and a person see the same state."""
    good, _ = ask("/healthz")
    bad, text = ask("/healthz", health=Health(ok=False, seconds_since={"watch": 300.0}))

    assert (good.status, bad.status) == (200, 503)
    assert json.loads(text) == {"ok": False, "seconds_since": {"watch": 300.0}}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(ask, method):
    """GET and HEAD only."""
    answer, _ = ask("/", method=method)

    assert answer.status == 405


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:9476", 200),
        ("127.0.0.1", 200),
        ("[::1]:9476", 200),
        ("evil.example", 400),
        ("evil.example:9476", 400),
        ("127.0.0.1.evil.example", 400),
    ],
)
def test_only_loopback_names_reach_a_loopback_port(ask, host, status):
    """A foreign page whose name points to 127.0.0.1 cannot read the responses."""
    answer, _ = ask("/healthz", host=host)

    assert answer.status == status


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:99999", "192.0.2.1:1"])
def test_an_unusable_address_is_a_config_error(address):
    """The message names the setting."""
    with pytest.raises(ConfigError, match=r"web\.listen"):
        listen(address)


def test_a_taken_port_is_a_config_error():
    """For example, the port of another session."""
    with listen("127.0.0.1:0") as first, pytest.raises(ConfigError, match="in use"):
        listen(f"127.0.0.1:{first.getsockname()[1]}")


def test_a_part_that_meets_an_unexpected_error_stops_no_other(ask, caplog):
    """It is logged, with the path of the request."""
    answer, text = ask("/", fault=RecursionError("maximum recursion depth exceeded"))
    assert answer.status == 500
    assert "see the log" in text
    assert "RecursionError" not in text
    assert "page: unexpected error with /," in caplog.text

    assert ask("/")[0].status == 200
    assert ask("/metrics")[0].status == 200


def test_the_plots_are_prepared_before_the_first_request(ledger, make_config, monkeypatch):
    """Reading 100,000 micrographs takes half a second, which the first visitor does not wait."""
    read = threading.Event()
    shared = Database.read_only(ledger.database.path)
    queries = PageQueries(shared)
    monkeypatch.setattr(queries, "timeline", read.set)
    health, config = Health(ok=True, seconds_since={"dispatch": 0.5}), make_config()
    sources = Sources(lambda: STATUS, lambda: health, lambda: config, LedgerReader(shared), queries)
    app = create_app(Metrics(), sources, threads(1).submit)
    assert read.wait(30)
    app.close()
    shared.close()
