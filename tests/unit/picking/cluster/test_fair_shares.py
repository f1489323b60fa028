"""Sessions that share a node have equal shares of it while both have work."""

import functools

from waiting import until

from livepick.picking.cluster.nodes import JOBS_PER_SLOT


def pick(session, log):
    """Stand in for the picking of a micrograph of a session; note the order in a file.

    It ends when the file of those that may end is as long.
    """
    with log.open("a") as file:
        file.write(session)
    number = log.stat().st_size
    until(lambda: log.with_name("ends").stat().st_size >= number)


def test_a_short_backlog_does_not_wait_for_a_long_one(connect, tmp_path):
    """The second session begins at once, has half of the node, and the first has all after it.

    A job ends when each session has given the node as many as it may.
    """
    log, ends = tmp_path / "order", tmp_path / "ends"
    log.touch()
    ends.touch()
    sessions = {name: connect(name) for name in "ab"}
    until(lambda: all(each.capacity == JOBS_PER_SLOT for each in sessions.values()))
    send = {name: functools.partial(each.submit, pick, name) for name, each in sessions.items()}

    jobs = {"a": [send["a"](log) for _ in range(28)], "b": []}
    most = dict.fromkeys(sessions, 0)

    def is_at_work(number):
        """Return True if a job runs, those before it have come back, and others wait."""
        left = {name: sum(not job.done() for job in each) for name, each in jobs.items()}
        done = sum(map(len, jobs.values())) - sum(left.values())
        for name, each in sessions.items():
            most[name] = max(most[name], each.view.nodes[0].jobs)
        return len(log.read_text()) == number == done + 1 and all(
            len(each._tries) == min(JOBS_PER_SLOT, left[name]) for name, each in sessions.items()
        )

    before = 6
    for number in range(1, 28 + 12 + 1):
        until(lambda: is_at_work(number))  # noqa: B023 - called in this turn
        if number == before:
            jobs["b"] = [send["b"](log) for _ in range(12)]
            until(lambda: is_at_work(number))  # noqa: B023 - called in this turn
        with ends.open("a") as file:
            file.write(".")
    assert all(job.result(60) is None for job in (*jobs["a"], *jobs["b"]))

    order = log.read_text()
    assert len(order) == 40
    first, last = order.index("b"), order.rindex("b")
    assert first - before < 10
    both = order[first : last + 1]
    assert 0.35 < both.count("b") / len(both) < 0.65
    assert order[last + 1 :] == "a" * (28 - order[: last + 1].count("a"))
    # What a session shows of the node are its own jobs.
    assert set(most.values()) <= set(range(JOBS_PER_SLOT + 1))
