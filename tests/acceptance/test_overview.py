"""The overview of an instrument in a real browser, with fifty sessions in all states."""

import json
import urllib.request

import pytest
from chromium import NEEDS_CHROMIUM, pages, until

from livepick.config.instrument_config import load_instrument
from livepick.instrument.overview import Overview
from livepick.instrument.session_folders import Listing
from livepick.instrument.session_view import Snapshot
from made_up_sessions import fifty_sessions, made_up_session

WIDTHS = (360, 400, 768, 1280, 1920)
MOST_PAGE_BYTES = 500_000
"""Limit of the page of a session (tests/benchmarks/page.py)."""


@pytest.fixture
def overview(tmp_path):
    """Yield an overview with a function that shows sessions."""
    config = tmp_path / "krios1.yaml"
    config.write_text(
        f"sessions:\n  pattern: {tmp_path}/data/{{session}}\n"
        f"  state: {tmp_path}/state/{{session}}\n"
        f"  output: {tmp_path}/out/{{session}}\nparticle: {{diameter_angstrom: 160}}\n"
        "web: {listen: 127.0.0.1:0}\noverview: {instruments: [http://krios2.example.org:9476/]}\n"
    )
    instrument = load_instrument(config)
    (tmp_path / "state").mkdir()
    made = Overview(instrument, tmp_path / "state")
    listing = Listing(tmp_path / "data")

    def show(views):
        snapshot = Snapshot.of(instrument, views, listing=listing)
        made.show(snapshot, {}, is_applied=True)

    made.put = show
    made.start()
    yield made
    made.stop()


def sessions(*states):
    """Return a session in each state, the oldest first."""
    return [made_up_session(number, state) for number, state in enumerate(states, 1)]


def address(overview):
    """Return host and port of an overview."""
    return overview.url.removeprefix("http://").rstrip("/")


def get(overview, path):
    """Return an answer of the overview."""
    with urllib.request.urlopen(f"http://{address(overview)}{path}", timeout=60) as answer:
        return answer.read()


def test_fifty_sessions_are_within_the_weight_of_a_page(overview):
    """Time to the first byte is for tests/benchmarks/page.py."""
    overview.put(fifty_sessions())
    files = ("", "style.css", "overview.css", "times.js", "overview.js")
    assert sum(len(get(overview, f"/{name}")) for name in files) < MOST_PAGE_BYTES


def test_sessions_that_should_run_are_targets(overview):
    """Prometheus drops the target of a session that is over, and calls one that crashes down."""
    overview.put(
        [made_up_session(1, "picking"), made_up_session(2, "over"), made_up_session(3, "crashed")]
    )
    labels = {"instrument": "krios1"}
    assert json.loads(get(overview, "/targets")) == [
        {"targets": ["127.0.0.1:9803"], "labels": labels},
        {"targets": ["127.0.0.1:9801"], "labels": labels},
    ]
    asked = urllib.request.Request(  # noqa: S310 - our own
        f"{overview.url}targets", headers={"Host": f"localhost:{overview.url.split(':')[-1][:-1]}"}
    )
    with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310 - our own
        found = json.load(answer)
    assert [each["targets"] for each in found] == [["localhost:9803"], ["localhost:9801"]]
    metrics = get(overview, "/metrics").decode()
    assert 'livepick_instrument_sessions{state="picking"} 1.0' in metrics
    assert 'livepick_instrument_sessions{state="waiting"} 0.0' in metrics


@pytest.mark.slow
@NEEDS_CHROMIUM
def test_it_fits_each_width_and_names_each_figure(browser, overview):
    """Nothing is cut off or scrolls sideways, and each session is a link with its name."""
    overview.put(fifty_sessions())
    with pages(browser, address(overview)) as look:
        for width in WIDTHS:
            page = look(width=width)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
            assert page.locator("tbody tr").count() == 50
            assert page.locator("th[scope=row] a").count() > 20
        page = look(width=400)
        first = page.locator("tbody tr").first
        assert first.get_by_text("not readable").first.is_visible()
        labels = first.locator("td").evaluate_all("cells => cells.map(c => c.dataset.label)")
        assert "picked" in labels


@pytest.mark.slow
@NEEDS_CHROMIUM
def test_it_is_used_by_keyboard_and_stays_up_to_date(browser, overview):
    """Tab reaches the skip link and each session; an update keeps the focus."""
    overview.put(sessions("picking", "over"))
    with pages(browser, address(overview)) as look:
        page = look()
        until(page, "document.querySelector('#connection').className === 'live'")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the sessions"
        link = page.locator("th[scope=row] a").first
        link.focus()
        href = link.get_attribute("href")
        overview.put(
            [
                made_up_session(1, "picking"),
                made_up_session(2, "over"),
                made_up_session(3, "waiting"),
            ]
        )
        until(page, "document.querySelectorAll('tbody tr').length === 3")
        assert page.evaluate("document.activeElement.getAttribute('href')") == href
        names = page.get_by_role("rowheader").all_inner_texts()
        assert names[0].startswith("krios1-2026-11-03")


@pytest.mark.slow
@NEEDS_CHROMIUM
def test_it_is_read_without_javascript(browser, overview):
    """All sessions are in the page itself."""
    overview.put(fifty_sessions())
    with pages(browser, address(overview)) as look:
        page = look(java_script_enabled=False)
        assert page.locator("tbody tr").count() == 50
