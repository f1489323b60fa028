"""Changes on the page in a real browser: by mouse and keyboard, undone, and refused."""

import http.server
import io
import json
import shutil
import threading

import pytest
from chromium import NEEDS_CHROMIUM, PATIENCE_MS, pages, until
from PIL import Image
from session import Session, impatient, livepick

from livepick.config.yaml_loader import load_config
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.writer import LedgerWriter

TOKEN = "correct-horse-battery-staple"  # noqa: S105 - of this test

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]


def with_actions(folder, *, listen="127.0.0.1:0", external_url=None, **sections):
    """Return a session with two picked micrographs whose page people may act on."""
    (folder / "token").write_text(f"{TOKEN}\n")
    (folder / "token").chmod(0o600)
    web = {"listen": listen, "actions": "token", "token_file": "token"}
    web |= {"external_url": external_url} if external_url else {}
    made = Session(folder, web=web, **sections)
    made.config.write_text(f"# Krios 1, grid 7\n{made.config.read_text()}")
    # A list that was written slowly, by a busy machine, is not kept back for a minute.
    made.start(program=impatient({"picking.background_write.SHARE": 1e6}))
    made.drop(2)
    made.until(lambda: made.picked() == 2, "2 picked")
    return made


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    made = with_actions(tmp_path_factory.mktemp("actions"))
    yield made
    made.end()


@pytest.fixture
def look(browser, session):
    with pages(browser, session.address) as open_at:
        yield open_at


def sign_in(page, *, token=TOKEN):
    until(page, "document.activeElement.matches('[autofocus]')")
    page.fill("#name", "Ada")
    page.fill("#token", token)
    page.keyboard.press("Enter")


def open_signed_in(look, path="/actions", **options):
    page = look("/actions", **options)
    sign_in(page)
    page.locator(".links").wait_for()
    if path != "/actions":
        page.goto(f"{page.url.rpartition('/actions')[0]}{path}")
    return page


def press_enter(page):
    """Press Enter as soon as the button that goes on has the focus."""
    until(page, "document.activeElement.matches('button[autofocus]')")
    page.keyboard.press("Enter")


def fits(page):
    return page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth + 1"
    )


def undo(page, title):
    """Undo the latest change of the history, and wait until it is made."""
    page.get_by_role("link", name="History and undo").click()
    page.get_by_role("button", name=f"Undo: {title}").first.click()
    page.get_by_role("button", name="Make this change").click()
    page.get_by_text("Done:").wait_for()


@pytest.mark.parametrize("width", [1280, 400])
def test_the_threshold_of_the_slider_is_applied_and_undone_by_mouse(look, session, width):
    """The diff comes first; the comment of the file stays; the service applies it."""
    page = look(width=width)
    page.locator("[data-full]").first.click()
    page.locator("#threshold").wait_for()
    page.locator("#threshold").fill("0.62")
    page.get_by_role("button", name="Pick with this threshold").click()
    sign_in(page)
    page.locator(".change .new").wait_for()  # the sign-in led on to the change
    assert page.locator(".change .new").inner_text().strip() == "+  threshold: 0.62"
    assert fits(page)
    assert load_config(session.config).picking.threshold == "auto"

    page.get_by_role("button", name="Make this change").click()
    page.get_by_text("Done: set the threshold to 0.62").wait_for()
    assert load_config(session.config).picking.threshold == 0.62
    assert session.config.read_text().startswith("# Krios 1, grid 7\n")
    session.until(lambda: "threshold 0.62" in session.log.read_text(), "applied")
    assert 'Ada set picking.threshold from "auto" to 0.62' in session.log.read_text()
    undo(page, "set the threshold to 0.62")
    assert load_config(session.config).picking.threshold == "auto"


@pytest.mark.parametrize("width", [1280, 400])
def test_a_diameter_is_set_and_undone_by_keyboard_alone(look, session, width):
    """The field has the focus, Enter goes on, and the button that confirms has it next."""
    page = open_signed_in(look, "/actions/diameter", width=width)
    until(page, "document.activeElement.matches('input[autofocus]')")
    page.keyboard.type("170")
    page.keyboard.press("Enter")
    page.locator(".change").wait_for()
    press_enter(page)
    page.get_by_text("Done:").wait_for()
    assert load_config(session.config).particle.diameter_angstrom == 170
    until(page, "document.activeElement.matches('a[autofocus]')")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("#history").wait_for()
    page.get_by_role("button", name="Undo: set the particle's diameter").first.focus()
    page.keyboard.press("Enter")
    page.locator(".change").wait_for()
    press_enter(page)
    page.get_by_text("Done: undo").wait_for()
    assert load_config(session.config).particle.diameter_angstrom == 160


def put_classes(session):
    """Let a training have ended with four classes, of which the last two were rejected."""
    folder = session.state / "models" / "0003"
    shutil.copytree(session.state / "models" / "0000", folder)
    figures = ((120, True), (80, True), (30, False), (9, False))
    classes = [
        {"particles": count, "accepted": is_good, "reason": "by its figures", "overruled": False}
        for count, is_good in figures
    ]
    (folder / "report.json").write_text(json.dumps({"classes": {"classes": classes}}))
    picture = io.BytesIO()
    Image.new("RGB", (1520, 285), "white").save(picture, "PNG")
    (folder / "classes.png").write_bytes(picture.getvalue())
    assert session.stop() == 0
    with Database.writable(session.state / LEDGER) as database:
        LedgerWriter(database).session.run_changed(3, "f", "kept_aside")
    session.start()


@pytest.mark.parametrize("width", [1280, 400])
def test_classes_are_clicked_into_one_edit(browser, session, width):
    """A click overrules the figures, another one takes that back; Space does the same."""
    if not (session.state / "models" / "0003").exists():
        put_classes(session)
    with pages(browser, session.address) as look:
        page = open_signed_in(look, "/actions/classes", width=width)
        tiles = page.locator(".choices label")
        assert tiles.count() == 4
        tiles.nth(0).click()
        tiles.nth(1).click()
        tiles.nth(1).click()  # takes it back
        page.locator(".choices input[type=checkbox]").nth(3).focus()
        page.keyboard.press("Space")
        assert "rejected by you" in tiles.nth(0).inner_text()
        assert "accepted by you" in tiles.nth(3).inner_text()
        assert fits(page)
        page.get_by_role("button", name="Show the change").click()
        page.locator(".change").wait_for()
        page.get_by_role("button", name="Make this change").click()
        page.get_by_text("Done:").wait_for()
        classes = load_config(session.config).bootstrap.classes
        assert (classes.accept, classes.reject) == ([3], [0])
        assert session.config.read_text().startswith("# Krios 1, grid 7\n")
        undo(page, "decide on the 2D classes")
        classes = load_config(session.config).bootstrap.classes
        assert (classes.accept, classes.reject) == ([], [])


def test_without_a_script_all_of_it_works(look, session):
    page = open_signed_in(look, "/actions/retrain", java_script_enabled=False)
    page.get_by_role("button", name="Show the change").click()
    page.get_by_role("button", name="Make this change").click()
    page.get_by_text("Done: train a new model").wait_for()
    assert load_config(session.config).training.generation == 2
    undo(page, "train a new model")
    assert load_config(session.config).training.generation == 1


def choose(page, button, done):
    """Ask for a verdict in the full view of the first micrograph, and confirm it."""
    page.locator("[data-full] .name", has_text="mic_0001.mrc").click()
    page.get_by_role("button", name=button).click()
    assert fits(page)
    page.get_by_role("button", name="Make this change").click()
    page.get_by_text(done).wait_for()


def test_a_micrograph_is_excluded_and_comes_back(look, session):
    """It leaves the list of good ones, and the page says who excluded it."""
    good, table = (session.output / name for name in ("good_micrographs.star", "micrographs.csv"))
    session.until(lambda: good.exists() and "mic_0001" in good.read_text(), "the list")
    page = open_signed_in(look, "/")
    choose(page, "Exclude…", "Done: exclude: mic_0001.mrc")
    session.until(lambda: "mic_0001" not in good.read_text(), "it left the list")
    assert "mic_0002" in good.read_text()
    session.until(lambda: "excluded by Ada" in table.read_text(), "the table says by whom")
    page.goto(f"http://{session.address}/")
    page.locator("[data-full] .name", has_text="mic_0001.mrc").click()
    page.locator("#threshold").wait_for()
    assert "excluded by Ada at 20" in page.locator(".judged").first.inner_text()
    page.goto(f"http://{session.address}/")
    choose(page, "Judge by its figures…", "Done:")
    session.until(lambda: "mic_0001" in good.read_text(), "it is in the list again")


def test_a_micrograph_is_excluded_on_a_phone(look, session):
    page = open_signed_in(look, "/", width=400)
    rows = session.rows
    choose(page, "Exclude…", "Done: exclude: mic_0001.mrc")
    session.until(lambda: rows()["mic_0001.mrc"].person_verdict == "excluded", "excluded")
    page.goto(f"http://{session.address}/")
    choose(page, "Judge by its figures…", "Done:")
    session.until(lambda: rows()["mic_0001.mrc"].person_verdict is None, "back to its figures")


def test_a_stale_page_changes_nothing_and_loses_nothing(look, session):
    """409 with the new diff; the edit of the other person stays."""
    page = open_signed_in(look, "/actions/threshold?value=0.5")
    session.config.write_text(session.config.read_text() + "# another hand\n")
    with page.expect_response(lambda answer: answer.url.endswith("/confirm")) as answer:
        page.get_by_role("button", name="Make this change").click()
    assert answer.value.status == 409
    page.get_by_text("changed by somebody else").wait_for()
    assert load_config(session.config).picking.threshold == "auto"
    page.get_by_role("button", name="Make this change").click()
    page.get_by_text("Done:").wait_for()
    assert session.config.read_text().endswith("# another hand\n")
    undo(page, "set the threshold to 0.5")
    look.wrong.clear()  # the browser notes the 409


def test_with_a_wrong_token_nobody_gets_in(look, session):
    page = look("/actions")
    sign_in(page, token="wrong-token-of-somebody")  # noqa: S106 - wrong
    page.get_by_text("This is not the token.").wait_for()
    assert "wrong-token" not in session.log.read_text()
    assert TOKEN not in session.log.read_text()
    look.wrong.clear()  # the browser notes the 403


def test_a_form_of_a_page_on_another_port_is_refused(browser, session):
    """The browser sends the cookie, since cookies ignore ports, and the answer is 403."""
    form = f"""<form method="post" action="http://{session.address}/actions/sign-out">
      <input name="form_token" value="x"></form><script>document.forms[0].submit()</script>"""

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(form.encode())

        def log_message(self, *_):
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    try:
        page = context.new_page()
        page.goto(f"http://{session.address}/actions")
        sign_in(page)
        page.locator(".links").wait_for()
        with page.expect_response(lambda answer: answer.url.endswith("/sign-out")) as answer:
            page.goto(f"http://127.0.0.1:{server.server_port}/", wait_until="commit")
        assert answer.value.status == 403
        page.get_by_text("sent by another page").wait_for()
        assert "livepick_" in answer.value.request.all_headers().get("cookie", "")
        page.goto(f"http://{session.address}/actions")
        assert page.locator(".links").is_visible()  # still signed in
    finally:
        context.close()
        server.shutdown()
        server.server_close()


def test_a_new_token_signs_out_and_a_command_excludes_too(look, session):
    page = open_signed_in(look)
    ran = livepick("exclude", session.config, "mic_0002.mrc")
    assert ran.returncode == 0, ran.stderr
    rows = session.rows
    session.until(lambda: rows()["mic_0002.mrc"].quality_verdict == "bad", "excluded")
    token = session.folder / "token"
    token.write_text("another-token-of-today\n")
    session.until(lambda: "new token" in session.log.read_text(), "the new token")
    page.reload()
    page.locator("#token").wait_for()
    page.goto("about:blank")

    assert session.stop() == 0
    session.start()
    assert rows()["mic_0002.mrc"].person_verdict == "excluded"
    assert livepick("include", session.config, "mic_0002.mrc", "--by-figures").returncode == 0
    session.until(lambda: rows()["mic_0002.mrc"].quality_verdict == "good", "good again")
    check = json.loads(livepick("check", session.config, "--json").stdout)
    (found,) = [each for each in check["checks"] if each["name"] == "actions on the page"]
    assert found["verdict"] == "ok"
