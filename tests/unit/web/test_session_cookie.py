"""Path and protection of the cookie, with and without a proxy."""

from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response

from livepick.config.web_section import Web
from livepick.web.forms import comes_from
from livepick.web.session_cookie import SessionCookie

PROXY = Web(external_url="https://cryoem.example.org/krios1/")


def request(host, scheme="http", **headers):
    pairs = {"host": host, **headers}
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in pairs.items()]
    return Request(
        {"type": "http", "scheme": scheme, "headers": raw, "path": "/", "method": "POST"}
    )


@pytest.mark.parametrize(
    ("host", "scheme", "path", "secure"),
    [
        ("cryoem.example.org", "http", "/krios1/", True),
        ("localhost:9476", "http", "/", False),
        ("127.0.0.1:9476", "http", "/", False),
        ("cryoem.example.org:9476", "http", "/", False),
        ("krios1:9476", "https", "/", True),
    ],
)
def test_the_cookie_is_for_the_path_that_the_browser_sees(host, scheme, path, secure):
    answer = Response()
    SessionCookie(PROXY, Path("/state")).set(answer, "value", request(host, scheme))
    parts = answer.headers["set-cookie"].split("; ")
    assert f"Path={path}" in parts
    assert ("Secure" in parts) is secure
    assert {"HttpOnly", "SameSite=Strict"} <= set(parts)


def test_each_service_has_a_name_of_its_own():
    names = {
        SessionCookie(web, state).name
        for web in (Web(), Web(listen="127.0.0.1:9477"))
        for state in (Path("/a"), Path("/b"))
    }
    assert len(names) == 4


@pytest.mark.parametrize(
    ("host", "origin", "own"),
    [
        ("cryoem.example.org", "https://cryoem.example.org", True),
        ("cryoem.example.org", "https://cryoem.example.org:443", True),
        ("cryoem.example.org", "https://cryoem.example.org:8443", False),
        ("localhost:9476", "http://localhost:9476", True),
        ("localhost:9476", "http://localhost:9477", False),
        ("localhost:9476", "https://localhost:9476", False),
        ("localhost:9476", "http://localhost:9476.evil.example", False),
        ("localhost:9476", "http://localhost:nine", False),
    ],
)
def test_the_origin_is_that_of_the_page_or_of_the_proxy(host, origin, own):
    assert comes_from(request(host, origin=origin), PROXY) is own
    assert comes_from(request(host, origin=origin, sec_fetch_site="same-origin"), PROXY) is own
    assert not comes_from(request(host, origin=origin, sec_fetch_site="same-site"), PROXY)
