"""A made-up session with picked, failed and waiting micrographs, its output files, and its page."""

import contextlib
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from factories import make_config, make_result
from livepick.core.formats.file_version import FileVersion
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality import CtfFigures, Quality
from livepick.errors import HeaderError
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.page_queries import PageQueries
from livepick.ledger.reader import LedgerReader
from livepick.ledger.writer import LedgerWriter
from livepick.monitoring.health import Health
from livepick.monitoring.metrics.exporter import Metrics
from livepick.monitoring.status import read_status
from livepick.picking.engine import threads
from livepick.picking.exports import make_outputs
from livepick.web.app import create_app
from livepick.web.page import Sources
from livepick.web.server import Door, Web, listen

FORMATS = ["relion", "star", "cryosparc", "eman", "eman-json", "cbox", "topaz", "csv"]
EVERY_SECONDS = 60.0


@contextlib.contextmanager
def listed_session(folder, *, count, name="krios-ünï", write=None, shape_px=(400, 300)):
    """Yield a session with its page, whose last micrograph waits and the one before has failed.

    Every third is bad with ice, and every second has a CTF. ``write`` writes the file of a number.
    """
    watched = folder / "in"
    watched.mkdir()
    config = make_config(
        folder,
        session={"name": name},
        watch={"directories": [watched]},
        particle={"diameter_angstrom": 150},
        output={"directory": folder / "out", "formats": FORMATS},
        state={"directory": folder / "state"},
    )
    path = config.state.directory / LEDGER
    begin = 1_790_000_000.0
    with Database.writable(path) as writable, Database.read_only(path) as shared:
        ledger, reader = LedgerWriter(writable), LedgerReader(shared)
        outputs = make_outputs(lambda: config, ledger, roots=[watched], failed=lambda: None)
        for number in range(count):
            file = watched / f"mic_{number:04d}.mrc"
            if write is not None:
                write(file, number)
            version = FileVersion.of(file.stat()) if file.exists() else FileVersion(1, 1, number)
            ledger.arrivals.landed(
                watched, Path(file.name), version, begin + EVERY_SECONDS * number
            )
            if number == count - 1:
                break
            (claim,) = ledger.claim(1)
            if number == count - 2:
                ledger.failed(claim, HeaderError("the header is damaged", "Copy it again."))
                continue
            result = made_up(number, shape_px)
            outputs.write(claim, result)
            ledger.picked(claim, result)
            if number % 2:
                ctf = CtfFigures(10_000.0 + 100 * number, 9_000.0 + 100 * number, 30.0, 4.0)
                assert ledger.ctf.found(claim.id, 1, ctf)
        outputs.sync(now=True)
        outputs.finish()
        sources = Sources(
            lambda: read_status(config, reader),
            lambda: Health(True, {}),
            lambda: config,
            reader,
            PageQueries(shared),
            lambda: "session: {name: krios}\n",
        )
        engine = threads(1)
        app = create_app(Metrics(), sources, engine.submit)
        web = Web(Door(listen("127.0.0.1:0"), app.asgi), closing=app.close)
        web.start()
        yield SimpleNamespace(
            address=web.address,
            begin=begin,
            config=config,
            ledger=ledger,
            reader=reader,
            queries=sources.queries,
            output=config.output.directory,
            watched=watched,
        )
        web.stop()
        engine.stop()


def made_up(number, shape_px):
    """Return made-up picks of a micrograph: the more, the later it landed."""
    random, picks = np.random.default_rng(number), 3 + number % 40
    height, width = shape_px
    x, y = random.uniform(20, (width - 20, height - 20), (picks, 2)).T.astype(np.float32)
    score = random.uniform(0.4, 1, picks).astype(np.float32)
    quality = Quality(
        masked_fraction=0.1,
        median_score=float(random.uniform(0.6, 0.9)),
        contrast=3.0,
        ice_ring=2.5 if number % 3 == 2 else 1.1,
    )
    return make_result(Picks.sorted(x, y, score), shape_px=shape_px, quality=quality)


def landing(session, number):
    """Return the time at which a micrograph landed, as the page takes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(session.begin + 60 * number))
