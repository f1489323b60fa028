"""The address of the page, and the names that it answers to."""

import http.client
import socket
import types

import pytest
from held_port import held_port
from starlette.responses import PlainTextResponse

from certificates import make_certificate, needs_openssl
from livepick.errors import ConfigError
from livepick.monitoring.metrics.exporter import Metrics
from livepick.web import page_server
from livepick.web.guard import Guard
from livepick.web.page_server import PageServer


@pytest.fixture
def serve(make_config, monkeypatch):
    """Return a function that starts a server with settings of ``web``."""
    monkeypatch.setattr(socket, "getfqdn", lambda: "krios1.example.org")
    monkeypatch.setattr(socket, "gethostname", lambda: "krios1")
    app = PlainTextResponse("page")

    def create_app(*_, guard, unexpected, acting):
        return types.SimpleNamespace(
            asgi=guard(app), local=Guard(app, accepts_host=None), close=lambda: None
        )

    monkeypatch.setattr(page_server, "create_app", create_app)
    started = []

    def start(**web):
        config = make_config(web=web)
        config.state.directory.mkdir(exist_ok=True)
        server = PageServer(config)
        started.append(server)
        server.serve(Metrics(), None, None, None)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


def _status(server, host):
    port = int(server.address.rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/", headers={"Host": host})
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_proxy_passes_on_the_name_of_the_url(serve):
    server = serve(listen="127.0.0.1:0", external_url="https://Cryoem.example.org:8443/krios1")
    assert server.url == "https://Cryoem.example.org:8443/krios1/"
    accepted = (
        "cryoem.example.org",
        "CRYOEM.example.org:8443",
        "localhost",
        "127.0.0.1:1",
        "[::1]",
    )
    assert {_status(server, host) for host in accepted} == {200}
    refused = (
        "example.org",
        "evil.cryoem.example.org",
        "cryoem.example.org.evil.example",
        "10.0.0.1",
    )
    assert {_status(server, host) for host in refused} == {400}


def test_an_open_address_answers_to_the_names_of_the_machine(serve):
    """A foreign page cannot give an address as the name of its own."""
    server = serve(listen="0.0.0.0:0", insecure=True)
    port = server.address.rpartition(":")[2]
    assert server.url == f"http://krios1:{port}/"
    accepted = ("krios1", "krios1.example.org:9476", "192.0.2.7:9476", "[2001:db8::1]", "localhost")
    assert {_status(server, host) for host in accepted} == {200}
    assert {_status(server, host) for host in ("evil.example", "krios1.evil.example")} == {400}
    assert [problem.kind for problem in server.problems()] == ["web_insecure"]


@needs_openssl
def test_the_scheme_is_that_of_the_server(serve, tmp_path):
    certificate, key = make_certificate(tmp_path)
    (tmp_path / "web.yml").write_text(
        f"tls_server_config: {{cert_file: {certificate}, key_file: {key}}}\n"
    )
    server = serve(listen="127.0.0.1:0", web_config_file=str(tmp_path / "web.yml"))
    assert server.url == f"https://{server.address}/"
    assert server.problems() == []

    (tmp_path / "web.yml").write_text("tls: {}\n")
    for _ in range(3):
        server.reload_if_edited()
    (problem,) = server.problems()
    assert problem.kind == "web_config_refused"
    assert "tls is unknown" in problem.sentence


def test_a_fault_releases_the_address(make_config, tmp_path):
    missing = str(tmp_path / "none.yml")
    with held_port() as port:
        config = make_config(web={"listen": f"127.0.0.1:{port}", "web_config_file": missing})
        for _ in range(2):
            with pytest.raises(ConfigError, match=r"none\.yml cannot be read"):
                PageServer(config)


def test_a_state_folder_without_sockets_is_only_a_warning(serve, monkeypatch, caplog):
    def refuse(_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(page_server, "listen_local", refuse)
    assert _status(serve(listen="127.0.0.1:0"), "localhost") == 200
    assert "no socket for livepick's commands" in caplog.text
