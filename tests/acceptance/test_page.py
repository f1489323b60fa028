"""The page in a real browser, on a real service: headless Chromium, driven by Playwright."""

import re
import signal

import mrcfile
import numpy as np
import pytest
from chromium import NEEDS_CHROMIUM, pages, until
from disc_micrographs import PIXEL_SIZE_ANGSTROM, SIDE_PX, write_disc_micrograph
from session import Session

from livepick.ledger.database import LEDGER, Database
from livepick.ledger.reader import LedgerReader

WIDTHS = (360, 390, 768, 1280, 1920)

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """Return a session with four picked micrographs, one of them bad, and a broken file."""
    made = Session(tmp_path_factory.mktemp("page"))
    made.start()
    made.drop(3)
    made.until(lambda: made.picked() == 3, "3 picked")
    with_border(made, "mic_0004.mrc")
    (made.landing / "garbage.mrc").write_bytes(b"not a micrograph" * 1000)
    made.until(lambda: made.picked() == 4, "4 picked")
    made.until(lambda: "4 of 5 micrographs" in made.get("/"), "the page has both")
    yield made
    if made.process.poll() is None:
        made.process.kill()
        made.process.wait()


def with_border(session, name):
    """Let a bad micrograph land whose left third is dead, so that it is masked."""
    draft = session.folder / "draft.mrc"
    write_disc_micrograph(draft, seed=4, bad=True)
    with mrcfile.open(draft, mode="r+") as mrc:
        mrc.data[:, : SIDE_PX // 3] = 0
        assert np.isclose(mrc.voxel_size.x, PIXEL_SIZE_ANGSTROM)
    draft.rename(session.landing / name)


@pytest.fixture
def look(browser, session):
    """Return a function that opens the page; at the end nothing may have gone wrong in it."""
    with pages(browser, session.address) as open_at:
        yield open_at


def open_newest(page):
    """Open the full view of the newest micrograph, and wait until it can be worked with."""
    page.locator("[data-full]").first.click()
    page.locator("#threshold").wait_for()


def test_it_says_first_how_the_session_goes(look):
    """A sentence, the newest micrographs as pictures, and what failed with its remedy."""
    page = look()

    assert "Collecting and picking: 4 of 5 micrographs" in page.locator(".headline").inner_text()
    assert page.locator(".strip .drawn").count() == 4
    until(page, "[...document.querySelectorAll('.strip img')].every((i) => i.naturalWidth > 100)")
    failure = page.locator(".failures").inner_text()
    assert "garbage.mrc" in failure
    assert "header" in failure


def test_a_micrograph_that_lands_appears_by_itself(look, session):
    """The open page shows it without a reload, and keeps its place."""
    page = look()
    until(page, "document.querySelector('#connection').className === 'live'")
    page.evaluate("window.same = true; document.querySelector('.strip a').focus()")
    before = page.evaluate("document.activeElement.getAttribute('href')")
    count = page.locator(".strip li").count()

    session.drop(1, first=10 + count)
    until(page, f"document.querySelectorAll('.strip li').length === {count + 1}")
    until(page, "document.querySelector('.strip img').naturalWidth > 100")

    assert page.evaluate("window.same") is True
    assert page.evaluate("document.activeElement.getAttribute('href')") == before


def test_a_pick_is_drawn_where_the_coordinates_say(look, session):
    """Each ring of the full view lies on the picture at (x + 0.5, y + 0.5) of its pixels."""
    page = look()
    page.locator("[data-full] .name", has_text="mic_0001.mrc").click()
    page.locator("#threshold").wait_for()
    with Database.read_only(session.state / LEDGER) as database:
        ledger = LedgerReader(database)
        row = next(row for row in ledger.recent(-1) if row.relative.stem == "mic_0001")
        kept = ledger.candidates(row.id).above(row.threshold)
    picks = np.column_stack([kept.x_px, kept.y_px])
    written = [[float(row[0]), float(row[1])] for row in session.star("mic_0001")]
    assert np.floor(picks + 0.5).tolist() == written

    found = page.evaluate(
        """() => {
          const image = document.querySelector(".full img").getBoundingClientRect();
          return [...document.querySelectorAll(".candidates circle:not(.below)")].map((ring) => {
            const box = ring.getBoundingClientRect();
            return [(box.x + box.width / 2 - image.x) / image.width,
                    (box.y + box.height / 2 - image.y) / image.height];
          });
        }"""
    )

    assert len(found) == len(picks) > 10
    drawn = np.array(found) * SIDE_PX - 0.5
    distances = np.hypot(*(drawn[:, None] - picks[None]).transpose(2, 0, 1))
    assert distances.min(axis=1).max() < 0.2
    assert distances.min(axis=0).max() < 0.2


def test_the_slider_shows_what_a_threshold_would_do(look):
    """Rings, count and a sentence follow; the service's own threshold stays."""
    page = look()
    page.locator("[data-full] .name", has_text="mic_0002.mrc").click()
    slider = page.locator("#threshold")
    slider.wait_for()
    count = int(page.locator("#count").inner_text())
    assert "picks here at the current threshold" in page.locator("#effect").inner_text()

    slider.fill("0")
    more = int(page.locator("#count").inner_text())
    shown = page.locator(".candidates circle:not(.below)").count()

    assert more == shown > count
    assert f"{more - count} more than now" in page.locator("#effect").inner_text()
    assert "picking.threshold: 0.00" in page.locator(".tools").inner_text()
    slider.fill("1")
    assert page.locator("#count").inner_text() == "0"
    page.locator("#show-below").check()
    assert page.locator(".candidates .below").first.is_visible()
    slider.focus()
    page.keyboard.press("ArrowLeft")  # moves the slider, not on to another micrograph
    assert page.locator("#at").inner_text() == "0.99"
    assert "mic_0002.mrc" in page.locator(".full h2").inner_text()


def test_the_mask_is_drawn_over_the_picture(look):
    """It appears once it is loaded, and can be hidden."""
    page = look()
    page.locator("[data-full] .name", has_text="mic_0004.mrc").click()
    page.locator("#threshold").wait_for()
    mask = page.locator(".full .mask")
    until(page, "performance.getEntriesByType('resource').some((e) => e.name.includes('mask.png'))")

    assert mask.is_visible()
    page.locator("#show-mask").uncheck()
    assert not mask.is_visible()
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('.full h2').textContent.includes('mic_0003')")


def test_a_picture_whose_file_is_gone_says_so_and_is_asked_for_once(look, session):
    """A sentence takes its place; the browser logs the one picture that did not load."""
    before = session.picked()
    (name,) = session.drop(1, first=30)
    session.until(lambda: session.picked() == before + 1, "picked")
    file = session.landing / f"{name}.mrc"
    aside = file.rename(session.folder / "aside.mrc")
    page, asked = look(), []
    page.on("request", lambda request: asked.append(request.url))
    page.locator("[data-full] .name", has_text=file.name).click()
    gone = page.locator(".full .gone")
    gone.wait_for()
    # A picture that may come is asked for again by a timer of three seconds, set before this one.
    page.evaluate("new Promise((done) => setTimeout(done, 3000))")

    assert gone.inner_text() == f"No picture: {file} no longer exists."
    assert len([url for url in asked if "/full.png" in url]) == 1
    aside.rename(file)
    look.wrong.clear()


def test_a_micrograph_that_does_not_open_leads_to_its_own_page(look):
    """A click never does nothing: the service is busy, or the connection is lost for a moment."""
    for answer in (lambda route: route.fulfill(status=503), lambda route: route.abort()):
        page = look()
        page.route(lambda url: "?part" in url, answer)
        page.locator("[data-full]").first.click()
        page.wait_for_url("**/micrographs/*")
        page.locator("article.full").wait_for()
    look.wrong.clear()  # the browser notes both


def test_thresholds_are_offered_once_the_service_answers(look):
    """It is busy at first, and then the connection is lost for a moment."""
    page = look()
    faults = [lambda route: route.abort(), lambda route: route.fulfill(status=503)]
    page.route("**/candidates", lambda route: faults.pop()(route) if faults else route.continue_())
    page.locator("[data-full]").first.click()
    page.locator("#threshold").wait_for()
    assert not faults
    look.wrong.clear()  # the browser notes both


def test_quality_and_room_are_at_the_glance(look):
    """The page counts verdicts, and has the free space of the disk that the folders share."""
    page = look()
    facts = page.locator(".facts").inner_text()

    counts = re.search(r"(\d+) good, (\d+) doubtful, (\d+) bad", facts).groups()
    assert sum(map(int, counts)) == page.locator(".strip li").count()
    assert "Disk: watched, output, state" in facts
    assert re.search(r"[\d.]+ [KMGT]iB free of", facts)


def test_a_micrograph_that_is_not_good_says_why(look):
    """Its tile has a word and a reason, its full view all figures."""
    page = look()
    tile = page.locator(".strip li", has_text="mic_0004.mrc")
    assert tile.locator(".badge").inner_text() == "bad"
    why = tile.locator(".why").inner_text().split(",")[0]

    tile.locator("a").click()
    page.locator("#threshold").wait_for()
    judged = page.locator(".judged").first.inner_text()
    assert judged.startswith(f"Bad: {why}")
    assert page.locator(".measured td.bad").first.inner_text().endswith(" bad")
    masked = page.locator(".measured tr", has_text="masked area").locator("td")
    assert int(re.match(r"(\d+)%", masked.inner_text())[1]) > 10
    assert "defocus" not in page.locator(".measured").inner_text()


def test_all_of_it_works_without_a_mouse(look):
    """Slash searches, Tab and Enter open, arrows go on, Escape closes and gives the focus back."""
    page = look()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("/")
    page.keyboard.type("MIC_0003")
    until(page, "document.querySelectorAll('#found .rows a').length === 1")
    page.keyboard.press("Escape")
    assert page.locator("#found .rows a").count() == 0

    page.locator(".strip a").nth(1).focus()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    names = page.locator(".strip .name").all_inner_texts()
    page.keyboard.press("Enter")
    title = page.locator(".full h2")
    title.wait_for()
    assert title.inner_text() == names[1]
    page.keyboard.press("ArrowRight")
    until(page, f"document.querySelector('.full h2').textContent === '{names[2]}'")
    page.keyboard.press("ArrowLeft")
    until(page, f"document.querySelector('.full h2').textContent === '{names[1]}'")
    page.keyboard.press("Escape")
    until(page, "!document.querySelector('#full').open")
    assert names[1] in page.evaluate("document.activeElement.innerText")


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_screen(look, width):
    """From 360 pixels on, the page and the full view scroll up and down only."""
    page = look(width=width, height=800)
    for what in ("document.documentElement", "document.querySelector('#full')"):
        assert page.evaluate(f"{what}.scrollWidth <= {what}.clientWidth + 1"), what
        if "full" not in what:
            open_newest(page)


def test_dark_and_light_follow_the_system(look):
    """Each with a contrast of text that WCAG 2.2 calls enough (4.5), for all kinds of text."""
    for scheme in ("dark", "light"):
        page = look(color_scheme=scheme)
        for kind in KINDS:
            assert page.evaluate(CONTRAST, kind) > 4.5, (scheme, kind)
    backgrounds = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert backgrounds != "rgb(20, 24, 28)"


KINDS = (
    *("body", ".quiet", ".strip .name", "dt", "#trends th", ".headline .sentence"),
    *(".badge", ".why", ".facts h3", ".facts .bad"),
)

CONTRAST = """(selector) => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const element = document.querySelector(selector);
  let back = element;
  while (back && (parse(getComputedStyle(back).backgroundColor)[3] ?? 1) === 0) {
    back = back.parentElement;
  }
  const [a, b] = [getComputedStyle(element).color, getComputedStyle(back).backgroundColor]
    .map((colour) => luminance(parse(colour))).sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}"""


def test_without_a_script_it_can_be_read_all_the_same(look):
    """Links lead to the full view, which has the picks, and back."""
    page = look(java_script_enabled=False)
    page.locator(".strip a").first.click()

    assert page.locator(".full .picks").get_attribute("d").startswith("M")
    assert page.locator(".full img").is_visible()
    page.locator("[rel=next]").click()
    page.get_by_text("Close").click()
    page.locator(".strip a").nth(3).wait_for()


def test_the_first_picture_is_on_the_first_screen_of_a_phone(look):
    """It follows the sentence; the figures come after the newest micrographs."""
    page = look(width=400, height=700)
    places = {
        name: page.locator(selector).first.bounding_box()["y"]
        for name, selector in (
            ("sentence", ".headline"),
            ("picture", ".strip .drawn"),
            ("figures", "#glance dl.figures"),
        )
    }

    assert places["sentence"] < places["picture"] < 700 - 150
    assert places["picture"] < places["figures"]


def test_a_page_whose_service_is_gone_says_so(look, session):
    """Old figures must not look like present ones. It stops at once, with a page open."""
    page = look()
    until(page, "document.querySelector('#connection').className === 'live'")
    session.process.send_signal(signal.SIGTERM)
    assert session.process.wait(timeout=60) == 0

    until(page, "document.querySelector('#connection').className === 'lost'")
    assert "no connection" in page.locator("#connection").inner_text()
    look.wrong.clear()  # the browser notes each attempt
