"""TLS and passwords of the page, over real sockets."""

import asyncio
import base64
import contextlib
import http.client
import logging
import os
import shutil
import socket
import ssl
import time

import bcrypt
import pytest
from starlette.responses import PlainTextResponse

from certificates import make_certificate, needs_openssl
from livepick.config.web_section import Web as WebSettings
from livepick.errors import ConfigError
from livepick.host.local_socket import connect_local, listen_local
from livepick.web import passwords
from livepick.web.connections import Limits
from livepick.web.guard import Guard
from livepick.web.passwords import Passwords, TooBusyError
from livepick.web.protection import Protection
from livepick.web.server import Door, Web, listen


def _hash(password):
    return bcrypt.hashpw(password, bcrypt.gensalt(4)).decode()


USERS = {"anna": _hash(b"secret"), "z\u00fc": _hash(b"a:b")}


def _basic(user, password):
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


@pytest.fixture
def write(tmp_path):
    """Return a function that writes the file, always with another time stamp."""
    stamp = iter(range(1, 100))

    def write_file(text):
        path = tmp_path / "web.yml"
        path.write_text(text)
        os.utime(path, (1, next(stamp)))
        return path

    return write_file


@pytest.fixture
def serve():
    """Return a function that serves behind a protection, and returns its address."""
    with contextlib.ExitStack() as ending:

        def start(protection, others=(), **limits):
            guard = Guard(PlainTextResponse("page"), protection=protection)
            limits = Limits(**{"connections": 16, **limits})
            web = Web(Door(listen("127.0.0.1:0"), guard, limits, tls=protection.tls), *others)
            web.start()
            ending.callback(web.stop)
            host, port = web.address.split(":")
            return host, int(port)

        yield start


def _settings(path):
    return WebSettings(listen="127.0.0.1:0", web_config_file=path)


def _yaml(users=USERS, tls=""):
    return tls + "basic_auth_users:\n" + "".join(f'  "{u}": "{h}"\n' for u, h in users.items())


def _get(address, *, context=None, authorization=None, path="/"):
    connection = (
        http.client.HTTPConnection(*address, timeout=60)
        if context is None
        else http.client.HTTPSConnection(*address, timeout=60, context=context)
    )
    headers = {} if authorization is None else {"Authorization": authorization}
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def _trusting(certificate):
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    return context


def test_a_request_needs_a_password(serve, write):
    address = serve(Protection(_settings(write(_yaml())), host="127.0.0.1"))
    without = _get(address, path="/metrics")
    assert (without.status, without.headers["www-authenticate"]) == (401, 'Basic realm="livepick"')
    assert without.headers["x-content-type-options"] == "nosniff"
    assert _get(address, authorization=_basic("anna", "secret")).status == 200
    assert _get(address, authorization=_basic("z\u00fc", "a:b")).status == 200


@pytest.mark.parametrize(
    "authorization",
    [
        _basic("anna", "wrong"),
        _basic("anna", ""),
        _basic("nobody", "secret"),
        _basic("", ""),
        _basic("anna", "secret" + "x" * 5000),
        _basic("anna", "se\0cret"),
        b"Basic " + base64.b64encode(b"anna"),
        b"Basic " + base64.b64encode(b"\xff:\xff"),
        b"Basic !!!",
        b"Basic",
        b"Bearer secret",
        b"secret",
        b"",
    ],
)
def test_a_wrong_password_is_refused(authorization):
    accepts = Passwords()
    accepts.use(USERS)
    assert [asyncio.run(accepts.accept(authorization)) for _ in range(2)] == [False, False]


def test_a_password_is_checked_once(monkeypatch):
    """Its check takes a tenth of a second with the usual cost."""
    checked = []
    monkeypatch.setattr(passwords, "_matches", lambda p, _: checked.append(p) or p == b"secret")
    accepts = Passwords()
    accepts.use(USERS)

    async def ask():
        right = [await accepts.accept(_basic("anna", "secret")) for _ in range(5)]
        # Guesses do not displace the right password.
        wrong = [await accepts.accept(_basic("anna", f"{i}")) for i in range(600)]
        return right, wrong, await accepts.accept(_basic("anna", "secret"))

    right, wrong, again = asyncio.run(ask())
    assert (right, wrong, again) == ([True] * 5, [False] * 600, True)
    assert checked.count(b"secret") == 1

    accepts.use({"anna": _hash(b"other")})
    asyncio.run(accepts.accept(_basic("anna", "secret")))
    assert checked.count(b"secret") == 2


def test_an_unknown_user_takes_as_long(monkeypatch):
    """The answer must not tell which users there are."""
    checked = []
    monkeypatch.setattr(passwords, "_matches", lambda *_: checked.append(1) or True)
    accepts = Passwords()
    accepts.use(USERS)
    assert not asyncio.run(accepts.accept(_basic("nobody", "secret")))
    assert checked == [1]


def test_the_number_of_checks_is_limited(monkeypatch):
    monkeypatch.setattr(passwords, "_matches", lambda *_: time.sleep(0.01) or False)
    accepts = Passwords()
    accepts.use(USERS)

    async def ask():
        asked = (accepts.accept(_basic("anna", str(i))) for i in range(50))
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(ask())
    assert sum(isinstance(answer, TooBusyError) for answer in answers) == 18


@needs_openssl
def test_tls_with_passwords(serve, write, tmp_path):
    certificate, key = make_certificate(tmp_path)
    tls = f"tls_server_config: {{cert_file: {certificate.name}, key_file: {key}}}\n"
    address = serve(Protection(_settings(write(_yaml(tls=tls))), host="127.0.0.1"))
    context = _trusting(certificate)
    assert _get(address, context=context).status == 401
    assert _get(address, context=context, authorization=_basic("anna", "secret")).status == 200
    with pytest.raises((http.client.HTTPException, OSError)):
        _get(address)


@needs_openssl
@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"])
def test_connections_without_a_handshake_give_way(serve, write, tmp_path, sent):
    """They are counted before the handshake, and end without one."""
    certificate, key = make_certificate(tmp_path)
    text = f"tls_server_config: {{cert_file: {certificate}, key_file: {key}}}\n"
    protection = Protection(_settings(write(text)), host="127.0.0.1")
    address = serve(protection, connections=8, idle_seconds=5)
    context = _trusting(certificate)
    with contextlib.ExitStack() as held:
        clients = []
        for _ in range(30):
            clients.append(held.enter_context(socket.create_connection(address, timeout=60)))
            with contextlib.suppress(OSError):
                clients[-1].sendall(sent)
        assert [_get(address, context=context).status for _ in range(5)] == [200] * 5
        for client in clients:
            with contextlib.suppress(ConnectionResetError):
                while client.recv(1000):
                    pass


@needs_openssl
def test_a_client_needs_a_certificate(serve, write, tmp_path):
    certificate, key = make_certificate(tmp_path)
    authority, client_key = make_certificate(tmp_path, "client")
    text = (
        f"tls_server_config: {{cert_file: {certificate}, key_file: {key},"
        f" client_auth_type: RequireAndVerifyClientCert, client_ca_file: {authority},"
        " min_version: TLS12, max_version: TLS12,"
        " cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]}\n"
    )
    address = serve(Protection(_settings(write(text)), host="127.0.0.1"))
    context = _trusting(certificate)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _get(address, context=context)
    context.load_cert_chain(authority, client_key)
    assert _get(address, context=context).status == 200


@needs_openssl
def test_a_renewed_certificate_and_a_new_user_are_read_again(serve, write, tmp_path):
    certificate, key = make_certificate(tmp_path)
    tls = f"tls_server_config: {{cert_file: {certificate}, key_file: {key}}}\n"
    protection = Protection(_settings(write(_yaml(tls=tls))), host="127.0.0.1")
    address = serve(protection)
    old = tmp_path / "old.crt"
    shutil.copy(certificate, old)
    assert _get(address, context=_trusting(old)).status == 401

    make_certificate(tmp_path)
    write(_yaml({"otto": USERS["anna"]}, tls))
    protection.reload_if_edited()
    protection.reload_if_edited()
    assert protection.fault is None
    context = _trusting(certificate)
    assert _get(address, context=context, authorization=_basic("otto", "secret")).status == 200
    assert _get(address, context=context, authorization=_basic("anna", "secret")).status == 401
    with pytest.raises(ssl.SSLError):
        _get(address, context=_trusting(old))


@needs_openssl
def test_files_that_do_not_change_are_read_once(write, caplog, tmp_path):
    certificate, key = make_certificate(tmp_path)
    tls = f"tls_server_config: {{cert_file: {certificate}, key_file: {key}}}\n"
    caplog.set_level(logging.INFO)
    protection = Protection(_settings(write(_yaml(tls=tls))), host="127.0.0.1")
    for _ in range(3):
        protection.reload_if_edited()
    assert "read again" not in caplog.text


def test_a_fault_leaves_the_previous_passwords_in_force(serve, write):
    protection = Protection(_settings(write(_yaml())), host="127.0.0.1")
    address = serve(protection)
    write("basic_auth_users: {anna: plain}\n")
    for _ in range(3):
        protection.reload_if_edited()
    assert "not a hash" in str(protection.fault)
    assert _get(address).status == 401
    assert _get(address, authorization=_basic("anna", "secret")).status == 200

    write(_yaml({}))
    for _ in range(3):
        protection.reload_if_edited()
    assert protection.fault is None
    assert _get(address).status == 200


def test_a_protection_is_not_taken_away_by_an_edit(write):
    """The address can be reached from other machines, and nothing accepts that."""
    text = "tls_server_config: {cert_file: c, key_file: k}\n"
    settings = WebSettings(listen="10.0.0.1:1", web_config_file=write(text))
    with pytest.raises(ConfigError, match="no passwords"):
        Protection(settings, host="10.0.0.1")


def test_headers_of_the_file_replace_our_own(serve, write):
    path = write("http_server_config: {headers: {X-Frame-Options: SAMEORIGIN}}\n")
    answer = _get(serve(Protection(_settings(path), host="127.0.0.1")))
    assert answer.headers.get_all("x-frame-options") == ["SAMEORIGIN"]


@pytest.mark.parametrize("content", ["", "garbage", None])
def test_a_certificate_that_cannot_be_used_is_named(write, tmp_path, content):
    (tmp_path / "k").write_text("x")
    if content is not None:
        (tmp_path / "c").write_text(content)
    path = write("tls_server_config: {cert_file: c, key_file: k}\n")
    with pytest.raises(ConfigError, match=r"/c, .*/k cannot be used"):
        Protection(_settings(path), host="127.0.0.1")


@needs_openssl
@pytest.mark.parametrize("before", ["TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "TLS_AES_128_GCM_SHA256"])
def test_an_unknown_suite_is_named(write, tmp_path, before):
    """Whatever is before it, also a suite of TLS 1.3, which is left out."""
    certificate, key = make_certificate(tmp_path)
    path = write(
        f"tls_server_config: {{cert_file: {certificate}, key_file: {key},"
        f" cipher_suites: [{before}, TLS_A_WITH_B]}}\n"
    )
    with pytest.raises(ConfigError, match="has TLS_A_WITH_B, which OpenSSL does not have"):
        Protection(_settings(path), host="127.0.0.1")


def test_the_socket_of_our_own_commands_needs_no_password(serve, write, tmp_path):
    """Its path may be longer than the kernel allows."""
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    path = folder / "web.socket"
    listen_local(path).close()  # a service that was killed leaves it there
    door = Door(listen_local(path), PlainTextResponse("page"), Limits(4))
    serve(Protection(_settings(write(_yaml())), host="127.0.0.1"), others=(door,))
    assert path.stat().st_mode & 0o777 == 0o660
    with connect_local(path, timeout_seconds=60) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")
