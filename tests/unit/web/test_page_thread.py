"""The thread that renders the page."""

import asyncio
import threading

import pytest

from livepick.web import page_thread
from livepick.web.page_thread import PageThread


@pytest.fixture
def thread():
    made = PageThread()
    yield made
    made.stop()


def test_a_call_returns_or_raises(thread):
    assert asyncio.run(thread.call(divmod, 7, 2)) == (3, 1)
    assert asyncio.run(thread.call(lambda: None)) is None
    with pytest.raises(ZeroDivisionError):
        asyncio.run(thread.call(divmod, 7, 0))


def test_the_event_loop_continues_and_urgent_calls_overtake(thread):
    begun, free, order = threading.Event(), threading.Event(), []

    async def ask():
        first = asyncio.create_task(thread.call(lambda: begun.set() or free.wait()))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        calls = [asyncio.create_task(thread.call(order.append, i)) for i in range(3)]
        await asyncio.sleep(0)
        calls.append(asyncio.create_task(thread.call(order.append, "urgent", urgent=True)))
        await asyncio.sleep(0)
        free.set()
        await asyncio.gather(first, *calls)

    asyncio.run(ask())
    assert order == ["urgent", 0, 1, 2]


def test_a_call_that_takes_long_is_given_up(thread, monkeypatch):
    monkeypatch.setattr(page_thread, "WAIT_SECONDS", 0.2)
    begun, free, called = threading.Event(), threading.Event(), []

    async def ask():
        while not begun.is_set():  # one that had not begun in time would never run
            with pytest.raises(TimeoutError):
                await thread.call(lambda: begun.set() or free.wait())
        with pytest.raises(TimeoutError):
            await thread.call(called.append, 1)
        free.set()
        monkeypatch.setattr(page_thread, "WAIT_SECONDS", 60)
        await thread.call(called.append, 2)

    asyncio.run(ask())
    assert called == [2]  # nobody waits for 1


def test_what_cannot_be_prepared_does_not_end_the_thread(thread):
    thread.soon(lambda: 1 / 0)
    assert asyncio.run(thread.call(divmod, 7, 2)) == (3, 1)
