"""The page below a path of a proxy, in a real browser: links, a sign-in, a change and its undo."""

import contextlib
import http.client
import http.server
import threading

import pytest
from chromium import NEEDS_CHROMIUM, pages, until
from test_page_actions import sign_in, undo, with_actions

from free_port import free_port
from livepick.config.yaml_loader import load_config

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]

PREFIX = "/krios1/9801"


@contextlib.contextmanager
def proxy(port, target):
    """Show what a server answers below a path, as a proxy that keeps the name of the host."""

    class Forward(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def answer(self):
            if not self.path.startswith(f"{PREFIX}/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            connection = http.client.HTTPConnection(target(), timeout=60)
            path = self.path.removeprefix(PREFIX)
            headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
            connection.request(self.command, path, body or None, headers)
            answer = connection.getresponse()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding"):
                    self.send_header(name, value)
            self.end_headers()
            # The browser or the service may end a stream of events at any time.
            with contextlib.suppress(OSError, http.client.IncompleteRead):
                while piece := answer.read1(65536):
                    self.wfile.write(piece)
            connection.close()

        do_GET = do_HEAD = do_POST = answer  # noqa: N815 - names of the library

        def log_message(self, *_):
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Forward)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield
    server.shutdown()
    server.server_close()


def test_it_works_below_a_path(browser, tmp_path):
    """No link leaves the path, and the cookie is sent to nothing else on the host of the proxy."""
    port = free_port()
    session = with_actions(tmp_path, external_url=f"http://127.0.0.1:{port}{PREFIX}/")
    address = f"127.0.0.1:{port}"
    outside = []
    try:
        with proxy(port, lambda: session.address), pages(browser, address) as look:
            page = look(f"{PREFIX}/")
            page.on(
                "request",
                lambda r: outside.append(r.url) if f"{address}{PREFIX}/" not in r.url else None,
            )
            until(page, "document.querySelector('#connection').className === 'live'")
            page.get_by_role("link", name="Find micrographs").first.click()
            page.locator("#filter input[name=name]").fill("mic_")
            page.get_by_role("button", name="Filter").click()
            page.locator("[data-full]").first.click()
            page.get_by_text("1 of 2 found").wait_for()
            page.keyboard.press("ArrowRight")
            page.get_by_text("2 of 2 found").wait_for()
            page.locator("#threshold").fill("0.62")
            page.get_by_role("button", name="Pick with this threshold").click()
            sign_in(page)
            page.get_by_role("button", name="Make this change").click()
            page.get_by_text("Done: set the threshold to 0.62").wait_for()
            assert load_config(session.config).picking.threshold == 0.62
            undo(page, "set the threshold to 0.62")
            assert load_config(session.config).picking.threshold == "auto"
            (cookie,) = page.context.cookies()
            assert cookie["path"].rstrip("/") == PREFIX
            assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
            page.get_by_role("button", name="Sign out").click()
            page.locator("#token").wait_for()
            assert page.context.cookies() == []
    finally:
        session.end()
    assert outside == []
