"""A browser on a page that people may act on, without the service behind it."""

import http.client
import re
import urllib.parse

from livepick.config.measured_particle import resolve
from livepick.config.yaml_loader import load_config
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.page_queries import PageQueries
from livepick.ledger.reader import LedgerReader
from livepick.ledger.writer import LedgerWriter
from livepick.monitoring.health import Health
from livepick.monitoring.metrics.exporter import Metrics
from livepick.monitoring.status import Status
from livepick.picking.engine import threads
from livepick.web import forms
from livepick.web.app import ActionSources, create_app
from livepick.web.guard import Guard
from livepick.web.page import Sources
from livepick.web.server import Door, Web, listen
from livepick.web.sign_in import SignIns

TOKEN = "correct-horse-battery-staple"  # noqa: S105 - of this test
GUESS = "wrong"

BASE = """\
session: {name: s}  # krios
watch: {directories: [in]}
particle: {diameter_angstrom: 150}  # from the paper
bootstrap: {picks: blob}
output: {directory: out}
state: {directory: state}
web:
  actions: token
  token_file: token
  listen: 127.0.0.1:0
"""


class Browser:
    """A browser with one page, on a real server."""

    def __init__(self, folder, *, extra=""):
        self.file = folder / "s.yaml"
        self.file.write_text(BASE + extra)
        (folder / "token").write_text(TOKEN)
        (folder / "token").chmod(0o600)
        self.config = load_config(self.file)
        self.state = self.config.state.directory
        self.database = Database.writable(self.state / LEDGER)
        self.ledger = LedgerWriter(self.database)
        self.shared = Database.read_only(self.state / LEDGER)
        self.engine = threads(1)
        sources = Sources(
            lambda: Status("s"),
            lambda: Health(ok=True, seconds_since={}),
            self.resolved,
            LedgerReader(self.shared),
            PageQueries(self.shared),
        )
        self.sign_ins = SignIns(folder / "token")
        self.app = create_app(
            Metrics(),
            sources,
            self.engine.submit,
            guard=lambda app: Guard(app, has_actions=True),
            acting=ActionSources(self.file, self.sign_ins),
        )
        self.web = Web(Door(listen("127.0.0.1:0"), self.app.asgi), closing=self.app.close)
        self.web.start()
        self.origin = f"http://{self.web.address}"
        self.cookie = ""

    def resolved(self):
        """Return the settings in force."""
        return resolve(self.config, None)

    def close(self):
        """End the server."""
        self.web.stop()
        self.engine.stop()
        self.shared.close()
        self.database.close()

    def send(self, method, path, fields=None, *, headers=None, body=None):
        """Send a request as a browser does, and return its status and text."""
        sent = {"Cookie": self.cookie} if self.cookie else {}
        if fields is not None:
            body = urllib.parse.urlencode(fields, doseq=True)
            sent |= {"Origin": self.origin, "Content-Type": forms.FORM_TYPE}
        sent |= headers or {}
        connection = http.client.HTTPConnection(self.web.address, timeout=60)
        connection.request(method, path, body, {k: v for k, v in sent.items() if v is not None})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        self.answer = answer
        return answer.status, text

    def sign_in(self, name="Ada", token=TOKEN, **headers):
        """Sign in and return the status."""
        status, _ = self.send("POST", "/actions/sign-in", {"name": name, "token": token}, **headers)
        if status == 303:
            self.cookie = self.answer.headers["set-cookie"].partition(";")[0]
        return status

    def hidden(self, text):
        """Return the hidden fields of the last form of a page."""
        form = text.rpartition("<form")[2]
        return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))

    def propose(self, action, **fields):
        """Ask for a change, and return the status and the fields of the form that confirms it."""
        _, page = self.send("GET", "/actions/threshold")
        token = self.hidden(page).get("form_token", "")
        status, text = self.send(
            "POST", f"/actions/{action}/propose", {"form_token": token, **fields}
        )
        return status, text

    def confirm(self, action, text, **more):
        """Confirm a change that a page shows."""
        return self.send("POST", f"/actions/{action}/confirm", self.hidden(text) | more)
