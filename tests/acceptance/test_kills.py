"""``kill -9`` of the service, a worker and the trainer, all through a session: nothing is lost."""

import random
import sqlite3
import time

import psutil
import pytest

from livepick.core.picks import Picks

MICROGRAPHS = 14
KILLS = 5


def children(session, what):
    """Return the processes below the service whose command line has a word in it."""
    try:
        below = psutil.Process(session.process.pid).children(recursive=True)
        return [process for process in below if what in " ".join(process.cmdline())]
    except psutil.NoSuchProcess:  # one ended while we looked
        return []


def kill_one(session, victim):
    """Kill the service, a worker or the trainer, and return whether there was one."""
    if victim == "service":
        session.process.kill()
        session.process.wait()
        session.start(wait=False)
        return True
    word = {"worker": "spawn_main", "trainer": "livepick_trainer"}[victim]
    targets = [p for p in children(session, word) if p.ppid() == session.process.pid]
    for process in targets[:1]:
        process.kill()
    return bool(targets)


def moment(session, number):
    """Return whether the phase that a kill is meant for has begun, in the order of a session."""
    counts = session.status()
    micrographs, model = counts["micrographs"], counts["model"] or {"kind": "none"}
    trainers = children(session, "livepick_trainer")
    return (
        sum(micrographs.values()) >= 1,
        micrographs["picked"] >= 3,
        bool(trainers) or model["kind"] == "trained",
        bool(trainers) or model["kind"] == "trained",
        model["kind"] == "trained",
    )[number]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("victim", ["service", "worker", "trainer"])
def test_five_kills_lose_nothing(make_session, victim):
    """All end picked by the trained model, once each, with whole files as the ledger has them."""
    chance = random.Random(f"livepick {victim}")  # noqa: S311 - the same moments at each run
    session = make_session(
        bootstrap={"micrographs": 5},
        training={"epochs": 3, "minibatch_size": 4, "held_out_fraction": 0.3},
    )
    session.start()
    landed = killed = 0
    give_up = time.monotonic() + 400
    while time.monotonic() < give_up:
        if landed < MICROGRAPHS:
            landed += len(session.drop(1, first=landed + 1))
        elif killed == KILLS and complete(session):
            break
        if killed < KILLS and (victim == "trainer" or moment(session, killed)):
            time.sleep(chance.uniform(1, 6) if victim == "trainer" else chance.uniform(0, 2.5))
            killed += kill_one(session, victim)
        time.sleep(0.3)

    session.until(lambda: complete(session), "all picked by the trained model", seconds=5)
    assert killed == KILLS
    workers = children(session, "spawn_main")
    assert session.stop() == 0
    assert not [p for p in workers if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    check_session(session)


def complete(session):
    """Return whether every micrograph is picked by a trained model."""
    status = session.status()
    trained = (status["model"] or {}).get("kind") == "trained"
    return trained and status["micrographs"]["picked"] == MICROGRAPHS


def check_session(session):
    """Ledger, coordinate files and the session's list say the same, and nothing else is left."""
    names = [f"mic_{number:04d}" for number in range(1, MICROGRAPHS + 1)]
    ledger = sqlite3.connect(f"file:{session.state / 'ledger.sqlite'}?mode=ro", uri=True)
    try:
        assert ledger.execute("pragma integrity_check").fetchone() == ("ok",)
        rows = ledger.execute(
            "select relative, state, model_version, threshold, candidates"
            " from micrograph join picks on micrograph.id = picks.micrograph_id order by relative"
        ).fetchall()
    finally:
        ledger.close()
    assert [row[0] for row in rows] == [f"{name}.mrc" for name in names]
    assert {row[1:3] for row in rows} == {("picked", 1)}
    for name, (*_, threshold, candidates) in zip(names, rows, strict=True):
        expected = len(Picks.from_bytes(candidates).above(threshold))
        assert len(session.star(name)) == expected
    listing = (session.output / "autopick.star").read_text()
    assert all(listing.count(f"{name}_autopick.star") == 1 for name in names)
    assert sorted(path.name for path in session.output.iterdir()) == sorted(
        ["autopick.star", *(f"{name}_autopick.star" for name in names)]
    )
    bundles = sorted(path.name for path in (session.state / "models").iterdir())
    assert bundles == ["0000", "0001", "champion"]
