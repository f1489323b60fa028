"""A dispatch loop for tests, with workers, a ledger and an output folder."""

import threading
import time
from collections import Counter
from pathlib import Path

from factories import make_card, make_result
from livepick.core.formats.file_version import FileVersion
from livepick.core.formats.relion_star import MODELS_BLOCK
from livepick.host.unexpected_errors import UnexpectedErrors
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.inbox import Inbox, Landed, Stop
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import Counts
from livepick.ledger.writer import LedgerWriter
from livepick.picking import engine as engines
from livepick.picking.coordinate_files import CoordinateFiles, file_formats
from livepick.picking.dispatch import Dispatch
from livepick.picking.micrograph_table import MicrographTable
from livepick.picking.model_in_use import CurrentModel
from livepick.picking.output_folder import OutputFolder
from livepick.picking.output_sync import Outputs
from livepick.picking.output_tree import Branches
from livepick.picking.relion_files import LIST, RelionFiles
from livepick.picking.settle_jobs import nobody_watches

ROOT = Path("/data/avg")
V1, V2 = FileVersion(100, 1, 7), FileVersion(200, 2, 7)


def card(version=0, kind="blob"):
    return make_card(version=version, kind=kind)


def find_two(job):
    """Return two picks above the threshold and one below, by the model of the job."""
    version = int(job.bundle.name)
    threshold = 0.5 if job.threshold is None else job.threshold
    kind = "trained" if version else "blob"
    return make_result(model_version=version, model_kind=kind, threshold=threshold)


class Recorder:
    """Instruments that record the calls."""

    def __init__(self):
        self.calls = Counter()
        self.latencies = []
        self.collected = []

    def landed(self, landed_at, *, collected):
        self.calls["landed"] += 1
        self.collected.append(collected)

    def superseded(self):
        self.calls["superseded"] += 1

    def picked(self, result, *, latency_seconds, export_seconds):
        self.calls["picked"] += 1
        self.latencies.append(latency_seconds)

    def ctf_fitted(self, outcome):
        self.calls["ctf_fitted", outcome] += 1

    def ctf_found(self, figures):
        self.calls["ctf_found"] += 1

    def failed(self, reason, stage):
        self.calls["failed", reason, stage] += 1

    def repick_failed(self, reason, stage):
        self.calls["repick_failed", reason, stage] += 1

    def retried(self, reason):
        self.calls["retried", reason] += 1

    def queue(self, counts, oldest_waiting_at):
        self.calls["queue"] += 1

    def worker_crashed(self):
        self.calls["worker_crashed"] += 1

    def output_failed(self):
        self.calls["output_failed"] += 1


class Session:
    """A dispatch loop in a thread, with everything that it uses."""

    def __init__(
        self,
        folder,
        work=find_two,
        engine=None,
        *,
        tables=False,
        make_calls=None,
        replacement=lambda *_: None,
        not_found=nobody_watches,
        extra_format=False,
        is_held=lambda: False,
        make_fitting=None,
        **model,
    ):
        self.inbox = Inbox()
        self.ledger = LedgerWriter(Database.writable(folder / LEDGER))
        self.out = folder / "out"
        output, branches = OutputFolder(self.out), Branches([ROOT])
        self.star = RelionFiles(output, branches)
        self.extra = CoordinateFiles(file_formats(flip_tiff=False)["csv"], output, branches)
        self.instruments = Recorder()
        self.unexpected = UnexpectedErrors()
        self.outputs = Outputs(
            [self.star, self.extra] if extra_format else [self.star],
            self.ledger.reader,
            self.instruments.output_failed,
            diameter_angstrom=lambda: 150.0,
            tables=[MicrographTable(output)] if tables else [],
            unexpected=self.unexpected,
        )
        self.error = None
        self.engine = engine or engines.threads(2)
        model = {"bundle": Path("/models/0000"), "card": card(), **model}
        self.dispatch = Dispatch(
            self.inbox,
            ledger=self.ledger,
            engine=self.engine,
            outputs=self.outputs,
            work=work,
            model=CurrentModel(self.ledger, **model),
            instruments=self.instruments,
            not_found=not_found,
            on_picked=make_calls and make_calls(self),
            fitting=make_fitting and make_fitting(self),
            replacement=replacement,
            is_held=is_held,
            unexpected=self.unexpected,
        )
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            self.dispatch.run()
        except Exception as error:  # noqa: BLE001 - shown by the tests
            self.error = error

    def land(self, *names, version=V1, at_start=False):
        for name in names:
            self.inbox.put(Landed(ROOT, Path(name), version, time.time(), at_start))
        return self

    def start(self):
        self.thread.start()
        self.reader = LedgerReader(Database.read_only(self.ledger.database.path))
        return self

    def until(self, condition, seconds=90):
        give_up = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < give_up, (self.rows(), self.error)
            time.sleep(0.01)

    def until_counts(self, **counts):
        self.until(lambda: self.reader.counts() == Counts(**counts))

    def stop(self):
        self.inbox.put(Stop())
        self.thread.join(90)
        assert not self.thread.is_alive()

    def close(self):
        if self.thread.is_alive():
            self.stop()
        self.dispatch._engine.stop()
        self.ledger.database.close()

    def rows(self):
        return {str(row.relative): row for row in self.ledger.reader.recent()}

    def files(self):
        """Return the files in the output, without hidden ones: drafts come and go at any time."""
        paths = [path.relative_to(self.out) for path in self.out.rglob("*") if path.is_file()]
        return sorted(str(p) for p in paths if not any(part[0] == "." for part in p.parts))

    def contents(self):
        """Return the bytes of the coordinates files by name."""
        found = (self.out / name for name in self.files() if Path(name).name != LIST)
        return {path.name: path.read_bytes() for path in found}

    def listed(self):
        """Return the version of the model of each micrograph in the list, by its name."""
        if not (self.out / LIST).exists():
            return {}
        lines = (self.out / LIST).read_text().partition(MODELS_BLOCK)[2].splitlines()
        rows = [line.split() for line in lines if line.startswith("/")]
        return {Path(name).name: int(version) for name, version, _ in rows}
