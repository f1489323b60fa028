"""Signing in with the token, and the limit of wrong ones."""

import itertools
import os

import pytest

from livepick.web import sign_in
from livepick.web.sign_in import SESSION_SECONDS, WINDOW_SECONDS, SignIns

TOKEN = "correct-horse-battery-staple"  # noqa: S105 - of this test

STAMPS = itertools.count(1)
"""Times of the files that are written, in nanoseconds, so that no two are the same."""


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "token"
    write(path, TOKEN)
    return path


def write(path, token, mode=0o600):
    path.write_text(f"{token}\n")
    path.chmod(mode)
    os.utime(path, ns=(0, next(STAMPS)))


@pytest.fixture
def sign_ins(file, clock):
    return SignIns(file, clock)


def test_the_right_token_gives_a_cookie(sign_ins):
    cookie, visit = sign_ins.sign_in(TOKEN, "Ada", "10.0.0.1")

    assert sign_ins.visit(["other", cookie]) == visit
    assert visit.name == "Ada"
    assert len(cookie) > 30
    assert cookie not in repr(visit)
    assert visit.form_token not in repr(visit)
    sign_ins.sign_out(visit)
    assert sign_ins.visit([cookie]) is None


def test_a_session_ends_by_itself(sign_ins, clock):
    cookie, _ = sign_ins.sign_in(TOKEN, "Ada", "10.0.0.1")
    clock.now += SESSION_SECONDS - 1
    assert sign_ins.visit([cookie])
    clock.now += 2
    assert sign_ins.visit([cookie]) is None


def test_the_number_of_sessions_is_bounded(sign_ins):
    cookies = [
        sign_ins.sign_in(TOKEN, "Ada", "10.0.0.1")[0] for _ in range(sign_in.MOST_VISITS + 1)
    ]
    assert sign_ins.visit(cookies[:1]) is None
    assert sign_ins.visit(cookies[1:2]) is not None


def test_an_address_that_guesses_waits(sign_ins, clock):
    """Even the right token is refused meanwhile, for others it is not."""
    for _ in range(sign_in.WRONG_OF_ONE):
        assert sign_ins.sign_in("wrong", "Eve", "10.0.0.1") == "wrong"
    assert sign_ins.sign_in(TOKEN, "Eve", "10.0.0.1") == "too many"
    assert sign_ins.sign_in(TOKEN, "Eve", "::ffff:10.0.0.1") == "too many"
    assert not isinstance(sign_ins.sign_in(TOKEN, "Ada", "10.0.0.2"), str)
    clock.now += WINDOW_SECONDS + 1
    assert not isinstance(sign_ins.sign_in(TOKEN, "Ada", "10.0.0.1"), str)


def test_many_addresses_that_guess_lock_out_nobody_who_was_here(sign_ins):
    sign_ins.sign_in(TOKEN, "Ada", "10.9.9.9")
    for number in range(sign_in.WRONG_OF_ALL):
        assert sign_ins.sign_in("wrong", "Eve", f"2001:db8:{number:x}::1") == "wrong"
    assert sign_ins.sign_in("wrong", "Eve", "10.0.0.3") == "too many"
    assert not isinstance(sign_ins.sign_in(TOKEN, "Ada", "10.9.9.9"), str)


def test_an_ipv6_network_counts_as_one_address(sign_ins):
    for number in range(sign_in.WRONG_OF_ONE):
        sign_ins.sign_in("wrong", "Eve", f"2001:db8::{number:x}")
    assert sign_ins.sign_in("wrong", "Eve", "2001:db8::ffff%eth0") == "too many"


def test_what_is_kept_about_addresses_is_bounded(sign_ins, clock):
    for number in range(sign_in.MOST_ADDRESSES + 20):
        clock.now += WINDOW_SECONDS
        assert sign_ins.sign_in("wrong", "Eve", f"address {number}" * 20) == "wrong"
    assert len(sign_ins._wrong) == sign_in.MOST_ADDRESSES
    assert max(map(len, sign_ins._wrong)) <= 64


def test_a_new_token_signs_everybody_out(sign_ins, file):
    cookie, _ = sign_ins.sign_in(TOKEN, "Ada", "10.0.0.1")
    write(file, "another-token-of-today")
    sign_ins.reload_if_edited()
    assert sign_ins.visit([cookie])  # it may still be written
    sign_ins.reload_if_edited()

    assert sign_ins.visit([cookie]) is None
    assert sign_ins.sign_in(TOKEN, "Ada", "10.0.0.1") == "wrong"
    assert not isinstance(sign_ins.sign_in("another-token-of-today", "Ada", "10.0.0.1"), str)


def test_the_same_token_written_again_signs_nobody_out(sign_ins, file):
    cookie, _ = sign_ins.sign_in(TOKEN, "Ada", "10.0.0.1")
    write(file, TOKEN)
    sign_ins.reload_if_edited()
    sign_ins.reload_if_edited()
    assert sign_ins.visit([cookie])


def test_a_token_that_others_can_read_lets_nobody_in(sign_ins, file, caplog):
    cookie, _ = sign_ins.sign_in(TOKEN, "Ada", "10.0.0.1")
    write(file, TOKEN, mode=0o644)
    sign_ins.reload_if_edited()
    sign_ins.reload_if_edited()

    assert sign_ins.visit([cookie]) is None
    assert sign_ins.sign_in(TOKEN, "Ada", "10.0.0.1") == "no token"
    assert "0644" in str(sign_ins.fault)
    assert TOKEN not in caplog.text
    write(file, TOKEN)
    sign_ins.reload_if_edited()
    sign_ins.reload_if_edited()
    assert not isinstance(sign_ins.sign_in(TOKEN, "Ada", "10.0.0.1"), str)
    assert sign_ins.fault is None
