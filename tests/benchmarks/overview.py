"""Measure the overview of an instrument with fifty sessions: time to the first byte, and weight.

    python tests/benchmarks/overview.py

The limits are those of the page of a session. The best of several measurements counts, since other
programs may be using the machine; the median is printed too.
"""

import http.client
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

from page import MOST_FIRST_BYTE_SECONDS, MOST_PAGE_BYTES, MOST_SCRAPE_BYTES
from rich.console import Console

from livepick.config.instrument_config import load_instrument
from livepick.instrument.overview import Overview
from livepick.instrument.session_folders import Listing
from livepick.instrument.session_view import Snapshot

sys.path.insert(0, str(Path(__file__).parents[1]))
from made_up_sessions import fifty_sessions

REPEAT = 15

CONFIG = """\
sessions:
  pattern: {folder}/data/{{session}}
  state: {folder}/state/{{session}}
  output: {folder}/out/{{session}}
particle: {{diameter_angstrom: 160}}
web: {{listen: "127.0.0.1:0"}}
"""


def main() -> int:
    """Run the benchmark; return 1 if a limit is exceeded."""
    with tempfile.TemporaryDirectory(prefix="livepick-overview-") as name:
        folder = Path(name)
        (folder / "krios1.yaml").write_text(CONFIG.format(folder=folder))
        (folder / "state").mkdir()
        instrument = load_instrument(folder / "krios1.yaml")
        overview = Overview(instrument, folder / "state")
        snapshot = Snapshot.of(instrument, fifty_sessions(), listing=Listing(folder / "data"))
        overview.show(snapshot, {}, is_applied=True)
        overview.start()
        address = overview.url.removeprefix("http://").rstrip("/")
        seconds = [_first_byte(address, "/")[0] for _ in range(REPEAT)]
        page = _first_byte(address, "/")[1].decode()
        files = set(re.findall(r'(?:src|href)="([^":/]*\.(?:css|js|svg))"', page))
        size = len(page) + sum(len(_first_byte(address, f"/{file}")[1]) for file in files)
        scrape = len(_first_byte(address, "/metrics")[1])
        overview.stop()
    console = Console()
    best, median = 1000 * min(seconds), 1000 * statistics.median(seconds)
    limit = 1000 * MOST_FIRST_BYTE_SECONDS
    console.print(f"first byte: best {best:.0f} ms, median {median:.0f} ms, limit {limit:.0f} ms")
    console.print(f"page and {len(files)} files: {size:,} B, limit {MOST_PAGE_BYTES:,} B")
    console.print(f"scrape: {scrape:,} B, limit {MOST_SCRAPE_BYTES:,} B")
    return int(best > limit or size > MOST_PAGE_BYTES or scrape > MOST_SCRAPE_BYTES)


def _first_byte(address: str, path: str) -> tuple[float, bytes]:
    """Return the time to the first byte of an answer, and the answer."""
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.connect()
    begun = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    first = answer.read(1)
    seconds = time.perf_counter() - begun
    body = first + answer.read()
    connection.close()
    return seconds, body


if __name__ == "__main__":
    sys.exit(main())
