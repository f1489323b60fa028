"""The model in use, and the end of the session, changed on the page in a real browser."""

import pytest
from chromium import NEEDS_CHROMIUM, pages
from test_page_actions import fits, open_signed_in, press_enter, with_actions

from free_port import free_port
from livepick.config.yaml_loader import load_config

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """Return a session with a general model and a blob picker; its port stays when it ends."""
    made = with_actions(
        tmp_path_factory.mktemp("actions-of-a-session"),
        listen=f"127.0.0.1:{free_port()}",
        bootstrap={"picks": "general"},
    )
    yield made
    made.end()


@pytest.fixture
def look(browser, session):
    with pages(browser, session.address) as open_at:
        yield open_at


@pytest.mark.parametrize("width", [1280, 400])
def test_another_model_is_chosen_by_mouse_and_the_one_before_comes_back(look, session, width):
    """What will change is shown first; the history leads to the way back."""
    page = open_signed_in(look, "/actions/model", width=width)
    page.get_by_role("button", name="Use model 0…").click()
    page.get_by_text("Model in use: 1 → 0").wait_for()
    assert fits(page)
    assert session.status()["model"]["version"] == 1
    page.get_by_role("button", name="Make this change").click()
    page.get_by_text("Done: use model 0").wait_for()
    session.until(lambda: session.status()["model"]["version"] == 0, "model 0")

    page.get_by_role("link", name="History and undo").click()
    page.get_by_role("link", name="Undo: use model 0").first.click()
    page.get_by_text("Model in use: 0 → 1").wait_for()
    page.get_by_role("button", name="Make this change").click()
    page.get_by_text("Done: use model 1").wait_for()
    session.until(lambda: session.status()["model"]["version"] == 1, "model 1")


@pytest.mark.parametrize("width", [1280, 400])
def test_the_session_is_ended_and_reopened_by_keyboard(look, session, width):
    """The page comes back by itself with the end; a micrograph after the reopening is picked."""
    page = open_signed_in(look, "/actions/session", width=width)
    press_enter(page)
    page.locator(".change").wait_for()
    assert fits(page)
    assert not load_config(session.config).session.ended
    press_enter(page)
    page.get_by_text("Done: end the session").wait_for()
    assert load_config(session.config).session.ended
    session.until(lambda: "over (person)" in last_end(session), "the end")
    session.until(session.is_over, "the service at rest")
    said = page_of(session)
    assert "Session over since" in said
    assert "ended by Ada" in said

    # Signed-in people are forgotten when the service begins again.
    page = open_signed_in(look, "/actions/session", width=width)
    press_enter(page)
    page.locator(".change").wait_for()
    press_enter(page)
    page.get_by_text("Done: reopen the session").wait_for()
    before = session.picked()
    session.until(lambda: "Session over" not in (page_of(session) or "Session over"), "reopened")
    session.drop(1, first=before + 1)
    session.until(lambda: session.picked() == before + 1, "the next one is picked")
    look.wrong.clear()  # the page's stream of updates was cut off by the end


def last_end(session):
    """Return the log after the last sign-in."""
    return session.log.read_text().rpartition("signed in")[2]


def page_of(session):
    """Return the page; empty while the service begins again."""
    try:
        return session.get("/")
    except OSError:
        return ""
