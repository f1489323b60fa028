"""Choice of the sessions that pick now."""

from livepick.instrument.turns import Candidate, choose

NOW = 100_000.0


def session(
    name: str, *, found: float, newest: float | None, work: bool = True, runs: bool = False
) -> Candidate:
    newest_at = None if newest is None else NOW - newest
    return Candidate(name, NOW - found, newest_at, work, runs)


def chosen(*sessions: Candidate, at_once: int = 1) -> list[str]:
    return choose(sessions, at_once=at_once, quiet_seconds=600, now=NOW)


def test_the_newest_session_that_collects_picks() -> None:
    old = session("old", found=9000, newest=1, runs=True)
    new = session("new", found=60, newest=30)
    assert chosen(old, new) == ["new"]
    assert chosen(old, new, at_once=2) == ["new", "old"]


def test_two_that_collect_do_not_take_turns_with_every_micrograph() -> None:
    for newest in (1, 300):
        first = session("first", found=9000, newest=newest, runs=True)
        second = session("second", found=9000, newest=100)
        assert chosen(first, second) == ["first"]


def test_an_empty_folder_does_not_displace_a_session_that_collects() -> None:
    collects = session("collects", found=9000, newest=5, runs=True)
    empty = session("empty", found=5, newest=None, work=False)
    assert chosen(collects, empty) == ["collects"]


def test_a_quiet_session_gives_way_to_one_with_micrographs_to_pick() -> None:
    quiet = session("quiet", found=60, newest=700, work=False, runs=True)
    waits = session("waits", found=9000, newest=5000)
    assert chosen(quiet, waits) == ["waits"]


def test_an_old_session_with_new_micrographs_comes_before_one_that_is_quiet() -> None:
    quiet = session("quiet", found=60, newest=700, runs=True)
    old = session("old", found=90_000, newest=5)
    assert chosen(quiet, old) == ["old"]


def test_a_session_that_trains_is_not_stopped_for_one_without_work() -> None:
    trains = session("trains", found=9000, newest=5000, runs=True)
    idle = session("idle", found=60, newest=1000, work=False)
    assert chosen(trains, idle) == ["trains"]


def test_a_session_without_a_trained_model_comes_before_one_that_has_it() -> None:
    trained = session("trained", found=60, newest=700, work=False, runs=True)
    other = Candidate("other", NOW - 9000, NOW - 900, False, False, may_train=True)
    works = session("works", found=99_000, newest=9000)
    assert chosen(trained, other) == ["other"]
    assert chosen(trained, other, works) == ["works"]


def test_no_session_is_chosen_of_none() -> None:
    assert chosen() == []


def test_a_session_that_is_to_be_closed_does_not_wait_for_its_turn() -> None:
    collects = session("collects", found=60, newest=5, runs=True)
    closes = [
        Candidate(name, NOW - 9000, NOW - 50_000, has_work=True, is_running=runs, is_closing=True)
        for name, runs in (("a", False), ("b", True))
    ]
    assert chosen(collects, *closes) == ["collects", "b"]
