"""Sessions that share a node have equal shares of it while both have work."""

import functools
import time

from waiting import until

from livepick.picking.cluster.nodes import JOBS_PER_SLOT


def pick(session, log):
    """Stand in for the picking of a micrograph of a session; note the order in a file."""
    time.sleep(0.03)
    with open(log, "a") as file:  # noqa: PTH123 - one write, which appends
        file.write(session)


def test_a_short_backlog_does_not_wait_for_a_long_one(connect, tmp_path):
    """The second session begins at once, has half of the node, and the first has all after it."""
    log = tmp_path / "order"
    log.touch()
    sessions = {name: connect(name) for name in "ab"}
    until(lambda: all(each.capacity == JOBS_PER_SLOT for each in sessions.values()))
    send = {name: functools.partial(each.submit, pick, name) for name, each in sessions.items()}

    jobs = [send["a"](str(log)) for _ in range(40)]
    until(lambda: len(log.read_text()) > 5)
    before = len(log.read_text())
    jobs += [send["b"](str(log)) for _ in range(12)]
    most = dict.fromkeys(sessions, 0)
    while not all(job.done() for job in jobs):
        for name, each in sessions.items():
            most[name] = max(most[name], each.view.nodes[0].jobs)
        time.sleep(0.02)

    order = log.read_text()
    assert len(order) == 52
    first, last = order.index("b"), order.rindex("b")
    assert first - before < 10
    both = order[first : last + 1]
    assert 0.35 < both.count("b") / len(both) < 0.65
    assert order[last + 1 :] == "a" * (40 - order[: last + 1].count("a"))
    # What a session shows of the node are its own jobs.
    assert set(most.values()) <= set(range(JOBS_PER_SLOT + 1))
