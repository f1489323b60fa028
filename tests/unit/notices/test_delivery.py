"""Deliveries to real servers here, a webhook and a mail server: right, wrong and hanging."""

import socket

import pytest
from aiosmtpd.controller import Controller
from held_port import held_port

from livepick.notices.delivery import deliver
from webhook import webhook


@pytest.fixture
def hook():
    """Yield a web server that keeps what it is sent."""
    with webhook() as made:
        yield made


@pytest.fixture
def hanging():
    """Return the port of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


class Mailbox:
    def __init__(self):
        self.mails = []

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - its interface
        self.mails.append((envelope.rcpt_tos, envelope.content.decode()))
        return "250 OK"


@pytest.fixture
def mail_server():
    mailbox = Mailbox()
    with held_port() as port:
        controller = Controller(mailbox, hostname="127.0.0.1", port=port, ready_timeout=60)
        controller.start()
        yield port, mailbox.mails
        controller.stop()


def test_a_webhook_gets_title_and_text(hook):
    assert deliver(f"json://127.0.0.1:{hook.port}/", "A title", "A text.", is_bad=True) == ""
    (message,) = hook.messages
    assert (message["title"], message["message"], message["type"]) == (
        "A title",
        "A text.",
        "failure",
    )


def test_a_mail_arrives(mail_server):
    port, mails = mail_server
    address = f"mailto://127.0.0.1:{port}?from=pick@example.org&to=staff@example.org"
    assert deliver(address, "Session over", "5 of 5 picked.", is_bad=False) == ""
    ((recipients, text),) = mails
    assert recipients == ["staff@example.org"]
    assert "Subject: Session over" in text
    assert "5 of 5 picked." in text


def test_a_server_that_refuses_is_a_fault_without_the_address(hook):
    hook.status = 403
    why = deliver(f"json://anna:hunter2@127.0.0.1:{hook.port}/", "T", "B", is_bad=False)
    assert why == "the server refused it, or cannot be reached"


@pytest.mark.parametrize("scheme", ["json", "mailto"])
def test_a_server_that_hangs_is_given_up(hanging, scheme):
    address = f"{scheme}://anna:hunter2@127.0.0.1:{hanging}/?from=b@example.org&to=a@example.org"
    why = deliver(address, "T", "B", is_bad=False, seconds=4)
    assert why in (
        "the server did not answer within 4 s",
        "the server refused it, or cannot be reached",
    )


@pytest.mark.parametrize("address", ["nonsense", "gopher://hunter2@x", "mailto://", "json://"])
def test_an_address_of_a_wrong_form_is_a_fault_that_does_not_repeat_it(address):
    why = deliver(address, "T", "B", is_bad=False)
    assert why.startswith("apprise does not know such an address")
    assert "hunter2" not in why
