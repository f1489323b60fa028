"""A session whose runs are planned, with a fake ledger and fake workers."""

from concurrent.futures import Future

import numpy as np

from factories import make_result, make_row
from livepick.core.contracts.run import RUNS, RunSpec
from livepick.core.imaging.picks import Picks
from livepick.ledger.rows import Counts
from livepick.models.registry import Models
from livepick.monitoring.metrics.exporter import Metrics
from livepick.retraining.run_planner import RunPlanner
from livepick.retraining.run_store import read_waiting


def picks_of(count, score=0.9):
    places = np.linspace(10, 50, count, dtype=np.float32)
    return Picks(places, places, np.full(count, score, dtype=np.float32))


class PlannedSession:
    """A fake ledger, and fake workers whose answers a test sets."""

    def __init__(self, config):
        self.config = config
        self.models = Models(config.state.directory / "models")
        self.rows = []
        self.found = {}
        self.queued = 0
        self.jobs = []
        self.answer = lambda job: picks_of(30)
        self.particle_waits = None
        self.planner = self.start()

    def start(self, **changed):
        """Return a planner, as made at a start of the service, with a changed config."""
        self.config = self.config.model_copy(update=changed)
        return RunPlanner(
            self.config,
            models=self.models,
            metrics=Metrics().training,
            ledger=self,
            submit=self.submit,
            particle_waits=lambda: self.particle_waits,
        )

    def add(self, count=1, *, picks=30, score=0.9, **row):
        """Let the session pick further micrographs."""
        for _ in range(count):
            number = len(self.rows)
            self.rows.append(make_row(number, **row))
            self.found[number] = picks_of(picks, score)

    def counts(self):
        """Stand in for the ledger."""
        return Counts(picked=len(self.rows), queued=self.queued)

    def picked_rows(self):
        """Stand in for the ledger."""
        return iter(self.rows)

    def paths(self):
        """Return the paths of all micrographs."""
        return (row.path for row in self.picked_rows())

    def fitted_ctfs(self):
        """Stand in for the ledger: no CTF has been fitted."""
        return {}

    def picked_places(self):
        """Stand in for the ledger."""
        return [(row.id, row.path) for row in self.rows]

    def candidates(self, micrograph_id):
        """Stand in for the ledger."""
        return self.found[micrograph_id]

    def get(self, micrograph_id):
        """Stand in for the ledger."""
        return self.rows[micrograph_id]

    def submit(self, job):
        """Stand in for the workers."""
        self.jobs.append(job)
        future = Future()
        found = self.answer(job)
        if isinstance(found, BaseException):
            future.set_exception(found)
        elif found is not None:
            future.set_result(make_result(found))
        return future

    def plan(self):
        """Return the order of a new run, or the sentence that says why there is none."""
        self.planner._collected = None
        folder = self.planner.open_run(())
        if folder is not None:
            return RunSpec.read(folder)
        waiting = read_waiting(self.config.state.directory / RUNS)
        return None if waiting is None else waiting.sentence
