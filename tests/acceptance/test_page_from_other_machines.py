"""The page behind a proxy, and with TLS and passwords."""

import base64
import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import bcrypt
import pytest
import yaml
from chromium import NEEDS_CHROMIUM, PATIENCE_MS
from monitoring import Prometheus
from session import livepick

from certificates import make_certificate, needs_openssl
from free_port import free_port
from livepick.config.yaml_loader import load_config
from livepick.web.forms import FORM_TYPE

TOKEN = "correct-horse-battery-staple"  # noqa: S105 - of this test
DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture
def running():
    """Return a function that starts a program which ends with the test."""
    programs = []

    def start(*command, **environment):
        programs.append(subprocess.Popen([str(word) for word in command], **environment))

    yield start
    for program in programs:
        program.terminate()
        program.wait(timeout=60)


def _until(condition, what):
    give_up = time.monotonic() + 120
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        assert time.monotonic() < give_up, what
        time.sleep(0.1)


def _nginx(folder, running, port, target):
    block = (DEPLOY / "proxy" / "nginx.conf").read_text()
    assert "127.0.0.1:9476" in block
    (folder / "nginx.conf").write_text(
        "daemon off; pid nginx.pid; error_log stderr; worker_processes 1;"
        + (f"user {folder.owner()};" if folder.owner() == "root" else "")
        + "events {} http { access_log off; client_body_temp_path t1; proxy_temp_path t2;"
        "fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;"
        f"server {{ listen 127.0.0.1:{port}; {block.replace('127.0.0.1:9476', target)} }} }}"
    )
    running(shutil.which("nginx"), "-p", folder, "-c", folder / "nginx.conf")


def _caddy(folder, running, port, target):
    block = (DEPLOY / "proxy" / "Caddyfile").read_text()
    assert "127.0.0.1:9476" in block
    (folder / "Caddyfile").write_text(
        "{\n\tadmin off\n\tauto_https off\n}\n"
        f"http://cryoem.example.org:{port} {{\n{block.replace('127.0.0.1:9476', target)}}}\n"
    )
    running(
        *(shutil.which("caddy"), "run", "--config", folder / "Caddyfile", "--adapter", "caddyfile"),
        env={"HOME": str(folder), "PATH": "/usr/bin"},
    )


@pytest.mark.parametrize("proxy", ["nginx", "caddy"])
def test_the_page_works_behind_a_proxy(make_session, running, tmp_path, proxy):
    """Below another path, with the Host that the proxy passes on, live."""
    if shutil.which(proxy) is None:
        pytest.skip(f"{proxy} is not installed")
    port = free_port()
    host = f"cryoem.example.org:{port}"
    told = tmp_path / "told"
    program = tmp_path / "tell"
    program.write_text(f"#!/bin/sh\ncat >> {told}\n")
    program.chmod(0o755)
    session = make_session(
        "session",
        web={"external_url": f"http://{host}/krios1"},
        output={"on_picked": [str(program)]},
    )
    session.start()
    session.drop(2)
    session.until(lambda: session.picked() == 2, "picks")
    folder = tmp_path / "proxy"
    folder.mkdir()
    target = session.address
    {"nginx": _nginx, "caddy": _caddy}[proxy](folder, running, port, target)

    def get(path, *, lines=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        body = answer.read() if lines is None else answer.readline()
        connection.close()
        return answer, body

    _until(lambda: get("/krios1/")[0].status == 200, f"{proxy} answers")
    assert get("/krios1")[0].status in (301, 302)
    text = get("/krios1/")[1].decode()
    assert 'href="/' not in text
    assert 'src="/' not in text
    for path in ("style.css", "page.js", "micrographs/1", "micrographs/1/thumbnail.png", "metrics"):
        assert get(f"/krios1/{path}")[0].status == 200, path
    full = get("/krios1/micrographs/1")[1].decode()
    assert 'src="../micrographs/1/full.png' in full
    assert 'href="/' not in full
    # The first event comes at once, although the stream does not end.
    assert get("/krios1/events", lines=1)[1].startswith(b"data: {")

    session.until(lambda: told.exists() and "\n" in told.read_text(), "a call of on_picked")
    url = json.loads(told.read_text().splitlines()[0])["thumbnail_url"]
    assert url.startswith(f"http://{host}/krios1/micrographs/")
    assert f"http://{host}/krios1/" in livepick("status", session.config).stdout
    # Another name is still refused, by the same door.
    connection = http.client.HTTPConnection(target, timeout=60)
    connection.request("GET", "/", headers={"Host": "evil.example"})
    assert connection.getresponse().status == 400
    connection.close()


@pytest.mark.parametrize("proxy", ["nginx", "caddy"])
def test_people_change_a_setting_behind_a_proxy(make_session, running, tmp_path, proxy):
    """The origin of a form is that of the proxy's URL, and the cookie is for its path alone."""
    if shutil.which(proxy) is None:
        pytest.skip(f"{proxy} is not installed")
    port = free_port()
    host = f"cryoem.example.org:{port}"
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    web = {"external_url": f"http://{host}/krios1", "actions": "token"}
    session = make_session("session", web=web | {"token_file": str(tmp_path / "token")})
    session.start()
    folder = tmp_path / "proxy"
    folder.mkdir()
    {"nginx": _nginx, "caddy": _caddy}[proxy](folder, running, port, session.address)

    def send(method, path, fields=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        sent = {"Host": host, "Origin": f"http://{host}", "Content-Type": FORM_TYPE} | headers
        body = None if fields is None else urllib.parse.urlencode(fields)
        connection.request(method, f"/krios1/actions/{path}", body, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer, text

    _until(lambda: send("GET", "threshold")[0].status == 200, f"{proxy} answers")
    person = {"name": "Ada", "token": TOKEN, "back": "threshold?value=0.5"}
    assert send("POST", "sign-in", person, Origin="http://cryoem.example.org:1")[0].status == 403
    signed_in, _ = send("POST", "sign-in", person)
    assert signed_in.status == 303
    assert signed_in.headers["location"] == "../actions/threshold?value=0.5"
    cookie, *attributes = signed_in.headers["set-cookie"].split("; ")
    assert "Path=/krios1/" in attributes
    _, shown = send("GET", "threshold?value=0.5", Cookie=cookie)
    form = shown.rpartition("<form")[2]
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))
    answer, text = send("POST", "threshold/confirm", fields, Cookie=cookie)
    assert (answer.status, "Done: set the threshold" in text) == (200, True)
    assert load_config(session.config).picking.threshold == 0.5


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
@NEEDS_CHROMIUM
def test_a_browser_shows_the_page_behind_a_proxy(browser, make_session, running, tmp_path):
    """Style, script, pictures, live updates, search and the full view are found below the path."""
    port = free_port()
    session = make_session("session", web={"external_url": f"http://127.0.0.1:{port}/krios1/"})
    session.start()
    session.drop(2)
    session.until(lambda: session.picked() == 2, "picks")
    folder = tmp_path / "proxy"
    folder.mkdir()
    _nginx(folder, running, port, session.address)
    _until(lambda: not socket.create_connection(("127.0.0.1", port)).close(), "nginx listens")
    faults = []
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("response", lambda r: faults.append(r.url) if r.status >= 400 else None)
    page.goto(f"http://127.0.0.1:{port}/krios1/")
    page.wait_for_selector("#connection.live")

    def drawn(picture):
        width = f"document.querySelector('{picture}')?.naturalWidth ?? 0"
        _until(lambda: page.evaluate(width) > 0, picture)

    drawn(".strip img")
    session.drop(1, first=3)
    page.wait_for_selector("text=mic_0003.mrc")
    page.click(".strip a")
    drawn("#full img")
    page.wait_for_selector("#full .tools:not([hidden])")
    page.goto(page.url.partition("#")[0] + "search?name=mic_0002")
    page.click("#found [data-full]")
    drawn("#full img")
    page.goto(f"http://127.0.0.1:{port}/krios1/micrographs/1")
    drawn("img")
    page.wait_for_selector("#full .tools:not([hidden])")
    page.click("[rel=prev]")
    page.wait_for_url("**/krios1/micrographs/2")
    page.click("[data-close]")
    page.wait_for_url("**/krios1/")
    page.close()
    assert faults == []


@needs_openssl
def test_prometheus_scrapes_with_tls_and_a_password(make_session, tmp_path):
    """An address of all machines, as a facility would use it; status needs no password."""
    program = shutil.which("prometheus")
    certificate, key = make_certificate(tmp_path)
    stored = bcrypt.hashpw(b"secret", bcrypt.gensalt(10)).decode()
    (tmp_path / "web.yml").write_text(
        yaml.safe_dump(
            {
                "tls_server_config": {"cert_file": certificate.name, "key_file": key.name},
                "basic_auth_users": {"prometheus": stored},
            }
        )
    )
    settings = {"listen": "0.0.0.0:0", "web_config_file": str(tmp_path / "web.yml")}
    session = make_session("session", web=settings)
    session.start()
    port = session.address.rpartition(":")[2]
    context = ssl.create_default_context(cafile=certificate)
    url = f"https://localhost:{port}/metrics"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(url, timeout=60, context=context)
    basic = base64.b64encode(b"prometheus:secret").decode()
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {basic}"})
    with urllib.request.urlopen(request, timeout=60, context=context) as answer:  # noqa: S310 - our own
        text = answer.read().decode()
    assert "livepick_web_insecure 0.0" in text

    status = session.status()
    assert status["service"]["state"] == "running"
    assert status["service"]["page"] == f"https://{socket.gethostname()}:{port}/"
    assert "read again" not in session.log.read_text()
    assert session.stop() == 0
    session.start()

    if program is None:
        pytest.skip("prometheus is not installed")
    port = session.address.rpartition(":")[2]
    prometheus = Prometheus(
        program,
        tmp_path / "prometheus",
        target=f"localhost:{port}",
        scale=100,
        scrape={
            "scheme": "https",
            "basic_auth": {"username": "prometheus", "password": "secret"},
            "tls_config": {"ca_file": str(certificate)},
        },
    )
    try:
        _until(lambda: prometheus.has_figures('up{job="livepick"} == 1'), "a scrape")
        assert prometheus.has_figures("livepick_web_insecure == 0")
    finally:
        prometheus.close()


def test_an_open_address_is_refused_or_a_warning(make_session):
    session = make_session(web={"listen": "0.0.0.0:0"})
    for command in ("check", "run"):
        refused = livepick(command, session.config)
        assert refused.returncode == 78
        assert "web.insecure: true" in refused.stderr

    session.settings["web"]["insecure"] = True
    session.save()
    assert "warning" in livepick("check", session.config).stdout
    session.start()
    port = session.address.rpartition(":")[2]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        assert "livepick_web_insecure 1.0" in answer.read().decode()
    assert "anyone who can reach 0.0.0.0" in session.log.read_text()
    sentences = [problem["sentence"] for problem in session.status()["problems"]]
    assert any("web.insecure" in sentence for sentence in sentences)
    foreign = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(foreign, timeout=60)  # noqa: S310 - our own


def test_the_blocks_of_the_documentation_are_those_that_are_tested():
    text = (DEPLOY / "README.md").read_text()
    for name in ("nginx.conf", "Caddyfile"):
        assert (DEPLOY / "proxy" / name).read_text() in text
