"""An instrument with TLS, a password and actions: its overview, its sessions, and Prometheus."""

import base64
import json
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request

import bcrypt
import pytest
import yaml
from monitoring import Prometheus
from session import livepick

from certificates import make_certificate, needs_openssl
from day import Day, Plan

PROMETHEUS = shutil.which("prometheus")
PASSWORD = "secret"  # noqa: S105 - of nobody

pytestmark = [needs_openssl, pytest.mark.slow, pytest.mark.timeout(600)]


class ProtectedDay(Day):
    """An instrument whose overview has TLS and a password, so that the command asks for it."""

    def overview(self):
        """Return the sessions by name; raise OSError if the service does not run."""
        values = json.loads(livepick("list", self.config, "--json").stdout or "{}")
        if values.get("service") != "running":
            raise OSError("it does not run")
        return {each["name"]: each for each in values["sessions"]}


@pytest.fixture
def certificate(tmp_path):
    """Return a certificate that is valid for the name localhost only, and its key."""
    return make_certificate(tmp_path, names="DNS:localhost")


@pytest.fixture
def day(tmp_path, certificate):
    """Return an instrument on ``localhost`` by that name."""
    made = ProtectedDay(tmp_path, Plan(idle_seconds=36000))
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (tmp_path / "web.yml").write_text(
        f"tls_server_config: {{cert_file: {certificate[0]}, key_file: {certificate[1]}}}\n"
        f'basic_auth_users: {{prometheus: "{hashed}"}}\n'
    )
    token = tmp_path / "token"
    token.write_text("a-token-of-the-operators\n")
    token.chmod(0o600)
    settings = yaml.safe_load(made.config.read_text())
    settings["sessions"]["output"] = str(tmp_path / "picks" / "{session}")
    settings["web"] = {
        "listen": f"localhost:{made.port}",
        "web_config_file": str(tmp_path / "web.yml"),
        "actions": "token",
        "token_file": str(token),
    }
    made.config.write_text(yaml.safe_dump(settings))
    yield made
    made.end()


def status_and_text(url, certificate, *, password=PASSWORD):
    """Return the status and the text of a page."""
    told = base64.b64encode(f"prometheus:{password}".encode()).decode()
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {told}"})  # noqa: S310
    context = ssl.create_default_context(cafile=certificate[0])
    try:
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_pages_and_targets_have_the_name_of_the_certificate(day, certificate, tmp_path):
    """The session has the TLS, the password and the actions of its instrument."""
    ready = livepick("check", day.config)
    assert ready.returncode == 0, ready.stdout
    assert "actions on the page: for people who know the token" in ready.stdout
    day.start()
    day.collect("s1", 0, 1)
    day.until(lambda: day.overview().get("s1", {}).get("has_page", False), "its page answers")
    overview = f"https://localhost:{day.port}/"
    assert status_and_text(overview, certificate, password="wrong")[0] == 401  # noqa: S106
    status, page = status_and_text(overview, certificate)
    (link,) = re.findall(r'href="(https://localhost:\d+/)">s1<', page)
    assert (status, status_and_text(link, certificate, password="wrong")[0]) == (200, 401)  # noqa: S106
    status, page = status_and_text(link, certificate)
    assert (status, overview in page, 'href="actions"' in page) == (200, True, True)
    assert f"The page: {link}" in livepick("status", day.config, "--session", "s1").stdout

    found = json.loads(status_and_text(f"{overview}targets", certificate)[1])
    assert [each["targets"] for each in found] == [[link.split("/")[2]]]
    if PROMETHEUS is None:
        pytest.skip("prometheus is missing (Debian's prometheus); all else was checked")
    access = {
        "basic_auth": {"username": "prometheus", "password": PASSWORD},
        "tls_config": {"ca_file": str(certificate[0])},
    }
    prometheus = Prometheus(
        PROMETHEUS,
        tmp_path / "prometheus",
        target=f"localhost:{day.port}",
        scale=1,
        scrape={"scheme": "https", **access},
        discover={"url": f"{overview}targets", **access},
    )
    try:
        give_up = time.monotonic() + 120
        while not prometheus.has_figures("count(up == 1) == 2"):
            assert time.monotonic() < give_up, prometheus.ask("targets")["activeTargets"]
            time.sleep(0.3)
    finally:
        prometheus.close()
