"""kill -9 of the service, of a worker, of the trainer, in every phase of a session.

A session in small runs from the first micrograph to a trained model while it is killed again and
again; the moments are random (seeded) within phases that cover all of it, and the trainer dies once
in each of its stages. All the time there is a whole model to pick with, and afterwards it must look
as if nothing had happened.
"""

import contextlib
import dataclasses
import random
import shutil
import signal
import sqlite3
import threading
import time
from pathlib import Path
from typing import get_args

import numpy as np
import psutil
import pytest
from session import impatient

from chaos_check import LISTS
from factories import EASY_SESSION, acquire_session
from livepick.config.yaml_loader import load_config
from livepick.core.contracts.progress import PROGRESS, ProgressReader, Stage
from livepick.core.contracts.trainer import PYTHON
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.reader import LedgerReader
from livepick.models.bundle_on_disk import verify_graph
from livepick.models.promotions import PROMOTIONS_FILE
from livepick.models.registry import Models
from livepick.simulate.species import specimen

MICROGRAPHS = 14
BOOTSTRAP = 5
EVERY_SECONDS = 0.7
LIMIT_SECONDS = 300
MARK = "LIVEPICK_TEST_SESSION"
"""Environment variable by which all processes of a session are found, whoever started them."""

SIMULATION = dataclasses.replace(
    EASY_SESSION, shape_px=(512, 512), pixel_size_angstrom=4.0, seed=11
)

STAGES = tuple(stage for stage in get_args(Stage) if stage not in ("done", "failed"))

HALTING_TRAINER = """\
import os, pathlib, signal, sys
from livepick_trainer.__main__ import main
mkdir = pathlib.Path.mkdir
def halt(*_):
    os.kill(os.getpid(), signal.SIGSTOP)
def mkdir_and_halt(path, *args, **options):
    mkdir(path, *args, **options)
    halt_after = pathlib.Path({halts!r}) / path.name
    if halt_after.exists():
        signal.signal(signal.SIGPROF, halt)
        seconds = float(halt_after.read_text())
        signal.setitimer(signal.ITIMER_PROF, seconds) if seconds else halt()
pathlib.Path.mkdir = mkdir_and_halt
sys.exit(main())
"""
"""The trainer, which suspends itself after some CPU time in a stage: the shortest stages take some
hundredths of a second, so from outside they could be over before it is suspended."""

# The trainer starts ten times, at the lowest priority: half a minute alone, minutes beside others.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def acquired(tmp_path_factory):
    """Return the micrographs of a simulated session."""
    place = tmp_path_factory.mktemp("acquired")
    micrographs, _ = acquire_session(place, SIMULATION, MICROGRAPHS)
    return micrographs


class Microscope(threading.Thread):
    """Lets micrographs land, whatever becomes of the service."""

    def __init__(self, micrographs, landing):
        super().__init__(name="microscope", daemon=True)
        self._micrographs = micrographs
        self._landing = landing

    def run(self):
        for path in self._micrographs:
            shutil.copyfile(path, self._landing / f".{path.name}")
            (self._landing / f".{path.name}").rename(self._landing / path.name)
            time.sleep(EVERY_SECONDS)


class Victim:
    """A session that is killed, and what can be seen of it from outside."""

    def __init__(self, session):
        self.session = session
        self.run = session.state / "runs" / "0001"
        self.halts = session.folder / "halts"

    def processes(self, *words):
        """Return the living processes of the session with these words on their command lines."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = process.environ().get(MARK) == str(self.session.folder)
                line = " ".join(process.cmdline())
                alive = process.status() != psutil.STATUS_ZOMBIE
                if ours and alive and all(word in line for word in words):
                    found.append(process)
        return found

    def start(self, **options):
        """Start the service."""
        self.session.start(**options, **{MARK: str(self.session.folder)})

    def start_to_halt(self, cpu_seconds):
        """Start the service; its trainer suspends itself in stages, after some CPU seconds each."""
        self.halts.mkdir()
        for stage, seconds in cpu_seconds.items():
            (self.halts / f".draft-{stage}").write_text(f"{seconds}")
        code = HALTING_TRAINER.format(halts=str(self.halts))
        self.start(program=impatient({"retraining.trainer_process.TRAINER": (PYTHON, "-c", code)}))

    def worker(self):
        """Wait for a worker, and return its process."""
        return self._first(self.session.workers, "a worker")

    def trainer(self):
        """Wait for the trainer, and return its process."""
        return self._first(lambda: self.processes("livepick_trainer", str(self.run)), "a trainer")

    def _first(self, processes, what):
        found = []
        self.until(lambda: found.extend(processes()) or found, what)
        return found[0]

    def until(self, condition, what):
        """Wait for a condition that may be true only briefly."""
        give_up = time.monotonic() + LIMIT_SECONDS
        while not condition():
            alive = self.session.process.poll() is None
            assert alive, f"the service ended before: {what}\n{self.session.log.read_text()}"
            assert time.monotonic() < give_up, f"{what}\n{self.session.log.read_text()}"
            time.sleep(0.01)

    def counts(self):
        """Return the number of micrographs in each state."""
        return self.session.counts()

    def picked(self, count):
        """Wait for so many picked micrographs, by whatever model."""
        self.until(lambda: self.counts().picked >= count, "picks")

    def training(self, stage, done=0):
        """Wait for a stage of the training."""
        order = get_args(Stage)

        def reached():
            lines = ProgressReader(self.run).new() if (self.run / PROGRESS).exists() else []
            return any(
                order.index(line.stage) > order.index(stage)
                or (line.stage == stage and line.done >= done)
                for line in lines
            )

        self.until(reached, f"training to reach {stage}")

    def halted_in(self, stage):
        """Wait until the trainer has suspended itself in a stage, and return it.

        A stage works in a draft folder, which gets its name once the stage is done.
        """
        trainer = self.trainer()
        self.until(lambda: trainer.status() == psutil.STATUS_STOPPED, f"the trainer in {stage}")
        (self.halts / f".draft-{stage}").unlink()  # the next trainer goes on
        return trainer

    def check_current_model(self):
        """There is a whole model that picks: the promoted one, or the blob picker."""
        models = Models(self.session.state / "models")
        current = models.current(load_config(self.session.config))
        verify_graph(current.path, current.card)

    def published(self):
        """Wait for the trained bundle."""
        self.until((self.session.state / "models" / "0001").is_dir, "a trained model")

    def promoted(self):
        """Wait until the trained bundle picks."""
        self.until((self.session.state / "models" / PROMOTIONS_FILE).is_file, "a promotion")


@pytest.fixture
def victim(make_session, acquired):
    """Return a session with its microscope at work, not started."""
    session = make_session(
        particle={"diameter_angstrom": round(specimen(SIMULATION.species).diameter_angstrom)},
        bootstrap={"micrographs": BOOTSTRAP, "minimum_picks": 40},
        training={
            "epochs": 3,
            "auto_remedy": False,
            "held_out_fraction": 0.3,
            "minibatch_size": 4,
            "device": "cpu",
        },
        retrain={"gate": "off"},  # kills are the matter here, not whether the model is better
    )
    found = Victim(session)
    Microscope(acquired, session.landing).start()
    yield found
    for process in found.processes():
        with contextlib.suppress(psutil.Error):
            process.kill()


def conclude(victim, acquired):
    """Let the session come to its end, and check that it is as if nothing had happened."""
    session = victim.session
    names = sorted(path.stem for path in acquired)

    def complete():
        with Database.read_only(session.state / LEDGER) as database:
            rows = LedgerReader(database).recent(-1)
        by_model = [row for row in rows if row.state == "picked" and row.model_kind == "trained"]
        return len(by_model) >= len(names)

    session.until(complete, "all picked by the trained model", seconds=LIMIT_SECONDS)
    assert session.stop() == 0

    status = session.status()
    assert (status["model"]["version"], status["model"]["kind"]) == (1, "trained")
    assert status["micrographs"] == {
        "queued": 0, "picking": 0, "picked": len(names), "failed": 0, "stale": 0,
    }  # fmt: skip
    check_ledger_and_files(session, names)
    leftovers = [
        path
        for folder in (session.output, session.state / "models", session.state / "runs")
        for path in folder.rglob(".*")
        if path.name != ".livepick"
    ]
    assert leftovers == []
    gone = psutil.wait_procs(victim.processes(), timeout=60)
    assert gone[1] == []


def check_ledger_and_files(session, names):
    """One row and one file for each micrograph, and both say the same."""
    with contextlib.closing(sqlite3.connect(session.state / LEDGER)) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert connection.execute("select state from run").fetchall() == [("promoted",)]
    with Database.read_only(session.state / LEDGER) as database:
        ledger = LedgerReader(database)
        rows = ledger.recent(-1)
        picks = {row.relative.stem: ledger.candidates(row.id).above(row.threshold) for row in rows}
        counts = {row.relative.stem: row.pick_count for row in rows}
    assert sorted(row.relative.stem for row in rows) == names
    assert {row.model_version for row in rows} == {1}
    files = {path.name for path in session.output.glob("[!.]*")}
    assert files == {*LISTS, *(f"{name}_autopick.star" for name in names)}
    for name in names:
        text = (session.output / f"{name}_autopick.star").read_text()
        written = [tuple(map(float, line[:3])) for line in session.star(name)]
        kept = picks[name]
        whole = (np.floor(v.astype(float) + 0.5).tolist() for v in (kept.x_px, kept.y_px))
        recorded = zip(*whole, kept.score.tolist(), strict=True)
        assert "model 1 (trained)" in text
        assert text.endswith("\n\n")
        assert len(written) == counts[name]
        assert written == [pytest.approx(row, abs=1e-5) for row in recorded]
    assert sum(counts.values()) > 0
    lists = (session.output / "autopick.star").read_text().split("\ndata_")
    listed, made = (
        [line.split() for line in text.splitlines() if line.startswith("/")] for text in lists[1:]
    )
    assert sorted(Path(micrograph).stem for micrograph, _ in listed) == names
    assert sorted(Path(micrograph).stem for micrograph, _, _ in made) == names
    assert {(version, kind) for _, version, kind in made} == {("1", "trained")}


def test_kills_of_the_service_lose_nothing(victim, acquired):
    """While it starts, picks, trains and promotes; the microscope and the trainer go on."""
    rng = random.Random(1)  # noqa: S311 - the same moments at each run
    phases = (
        (lambda: None, 2.0),
        (lambda: victim.picked(2), 0.7),
        (lambda: victim.training("prepare"), 1.0),
        (lambda: victim.training("train", 1), 2.0),
        (victim.published, 2.0),
    )
    for reached, spread_seconds in phases:
        victim.start(wait=False)
        reached()
        time.sleep(rng.uniform(0, spread_seconds))
        victim.session.process.kill()
        victim.session.process.wait()
        if victim.counts().picked:
            victim.check_current_model()
    victim.start()

    conclude(victim, acquired)


def test_kills_of_workers_lose_nothing(victim, acquired):
    """Idle, with a job or with the trial of a new model; no micrograph is blamed."""
    rng = random.Random(2)  # noqa: S311 - the same moments at each run
    phases = (
        (lambda: None, 1.0),
        (lambda: victim.picked(2), 0.5),
        (lambda: victim.training("prepare"), 3.0),
        (victim.published, 0.5),
        (victim.promoted, 0.3),
    )
    victim.start()
    for reached, spread_seconds in phases:
        reached()
        time.sleep(rng.uniform(0, spread_seconds))
        worker = victim.worker()
        worker.suspend()  # so that it dies at work, if there is any for it
        with_job = time.monotonic() + 1
        while time.monotonic() < with_job and not victim.counts().picking:
            time.sleep(0.01)
        worker.kill()
        psutil.wait_procs([worker], timeout=10)

    conclude(victim, acquired)
    assert victim.session.log.read_text().count("a worker died") >= 2


def test_kills_of_the_trainer_lose_nothing(victim, acquired):
    """Once in each of its nine stages; each new trainer goes on where the last one was."""
    rng = random.Random(3)  # noqa: S311 - the same moments at each run
    spread_seconds = {"prepare": 0.1, "classify": 0.3, "train": 0.5}
    victim.start_to_halt({stage: rng.uniform(0, spread_seconds.get(stage, 0)) for stage in STAGES})
    killed = []
    for stage in STAGES:
        trainer = victim.halted_in(stage)
        within = (victim.run / f".draft-{stage}").exists() and not (victim.run / stage).exists()
        trainer.send_signal(signal.SIGKILL)
        killed.append((stage, trainer.pid, within))
        victim.until(lambda: not trainer.is_running(), "the end of the trainer")  # noqa: B023
        victim.check_current_model()

    conclude(victim, acquired)
    assert [(stage, within) for stage, _, within in killed] == [(s, True) for s in STAGES]
    assert len({pid for _, pid, _ in killed}) == len(STAGES)
    assert victim.session.log.read_text().count("the trainer was killed") == len(STAGES)
    victim.check_current_model()
