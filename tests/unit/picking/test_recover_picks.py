"""Picks read back from the output folder after the ledger was lost."""

import os
import time
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from factories import make_config, make_result
from livepick.core.formats.file_version import FileVersion
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.inbox import Recovered, RecoveryEnded
from livepick.ledger.rows import Arrival, Counts
from livepick.ledger.writer import LedgerWriter
from livepick.picking.exports import make_outputs
from livepick.rebuild import picks_recovery

SHAPE_PX = (300, 400)
NAMES = ("a.mrc", "below/b.mrc", "c.tif", "empty.mrc")


class Session:
    """A session whose ledger is lost after its micrographs were picked."""

    def __init__(self, folder, formats):
        self.folder, self.watched, self.out = folder, folder / "in", folder / "out"
        self.config = make_config(
            folder, watch={"directories": [self.watched]}, output={"formats": formats}
        )
        self.ledger = LedgerWriter(Database.writable(self.config.state.directory / LEDGER))
        self.outputs = self._outputs()
        self.messages = []

    def _outputs(self):
        return make_outputs(
            lambda: self.config,
            self.ledger,
            roots=[self.watched, *self.ledger.reader.roots()],
            failed=lambda: None,
        )

    def pick(self):
        """Write micrographs, and pick them as the dispatch loop does."""
        for name in NAMES:
            path = self.watched / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.zeros(SHAPE_PX, dtype=np.float32)
            if path.suffix == ".tif":
                tifffile.imwrite(path, pixels, resolution=(2e8, 2e8), resolutionunit=3)
            else:
                with mrcfile.new(path, pixels) as mrc:
                    mrc.voxel_size = 0.5
            version = FileVersion.of(path.stat())
            self.ledger.arrivals.landed(self.watched, Path(name), version, time.time())
        for claim in self.ledger.claim(100):
            scores = [] if claim.relative.stem == "empty" else [0.9, 0.7, 0.3]
            result = make_result(
                scores,
                model_version=2,
                model_kind="trained",
                shape_px=SHAPE_PX,
                pixel_size_angstrom=0.5,
            )
            self.outputs.write(claim, result)
            self.ledger.picked(claim, result)
        self.outputs.sync(now=True)
        self.before = self.files()
        return self

    def lose_ledger(self):
        self.ledger.database.close()
        for path in self.config.state.directory.glob(f"{LEDGER}*"):
            path.unlink()
        self.ledger = LedgerWriter(Database.writable(self.config.state.directory / LEDGER))
        self.outputs = self._outputs()
        return self

    def recover(self, *, repick=True):
        """Read the files, and record what is in them; return how many keep their picks."""

        def take(message):
            self.messages.append(message)
            if isinstance(message, Recovered):
                self.ledger.recovered(message.micrographs, repick=repick)
                message.taken()

        recovery = picks_recovery(self.config, self.outputs, take)
        recovery._pixel_size_angstrom = recovery._pixel_size_angstrom or 0.5
        recovery.run()
        self.outputs.is_recovering = False
        self.outputs.recovered()
        self.outputs.sync(now=True)
        assert isinstance(self.messages[-1], RecoveryEnded)
        return self.messages[-1].kept

    def files(self):
        return {
            str(path.relative_to(self.out)): path.read_bytes()
            for path in self.out.rglob("*")
            if path.is_file() and ".livepick" not in path.parts
        }

    def rows(self):
        return {str(row.relative): row for row in self.ledger.reader.recent()}


@pytest.fixture
def make(tmp_path):
    made = []

    def make(*formats):
        made.append(Session(tmp_path, list(formats or ["relion"])))
        return made[-1]

    yield make
    made[-1].ledger.database.close()


@pytest.mark.parametrize("formats", [["relion"], ["star"], ["csv"], ["relion", "csv"]])
def test_picks_are_recovered_so_that_all_files_are_as_before(make, formats):
    """Positions, scores, model, verdict and figures; the lists name the same files."""
    session = make(*formats).pick().lose_ledger()
    assert session.recover() == len(NAMES)
    assert session.files() == session.before
    assert session.ledger.reader.counts() == Counts(stale=len(NAMES))
    row = session.rows()["a.mrc"]
    assert (row.model_version, row.model_kind, row.pick_count) == (2, "trained", 2)
    assert row.version == FileVersion.of((session.watched / "a.mrc").stat())


def test_recovered_micrographs_are_known_to_the_watcher_and_picked_again_last(make):
    """They get their candidates below the threshold back."""
    session = make().pick().lose_ledger()
    session.recover()
    version = FileVersion.of((session.watched / "a.mrc").stat())
    arrivals = session.ledger.arrivals
    assert arrivals.landed(session.watched, Path("a.mrc"), version, 1.0) is Arrival.KNOWN
    assert arrivals.landed(session.watched, Path("new.mrc"), version, 1.0) is Arrival.NEW
    first, second = session.ledger.claim(2)
    assert (str(first.relative), first.repick) == ("new.mrc", False)
    assert second.repick


def test_without_repicking_recovered_picks_are_final(make):
    session = make().pick().lose_ledger()
    session.recover(repick=False)
    assert session.ledger.reader.counts() == Counts(picked=len(NAMES))


def change(session, name="a_autopick.star"):
    path = session.out / name
    path.write_bytes(path.read_bytes().replace(b"0.900000", b"0.910000"))


def cut_off(session):
    path = session.out / "a_autopick.star"
    path.write_bytes(path.read_bytes()[:-40])


def replace_micrograph(session):
    path = session.watched / "a.mrc"
    later = time.time() + 10
    os.utime(path, (later, later))


@pytest.mark.parametrize(
    "spoil",
    [
        change,
        cut_off,
        replace_micrograph,
        lambda session: (session.out / "a_autopick.star").unlink(),
        lambda session: (session.out / "a_autopick.star").write_text("data_\n"),
    ],
)
def test_a_file_that_is_not_as_livepick_wrote_it_is_not_taken(make, spoil):
    """Nor one that is older than its micrograph. The micrograph is picked anew."""
    session = make().pick()
    spoil(session)
    session.lose_ledger()
    assert session.recover() == len(NAMES) - 1
    assert "a.mrc" not in session.rows()


def test_a_table_that_somebody_has_edited_is_not_taken(make):
    session = make().pick()
    table = session.out / "micrographs.csv"
    table.write_text(table.read_text().replace("good", "bad"))
    assert session.lose_ledger().recover() == 0


def test_a_micrograph_that_was_moved_away_keeps_its_picks(make):
    """When it comes back, it is picked again."""
    session = make().pick()
    moved = session.watched / "a.mrc"
    moved.rename(session.folder / "a.mrc")
    session.lose_ledger()
    assert session.recover() == len(NAMES)
    assert session.files().keys() == session.before.keys()
    (session.folder / "a.mrc").rename(moved)
    version = FileVersion.of(moved.stat())
    arrival = session.ledger.arrivals.landed(session.watched, Path("a.mrc"), version, 1.0)
    assert arrival is Arrival.CHANGED
    assert session.rows()["a.mrc"].pick_count == 2


def test_what_the_ledger_has_learned_since_stays(make):
    """A micrograph that is being picked, or has been, is not set back."""
    session = make().pick().lose_ledger()
    for name in ("a.mrc", "below/b.mrc"):
        version = FileVersion.of((session.watched / name).stat())
        session.ledger.arrivals.landed(session.watched, Path(name), version, 1.0)
    (claim,) = session.ledger.claim(1)
    session.recover()
    assert session.rows()[str(claim.relative)].state == "picking"
    assert session.ledger.reader.counts() == Counts(picking=1, stale=len(NAMES) - 1)
