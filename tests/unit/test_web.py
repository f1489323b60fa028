"""The page, the metrics and the health check."""

import http.client
import json

import pytest

from livepick.core.report import TrainingFinding
from livepick.errors import ConfigError
from livepick.metrics import Metrics
from livepick.records import Counts
from livepick.status import Row, Status, Training
from livepick.web.app import Health, Web, create_app, listen

HOSTILE = "<script>alert(1)</script>.mrc"

STATUS = Status(
    session="krios2",
    started=True,
    counts=Counts(queued=1, picked=2, failed=1),
    particles=12345,
    training=Training("failed", "Run 0001 failed: no memory."),
    findings=(TrainingFinding("rate_too_high", True, "the loss is <nan>", "lower the rate"),),
    newest=[Row(HOSTILE, "picked", 7, 0, 1.0, "", "", "")],
    failures=[Row("bad.mrc", "movie", None, None, 1.0, "movie", "It is a movie", "Give the sum.")],
    problems=("/data is not there.",),
)


@pytest.fixture
def ask():
    """Return a function that sends one request to a real server and returns its answer."""
    state = {"health": Health(ok=True, seconds_since={"dispatch": 0.5})}
    app = create_app(Metrics(), lambda: STATUS, lambda: state["health"])
    web = Web(listen("127.0.0.1:0"), app)
    web.start()

    def send(path, *, method="GET", host=None, health=None):
        if health is not None:
            state["health"] = health
        connection = http.client.HTTPConnection(web.address, timeout=10)
        connection.request(method, path, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer, text

    yield send
    web.stop()
    assert not web.alive


def test_page_shows_counts_failures_and_remedies(ask):
    """What the operator needs is on one page; file names are text, never markup."""
    answer, text = ask("/")

    assert answer.status == 200
    for words in ("krios2", "12,345", "Run 0001 failed", "Give the sum.", "/data is not there."):
        assert words in text
    assert "Rate too high: the loss is &lt;nan&gt;; lower the rate." in text
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_page_loads_nothing_from_elsewhere(ask):
    """The one asset is our own style sheet."""
    _, text = ask("/")
    answer, _ = ask("/style.css")

    assert "http://" not in text
    assert "https://" not in text
    assert answer.headers["content-type"].startswith("text/css")


def test_metrics_are_in_the_format_that_prometheus_scrapes(ask):
    """Text format 0.0.4, with every known series."""
    answer, text = ask("/metrics")

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'livepick_micrographs_total{state="picked"} 0.0' in text


def test_health_is_503_when_a_part_stands_still(ask):
    """A load balancer and a person see the same."""
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
    """A foreign page whose name points to 127.0.0.1 reads nothing here."""
    answer, _ = ask("/healthz", host=host)

    assert answer.status == status


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:99999", "192.0.2.1:1"])
def test_an_address_that_cannot_be_had_is_a_config_error(address):
    """The message names the setting."""
    with pytest.raises(ConfigError, match=r"web\.listen"):
        listen(address)


def test_a_taken_port_is_a_config_error():
    """So is the port of another session."""
    with listen("127.0.0.1:0") as first, pytest.raises(ConfigError, match="in use"):
        listen(f"127.0.0.1:{first.getsockname()[1]}")
