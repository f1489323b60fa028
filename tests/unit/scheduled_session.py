"""A session whose scheduler is stepped by a test, with a fake ledger and fake workers."""

import sys
import textwrap
import time
from concurrent.futures import Future

import numpy as np

from factories import make_result, make_row
from livepick.core.contracts.job import CPU
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality import Quality
from livepick.ledger.rows import Counts
from livepick.ledger.session_rows import RunRow
from livepick.models.registry import Models
from livepick.monitoring.metrics.exporter import Metrics
from livepick.picking.tasks import probe
from livepick.retraining.promoter import Promoter
from livepick.retraining.scheduler import Scheduler
from livepick.retraining.trainer_process import TrainerProcess


class ScheduledSession:
    """A scheduler without its thread, and fakes for the ledger and the workers."""

    def __init__(self, config, program, picked, put_bundle):
        self.put_bundle = put_bundle
        self.config = config
        self.models = Models(config.state.directory / "models")
        self.metrics = Metrics()
        self.picked = picked
        self.changes = []
        self.promoted = []
        self.jobs = []
        self.probed = []
        self.outcome = None
        self.wrong = {}
        self.provider = CPU
        self.row = []
        self.picks = Picks(*(np.array([1.0, 2.0], dtype=np.float32) for _ in range(3)))
        self.masked = {}
        self.command = (sys.executable, "-c", textwrap.dedent(program))
        self.start_trainer = TrainerProcess.start_or_adopt
        self.scheduler = self.start()

    def start(self):
        """Return a scheduler, as made at a start of the service."""
        if not self.models.bundles():
            self.put_bundle(self.models, self.config, 0, "blob")
        promoter = Promoter(
            self.config,
            models=self.models,
            metrics=self.metrics.training,
            current=self.models.current(self.config),
            submit=self.submit,
            compute=self.compute,
            probe=lambda bundle, device: self.compute(probe, bundle, device),
            promoted=lambda bundle, provider: self.promoted.append(bundle),
        )
        return Scheduler(
            self.config,
            models=self.models,
            metrics=self.metrics.training,
            promoter=promoter,
            ledger=self,
            submit=self.submit,
            run_changed=self.run_changed,
            command=self.command,
            start_trainer=self.start_trainer,
        )

    def counts(self):
        """Stand in for the ledger."""
        return Counts(picked=self.picked)

    def runs(self):
        """Stand in for the ledger."""
        return self.row

    def picked_rows(self):
        """Stand in for the ledger."""
        for i in range(self.picked):
            yield make_row(i, masked_fraction=self.masked.get(i, 0.0))

    def fitted_ctfs(self):
        """Stand in for the ledger: no CTF has been fitted."""
        return {}

    def paths(self):
        """Return the paths of all micrographs."""
        return (row.path for row in self.picked_rows())

    def picked_places(self):
        """Stand in for the ledger."""
        return [(row.id, row.path) for row in self.picked_rows()]

    def get(self, micrograph_id):
        """Stand in for the ledger."""
        return next(row for row in self.picked_rows() if row.id == micrograph_id)

    def candidates(self, micrograph_id):
        """Stand in for the ledger."""
        return self.picks

    def run_changed(self, version, fingerprint, state, reason, judgement):
        """Stand in for the dispatch thread."""
        self.changes.append((version, state))
        others = [run for run in self.row if run.version != version]
        self.row = [RunRow(version, fingerprint, state, reason, 0.0, None, judgement), *others]

    def submit(self, job):
        """Stand in for the workers."""
        self.jobs.append(job)
        future = Future()
        if self.outcome is None:
            future.set_result(self.result(job))
        else:
            future.set_exception(self.outcome)
        return future

    def result(self, job):
        """Return nine picks; ``wrong`` has the number of wrong ones for each model."""
        wrong = self.wrong.get(job.bundle.name, 1 if job.bundle.name == "0000" else 0)
        x = np.arange(9, dtype=np.float32) * 100
        y = np.where(np.arange(9) < wrong, 500, 100).astype(np.float32)
        return make_result(
            Picks(x, y, np.linspace(0.9, 0.5, 9, dtype=np.float32)),
            model_version=int(job.bundle.name),
            model_kind="trained",
            shape_px=(1000, 1000),
            pixel_size_angstrom=1.0,
            quality=Quality(0.0, 0.7),
        )

    def compute(self, work, *args, **settings):
        """Stand in for the workers; ``probe`` does not run, since no graph here is real."""
        future = Future()
        if work is not probe:
            future.set_result(work(*args, **settings))
        elif isinstance(self.provider, str):
            self.probed.append(args[0].name)
            future.set_result(self.provider)
        else:
            future.set_exception(self.provider)
        return future

    def edit(self, **sections):
        """Apply an edit of the config, as the service does."""
        values = self.config.model_dump()
        for name, changes in sections.items():
            values[name] |= changes
        self.config = type(self.config).model_validate(values)
        self.scheduler.use(self.config)

    def until(self, condition, what):
        """Step until a condition is met."""
        give_up = time.monotonic() + 180
        while not condition():
            assert time.monotonic() < give_up, f"timed out waiting for: {what}"
            self.scheduler.step()
            time.sleep(0.02)
