"""Headless Chromium for tests of the page, driven by Playwright."""

import contextlib
import os
import shutil
import time

import pytest

CHROMIUM = shutil.which("chromium")
PATIENCE_MS = 120_000
"""A busy machine with two cores renders, picks and tests at once."""

IDS_TWICE = """[...document.querySelectorAll("[id]")]
    .filter((one) => document.querySelector(`#${CSS.escape(one.id)}`) !== one)
    .map((one) => `two elements have the id ${one.id}`)"""

NEEDS_CHROMIUM = pytest.mark.skipif(
    CHROMIUM is None, reason="needs chromium, of Debian's package chromium"
)


@contextlib.contextmanager
def chromium():
    """Yield a Chromium without a window."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright, of the dev extra"
    )
    with sync_api.sync_playwright() as playwright:
        # As root, as in CI, Chromium starts without its sandbox only.
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield opened
        opened.close()


@contextlib.contextmanager
def pages(browser, address):
    """Yield a function that opens a page of a service; at the end nothing may have gone wrong.

    What goes wrong is in its list ``wrong``: an error in the console, a request to elsewhere, or
    two elements with one id. ``loads=False`` opens a page that never has all its pictures.
    """
    wrong, contexts = [], []

    def request(asked):
        if not asked.url.startswith((f"http://{address}/", "file:", "data:")):
            wrong.append(f"asks {asked.url}")

    def open_at(path="/", *, width=1280, height=900, loads=True, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: wrong.append(m.text) if m.type != "log" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", request)
        page.goto(path if path.startswith("file:") else f"http://{address}{path}")
        if loads:
            _act_when_loaded(page)
        return page

    open_at.wrong = wrong
    yield open_at
    for context in contexts:
        wrong.extend(twice for page in context.pages for twice in page.evaluate(IDS_TWICE))
        context.close()
    assert not wrong, wrong


def _act_when_loaded(page):
    """Make what a test does with a page wait until it has its styles and scripts.

    A click that leads to another page waits until that begins only. Its words can be read then, but
    a key is lost without the script, and without the style everything is too wide.
    """

    def when_loaded(function):
        def wait_and_call(*args, **kwargs):
            page.wait_for_load_state()
            return function(*args, **kwargs)

        return wait_and_call

    for owner, names in (
        (
            page,
            ("locator", "get_by_role", "get_by_text", "get_by_label", "evaluate", "click", "fill"),
        ),
        (page.keyboard, ("press", "type")),
        (page.mouse, ("click", "move", "wheel")),
    ):
        for name in names:
            setattr(owner, name, when_loaded(getattr(owner, name)))


def until(page, expression):
    """Wait until a JavaScript expression is true.

    Playwright's own way calls ``eval`` in the page, which the page does not allow.
    """
    give_up = time.monotonic() + PATIENCE_MS / 1000
    while not _is_true(page, expression):
        assert time.monotonic() < give_up, f"waited in vain for: {expression}"
        page.wait_for_timeout(100)


def _is_true(page, expression):
    from playwright.sync_api import Error  # noqa: PLC0415 - it may not be installed

    try:
        return page.evaluate(expression)
    except Error as error:
        if "context was destroyed" in str(error):  # on the way to another page
            return False
        raise
