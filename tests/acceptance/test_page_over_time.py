"""The plots over time, the learning curves, and before and after, in a real browser.

The ledger and the folders of a session are made up, and served by the page's own server.
"""

import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from chromium import NEEDS_CHROMIUM, pages, until
from disc_micrographs import PIXEL_SIZE_ANGSTROM, SIDE_PX, write_disc_micrograph

from factories import make_result
from livepick.config.schema import Config
from livepick.core.contracts.before_and_after import (
    BEFORE_AND_AFTER,
    BeforeAndAfter,
    PickedByBoth,
)
from livepick.core.contracts.judgement import Judgement
from livepick.core.contracts.progress import PROGRESS, Progress
from livepick.core.evaluation.model_comparison import Comparison, Decision, Difference
from livepick.core.formats.file_version import FileVersion
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality import CtfFigures, Quality
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.page_queries import PageQueries
from livepick.ledger.reader import LedgerReader
from livepick.ledger.writer import LedgerWriter
from livepick.monitoring.health import Health
from livepick.monitoring.metrics.exporter import Metrics
from livepick.monitoring.status import read_status
from livepick.picking.engine import threads
from livepick.web.app import create_app
from livepick.web.page import Sources
from livepick.web.server import Door, Web, listen
from livepick.web.session_report import collect, to_html

WIDTHS = (400, 1280)
MICROGRAPHS = 40
EVERY_SECONDS = 30.0

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """Return a session whose model 2 has taken over from model 1, with all figures over time."""
    folder = tmp_path_factory.mktemp("over_time")
    config = Config.model_validate(
        {
            "session": {"name": "made-up"},
            "watch": {"directories": [folder / "in"]},
            "particle": {"diameter_angstrom": 150},
            "output": {"directory": folder / "out"},
            "state": {"directory": folder / "state"},
        }
    )
    path = config.state.directory / LEDGER
    with Database.writable(path) as writable, Database.read_only(path) as shared:
        ledger, reader, engine = LedgerWriter(writable), LedgerReader(shared), threads(1)
        begin = time.time() - EVERY_SECONDS * MICROGRAPHS
        fill(ledger, folder / "in", begin)
        promote(ledger, config, reader)
        sources = Sources(
            lambda: read_status(config, reader),
            lambda: Health(True, {}),
            lambda: config,
            reader,
            PageQueries(shared),
        )
        app = create_app(Metrics(), sources, engine.submit)
        web = Web(Door(listen("127.0.0.1:0"), app.asgi), closing=app.close)
        web.start()
        yield SimpleNamespace(address=web.address, begin=begin, config=config, folder=folder)
        web.stop()
        engine.stop()


def fill(ledger, root, begin):
    """Add picked micrographs, three of which have their own picture; every fifth has ice."""
    root.mkdir()
    random = np.random.default_rng(0)
    for number in range(MICROGRAPHS):
        path = root / f"mic_{number:04d}.mrc"
        write_disc_micrograph(path, seed=number % 3)
        ledger.arrivals.landed(
            root, Path(path.name), FileVersion.of(path.stat()), begin + EVERY_SECONDS * number
        )
        (claim,) = ledger.claim(1)
        quality = Quality(
            masked_fraction=0.1,
            median_score=float(random.uniform(0.6, 0.9)),
            contrast=3.0,
            ice_ring=2.5 if number % 5 == 4 else 1.1,
        )
        ledger.picked(claim, result(random, 20 + number % 7, 1, quality=quality))
        figures = CtfFigures(12_000 + 100 * number, 11_000 + 100 * number, 30.0, 4.0 + number / 20)
        assert ledger.ctf.found(claim.id, 1, figures)


def result(random, count, version, **changes):
    """Return made-up picks in a micrograph with discs."""
    x, y, score = random.uniform((20, 20, 0.6), (SIDE_PX - 20, SIDE_PX - 20, 1), (count, 3)).T
    return make_result(
        Picks.sorted(x, y, score.astype(np.float32)),
        model_version=version,
        model_kind="trained",
        shape_px=(SIDE_PX, SIDE_PX),
        pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
        **changes,
    )


def promote(ledger, config, reader):
    """Record a run with two rounds, and what its model changes."""
    state, random = config.state.directory, np.random.default_rng(1)
    (state / "models" / "0002").mkdir(parents=True)
    run = state / "runs" / "0002"
    run.mkdir(parents=True)
    lines = [
        Progress(
            at=0, stage=stage, done=done, total=4, training_loss=loss / done,
            validation_loss=loss / done + 0.1, training_accuracy=0.8, validation_accuracy=0.7,
        )
        for stage, loss in (("train", 0.9), ("retrain", 0.5))
        for done in (1, 2, 3, 4)
    ]  # fmt: skip
    (run / PROGRESS).write_text("".join(f"{line.model_dump_json()}\n" for line in lines))
    picked = [
        PickedByBoth(row.path, row.version, 50.0, result(random, 30, 2), result(random, 20, 1))
        for row in reader.first_landed(3)
    ]
    (run / BEFORE_AND_AFTER).write_bytes(BeforeAndAfter.of(2, 1, picked).to_bytes())
    figure = Difference(0.9, 0.8, 0.1, 0.05, 0.15)
    judgement = Judgement(
        2, 1, Decision(promote=True, outcome="better", sentence="it is better"),
        Comparison(figure, figure, 60, 66, 3, 0.9),
    )  # fmt: skip
    ledger.session.run_changed(2, "f", "running")
    ledger.session.run_changed(2, "f", "promoted", judgement=judgement)


@pytest.fixture
def look(browser, session):
    """Return a function that opens the page; at the end nothing may have gone wrong in it."""
    with pages(browser, session.address) as open_at:
        yield open_at


def over_time(look, **options):
    """Open the page and scroll to the plots, which are drawn."""
    page = look(**options)
    until(page, "document.querySelectorAll('#plots canvas').length > 0")
    page.evaluate("document.querySelector('#over-time').scrollIntoView()")
    return page


def box_of(page, number=0):
    """Return the area of a plot on the screen."""
    return page.locator("#plots .u-over").nth(number).bounding_box()


@pytest.mark.parametrize("width", WIDTHS)
def test_all_figures_share_one_time_axis(look, width):
    """Picks, score, defocus, fit resolution, ice and verdict, one below the other."""
    page = over_time(look, width=width)
    names = page.locator("#plots .caption").all_inner_texts()
    assert [name.strip() for name in names] == [
        "Picks per micrograph", "Median score of picks", "Defocus, µm", "CTF fit resolution, Å",
        "Crystalline ice ring", "Verdict",
    ]  # fmt: skip
    boxes = [box_of(page, number) for number in range(len(names))]
    assert len({(box["x"], box["width"]) for box in boxes}) == 1
    assert boxes[0]["width"] > width / 2
    assert page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    assert "times in UTC" in page.locator("header").inner_text()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_cursor_over_one_plot_reads_all(look, width):
    """The values are those of one micrograph, with its time and its zone."""
    page = over_time(look, width=width)
    box = box_of(page, 2)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    until(page, "[...document.querySelectorAll('#plots output')].every((o) => o.textContent)")
    picks, _, defocus, resolution, ice, verdict = page.locator("#plots output").all_inner_texts()

    number = round((float(defocus) - 1.15) / 0.01)
    assert 10 < number < 30
    assert float(resolution) == pytest.approx(4 + number / 20, abs=0.051)
    assert int(picks) == 20 + number % 7
    assert ice == ("2.50" if number % 5 == 4 else "1.10")
    assert verdict.endswith("bad" if number % 5 == 4 else "good")
    assert " UTC" in verdict


@pytest.mark.parametrize("width", WIDTHS)
def test_a_click_on_a_point_opens_its_micrograph(look, width):
    """It is the micrograph of which the cursor reads the values."""
    page = over_time(look, width=width)
    box = box_of(page)
    page.mouse.click(box["x"] + box["width"] / 3, box["y"] + 20)
    title = page.locator(".full h2")
    title.wait_for()
    defocus = page.locator(".measured tr", has_text="defocus").locator("td").inner_text()
    number = int(title.inner_text().removeprefix("mic_").removesuffix(".mrc"))
    assert f"{1.15 + number / 100:.2f}" in defocus or f"{1.149 + number / 100:.2f}" in defocus
    page.keyboard.press("Escape")
    assert page.locator("#between li").count() == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_a_span_that_is_brushed_lists_its_micrographs(look, width):
    """It is marked in all plots, and its ends are in the fields, from where it can be changed."""
    page = over_time(look, width=width)
    box = box_of(page, 3)
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 25, steps=4)
    page.mouse.up()
    page.locator("#between li").first.wait_for()

    count = page.locator("#between li").count()
    assert MICROGRAPHS // 4 - 3 <= count <= MICROGRAPHS // 4 + 3
    assert f"{count} micrographs from" in page.locator("#between h2").inner_text()
    marked = "[...document.querySelectorAll('.u-select')].filter((s) => s.clientWidth > 20).length"
    assert page.evaluate(marked) == 6

    page.locator("#zoom").click()
    until(page, f"{marked} === 0")
    page.locator("#span button", has_text="Whole").click()
    until(page, "document.querySelector('#between').textContent === ''")


def test_a_span_is_chosen_without_a_mouse(look, session):
    """Two times and Enter; the list leads on to the micrographs."""
    page = over_time(look)
    first = page.locator("[name=from]")
    until(page, "document.querySelector('[name=from]').value !== ''")
    begin = session.begin + 10 * EVERY_SECONDS - 1
    local = "%Y-%m-%dT%H:%M:%S"
    first.fill(time.strftime(local, time.localtime(begin)))
    page.locator("[name=until]").fill(time.strftime(local, time.localtime(begin + 70)))
    page.locator("#span button").first.focus()
    page.keyboard.press("Enter")
    page.locator("#between li").first.wait_for()

    assert page.locator("#between .rows a").all_inner_texts() == [
        f"mic_{number:04d}.mrc" for number in (12, 11, 10)
    ]
    page.locator("#between .rows a").first.focus()
    page.keyboard.press("Enter")
    page.locator(".full h2").wait_for()
    assert page.locator(".full h2").inner_text() == "mic_0012.mrc"


def test_dark_and_light_draw_in_their_colours(look):
    """The plots follow when the system changes over."""
    page = over_time(look, color_scheme="light")
    drawn = "document.querySelector('#plots canvas').toDataURL()"
    light = page.evaluate(drawn)
    page.emulate_media(color_scheme="dark")
    until(page, f"{drawn} !== {light!r}")


@pytest.mark.parametrize("width", WIDTHS)
def test_without_a_script_the_figures_are_a_table_and_a_span_can_be_listed(look, width):
    """The limits are in the table, and the form leads to a page of its own."""
    page = look(java_script_enabled=False, width=width)
    table = page.locator("#trends table").inner_text()
    for words in ("Picks per micrograph", "Defocus, µm", "doubtful from 8.0 Å, bad from 15.0 Å"):
        assert words in table
    assert page.locator(".attempts li").count() == 2
    with page.expect_navigation():
        page.locator("#span button").first.click()
    assert page.locator("h2").inner_text() == f"{MICROGRAPHS} micrographs"
    page.get_by_text("mic_0039.mrc").click()
    page.locator(".full .picks").wait_for()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_new_model_is_shown_beside_the_one_before(look, width):
    """Figures, and both models' picks in three micrographs; what only one has is marked."""
    page = look(width=width)
    heading = page.get_by_text("Before and after: model 2 took over from model 1")
    heading.scroll_into_view_if_needed()
    assert heading.is_visible()
    pictures = page.locator(".changes img")
    assert pictures.count() == 6
    for number in range(6):
        pictures.nth(number).scroll_into_view_if_needed()
    until(page, "[...document.querySelectorAll('.changes img')].every((i) => i.naturalWidth > 100)")
    captions = page.locator(".changes figcaption").all_inner_texts()
    assert captions == ["before: 20 picks", "after: 30 picks"] * 3
    for pair in page.locator(".pair").all():
        left, right = (figure.bounding_box() for figure in pair.locator("figure").all())
        assert left["y"] == right["y"]
        assert left["x"] + left["width"] < right["x"]
    marker = "getComputedStyle(document.querySelector('.picks.only')).markerStart"
    assert "ring-only" in page.evaluate(marker)
    table = page.locator("#training table").first.inner_text()
    assert "picks per micrograph\t20.0\t30.0\t+10.0" in table
    assert "precision of the best 60 picks" in table


@pytest.mark.parametrize("width", WIDTHS)
def test_the_curves_show_both_rounds(look, width):
    """Losses and accuracies over all epochs of the run, with the place where round 2 begins."""
    page = look(width=width)
    until(page, "document.querySelectorAll('[data-curves] canvas').length === 2")
    captions = page.locator("[data-curves] figcaption").all_inner_texts()
    assert "Loss, run 2" in captions[0]
    assert "training 0.125" in captions[0]
    data = page.evaluate("JSON.parse(document.querySelector('[data-curves]').dataset.curves)")
    assert data["epochs"] == [1, 2, 3, 4, 4.5, 5, 6, 7, 8]
    assert data["starts"] == [[1, "round 1"], [5, "round 2"]]
    assert page.locator(".attempts li").all_inner_texts()[1].startswith("Round 2: 4 epochs")


def test_a_picture_that_is_not_there_yet_says_so(look):
    """The words are behind the picture, which covers them."""
    page = look(path="/between", loads=False)
    page.route("**/thumbnail.png*", lambda _: None)  # never answered
    page.goto(page.url.replace("between", ""), wait_until="commit")
    page.locator(".strip .drawn").first.wait_for()
    words = "getComputedStyle(document.querySelector('.strip .drawn'), '::before').content"
    until(page, f"""{words} === '"loading the picture"'""")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_report_draws_the_same_plots_without_a_service(look, session, width):
    """It is one file, and asks nobody for anything."""
    file = session.folder / "report.html"
    file.write_bytes(to_html(collect(session.config, "session:", pictures=False)))
    page = look(f"file://{file}", width=width)
    until(page, "document.querySelectorAll('#plots canvas').length === 6")
    plot_width = "document.querySelector('#plots .uplot').offsetWidth"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(plot_width) == 680  # an A4 page has 690 between its margins
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(plot_width) == page.evaluate(
        "document.querySelector('#plots').clientWidth"
    )
    assert "Defocus, µm" in page.locator("table").first.inner_text()
    assert "picks per micrograph\t20.0\t30.0\t+10.0" in page.locator(".run table").inner_text()
