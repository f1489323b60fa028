"""Measure the cost of the page and of a scrape in a session of ten thousand micrographs.

    python tests/benchmarks/page.py [--micrographs 10000]

The benchmark makes a ledger with this number of picked micrographs, 200 picks each, from two
alternating models. It requests the page from a real server (time to the first byte, with the
one-second cache expired, and with the figures to be made again), the data of the plots after a
write, everything that the page loads, and ``/metrics``. The best of several measurements counts,
since other programs may be using the machine; the median is printed too.
"""

import argparse
import contextlib
import http.client
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
from rich.console import Console
from rich.table import Table

from livepick.config.schema import Config
from livepick.core.contracts.job import Result, StageSeconds
from livepick.core.formats.file_version import FileVersion
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality import CtfFigures, Quality
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.page_queries import PageQueries
from livepick.ledger.reader import LedgerReader
from livepick.ledger.writer import LedgerWriter
from livepick.monitoring.health import Health
from livepick.monitoring.metrics.exporter import Metrics
from livepick.monitoring.status import read_status
from livepick.picking.engine import threads
from livepick.web.app import create_app
from livepick.web.page import NEWEST, Sources
from livepick.web.server import Door, Web, listen

REPEAT = 7
SIZE_PX = 1024
CANDIDATES = 400
"""Number of candidates per micrograph, half of them above the threshold."""

PLOTS = "/timeline.json"

LISTS = {
    "list of micrographs": "/micrographs",
    "… by verdict, picks and defocus": "/micrographs?verdict=good&picks_min=100&defocus_min=1",
    "… sorted, page 50": "/micrographs?sort=resolution&page=50",
    "… of a name that one has": "/micrographs?name=_00500_",
    "… of a span and a reason": "/micrographs?from=2000-01-01&reason=mottle",
    "one micrograph in the list, sorted": "/micrographs/5000?verdict=good&sort=resolution",
}
"""Addresses of the list of micrographs, with what they ask for."""

WHOLE = {
    "micrographs.csv of all": "/download?as=micrographs",
    "good_particles.star": "/download?as=good_particles",
    "picks as a ZIP file, Topaz": "/download?as=topaz",
}
"""Downloads, whose first byte is measured, and their size."""

MOST_FIRST_BYTE_SECONDS = 0.1
MOST_PAGE_BYTES = 500_000
MOST_SCRAPE_SECONDS = 0.05
MOST_SCRAPE_BYTES = 300_000


def main() -> int:
    """Run the benchmark; return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Plain)
    parser.add_argument("--micrographs", type=int, default=10_000)
    count = parser.parse_args().micrographs
    with (
        tempfile.TemporaryDirectory(prefix="livepick-page-") as name,
        served(Path(name), count) as (web, write),
    ):
        quiet = [measured(web, "/", pause_seconds=1.1) for _ in range(REPEAT)]
        busy, plots = [], []
        for number in range(REPEAT):
            write(f"session {number}")
            busy.append(measured(web, "/", pause_seconds=1.1))
            plots.append(measured(web, PLOTS))
        lists = {
            what: [measured(web, path, pause_seconds=0.1) for _ in range(REPEAT)]
            for what, path in LISTS.items()
        }
        downloads = {what: measured(web, path) for what, path in WHOLE.items()}
        page_bytes, loaded = weight(web)
        scrapes = [measured(web, "/metrics") for _ in range(REPEAT)]
    table = Table(title=f"{count} micrographs")
    for column in ("what", "best", "median", "CPU", "limit"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, asked, limit in (
        ("first byte", quiet, MOST_FIRST_BYTE_SECONDS),
        ("first byte after a write", busy, MOST_FIRST_BYTE_SECONDS),
        ("data of the plots after a write", plots, MOST_FIRST_BYTE_SECONDS),
        *((what, asked, MOST_FIRST_BYTE_SECONDS) for what, asked in lists.items()),
        ("scrape", scrapes, MOST_SCRAPE_SECONDS),
    ):
        seconds = [answer.seconds for answer in asked]
        told = (min(seconds), statistics.median(seconds), min(a.cpu_seconds for a in asked), limit)
        table.add_row(what, *(f"{1000 * value:.0f} ms" for value in told))
    for what, answer in downloads.items():
        shown = f"{1000 * answer.seconds:.0f} ms"
        table.add_row(f"{what}, {len(answer.body):,} B", shown, "", "", "")
    scrape_bytes = len(scrapes[0].body)
    table.add_row("data of the plots", f"{len(plots[0].body):,} B", "", "", "")
    table.add_row(
        f"page, plots and {loaded} files", f"{page_bytes:,} B", "", "", f"{MOST_PAGE_BYTES:,} B"
    )
    table.add_row("scrape", f"{scrape_bytes:,} B", "", "", f"{MOST_SCRAPE_BYTES:,} B")
    Console(width=100).print(table)
    return int(
        min(answer.seconds for answer in quiet) > MOST_FIRST_BYTE_SECONDS
        or min(answer.seconds for answer in busy) > MOST_FIRST_BYTE_SECONDS
        or min(answer.seconds for answer in plots) > MOST_FIRST_BYTE_SECONDS
        or any(
            min(answer.seconds for answer in asked) > MOST_FIRST_BYTE_SECONDS
            for asked in lists.values()
        )
        or min(answer.seconds for answer in scrapes) > MOST_SCRAPE_SECONDS
        or page_bytes > MOST_PAGE_BYTES
        or scrape_bytes > MOST_SCRAPE_BYTES
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """A response and its cost."""

    seconds: float
    """Time to the first byte, in seconds."""
    cpu_seconds: float
    """CPU time of this process, which is server and client, up to the first byte."""
    body: bytes


@contextlib.contextmanager
def served(folder: Path, count: int) -> Iterator[tuple[Web, Callable[[str], object]]]:
    """Yield a server for ``count`` micrographs, and a function that writes to its ledger."""
    config = Config.model_validate(
        {
            "session": {"name": "bench"},
            "watch": {"directories": [folder / "in"]},
            "particle": {"diameter_angstrom": 150},
            "output": {"directory": folder / "out"},
            "state": {"directory": folder / "state"},
        }
    )
    metrics = Metrics()
    path = config.state.directory / LEDGER
    with Database.writable(path) as writable, Database.read_only(path) as shared:
        ledger, reader, engine = LedgerWriter(writable), LedgerReader(shared), threads(1)
        fill(ledger, metrics, folder / "in", count)
        ledger.session.use_model(1, "trained", config.particle_fingerprint())
        sources = Sources(
            lambda: read_status(config, reader),
            lambda: Health(True, {}),
            lambda: config,
            reader,
            PageQueries(shared),
        )
        app = create_app(metrics, sources, engine.submit)
        web = Web(Door(listen("127.0.0.1:0"), app.asgi), closing=app.close)
        web.start()
        yield web, ledger.session.begin
        web.stop()
        engine.stop()


def fill(ledger: LedgerWriter, metrics: Metrics, root: Path, count: int) -> None:
    """Add picked micrographs to a ledger; only the newest have files."""
    random = np.random.default_rng(0)
    root.mkdir()
    first = root / "first.mrc"
    with mrcfile.new(first, random.normal(0, 1, (SIZE_PX, SIZE_PX)).astype(np.float32)) as mrc:
        mrc.voxel_size = 1.5
    version, now = FileVersion.of(first.stat()), time.time()
    with ledger.database.transaction():
        for number in range(count):
            relative = Path(f"FoilHole_1234567_Data_7654321_{number:05d}_fractions.mrc")
            landed_at = now - 20.0 * (count - number)
            if number >= count - NEWEST:
                os.link(first, root / relative)
            ledger.arrivals.landed(root, relative, version, landed_at)
            metrics.picking.landed(landed_at, collected=True)
            (claim,) = ledger.claim(1)
            result = made_up(random, version=number // (count // 2 + 1))
            ledger.picked(claim, result)
            content = ledger.database.rows("select content from micrograph where id = ?", claim.id)
            ledger.ctf.found(claim.id, content[0][0], made_up_ctf(random, number, count))
            metrics.picking.picked(result, latency_seconds=1.0, export_seconds=0.1)


def made_up(random: np.random.Generator, *, version: int) -> Result:
    """Return made-up picks in the form of a worker's result."""
    x, y = random.uniform(0, SIZE_PX, (2, CANDIDATES))
    return Result(
        picks=Picks.sorted(x, y, random.uniform(0, 1, CANDIDATES).astype(np.float32)),
        threshold=0.5,
        model_version=version,
        model_kind="trained",
        shape_px=(SIZE_PX, SIZE_PX),
        pixel_size_angstrom=1.5,
        quality=Quality(
            masked_fraction=0.1,
            median_score=float(random.uniform(0.6, 0.9)),
            mottle=float(random.uniform(0.0, 12.0)),
            anisotropy=float(random.uniform(0.0, 0.3)),
            ice_ring=float(random.uniform(1.0, 1.35)),
        ),
        seconds=StageSeconds(0.1, 0.1, 0.1, 0.1),
        provider="CPUExecutionProvider",
    )


def made_up_ctf(random: np.random.Generator, number: int, count: int) -> CtfFigures:
    """Return a CTF as of another program; the defocus drifts over the session."""
    defocus_angstrom = 8000 + 10_000 * number / count + float(random.normal(0, 1500))
    return CtfFigures(
        defocus_angstrom, defocus_angstrom - 200, 30.0, float(random.lognormal(1.4, 0.2))
    )


def measured(web: Web, path: str, *, pause_seconds: float = 0.0) -> Answer:
    """Request a path and measure the response."""
    time.sleep(pause_seconds)
    connection = http.client.HTTPConnection(web.address, timeout=60)
    connection.connect()
    began, cpu_began = time.perf_counter(), time.process_time()
    connection.request("GET", path)
    answer = connection.getresponse()
    first_byte = answer.read(1)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    body = first_byte + answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status}")
    return Answer(seconds, cpu_seconds, body)


def weight(web: Web) -> tuple[int, int]:
    """Return the size of the page with everything it loads, in bytes, and the number of files.

    Pictures of micrographs are not counted: their size is that of their noise.
    """
    html = measured(web, "/").body
    links = set(re.findall(r'(?:src|href)="([^":]*\.(?:css|js|svg))"', html.decode()))
    if not links:
        raise RuntimeError("the page loads no file: its links have another form")
    size = len(html) + len(measured(web, PLOTS).body)
    return size + sum(len(measured(web, f"/{link}").body) for link in links), len(links)


class _Plain(argparse.RawDescriptionHelpFormatter):
    """Help formatter that keeps the line breaks of the description."""


if __name__ == "__main__":
    sys.exit(main())
