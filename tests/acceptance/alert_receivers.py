"""A real Alertmanager with the shipped config, and what receives its mails."""

import contextlib
import email
import email.policy
import subprocess
import time
import urllib.request
from pathlib import Path

from aiosmtpd.controller import Controller

from free_port import free_port

SHIPPED = Path(__file__).parents[2] / "deploy" / "alertmanager" / "alertmanager.yml"


class Mails:
    """A mail server that keeps what it is sent."""

    def __init__(self):
        self.received = []
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port())

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - of aiosmtpd
        """Keep a mail."""
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.received.append((tuple(envelope.rcpt_tos), str(mail["subject"]), _text(mail)))
        return "250 OK"

    def __enter__(self):
        self._controller.start()
        return self

    def __exit__(self, *_):
        self._controller.stop()

    @property
    def address(self):
        """host:port."""
        return f"127.0.0.1:{self._controller.port}"

    def to(self, receiver):
        """Return subjects and texts of the mails to an address that begins with a name."""
        return [
            (subject, text) for to, subject, text in self.received if to[0].startswith(receiver)
        ]


def _text(mail):
    parts = [part.get_content() for part in mail.walk() if part.get_content_type() == "text/plain"]
    kinds = {part.get_content_type() for part in mail.walk() if not part.is_multipart()}
    assert kinds == {"text/plain"}, kinds  # no HTML with links to Alertmanager
    return parts[0].replace("\r\n", "\n")


@contextlib.contextmanager
def alertmanager(program, folder, *, mails, hook, times):
    """Run Alertmanager with the shipped config, and yield its address.

    Parameters
    ----------
    program
        Its path.
    folder
        Where it may write.
    mails, hook
        Addresses of the mail server and of the webhook, which replace the shipped ones.
    times
        What replaces each shipped time, by its line: minutes become seconds.
    """
    folder.mkdir()
    text = SHIPPED.read_text()
    for old, new in {
        "mail.example.org:587": f"{mails}\n  smtp_require_tls: false",
        "http://127.0.0.1:8080/livepick": hook,
        **times,
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    config = folder / "alertmanager.yml"
    config.write_text(text)
    address = f"127.0.0.1:{free_port()}"
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={config}",
                f"--storage.path={folder / 'data'}",
                f"--web.listen-address={address}",
                "--cluster.listen-address=",
            ],
            stdout=output,
            stderr=output,
        )
    try:
        _wait_until_ready(address, process, log)
        yield address
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(address, process, log):
    give_up = time.monotonic() + 60
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < give_up, log.read_text()
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://{address}/-/ready", timeout=60).close()
            return
        time.sleep(0.1)
