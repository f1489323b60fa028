"""Class averages of the newest picks: a real service, its program, kills, and the page."""

import functools
import re
import signal

import psutil
import pytest
from chromium import NEEDS_CHROMIUM, PATIENCE_MS, until
from class_pictures import share_of_first, tiles
from session import LIVEPICK, Session, livepick
from test_config_edits import edit

from livepick.classes.when_due import MOST_MICROGRAPHS
from livepick.core.contracts.class_averages import (
    PICTURE,
    PROGRAM,
    RESULT,
    ClassesOrder,
    ClassesResult,
)
from livepick.retraining.trainer_process import NICENESS

DIAMETER_ANGSTROM = 155
SECONDS = 600
"""A busy machine gives a process of low priority little of its time."""

pytestmark = pytest.mark.slow


@pytest.fixture
def session(tmp_path):
    """Return a session that makes class averages; it has not begun."""
    made = Session(tmp_path, class_averages={"enabled": True})
    yield made
    made.end()


def programs(session):
    """Return the processes that make class averages of a session."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if PROGRAM in words and any(str(session.state) in word for word in words):
            found.append(process)
    return found


def made(session):
    """Return the latest class averages in the JSON of ``livepick status``; None without any."""
    return session.status()["class_averages"]


def until_made(session, number):
    session.until(
        lambda: (
            f"class averages {number:04}: " in session.log.read_text()
            and (made(session) or {"number": 0})["number"] == number
        ),
        f"class averages {number}",
        seconds=SECONDS,
    )


def test_kills_of_the_program_and_of_the_service_lose_nothing_and_what_is_old_says_so(session):
    session.start()
    session.drop(14)
    session.until(lambda: session.picked() == 14, "all picked")
    until_made(session, 1)
    first = made(session)
    assert first["micrographs"] >= 10
    assert first["particles"] > 100

    # The program is killed: what was made before stays, with the number of newer micrographs.
    session.drop(16, first=15)
    session.until(lambda: programs(session), "the next class averages", seconds=SECONDS)
    lowest = min(psutil.Process().nice() + NICENESS, 19)
    for process in programs(session):
        process.suspend()  # so that it does not end before it is killed
        session.until(lambda low=process: low.nice() >= lowest, "its low priority")
        process.kill()
    session.until(lambda: "their process was killed" in session.get("/"), "the page says so")
    since = f"{first['newer_micrographs'] + 16} micrographs were picked since"
    session.until(lambda: since in session.get("/"), "the page counts them")
    page = session.get("/")
    assert "New ones cannot be made" in page or "new ones cannot be made" in page
    assert f"classes/1.png?v={int(first['made_at'])}" in page
    assert made(session)["number"] == 1

    # The service is killed while they are made: the program ends its work, and the next service
    # records it, or has them made again.
    session.process.kill()
    session.process.wait()
    session.start()
    session.until(lambda: programs(session), "the next class averages", seconds=SECONDS)
    session.process.send_signal(signal.SIGKILL)
    session.process.wait()
    assert "number" in made(session)
    session.start()
    session.until(lambda: made(session)["number"] > 1, "class averages", seconds=SECONDS)
    assert made(session)["micrographs"] > first["micrographs"]
    assert session.stop() == 0
    assert programs(session) == []


def simulated(session, species, count, *, first):
    """Let a microscope with some particle write micrographs, and wait until all are picked."""
    made = session.folder / species
    written = livepick(
        *("simulate", made, "--micrographs", count, "--first", first, "--every", "1ms"),
        *("--species", species, "--clean", "--size", 640, "--write-seconds", 0),
    )
    assert written.returncode == 0, written.stderr
    for path in sorted(made.glob("*.mrc")):
        path.rename(session.landing / path.name)
    session.until(lambda: session.picked() == first - 1 + count, "all picked", seconds=SECONDS)


def shown(session, number):
    """Return the good averages of a result, and the names of the micrographs that they are of."""
    folder = session.state / "classes" / f"{number:04}"
    result, order = ClassesResult.read(folder), ClassesOrder.read(folder)
    averages = tiles((folder / RESULT / PICTURE).read_bytes(), len(result.classes))
    good = [one.is_good for one in result.classes]
    return averages[good], [micrograph.path.name for micrograph in order.micrographs]


def test_a_particle_that_changes_half_way_shows(tmp_path):
    """The newest averages are of the newest micrographs alone, and show the second particle.

    Until they are made, the page says that those of the first particle are older.
    """
    session = Session(
        tmp_path,
        particle={"diameter_angstrom": DIAMETER_ANGSTROM},
        bootstrap={"picks": "general"},
        class_averages={"enabled": True, "every_minutes": 0.01},
    )
    like = functools.partial(share_of_first, diameter_angstrom=DIAMETER_ANGSTROM)
    try:
        session.start()
        simulated(session, "proteasome", 14, first=1)
        until_made(session, 1)
        averages, _ = shown(session, 1)
        assert like(averages, "proteasome", "apoferritin") >= 0.8

        # None are made while the particle changes, as beside a long training.
        edit(session, class_averages={"enabled": False})
        session.until(lambda: "o more are made" in session.get("/"), "the edit")
        number = made(session)["number"]
        before = made(session)["newer_micrographs"]
        simulated(session, "apoferritin", MOST_MICROGRAPHS, first=15)
        session.until(
            lambda: (
                f"{before + MOST_MICROGRAPHS} micrographs were picked since" in session.get("/")
            ),
            "the page says so",
        )
        edit(session, class_averages={"enabled": True})
        until_made(session, number + 1)
        averages, names = shown(session, number + 1)
        assert sorted(names) == [f"sim_{n:04}.mrc" for n in range(15, 15 + MOST_MICROGRAPHS)]
        assert like(averages, "apoferritin", "proteasome") >= 0.8
        session.until(lambda: "were picked since" not in session.get("/"), "the page says so")
        assert session.stop() == 0
    finally:
        session.end()


def test_the_command_makes_them_without_a_service(session, tmp_path):
    session.settings["class_averages"] = {"enabled": False}
    session.save()
    session.start()
    session.drop(12)
    session.until(lambda: session.picked() == 12, "all picked")
    session.until(lambda: "Class averages are switched off" in session.get("/"), "the words")
    session.stop()
    done = livepick("classes", session.config, "--output", tmp_path / "now.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "now.png")
    assert (tmp_path / "now.png").read_bytes().startswith(b"\x89PNG")


@NEEDS_CHROMIUM
def test_the_page_shows_the_picture_in_its_size_with_a_caption(browser, tmp_path):
    """A session that ``livepick simulate`` has written, in two widths, and its report."""
    session = Session(
        tmp_path,
        particle={"diameter_angstrom": 155},
        micrograph={"pixel_size_angstrom": 2},
        bootstrap={"picks": "general"},
        class_averages={"enabled": True},
    )
    written = livepick(
        *("simulate", session.folder / "made", "--micrographs", 12, "--every", "1ms"),
        *("--species", "proteasome", "--clean", "--size", 768, "--write-seconds", 0),
    )
    assert written.returncode == 0, written.stderr
    try:
        session.start(program=(LIVEPICK,))
        for path in sorted((session.folder / "made").glob("*.mrc")):
            path.rename(session.landing / path.name)
        until_made(session, 1)
        session.until(lambda: 'src="classes/1.png' in session.get("/"), "the picture")
        ended = "ew ones are being made"  # then nothing of it changes while it is looked at
        session.until(lambda: ended not in session.get("/"), "the end of the program")
        for width in (390, 1280):
            look_at(browser, session, width)
        report = tmp_path / "report.html"
        livepick("report", session.config, "--output", report, "--no-pictures")
        assert "Class averages of the newest picks" in report.read_text()
        assert 'alt="2D class averages, each with' in report.read_text()
        fraction = "class_good_particle_fraction"
        session.until(lambda: session.figure(fraction) > 0.5, "the metric")
    finally:
        session.end()


def look_at(browser, session, width):
    """Look at the picture and its caption in a window of some width."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"http://{session.address}/")
    picture = page.locator("#classes img")
    picture.scroll_into_view_if_needed()
    until(page, "document.querySelector('#classes img').naturalWidth > 0")
    size = picture.evaluate("i => [i.naturalWidth, i.naturalHeight, i.width, i.height]")
    declared = [int(picture.get_attribute(name)) for name in ("width", "height")]
    assert size[:2] == declared
    assert size[0] > 1000
    assert abs(size[2] / size[3] - size[0] / size[1]) < 0.02  # not distorted
    caption = page.locator("#classes figcaption").inner_text()
    assert re.search(r"\d+ % of the picks are in class averages that show a particle", caption)
    assert re.search(r"Made \d\d \w+ \d{4} \d\d:\d\d [+-]\d{4}, of micrographs that", caption)
    assert page.locator("details #classes, #classes details").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()
