"""Events of the main thread: signals, and the ends of other threads."""

import signal
import threading

from livepick.host.threads import Ended, Threads


def test_the_end_of_a_thread_is_an_event():
    """The event holds the error that ended it."""
    error = ValueError("broken")

    def fail():
        raise error

    threads = Threads()
    threads.start("good", lambda: None)
    first = threads.next_event(60)
    threads.start("bad", fail)

    assert first == Ended("good", None)
    assert threads.next_event(60) == Ended("bad", error)


def test_a_signal_is_an_event():
    threads = Threads()
    assert not threads.has_event
    assert threads.next_event(0.01) is None

    threads.signal(signal.SIGHUP)

    assert threads.has_event
    assert threads.next_event(60) == signal.SIGHUP
    assert not threads.has_event


def test_waiting_for_a_thread_has_a_limit():
    """The program exits without it: its threads are daemons."""
    stop = threading.Event()
    threads = Threads()
    threads.start("slow", stop.wait)
    threads.join(0.01)
    assert not threads.has_event

    stop.set()
    threads.join(60)
    assert threads.has_event
