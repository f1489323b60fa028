"""Changes through the page: who may send a form, and what happens to the config file."""

import http.client
import re
import socket
import time
from pathlib import Path

import pytest
from acting_browser import BASE, GUESS, TOKEN

from livepick.config.edit_history import read_edits
from livepick.config.yaml_loader import load_config
from livepick.core.formats.file_version import FileVersion
from livepick.ledger.person_verdicts import JudgedFile, decide, read_person_verdicts
from livepick.ledger.session_end import SessionEnd, read_session_end, write_session_end
from livepick.models.registry import MODELS, Models
from livepick.web import forms
from livepick.web.server import Door, Web, listen


def test_a_change_is_shown_then_made_then_undone(ada):
    """Comments stay; the history has who; undoing is a change like any other."""
    status, shown = ada.propose("threshold", value="0.41")
    assert status == 200
    assert "threshold: 0.41" in shown
    assert ada.file.read_text() == BASE  # nothing is made yet

    status, text = ada.confirm("threshold", shown)
    assert (status, "Done: set the threshold to 0.41" in text) == (200, True)
    assert load_config(ada.file).picking.threshold == 0.41
    assert "# from the paper" in ada.file.read_text()
    (edit,) = read_edits(ada.state)
    assert (edit.by, edit.keys[0].before, edit.keys[0].after) == ("Ada", "auto", 0.41)

    _, history = ada.send("GET", "/actions")
    assert "Ada" in history
    status, shown = ada.propose("undo", edit="1")
    assert (status, "undo: set the threshold" in shown) == (200, True)
    assert ada.confirm("undo", shown)[0] == 200
    assert load_config(ada.file).picking.threshold == "auto"
    assert [each.undoes for each in read_edits(ada.state)] == [None, 1]


def test_a_link_with_a_value_only_shows_the_change(ada):
    """The slider leads there; nothing changes without the confirmation."""
    status, shown = ada.send("GET", "/actions/threshold?value=0.3")
    assert (status, "threshold: 0.3" in shown) == (200, True)
    assert ada.file.read_text() == BASE
    assert ada.confirm("threshold", shown)[0] == 200


def test_a_file_that_was_edited_since_is_not_overwritten(ada):
    """409, the other edit stays, and the new diff can be confirmed."""
    _, shown = ada.propose("threshold", value="0.41")
    ada.file.write_text(BASE.replace("krios", "titan"))

    status, again = ada.confirm("threshold", shown)
    assert status == 409
    assert "changed by somebody else" in again
    assert ada.file.read_text() == BASE.replace("krios", "titan")
    assert ada.confirm("threshold", again)[0] == 200
    assert "# titan" in ada.file.read_text()
    assert load_config(ada.file).picking.threshold == 0.41


def test_an_edit_whose_setting_was_changed_since_cannot_be_undone(ada):
    for value in ("0.41", "0.42"):
        _, shown = ada.propose("threshold", value=value)
        ada.confirm("threshold", shown)
    status, text = ada.propose("undo", edit="1")
    assert status == 409
    assert "was changed since: it is 0.42" in text
    assert load_config(ada.file).picking.threshold == 0.42


def test_a_training_that_would_end_asks_first(ada):
    ada.ledger.session.run_changed(3, "f", "running")
    status, shown = ada.propose("retrain")
    assert (status, "This ends training run 3" in shown) == (200, True)

    status, again = ada.confirm("retrain", shown)
    assert (status, "may end" in again) == (409, True)
    assert ada.file.read_text() == BASE
    assert ada.confirm("retrain", again, end_run="3")[0] == 200
    assert load_config(ada.file).training.generation == 2


def test_a_threshold_ends_no_training(ada):
    ada.ledger.session.run_changed(3, "f", "running")
    _, shown = ada.propose("threshold", value="0.2")
    assert "ends training" not in shown
    assert ada.confirm("threshold", shown)[0] == 200


def test_the_second_click_on_a_button_does_nothing_more(ada):
    _, shown = ada.propose("retrain")
    assert ada.confirm("retrain", shown)[0] == 200
    assert ada.confirm("retrain", shown)[0] == 409
    assert load_config(ada.file).training.generation == 2


@pytest.mark.parametrize(("action", "fields"), [("retrain", {}), ("diameter", {"value": "170"})])
def test_a_change_that_sorts_anew_withdraws_the_decisions_on_classes(ada, action, fields):
    """The same numbers would be those of other classes; the undo brings them back."""
    text = BASE.replace("picks: blob", "picks: blob, classes: {accept: [2], reject: [0, 1]}")
    ada.file.write_text(text)
    _, shown = ada.propose(action, **fields)
    assert "decisions on the present ones are withdrawn" in shown
    assert ada.confirm(action, shown)[0] == 200
    classes = load_config(ada.file).bootstrap.classes
    assert (classes.accept, classes.reject) == ([], [])
    _, shown = ada.propose("undo", edit="1")
    assert ada.confirm("undo", shown)[0] == 200
    classes = load_config(ada.file).bootstrap.classes
    assert (classes.accept, classes.reject) == ([2], [0, 1])
    assert load_config(ada.file).particle.diameter_angstrom == 150


@pytest.mark.parametrize(
    ("action", "fields", "says"),
    [
        ("threshold", {"value": "2"}, "The threshold is 2"),
        ("threshold", {"value": "nan"}, "nan"),
        ("threshold", {"value": "1e999"}, "1e999"),
        ("threshold", {"value": ["0.1", "0.2"]}, "2 times"),
        ("threshold", {"auto": "1"}, "has this already"),
        ("diameter", {"value": "3"}, "20 and 2000|at least|20"),
        ("classes", {"shown": "x"}, "is not the number of"),
        ("classes", {"accept": "1", "reject": "1"}, "accepted and rejected"),
        ("undo", {"edit": "7"}, "no edit 7"),
        ("undo", {"edit": "9" * 99}, "is not the number of"),
    ],
)
def test_what_is_not_possible_is_said_and_changes_nothing(ada, action, fields, says):
    status, text = ada.propose(action, **fields)
    assert 400 <= status < 500
    assert re.search(says, text)
    assert ada.file.read_text() == BASE


def test_a_config_with_a_fault_is_said(ada):
    ada.file.write_text(BASE + "trainning: {}\n")
    status, text = ada.send("GET", "/actions/threshold")
    assert (status, "trainning" in text) == (409, True)


def test_a_file_that_cannot_be_written_is_said(ada, monkeypatch):
    monkeypatch.setattr("livepick.config.yaml_edit.os.access", lambda *_: False)
    _, shown = ada.propose("threshold", value="0.41")
    status, text = ada.confirm("threshold", shown)
    assert status == 400
    assert "could not be written: it is read-only" in text
    assert read_edits(ada.state) == []


def test_a_session_is_ended_and_reopened(ada):
    _, shown = ada.propose("session")
    assert ada.confirm("session", shown)[0] == 200
    session = load_config(ada.file).session
    assert (session.ended, session.ended_by) == (True, "Ada, on the page")
    _, shown = ada.propose("session", reopen="1")
    assert ada.confirm("session", shown)[0] == 200
    assert not load_config(ada.file).session.ended
    assert ada.file.read_text().count("# krios") == 1


def test_a_session_that_ended_by_itself_is_reopened_without_an_edit(ada):
    write_session_end(ada.state, SessionEnd("s", 1.0, "idle"))
    status, shown = ada.propose("session", reopen="1")
    assert (status, "ended by itself" in shown) == (200, True)
    assert ada.confirm("session", shown)[0] == 200
    assert read_session_end(ada.state, "s") is None
    assert ada.file.read_text() == BASE


def test_another_model_is_used_and_the_one_before_again(ada, put_bundle, monkeypatch):
    """The history of models has who; a model that changed meanwhile is asked about again."""
    models = Models(ada.state / MODELS)
    models.ensure_first_picker(ada.resolved())
    for version in (1, 2):
        put_bundle(models, ada.resolved(), version)
    first = models.current(ada.resolved()).card.version
    status, shown = ada.propose("model", version="2")
    assert status == 200, shown
    assert f"{first} → 2" in shown
    status, text = ada.confirm("model", shown)  # its graph is not one
    assert (status, models.current(ada.resolved()).card.version) == (400, first)
    assert "model 2" in text or "graph" in text
    monkeypatch.setattr("livepick.picking.promote_by_person._try", lambda _: None)
    _, stale = ada.propose("model", version="1")
    status, text = ada.confirm("model", shown)
    assert status == 200, text
    assert models.current(ada.resolved()).card.version == 2
    assert "by Ada" in models.last_promotion().why
    assert ada.confirm("model", stale)[0] == 409

    _, shown = ada.propose("model", version="1")
    assert ada.confirm("model", shown)[0] == 200
    _, shown = ada.propose("model", rollback="1")
    assert "return to model 2" in shown
    assert ada.confirm("model", shown)[0] == 200
    assert models.last_promotion().rollback
    assert ada.propose("model", version="77")[0] == 400
    assert "Use model" in ada.send("GET", "/actions/model")[1]


def test_a_micrograph_is_excluded_and_judged_by_its_figures_again(ada, monkeypatch):
    """The verdict is kept in the state folder with who; a stale page asks again."""
    monkeypatch.setattr("livepick.web.verdict_action.APPLY_SECONDS", 0.0)  # there is no service
    ada.ledger.arrivals.landed(Path("/m"), Path("a.mrc"), FileVersion(1, 1, 1), time.time())
    (row,) = ada.ledger.reader.recent(-1)
    status, shown = ada.send(
        "GET", f"/actions/micrograph?id={row.id}&verdict=excluded&list=%3Fname%3Da"
    )
    assert (status, "exclude: a.mrc" in shown) == (200, True)
    assert read_person_verdicts(ada.state).by_place == {}
    status, done = ada.confirm("micrograph", shown)
    assert (status, f'href="../../micrographs/{row.id}?name=a"' in done) == (200, True)
    (verdict,) = read_person_verdicts(ada.state).by_place.values()
    assert (verdict.verdict, verdict.by) == ("excluded", "Ada")
    assert ada.confirm("micrograph", shown)[0] == 400  # it is already

    (edit,) = read_edits(ada.state)
    assert edit.undo_with == "micrograph?path=%2Fm%2Fa.mrc&verdict=measured"
    assert "Undo" in ada.send("GET", "/actions")[1]
    _, shown = ada.send("GET", f"/actions/{edit.undo_with}")
    decide(ada.state, [JudgedFile("/m", "a.mrc", 1)], "included", by="Bob")
    assert ada.confirm("micrograph", shown)[0] == 409
    _, shown = ada.propose("micrograph", id=str(row.id), verdict="measured")
    assert ada.confirm("micrograph", shown)[0] == 200
    assert read_person_verdicts(ada.state).by_place == {}
    for fields in ({"id": "9"}, {"id": "x"}, {"id": str(row.id), "verdict": "gone"}):
        assert ada.propose("micrograph", **{"verdict": "excluded"} | fields)[0] == 400


# --- who may send a form ---------------------------------------------------------------------


def test_without_the_token_nothing_can_be_changed(browser):
    status, text = browser.send("GET", "/actions/threshold?value=0.3")
    assert (status, "Sign in" in text) == (200, True)
    for path in ("threshold/propose", "threshold/confirm", "undo/confirm", "sign-out"):
        assert browser.send("POST", f"/actions/{path}", {"value": "0.3"})[0] == 401
    assert browser.sign_in(token=GUESS) == 403
    assert browser.file.read_text() == BASE


@pytest.mark.parametrize(
    ("back", "place"),
    [
        ("threshold?value=0.3", "../actions/threshold?value=0.3"),
        ("threshold?", "../actions/threshold"),
        ("//evil.example", "../actions"),
        ("threshold?a=b\r\nX: y", "../actions/threshold?a=b%0D%0AX%3A+y"),
    ],
)
def test_signing_in_leads_on_to_the_page_before(browser, back, place):
    """Nothing that was chosen there is lost, and it leads to no other host."""
    fields = {"name": "Ada", "token": TOKEN, "back": back}
    assert browser.send("POST", "/actions/sign-in", fields)[0] == 303
    assert browser.answer.headers["location"] == place


def test_who_guesses_waits(browser):
    for _ in range(5):
        assert browser.sign_in(token=GUESS) == 403
    assert browser.sign_in() == 429
    assert browser.answer.headers["retry-after"] == "60"


def test_a_name_is_asked_for_and_made_harmless(browser):
    assert browser.sign_in(name=" \n ") == 400
    assert browser.sign_in(name="x" * 61) == 400
    assert browser.sign_in(name="<b>Eve\r\nINFO fake</b>") == 303
    _, text = browser.send("GET", "/actions")
    assert "<b>Eve" not in text
    assert "&lt;b&gt;Eve" in text


def test_the_cookie_is_for_this_service_alone(ada):
    """Cookies ignore ports, so its name differs by service; no script or other site has it."""
    cookie = ada.answer.headers["set-cookie"]
    assert re.match(r"livepick_[0-9a-f]{12}=[\w-]{43}; ", cookie)
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie  # plain http
    ada.cookie = f"livepick_000000000000=x; {ada.cookie}; {ada.cookie.partition('=')[0]}=other"
    assert ada.propose("threshold", value="0.3")[0] == 200


def test_after_signing_out_the_cookie_is_worthless(ada):
    _, page = ada.send("GET", "/actions/threshold")
    token = re.search(r'form_token" value="([^"]+)', page)[1]
    assert ada.send("POST", "/actions/sign-out", {"form_token": token})[0] == 303
    assert "Max-Age=0" in ada.answer.headers["set-cookie"]
    assert "Sign in" in ada.send("GET", "/actions/threshold")[1]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},  # the same host on another port: SameSite lets it pass
        {"Origin": "null"},
        {"Origin": None},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_a_form_of_another_page_is_refused(ada, headers):
    _, shown = ada.propose("threshold", value="0.41")
    status, text = ada.send(
        "POST", "/actions/threshold/confirm", ada.hidden(shown), headers=headers
    )
    assert (status, "another page" in text) == (403, True)
    assert ada.send("POST", "/actions/sign-in", {}, headers=headers)[0] == 403
    assert ada.file.read_text() == BASE


@pytest.mark.parametrize("given", ["", "x" * 43, "\u00e4"])
def test_a_form_without_the_text_of_the_session_is_refused(ada, given):
    _, shown = ada.propose("threshold", value="0.41")
    assert ada.confirm("threshold", shown, form_token=given)[0] == 403
    assert ada.file.read_text() == BASE


def test_a_foreign_name_of_this_machine_is_refused(ada):
    """A page of another host that points its name here (DNS rebinding) gets no answer."""
    status, _ = ada.send("GET", "/actions", headers={"Host": "evil.example"})
    assert status == 400


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"])
def test_other_methods_are_refused(ada, method):
    headers = {"X-HTTP-Method-Override": "POST"}
    assert ada.send(method, "/actions/threshold/confirm", headers=headers)[0] == 405


@pytest.mark.parametrize("path", ["/", "/actions", "/search", "/metrics", "/actionsx/y"])
def test_forms_are_accepted_below_actions_only(ada, path):
    assert ada.send("POST", path, {"value": "1"})[0] == 405


def test_reading_a_page_of_a_change_never_makes_it(ada):
    for method in ("GET", "HEAD"):
        for path in ("threshold/confirm", "threshold/propose", "sign-in/x"):
            assert ada.send(method, f"/actions/{path}?value=0.3")[0] in (404, 405)
    assert ada.send("HEAD", "/actions/threshold?value=0.3") == (200, "")
    assert ada.file.read_text() == BASE


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"Content-Type": "text/plain"}, "a=b", 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, "--x--", 415),
        ({"Content-Type": "application/json"}, "{}", 415),
        ({"Content-Type": forms.FORM_TYPE}, "a=" + "x" * 40_000, 413),
        ({"Content-Type": forms.FORM_TYPE}, "a=" + "x" * 200_000, 413),
        ({"Content-Type": forms.FORM_TYPE}, "&".join(["a=b"] * 700), 400),
        ({"Content-Type": forms.FORM_TYPE}, b"a=\xff", 400),
        ({"Content-Type": forms.FORM_TYPE}, b"a=%ff", 400),
    ],
)
def test_what_is_not_a_small_form_is_refused(ada, headers, body, expected):
    headers = headers | {"Origin": ada.origin}
    status, _ = ada.send("POST", "/actions/threshold/confirm", headers=headers, body=body)
    assert status == expected


def raw(browser, head, body=b"", *, seconds=30):
    """Send bytes, and return all that comes back."""
    host, _, port = browser.web.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as link:
        start = f"POST /actions/sign-in HTTP/1.1\r\nHost: {browser.web.address}\r\n"
        link.sendall(f"{start}Origin: {browser.origin}\r\n{head}\r\n\r\n".encode() + body)
        received = b""
        while part := link.recv(65536):
            received += part
    return received


def test_a_chunked_form_is_limited_too(browser):
    """It does not announce its length."""
    kind = f"Content-Type: {forms.FORM_TYPE}\r\nTransfer-Encoding: chunked"
    chunks = b"1000\r\n" + b"a" * 0x1000 + b"\r\n"
    assert b" 413 " in raw(browser, kind, chunks * 20 + b"0\r\n\r\n").partition(b"\r\n")[0]


def test_two_lengths_of_a_body_are_refused(browser):
    """A proxy in front could read the other one, and take the rest for another request."""
    kind = f"Content-Type: {forms.FORM_TYPE}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked"
    answer = raw(browser, kind, b"0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b" 400 " in answer.partition(b"\r\n")[0]
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_form_that_comes_slowly_is_given_up(browser, monkeypatch):
    monkeypatch.setattr(forms, "FORM_SECONDS", 0.3)
    began = time.monotonic()
    kind = f"Content-Type: {forms.FORM_TYPE}\r\nContent-Length: 100"
    answer = raw(browser, kind, b"a=")
    assert b" 408 " in answer.partition(b"\r\n")[0]
    assert time.monotonic() - began < 25


def test_the_token_is_nowhere_else(ada, caplog):
    """Neither in a page, a header nor the log."""
    pages = [ada.send("GET", path)[1] for path in ("/", "/actions", "/metrics")]
    assert all(TOKEN not in text for text in pages)
    assert TOKEN not in str(ada.answer.headers)
    assert TOKEN not in caplog.text


def test_pages_of_actions_are_not_stored_and_not_framed(ada):
    ada.send("GET", "/actions")
    headers = ada.answer.headers
    assert headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "same-origin"  # with no-referrer, forms have no origin


def test_this_machines_own_socket_takes_no_forms(ada):
    """It asks for no password, so it stays read-only."""
    door = Door(listen("127.0.0.1:0"), ada.app.local)
    web = Web(door)
    web.start()
    try:
        connection = http.client.HTTPConnection(web.address, timeout=60)
        connection.request("POST", "/actions/sign-in", "", {"Content-Type": forms.FORM_TYPE})
        assert connection.getresponse().status == 405
        connection.close()
    finally:
        web.stop()
