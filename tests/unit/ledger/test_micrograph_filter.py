"""Filter of micrographs."""

import pytest

from listed_session import listed_session
from livepick.ledger.micrograph_filter import MicrographFilter
from livepick.ledger.person_verdicts import KnownVerdicts, PersonVerdict

COUNT = 62
PICKED = COUNT - 2


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    with listed_session(tmp_path_factory.mktemp("filter"), count=COUNT) as made:
        yield made


def numbers(session, **conditions):
    """Return the numbers of the micrographs that pass a filter, counted from 0."""
    chosen = MicrographFilter(**conditions)
    rows = session.queries.filtered.page(chosen, limit=1000)
    assert session.queries.filtered.totals(chosen).micrographs == len(rows)
    ranges = session.queries.filtered.ranges(chosen)
    found = [number - 1 for first, last in ranges for number in range(first, last + 1)]
    assert sorted(row.id - 1 for row in rows) == found
    return found


def test_without_conditions_all_pass(session):
    """In the order of landing, the latest first."""
    rows = session.queries.filtered.page(MicrographFilter(), limit=1000)

    assert [row.id for row in rows] == list(range(COUNT, 0, -1))
    totals = session.queries.filtered.totals(MicrographFilter())
    picks = sum(row.pick_count or 0 for row in rows)
    assert totals == (COUNT, PICKED, picks)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"verdicts": ("bad",)}, range(2, PICKED, 3)),
        ({"states": ("failed",)}, [COUNT - 2]),
        ({"states": ("waiting",)}, [COUNT - 1]),
        ({"states": ("failed", "waiting")}, [COUNT - 2, COUNT - 1]),
        ({"states": ("picked",)}, range(PICKED)),
        ({"states": ("not_again",)}, []),
        ({"failure": "header"}, [COUNT - 2]),
        ({"failure": "' or 1 --"}, []),
        ({"quality_reason": "crystalline ice"}, range(2, PICKED, 3)),
        ({"has_note": True}, []),
        ({"is_by_person": True}, []),
        ({"name": "_0001"}, [1]),
        ({"name": "MIC_0001"}, [1]),
        ({"name": "%"}, []),
        ({"name": "\\"}, []),
        ({"defocus_micrometre": (0.999, 1.201)}, range(5, 26, 2)),
        ({"resolution_angstrom": (None, 3.9)}, []),
        ({"ids": ((2, 3), (5, 5), (10**17, 10**18 - 1))}, [1, 2, 4]),
        ({"ids": ((1, 10**17),), "verdicts": ("bad",)}, range(2, PICKED, 3)),
        ({"ids": ()}, []),
    ],
)
def test_a_condition_lets_pass(session, conditions, expected):
    """What is unknown of a micrograph fulfils no condition, and no text is taken for a pattern."""
    found = numbers(session, **conditions)

    assert found == list(expected)


def test_times_and_picks_have_both_ends(session):
    rows = {row.id - 1: row for row in session.queries.filtered.page(MicrographFilter(), limit=99)}
    from_at, until_at = (session.begin + 60 * n for n in (3, 7))

    assert numbers(session, landed_at=(from_at, until_at)) == [3, 4, 5, 6, 7]
    assert numbers(session, landed_at=(until_at, from_at)) == []
    least = numbers(session, picks=(10, 12))
    assert least == [n for n, row in rows.items() if 10 <= (row.pick_count or 0) <= 12][::-1]


@pytest.mark.parametrize("sort", ["arrived", "name", "picks", "score", "defocus", "resolution"])
def test_pages_in_every_order_have_each_micrograph_once(session, sort):
    """Those without a value come last, upwards and downwards."""
    filtered = session.queries.filtered
    for descending in (False, True):
        rows = [
            row
            for offset in range(0, COUNT, 10)
            for row in filtered.page(
                MicrographFilter(), limit=10, offset=offset, sort=sort, descending=descending
            )
        ]
        assert sorted(row.id for row in rows) == list(range(1, COUNT + 1))
        if sort == "picks":
            known = [row.pick_count for row in rows if row.pick_count is not None]
            assert known == sorted(known, reverse=descending)
            assert rows[-1].pick_count is None


def test_picks_and_figures_come_in_pages_of_the_ledger(session):
    """Only micrographs with picks have them."""
    chosen = MicrographFilter(name="mic_00")

    assert [one.id for one in session.queries.filtered.visible(chosen)] == list(
        range(1, PICKED + 1)
    )
    assert len(list(session.queries.filtered.measured(chosen))) == PICKED
    assert session.queries.filtered.failures() == [("header", 1)]
    assert session.queries.filtered.some_have_ctf(chosen)
    assert not session.queries.filtered.some_have_ctf(MicrographFilter(ids=((1, 1),)))


def test_a_micrograph_that_a_person_has_excluded_is_found_and_is_not_good(tmp_path):
    with listed_session(tmp_path, count=5) as session:
        verdict = PersonVerdict("excluded", "Ada", 1_790_000_000.0)
        session.ledger.people.use(KnownVerdicts({(str(session.watched), "mic_0001.mrc"): verdict}))

        assert numbers(session, is_by_person=True) == [1]
        assert numbers(session, verdicts=("bad",)) == [1, 2]
        assert 1 not in numbers(session, verdicts=("good",))


@pytest.mark.parametrize("sort", ["arrived", "name", "picks", "score", "defocus", "resolution"])
@pytest.mark.parametrize("descending", [False, True])
def test_the_neighbours_of_a_micrograph_are_those_of_its_list(session, sort, descending):
    """Micrographs without picks are left out, since they have no view."""
    filtered = session.queries.filtered
    chosen = MicrographFilter(verdicts=("bad", "good"))
    rows = filtered.page(chosen, limit=1000, sort=sort, descending=descending)
    listed = [row.id for row in rows if row.pick_count is not None]
    for place, number in enumerate(listed, 1):
        found = filtered.neighbours(chosen, number, sort=sort, descending=descending)
        before = listed[place - 2] if place > 1 else None
        after = listed[place] if place < len(listed) else None
        assert found == (before, after, place, len(listed))


def test_one_that_left_the_list_has_the_neighbours_of_its_place(session):
    """A person goes on from there after the change of a verdict."""
    good = MicrographFilter(verdicts=("good",))
    found = session.queries.filtered.neighbours(good, 3)
    listed = [number + 1 for number in numbers(session, verdicts=("good",))]
    assert 3 not in listed
    newer, older = min(n for n in listed if n > 3), max(n for n in listed if n < 3)
    assert found == (newer, older, None, len(listed))
