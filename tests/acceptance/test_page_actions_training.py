"""Decisions on the page about a real training: 2D classes, the end of a run, and the diameter."""

import contextlib
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from chromium import NEEDS_CHROMIUM, pages, until
from session import Session
from test_page_actions import TOKEN, fits, open_signed_in, press_enter, undo, with_actions

from livepick.config.yaml_loader import load_config
from livepick.core.formats.file_version import FileVersion
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.reader import LedgerReader
from livepick.ledger.session_rows import run_in_progress
from livepick.ledger.writer import LedgerWriter
from particle_evidence import make_evidence

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), NEEDS_CHROMIUM]

FIRST, SECOND = 120.0, 300.0
"""Diameters, in angstrom, between which a session cannot decide."""

MEASURED = 10
"""Micrographs that it has measured."""

BELIEVED, REJECTED = 1, 0
"""Values of livepick_trainer.seeds.labels, which needs PyTorch."""


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """Return a session that has trained a model on disks."""
    made = with_actions(
        tmp_path_factory.mktemp("actions-and-training"),
        bootstrap={"micrographs": 12, "minimum_picks": 50, "picks": "blob"},
        training={
            "epochs": 2,
            "held_out_fraction": 0.34,
            "minibatch_size": 4,
            "auto_remedy": False,
        },
        retrain={"gate": "off"},
    )
    made.drop(14, first=3)
    made.until(made.has_trained_model, "a model", seconds=900)
    yield made
    made.end()


@pytest.fixture(scope="module")
def long_training(tmp_path_factory):
    """Return a session that trains for hours."""
    made = with_actions(
        tmp_path_factory.mktemp("actions-and-long-training"),
        bootstrap={"micrographs": 6, "minimum_picks": 50, "picks": "blob"},
        training={"epochs": 1000, "held_out_fraction": 0.34},
    )
    made.drop(6, first=3)
    yield made
    made.end()


@pytest.fixture
def look(browser, session):
    with pages(browser, session.address) as open_at:
        yield open_at


def running(session):
    """Return the number of the training run in progress; None: there is none."""
    with Database.read_only(session.state / LEDGER) as database:
        run = run_in_progress(LedgerReader(database).runs())
    return None if run is None else run.version


def classes_of(session, run):
    """Return the verdicts of a run on its 2D classes."""
    return json.loads((session.state / "runs" / run / "select" / "classes.json").read_bytes())[
        "classes"
    ]


def seeds_of(session, run, number):
    """Return the verdicts on the candidates of one class, and on all others, in the training."""
    folder = session.state / "runs" / run
    found = {True: [], False: []}
    with (
        np.load(folder / "classify" / "classes.npz") as sorted_into,
        np.load(folder / "select" / "verdicts.npz") as verdicts,
    ):
        places = zip(
            *(sorted_into[name] for name in ("micrograph", "candidate", "label")), strict=True
        )
        for micrograph, candidate, label in places:
            found[label == number].append(int(verdicts[f"verdict{micrograph}"][candidate]))
    return found[True], found[False]


def seeds_in_words(session, run):
    """Return the sentence of a run about the seeds that it trains on."""
    lines = (session.state / "runs" / run / "progress.jsonl").read_text().splitlines()
    notes = (json.loads(line).get("note", "") for line in lines)
    return next(note for note in notes if "seeds in" in note)


def test_a_training_follows_the_classes_that_a_person_chose(look, session):
    """Its seeds are those of the other run except in the class that was clicked."""
    before = classes_of(session, "0001")
    number, was_accepted = 0, before[0]["accepted"]
    assert not any(each["overruled"] for each in before)
    page = open_signed_in(look, "/actions/classes")
    tile = page.locator(".choices label").nth(number)
    tile.click()
    page.get_by_role("button", name="Show the change").click()
    page.get_by_role("button", name="Make this change").click()
    page.get_by_text("Done: decide on the 2D classes: 0").wait_for()

    session.until(
        lambda: session.status()["model"]["version"] == 2, "the model of that choice", seconds=900
    )
    spec = json.loads((session.state / "runs" / "0002" / "run.json").read_bytes())
    chosen = [] if was_accepted else [number]
    assert spec["bootstrap"]["classes"]["accept"] == chosen
    assert spec["bootstrap"]["classes"]["reject"] == ([] if chosen else [number])
    assert spec["continues"] == "0001"
    after = classes_of(session, "0002")
    assert [each["accepted"] for each in after] == [
        each["accepted"] != (n == number) for n, each in enumerate(before)
    ]
    assert [n for n, each in enumerate(after) if each["overruled"]] == [number]
    assert [each["particles"] for each in after] == [each["particles"] for each in before]
    here, elsewhere = seeds_of(session, "0002", number)
    assert len(here) > 10
    assert set(here) == ({REJECTED} if was_accepted else {BELIEVED})
    assert elsewhere == seeds_of(session, "0001", number)[1]
    assert seeds_in_words(session, "0002") != seeds_in_words(session, "0001")

    page.goto(f"http://{session.address}/actions/classes")
    shown = page.locator(".choices label").nth(number).inner_text()
    assert ("rejected by you" if was_accepted else "accepted by you") in shown
    page.goto(f"http://{session.address}/actions")
    page.get_by_role("button", name="Undo: decide on the 2D classes").click()
    page.get_by_role("button", name="Make this change").click()
    page.get_by_text("Done: undo").wait_for()
    session.until(
        lambda: session.status()["model"]["version"] == 1, "the model before", seconds=300
    )


@pytest.mark.parametrize(("width", "is_by_mouse"), [(1280, True), (400, False)])
def test_a_running_training_ends_with_consent_only(browser, long_training, width, is_by_mouse):
    """Without the tick the browser does not send the form; the undo asks again."""
    session = long_training
    with pages(browser, session.address) as look:
        _end_by_consent(look, session, width, is_by_mouse=is_by_mouse)


def _end_by_consent(look, session, width, *, is_by_mouse):
    session.until(lambda: running(session) is not None, "a training", seconds=300)
    run = running(session)
    page = open_signed_in(look, "/actions/retrain", width=width)
    if is_by_mouse:
        page.get_by_role("button", name="Show the change").click()
        page.get_by_role("button", name="Make this change").click()
        assert "/confirm" not in page.url
        page.get_by_label(f"Yes, end training run {run}").click()
        page.get_by_role("button", name="Make this change").click()
    else:
        press_enter(page)
        page.locator("[name=end_run]").wait_for()
        until(page, "document.activeElement.matches('[name=end_run]')")
        page.keyboard.press("Enter")  # the tick is missing
        assert "/confirm" not in page.url
        page.keyboard.press("Space")
        page.keyboard.press("Enter")
    page.get_by_text("Done: train a new model").wait_for()
    assert fits(page)
    assert load_config(session.config).training.generation == 2
    assert session.config.read_text().startswith("# Krios 1, grid 7\n")
    session.until(lambda: running(session) not in (None, run), "another training", seconds=300)
    other = running(session)
    page.get_by_role("link", name="History and undo").click()
    page.get_by_role("button", name="Undo: train a new model").first.click()
    page.get_by_label(f"Yes, end training run {other}").check()
    page.get_by_role("button", name="Make this change").click()
    page.get_by_text("Done: undo").wait_for()
    assert load_config(session.config).training.generation == 1
    session.until(lambda: running(session) not in (None, other), "the one before", seconds=300)


@contextlib.contextmanager
def asking_session(folder):
    """Yield a session that asks which of two diameters is right."""
    made = Session(
        folder,
        particle={"diameter_angstrom": "auto", "contrast": "dark"},
        web={"listen": "127.0.0.1:0", "actions": "token", "token_file": "token"},
    )
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    made.drop(MEASURED)
    text = made.config.read_text().replace("auto\n", "auto  # not known yet\n", 1)
    made.config.write_text(f"# Krios 1, grid 7\n{text}")
    written = load_config(made.config)
    evidence = make_evidence(FIRST, second_angstrom=SECOND)
    made.state.mkdir(exist_ok=True)
    with Database.writable(made.state / LEDGER) as database:
        writer = LedgerWriter(database)
        writer.session.begin(written.session.name)
        for path in sorted(made.landing.iterdir()):
            version = FileVersion.of(path.stat())
            writer.arrivals.landed(made.landing, Path(path.name), version, time.time())
        for row in writer.reader.recent(-1):
            writer.session.particle_seen(row.id, row.content, evidence.to_json(), "")
    try:
        made.start()
        yield made
    finally:
        made.end()


@pytest.mark.parametrize(("width", "is_by_mouse"), [(1280, True), (400, False)])
def test_the_question_about_the_diameter_is_answered(browser, tmp_path, width, is_by_mouse):
    """The page leads to both guesses; the answer is an edit with an undo, which asks again."""
    with asking_session(tmp_path) as session, pages(browser, session.address) as look:
        page = open_signed_in(look, "/", width=width)
        link = page.locator("a[href^='actions/diameter']").first
        if is_by_mouse:
            link.click()
        else:
            link.focus()
            page.keyboard.press("Enter")
        page.get_by_text("livepick asks which of these is right").wait_for()
        guess = page.get_by_role("button", name="measured on the micrographs").last
        if is_by_mouse:
            guess.click()
        else:
            guess.focus()
            page.keyboard.press("Enter")
        page.locator(".change .new").wait_for()
        line = page.locator(".change .new").first.inner_text()
        wanted = float(re.search(r"diameter_angstrom: ([\d.]+)", line)[1])
        assert min(abs(wanted / each - 1) for each in (FIRST, SECOND)) < 0.1
        assert fits(page)
        press_enter(page)
        page.get_by_text("Done: set the particle's diameter").wait_for()
        assert load_config(session.config).particle.diameter_angstrom == wanted
        text = session.config.read_text()
        assert text.startswith("# Krios 1, grid 7\n")
        assert "# not known yet" in text
        applied = f"diameter_angstrom from auto to {wanted:g}"
        session.until(lambda: applied in session.log.read_text(), "applied")
        undo(page, "set the particle's diameter to")
        assert load_config(session.config).particle.diameter_angstrom == "auto"
