"""Finding micrographs, downloads, copies of paths, and zoom, in a real browser.

The session is made up, and served by the page's own server.
"""

import csv
import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from chromium import NEEDS_CHROMIUM, pages, until
from disc_micrographs import SIDE_PX, write_disc_micrograph

from listed_session import listed_session
from livepick.ledger.micrograph_filter import MicrographFilter

WIDTHS = (400, 1280)
COUNT = 130
PICKED = COUNT - 2

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    def write(path, number):
        write_disc_micrograph(path, seed=number % 3)

    with listed_session(
        tmp_path_factory.mktemp("take"), count=COUNT, write=write, shape_px=(SIDE_PX, SIDE_PX)
    ) as made:
        yield made


@pytest.fixture
def look(browser, session):
    """Return a function that opens the page; at the end nothing may have gone wrong in it."""
    with pages(browser, session.address) as open_at:
        yield open_at


def hits(page):
    """Return the number of micrographs that the list says."""
    return int(page.locator("#hits b").first.inner_text().replace(",", ""))


def saved(page, act):
    """Return name and content of what is downloaded by an action."""
    with page.expect_download() as expected:
        act()
    return expected.value.suggested_filename, Path(expected.value.path()).read_bytes()


def names_in(content):
    """Return the names of the micrographs in a downloaded table."""
    rows = csv.DictReader(io.StringIO(content.decode()))
    return [Path(row["micrograph"]).stem for row in rows]


def expected_hits(session, **conditions):
    return session.queries.filtered.totals(MicrographFilter(**conditions)).micrographs


def as_table(page):
    """Choose the table as what is downloaded."""
    page.locator("#take select").select_option("micrographs")


@pytest.mark.parametrize("width", WIDTHS)
def test_a_filter_is_in_the_address(look, session, width):
    """What is empty is not; the browser's back button and a bookmark lead to the same list."""
    page = look("/micrographs", width=width)
    assert hits(page) == COUNT
    page.get_by_label("bad", exact=True).check()
    page.locator("#filter [name=picks_min]").fill("20")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**/micrographs?verdict=bad&picks_min=20")
    expected = expected_hits(session, verdicts=("bad",), picks=(20, None))
    assert hits(page) == expected > 5
    assert page.locator("#filter [name=picks_min]").input_value() == "20"

    page.go_back()
    assert hits(page) == COUNT
    page.go_forward()
    assert hits(page) == expected
    assert hits(look("/micrographs?verdict=bad&picks_min=20", width=width)) == expected
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1")


def test_each_condition_can_be_chosen(look, session):
    """Verdict, reason, state, failure, defocus, name and time, one after the other."""
    for field, value, conditions in (
        ("reason", "ice_ring", {"verdicts": ("bad",)}),
        ("reason", "failed:header", {"failure": "header"}),
        ("state", "failed", {"states": ("failed",)}),
        ("state", "waiting", {"states": ("waiting",)}),
        ("defocus_max", "1.5", {"defocus_micrometre": (None, 1.5)}),
        ("resolution_min", "5", {"resolution_angstrom": (5, None)}),
        ("name", "_003", {"name": "_003"}),
    ):
        page = look("/micrographs")
        if field == "state":
            page.locator(f"[name=state][value={value}]").check()
        elif field == "reason":
            page.locator("[name=reason]").select_option(value)
        else:
            page.locator(f"[name={field}]").fill(value)
        page.get_by_role("button", name="Filter").click()
        page.wait_for_url("**/micrographs?*")
        if field == "resolution_min":
            assert "No micrograph passes" in page.locator("main").inner_text()
        assert hits(page) == expected_hits(session, **conditions)


def test_everything_works_without_a_script(look, session):
    """A filter, its pages, and a download of what is ticked."""
    page = look("/micrographs", java_script_enabled=False)
    page.get_by_label("good", exact=True).check()
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**/micrographs?*verdict=good*")
    assert hits(page) == expected_hits(session, verdicts=("good",))
    ticked = page.locator("[name=micrograph]")
    for number in (0, 3):
        ticked.nth(number).check()
    names = [
        page.locator("tbody th").nth(number).inner_text().removesuffix(".mrc") for number in (0, 3)
    ]
    page.get_by_label(re.compile("the selected")).check()
    as_table(page)
    name, content = saved(page, page.get_by_role("button", name="Download").click)

    assert sorted(names_in(content)) == sorted(names)
    assert name == "krios-ünï_micrographs_of_some.csv"


@pytest.mark.parametrize("width", WIDTHS)
def test_a_selection_is_kept_from_page_to_page(look, session, width):
    """All hits are selected at once, some are taken out, and the archive has the others."""
    page = look("/micrographs?state=picked", width=width)
    page.get_by_role("button", name=f"Select all {PICKED}").click()
    until(page, f"document.querySelector('#selected-count').textContent === '{PICKED}'")
    page.get_by_label("Select all micrographs of this page").uncheck()
    assert page.locator("#selected-count").inner_text() == str(PICKED - 100)
    page.get_by_role("link", name="next page").click()
    until(page, "document.querySelectorAll('[name=micrograph]:checked').length === 28")
    page.locator("#take select").select_option("topaz")
    name, content = saved(page, page.get_by_role("button", name="Download").click)

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert sorted(archive.namelist()) == [f"mic_{n:04d}.txt" for n in range(PICKED - 100)]
        written = (session.output / "topaz" / "mic_0003.txt").read_bytes()
        assert archive.read("mic_0003.txt") == written
    assert name == "krios-ünï_picks_topaz_of_some.zip"
    page.get_by_role("button", name="Clear the selection").click()
    assert page.locator("[name=micrograph]:checked").count() == 0
    page.get_by_label(re.compile("the selected")).check()
    page.get_by_role("button", name="Download").click()
    assert page.locator("#take-fault").inner_text() == "No micrograph is selected."


@pytest.mark.parametrize("width", WIDTHS)
def test_the_keyboard_alone_filters_selects_and_downloads(look, width):
    """Enter filters, Space selects, Shift with the arrows or Space selects a range."""
    page = look("/micrographs", width=width)
    page.locator("[name=name]").focus()
    page.keyboard.type("mic_00")
    page.keyboard.press("Enter")
    page.wait_for_url("**/micrographs?name=mic_00")
    page.locator("[name=micrograph]").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+Space")
    chosen = page.locator("[name=micrograph]").evaluate_all(
        "(all) => all.map((one) => one.checked)"
    )
    assert chosen[:6] == [True, True, True, True, True, False]
    assert page.locator("#selected-count").inner_text() == "5"
    page.locator("#take select").focus()
    page.keyboard.type("m")
    page.keyboard.press("Tab")
    _, content = saved(page, lambda: page.keyboard.press("Enter"))

    assert names_in(content) == [f"mic_00{n}" for n in range(95, 100)]


def test_shift_and_a_click_select_a_range(look):
    page = look("/micrographs")
    page.locator("[name=micrograph]").nth(4).click()
    page.locator("[name=micrograph]").nth(9).click(modifiers=["Shift"])
    assert page.locator("[name=micrograph]:checked").count() == 6


@pytest.mark.parametrize("width", WIDTHS)
def test_the_plots_set_the_time_of_the_filter(look, session, width):
    """The other conditions stay."""
    page = look("/micrographs?verdict=bad", width=width)
    page.locator("#brush summary").click()
    until(page, "document.querySelectorAll('#list-plots canvas').length > 0")
    page.locator("#list-plots .u-over").first.scroll_into_view_if_needed()
    box = page.locator("#list-plots .u-over").first.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.25, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, y, steps=5)
    page.mouse.up()
    page.wait_for_url("**/micrographs?*from=*")

    assert "verdict=bad" in page.url
    assert 5 < hits(page) < expected_hits(session, verdicts=("bad",)) / 2
    assert page.locator("#filter [name=from]").input_value()


def test_the_list_of_a_brushed_span_leads_to_the_filter(look, session):
    """The search does, too; the fields of the form have what was asked."""
    page = look("/search?name=mic_000")
    page.get_by_text("Filter, select and download these").click()
    assert hits(page) == 10
    page = look("/between?from=2026-09-21T14:13:20Z&until=2026-09-21T14:23:20Z")
    page.get_by_text("Filter, select and download these").click()
    assert hits(page) == expected_hits(session, landed_at=(1790000000.0, 1790000600.0))
    assert page.locator("#filter [name=from]").input_value()
    with page.expect_navigation():
        page.get_by_role("button", name="Filter").click()
    assert hits(page) == 11


def test_a_micrograph_opens_on_top_of_the_list(look, session):
    """Its picks are there in every format; the list is as it was when it is closed."""
    page = look("/micrographs?verdict=bad")
    page.locator("tbody a").nth(3).click()
    page.locator("#threshold").wait_for()
    name = page.locator(".full h2").inner_text().removesuffix(".mrc")
    page.get_by_text("Picks of this micrograph").click()
    for words, folder, suffix in (
        ("Topaz (.txt)", "topaz", ".txt"),
        ("crYOLO (.cbox)", "cbox", ".cbox"),
        ("EMAN2 (.box)", "eman", ".box"),
    ):
        saved_as, content = saved(page, page.get_by_role("link", name=words).click)
        assert content == (session.output / folder / f"{name}{suffix}").read_bytes()
        assert saved_as == f"krios-ünï_{name}{suffix}"
    page.keyboard.press("Escape")
    until(page, "!document.querySelector('#full').open")
    page.wait_for_url("**/micrographs?verdict=bad")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_arrows_go_through_the_list_in_its_order(look, width):
    """From the first to the last hit with picks; closing leads back to the same list."""
    page = look("/micrographs?verdict=bad&sort=name&order=up", width=width)
    names = page.locator("tbody a").all_inner_texts()
    assert len(names) > 3
    page.locator("tbody a").first.click()
    for number, name in enumerate(names, 1):
        page.get_by_role("heading", name=name).wait_for()
        page.get_by_text(f"{number} of {len(names)} found").wait_for()
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.get_by_role("heading", name=names[-2]).wait_for()
    assert page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth + 1"
    )
    page.reload()  # the view that is open is in the address
    page.get_by_text(f"{len(names) - 1} of {len(names)} found").wait_for()
    page.keyboard.press("Escape")
    until(page, "!document.querySelector('#full').open")
    page.wait_for_url("**/micrographs?verdict=bad&sort=name&order=up")


def test_without_a_script_the_view_leads_through_the_list_and_back(look):
    page = look("/micrographs?verdict=bad", java_script_enabled=False)
    names = page.locator("tbody a").all_inner_texts()
    page.locator("tbody a").nth(1).click()
    page.get_by_role("link", name="next").click()
    page.locator(".full h2", has_text=names[2]).wait_for()
    page.get_by_role("link", name="previous").click()
    page.locator(".full h2", has_text=names[1]).wait_for()
    with page.expect_navigation():
        page.get_by_role("link", name="Close").click()
    assert page.locator("tbody a").all_inner_texts() == names


WITHOUT_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', { value: undefined });"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("is_plain_http", [False, True])
def test_a_path_is_copied(look, session, width, is_plain_http):
    """On plain http, too, where a browser has no clipboard; a screen reader is told."""
    page = look(width=width)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    if is_plain_http:
        page.add_init_script(WITHOUT_CLIPBOARD)
        page.reload()
    button = page.get_by_role("button", name="Copy the path of micrographs.csv")
    button.focus()
    page.keyboard.press("Enter")
    told = page.wait_for_selector(".copy-told:has-text('copied')")  # which says so for 4 s

    assert told.get_attribute("role") == "status"
    assert page.evaluate("document.activeElement.dataset.copy") == str(
        session.output / "micrographs.csv"
    )
    page.keyboard.press("/")
    page.keyboard.press("Control+V")
    until(page, "document.querySelector('#search input').value !== ''")
    assert page.locator("#search input").input_value() == str(session.output / "micrographs.csv")


def test_the_files_of_the_session_are_on_the_page(look, session):
    """Each is sent as it is in the output folder."""
    page = look()
    for name in ("micrographs.csv", "good_micrographs.star", "cryosparc/picks.cs"):
        link = page.locator("#outputs").get_by_role("link", name=name, exact=True)
        _, content = saved(page, link.click)
        assert content == (session.output / name).read_bytes()
    good = page.locator("#outputs").get_by_role("link", name="good_particles.star")
    name, content = saved(page, good.click)
    assert name == "krios-ünï_good_particles.star"
    assert b"_rlnMicrographName" in content


# --- zoom ---------------------------------------------------------------------------------------


def open_full(page):
    """Open the newest micrograph, and wait for its picture and its candidates."""
    page.locator("[data-full]").first.click()
    page.locator("#threshold").wait_for()
    until(page, "document.querySelector('.full img').naturalWidth > 100")


SCALE = """((picture) => picture.getBoundingClientRect().width
    / Number(picture.getAttribute("width")))(document.querySelector(".full img"))"""
"""Pixels of the screen for each pixel of the micrograph, in JavaScript."""


def places(page):
    """Return the micrograph's pixel at which each ring of a pick is drawn, and the scale."""
    return page.evaluate(
        """() => {
          const image = document.querySelector(".full img").getBoundingClientRect();
          const picture = document.querySelector(".full img");
          const rings = [...document.querySelectorAll(".candidates circle:not(.below)")];
          return { scale: image.width / Number(picture.getAttribute("width")),
            at: rings.map((ring) => {
              const box = ring.getBoundingClientRect();
              return [(box.x + box.width / 2 - image.x) / image.width,
                      (box.y + box.height / 2 - image.y) / image.height];
            }) };
        }"""
    )


def assert_in_place(page, session):
    """Check that each pick is drawn where the ledger has it, to a tenth of a pixel."""
    row = session.reader.get(int(page.locator("article.full").get_attribute("data-id")))
    kept = session.reader.candidates(row.id).above(row.threshold)
    picks = np.column_stack([kept.x_px, kept.y_px])
    found = places(page)
    drawn = np.array(found["at"]) * SIDE_PX - 0.5
    assert len(drawn) == len(picks)
    distances = np.hypot(*(drawn[:, None] - picks[None]).transpose(2, 0, 1))
    assert distances.min(axis=1).max() < 0.1
    return found["scale"]


def frame_of(page):
    return page.locator(".full .drawn").bounding_box()


def under(page, x, y):
    """Return the place in the picture, as fractions, that is at a point of the screen."""
    return page.evaluate(
        """([x, y]) => {
          const box = document.querySelector(".full img").getBoundingClientRect();
          return [(x - box.x) / box.width, (y - box.y) / box.height];
        }""",
        [x, y],
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_buttons_zoom_and_picks_stay_in_place(look, session, width):
    """1:1 shows a pixel of the micrograph as a pixel of the screen; Fit shows all of it."""
    page = look(width=width, height=800)
    open_full(page)
    fitting = assert_in_place(page, session)
    before = frame_of(page)
    for _ in range(3):
        page.locator("[data-zoom=in]").click()
    assert assert_in_place(page, session) == pytest.approx(fitting * 1.5**3, rel=0.01)
    assert frame_of(page) == before
    page.locator("[data-zoom=out]").click()
    assert assert_in_place(page, session) == pytest.approx(fitting * 1.5**2, rel=0.01)
    page.get_by_role("button", name="1:1").click()
    assert assert_in_place(page, session) == pytest.approx(max(1.0, fitting), rel=0.01)
    page.locator("[data-zoom=in]").click()
    page.get_by_role("button", name="Fit").click()
    assert assert_in_place(page, session) == pytest.approx(fitting, rel=0.001)
    full = "document.querySelector('#full')"
    assert page.evaluate(f"{full}.scrollWidth <= {full}.clientWidth + 1")


COUNT_TURNS = """() => {
    window.turnedPx = 0;
    document.addEventListener("wheel", (event) => { window.turnedPx += event.deltaY; });
}"""


def test_the_wheel_zooms_at_the_pointer_and_dragging_moves(look, session):
    """What is below the pointer stays there; the picture never leaves its frame empty."""
    page = look()
    open_full(page)
    frame = frame_of(page)
    x, y = frame["x"] + frame["width"] * 0.3, frame["y"] + frame["height"] * 0.6
    page.mouse.move(x, y)
    before = under(page, x, y)
    page.evaluate(COUNT_TURNS)
    for _ in range(4):
        page.mouse.wheel(0, -120)
    until(page, "window.turnedPx === -480")  # all of them, of which the browser may join some
    assert "zoomed" in page.locator(".full .drawn").get_attribute("class")
    assert under(page, x, y) == pytest.approx(before, abs=0.003)

    page.mouse.down()
    page.mouse.move(x + 50, y - 40, steps=4)
    page.mouse.up()
    assert under(page, x + 50, y - 40) == pytest.approx(before, abs=0.003)
    assert_in_place(page, session)
    page.mouse.down()
    page.mouse.move(x + 5000, y + 5000, steps=4)
    page.mouse.up()
    left, top = under(page, frame["x"], frame["y"])
    assert (left, top) == pytest.approx((0, 0), abs=0.001)
    page.mouse.dblclick(x, y)
    until(page, "!document.querySelector('.full .drawn').classList.contains('zoomed')")


def test_the_keyboard_zooms_and_moves(look, session):
    """In a picture that fits, the arrows still go on to the next micrograph."""
    page = look()
    open_full(page)
    fitting = places(page)["scale"]
    page.locator(".full .drawn").focus()
    for _ in range(3):
        page.keyboard.press("+")
    assert places(page)["scale"] == pytest.approx(fitting * 1.5**3, rel=0.01)
    frame = frame_of(page)
    before = under(page, frame["x"], frame["y"])
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    after = under(page, frame["x"], frame["y"])
    assert after[0] > before[0]
    assert after[1] > before[1]
    assert_in_place(page, session)
    page.keyboard.press("1")
    page.keyboard.press("0")
    assert places(page)["scale"] == pytest.approx(fitting, rel=0.001)
    name = page.locator(".full h2").inner_text()
    page.keyboard.press("ArrowRight")
    until(page, f"document.querySelector('.full h2').textContent !== '{name}'")


def test_two_fingers_zoom(look, session):
    """As on a phone: the middle between the fingers stays where it is."""
    page = look(width=400, height=800, has_touch=True)
    open_full(page)
    fitting = assert_in_place(page, session)
    frame = frame_of(page)
    x, y = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
    before = under(page, x, y)
    client = page.context.new_cdp_session(page)

    def touch(kind, apart):
        points = (
            []
            if apart is None
            else [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
        )
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 30)
    for apart in (40, 60, 90):
        touch("touchMove", apart)
    touch("touchEnd", None)
    until(page, f"({SCALE}) > {2 * fitting}")

    assert_in_place(page, session)
    assert under(page, x, y) == pytest.approx(before, abs=0.02)


def test_contrast_and_brightness_are_kept_for_the_next_micrograph(look):
    """Until they are reset; the strict content security policy is not in the way."""
    page = look()
    open_full(page)
    page.locator("[data-look=contrast]").fill("200")
    page.locator("[data-look=brightness]").fill("80")
    css = "getComputedStyle(document.querySelector('.full img')).filter"
    assert page.evaluate(css) == "brightness(0.8) contrast(2)"
    page.keyboard.press("Tab")
    name = page.locator(".full h2").inner_text()
    page.locator(".full [rel=next]").click()
    until(page, f"document.querySelector('.full h2').textContent !== '{name}'")
    page.locator("#threshold").wait_for()
    until(page, f"{css} === 'brightness(0.8) contrast(2)'")
    page.get_by_role("button", name="Reset").click()
    assert page.evaluate(css) == "none"
