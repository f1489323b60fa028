"""Changes on the page of a session of an instrument: its own file, and no other session's."""

import pytest
import yaml
from chromium import NEEDS_CHROMIUM, pages
from session import livepick
from test_page_actions import TOKEN, sign_in, undo

from day import Day, Plan
from livepick.config.edit_history import read_edits
from livepick.config.yaml_loader import load_config
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.person_verdicts import read_person_verdicts
from livepick.ledger.reader import LedgerReader

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), NEEDS_CHROMIUM]


@pytest.fixture
def day(tmp_path):
    """Return an instrument with two sessions that pick, whose pages people may act on."""
    made = Day(tmp_path, Plan(idle_seconds=3600))
    settings = yaml.safe_load(made.config.read_text())
    settings["sessions"]["at_once"] = 2
    settings["bootstrap"]["picks"] = "general"
    settings["web"] |= {"actions": "token", "token_file": "token"}  # beside the instrument's config
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    made.config.write_text(yaml.safe_dump(settings))
    made.start()
    for name in ("s1", "s2"):
        made.collect(name, 0, 2)
    for name in ("s1", "s2"):
        made.until(lambda name=name: made.counts(name).picked == 2, f"{name} is picked")
        made.until(lambda name=name: made.overview()[name]["port"], f"{name} has a page")
    yield made
    made.end()


def config_of(day, name):
    """Return the config file of a session."""
    return day.state / name / "session.yaml"


def rows_of(day, name):
    """Return the micrographs of a session by their names."""
    with Database.read_only(day.state / name / LEDGER) as database:
        return {str(row.relative): row for row in LedgerReader(database).recent(-1)}


def model_of(day, name):
    """Return the number of the model that a session picks with."""
    with Database.read_only(day.state / name / LEDGER) as database:
        model = LedgerReader(database).model()
    return None if model is None else model.version


def test_what_is_changed_on_the_page_of_a_session_is_its_own(browser, day):  # noqa: PLR0915 - one story
    """Threshold, micrograph, model and end; the sign-in is for one session, the token for all."""
    ports = {name: day.overview()[name]["port"] for name in ("s1", "s2")}
    first, instrument = config_of(day, "s1").read_text(), day.config.read_text()
    other = config_of(day, "s2").read_text()
    assert "# Config of the session in" in first
    here = f"127.0.0.1:{ports['s1']}"
    with pages(browser, here) as look:
        page = look("/actions")
        sign_in(page)
        page.locator(".links").wait_for()

        page.goto(f"http://{here}/actions/threshold?value=0.33")
        assert str(config_of(day, "s1")) in page.locator(".change figcaption").inner_text()
        page.get_by_role("button", name="Make this change").click()
        page.get_by_text("Done: set the threshold to 0.33").wait_for()
        assert load_config(config_of(day, "s1")).picking.threshold == 0.33
        kept = [line for line in first.splitlines() if "#" in line]
        assert set(kept) <= set(config_of(day, "s1").read_text().splitlines())
        undo(page, "set the threshold to 0.33")
        assert load_config(config_of(day, "s1")).picking.threshold == "auto"
        assert [edit.undoes for edit in read_edits(day.state / "s1")] == [None, 1]

        page.goto(f"http://{here}/")
        page.locator("[data-full] .name", has_text="s1_001.mrc").click()
        page.get_by_role("button", name="Exclude…").click()
        page.get_by_role("button", name="Make this change").click()
        page.get_by_text("Done: exclude: s1_001.mrc").wait_for()
        day.until(lambda: rows_of(day, "s1")["s1_001.mrc"].quality_verdict == "bad", "excluded")

        now = model_of(day, "s1")
        page.goto(f"http://{here}/actions/model")
        page.get_by_role("button", name="Use model").first.click()
        page.get_by_role("button", name="Make this change").click()
        page.get_by_text("Done: use model").wait_for()
        day.until(lambda: model_of(day, "s1") != now, "another model")
        assert model_of(day, "s2") == now

        page.goto(f"http://127.0.0.1:{ports['s2']}/actions")
        assert page.locator("#token").is_visible()  # signed in at s1 only
        sign_in(page)
        page.locator(".links").wait_for()
        page.goto(f"http://{here}/actions/session")
        page.get_by_role("button", name="End the session…").click()
        page.get_by_role("button", name="Make this change").click()
        page.get_by_text("Done: end the session").wait_for()
        look.wrong.clear()  # the page of s2 is another address, and that of s1 ends
    day.until(lambda: day.state_of("s1") == "over", "s1 is over")
    assert load_config(config_of(day, "s1")).session.ended_by.startswith("Ada")
    assert day.overview()["s1"]["has_report"]

    day.until(lambda: day.state_of("s2") == "picking", "s2 picks")
    assert config_of(day, "s2").read_text() == other
    assert day.config.read_text() == instrument
    assert read_edits(day.state / "s2") == []
    assert read_person_verdicts(day.state / "s2").by_place == {}
    assert livepick("end", "--undo", day.config, "s1").returncode == 0
    day.until(lambda: day.state_of("s1") == "picking", "s1 goes on")
    assert rows_of(day, "s1")["s1_001.mrc"].person_verdict == "excluded"
