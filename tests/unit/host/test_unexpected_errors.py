"""Unexpected errors of one item: logged, counted, shown, and passed over."""

import logging

import pytest

from livepick.errors import CtfError
from livepick.host.unexpected_errors import LOG_SECONDS, STUCK_SECONDS, UnexpectedErrors


@pytest.fixture
def counted():
    return []


@pytest.fixture
def unexpected(counted, clock):
    return UnexpectedErrors(counted.append, clock=clock)


def fail(unexpected, item, error, part="ctf"):
    with unexpected.passing_over(part, item):
        raise error


def test_an_unexpected_error_is_counted_and_named(unexpected, counted, caplog):
    fail(unexpected, "a.xml", LookupError("unknown encoding: x"))
    fail(unexpected, "b.xml", RecursionError())

    assert counted == ["ctf", "ctf"]
    assert (unexpected.count, unexpected.count_of("ctf")) == (2, 2)
    assert unexpected.latest.item == "b.xml"
    assert unexpected.latest.error == "RecursionError"
    assert "a.xml" in caplog.text
    assert "unknown encoding: x" in caplog.text


def test_an_expected_error_is_raised(unexpected, counted):
    with pytest.raises(CtfError):
        fail(unexpected, "a.xml", CtfError("a.xml is damaged", "Delete it."))
    assert counted == []


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_the_end_of_the_program_is_not_passed_over(unexpected, end):
    with pytest.raises(end):
        fail(unexpected, "a.xml", end())


def test_an_error_that_repeats_is_logged_once_a_minute(unexpected, clock, caplog):
    caplog.set_level(logging.ERROR)
    for _ in range(5):
        fail(unexpected, "a.xml", KeyError("x"))
    assert len(caplog.records) == 1
    clock.now += LOG_SECONDS
    fail(unexpected, "a.xml", KeyError("x"))

    assert [record.exc_info is not None for record in caplog.records] == [True, False]
    assert unexpected.count == 6


def test_a_part_is_stuck_if_every_try_fails(unexpected, clock):
    fail(unexpected, "a.xml", KeyError("x"))
    clock.now += STUCK_SECONDS
    fail(unexpected, "a.xml", KeyError("x"))
    assert unexpected.stuck() == {"ctf": STUCK_SECONDS}
    with unexpected.passing_over("ctf", "b.xml"):
        pass

    assert unexpected.stuck() == {}
