"""Fixtures of the tests of the page."""

import pytest
from acting_browser import Browser


@pytest.fixture
def browser(tmp_path):
    made = Browser(tmp_path)
    yield made
    made.close()


@pytest.fixture
def ada(browser):
    """Return a browser in which somebody is signed in."""
    assert browser.sign_in() == 303
    return browser
