"""A session whose picks are averaged by a program that a test writes."""

import textwrap
from pathlib import Path

import numpy as np
import pytest

import factories
from livepick.classes.session_classes import SessionClasses
from livepick.core.contracts.trainer import PYTHON
from livepick.core.formats.file_version import FileVersion
from livepick.retraining.trainer_process import TrainerProcess

RESULT = {
    "made_at": 1000.0,
    "micrographs": 10,
    "particles": 400,
    "good_particles": 300,
    "classes": [
        {
            "particles": 300,
            "resolution_angstrom": 12.0,
            "is_good": True,
            "score": 0.9,
            "reason": "12 Å",
            "view": 0,
        },
        {
            "particles": 100,
            "resolution_angstrom": 40.0,
            "is_good": False,
            "score": 0.1,
            "reason": "faint",
        },
    ],
    "views": {"state": "balanced", "largest_fraction": 0.4, "views": 3},
    "width_px": 100,
    "height_px": 50,
    "cpu_seconds": 1.0,
}

WRITES_A_RESULT = f"""
    import json, sys
    from pathlib import Path
    folder = Path(sys.argv[1])
    order = json.loads((folder / "order.json").read_text())
    draft = folder / ".draft-result"
    draft.mkdir()
    result = {RESULT!r}
    result["particles"] = sum(len(m["picks"]) for m in order["micrographs"])
    (draft / "classes.json").write_text(json.dumps(result))
    (draft / "classes.png").write_bytes(b"picture")
    draft.rename(folder / "result")
"""

NEVER_ENDS = "import time; time.sleep(1000)"


class AveragedSession:
    """A session with picks, whose class averages a test's program makes."""

    def __init__(self, ledger, folder, clock):
        self.ledger = ledger
        self.folder = folder
        self.clock = clock
        self.program = WRITES_A_RESULT
        self.is_training = False
        self.missing = []
        self.processes = []
        self.config = factories.make_config(folder)
        self.messages = []
        ledger.session.begin(self.config.session.name)
        ledger.session.use_model(1, "general", "p")

    def start(self, *, processors=8, config=None, on_cluster=False):
        """Return what makes class averages, as at a start of the service."""
        return SessionClasses(
            config or self.config,
            ledger=self.ledger.reader,
            send=self.record,
            is_training=lambda: self.is_training,
            processors=processors,
            on_cluster=on_cluster,
            start=self.start_program,
            missing=lambda: self.missing,
            clock=self.clock,
        )

    def start_program(self, folder, command=(), *, threads=1):
        """Start the test's program in place of the trainer's."""
        program = (PYTHON, "-c", textwrap.dedent(self.program))
        process = TrainerProcess.start_or_adopt(folder, program, threads=threads)
        self.processes.append(process)
        return process

    def end(self):
        """End what still runs."""
        for process in self.processes:
            if process.folder.is_dir():
                process.end()

    def record(self, message):
        """Do what the dispatch loop does with a message."""
        self.messages.append(message)
        self.ledger.session.classes_made(message.row)

    def pick(self, count, picks=40, *, version=1, name="m"):
        """Let micrographs land and be picked."""
        first = self.ledger.reader.last_id() + 1
        for number in range(first, first + count):
            place = (Path("/m"), Path(f"{name}{number:04}.mrc"), FileVersion(100, 1, 7))
            self.ledger.arrivals.landed(*place, 900.0 + number)
        for claim in self.ledger.claim(1000):
            scores = np.linspace(0.9, 0.6, picks)
            kind = "general" if version == 1 else "trained"
            result = factories.make_result(scores, model_version=version, model_kind=kind)
            self.ledger.picked(claim, result)

    @property
    def folders(self):
        """Names of the folders of class averages."""
        return sorted(path.name for path in (self.folder / "state" / "classes").glob("*"))


@pytest.fixture
def averaged_session(ledger, tmp_path, clock):
    """Return a session of which nothing is picked yet."""
    session = AveragedSession(ledger, tmp_path, clock)
    yield session
    session.end()
