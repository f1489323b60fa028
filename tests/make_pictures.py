"""``make pictures``: pictures of the documentation, from the session that ``make demo`` has left.

``page.png`` shows the page, ``picks.png`` the picks of one micrograph in the page's full view,
``classes.png`` the class averages, ``over-time.png`` the plots and ``training.png`` the training.
``dashboard.png`` is drawn from a Prometheus that watches it; the other dashboards are drawn into
the folder of the demo. The pictures have few colours, to be small. Some more micrographs land
first, so that the page shows a session that is collecting.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from demo_session import LIVEPICK, Demo, microscope_command, read_address, say, started
from draw_dashboard import draw_dashboard
from free_port import free_port
from running_program import running
from small_picture import save_small

FOLDER = Path(__file__).parents[1] / "deploy" / "pictures"
DASHBOARDS = Path(__file__).parents[1] / "deploy" / "grafana" / "dashboards"
MOST_BYTES = 600_000
"""Largest size of all pictures together."""

MORE_MICROGRAPHS = 30
"""Number of micrographs that land before the pictures are taken."""

SECTIONS = ("classes", "over-time", "training")
"""Sections of the page, by their ids, with a picture each."""

PATIENCE_MS = 60_000
LOAD_MS = 3000
"""Time for all thumbnails to appear."""


def main() -> int:
    """Take the pictures; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", type=Path, default=Path("demo-output"), help="of the demo")
    demo = Demo(place=parser.parse_args().place.resolve())
    if not demo.config.is_file():
        sys.exit(f"{demo.place} has no session; run the demo first")
    (demo.state / "web.address").unlink(missing_ok=True)
    FOLDER.mkdir(exist_ok=True)
    began = time.monotonic()
    with ExitStack() as stack:
        service = stack.enter_context(
            started(demo, "pictures", [str(LIVEPICK), "run", str(demo.config)])
        )
        address = f"http://{read_address(demo, service)}/"
        board = stack.enter_context(prometheus(demo, address))
        _pick_more(demo)
        _take("page.png", address, width=1000, height=710)
        _take("picks.png", address, width=860, height=600, micrograph=True)
        if board:
            for path in DASHBOARDS.glob("*.json"):
                picture = demo.place / f"dashboard-{path.stem}.png"
                draw_dashboard(path, board, time.monotonic() - began, picture)
            save_small(Image.open(demo.place / "dashboard-session.png"), FOLDER / "dashboard.png")
        for name in SECTIONS:
            _take(f"{name}.png", address, width=800, height=900, section=name)
    size = sum(path.stat().st_size for path in FOLDER.glob("*.png"))
    say(f"{FOLDER}: {size / 1000:.0f} kB")
    return 0 if size < MOST_BYTES else 1


@contextmanager
def prometheus(demo: Demo, address: str) -> Iterator[str | None]:
    """Run a Prometheus that watches the service; None without one on this machine."""
    program = shutil.which("prometheus")
    if program is None:
        say("no Prometheus on this machine: the picture of the dashboard stays as it is")
        yield None
        return
    folder = demo.place / "prometheus"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    target = {"targets": [urlsplit(address).netloc], "labels": {"instrument": "krios1"}}
    scrape = {"job_name": "livepick", "static_configs": [target]}
    config = {"global": {"scrape_interval": "2s"}, "scrape_configs": [scrape]}
    (folder / "prometheus.yml").write_text(json.dumps(config))
    here = f"127.0.0.1:{free_port()}"
    command = [program, f"--config.file={folder / 'prometheus.yml'}"]
    command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={here}"]
    with running(folder / "log", command):
        yield f"http://{here}"


def _pick_more(demo: Demo) -> None:
    """Let micrographs land, and wait until they are picked."""
    before = len(list((demo.place / "micrographs").glob("*.mrc")))
    command = microscope_command(demo)
    command += ["--first", str(before + 1), "--micrographs", str(MORE_MICROGRAPHS)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    while len(list((demo.place / "output").glob("*_autopick.star"))) < before + MORE_MICROGRAPHS:
        time.sleep(1)


def _take(
    name: str,
    address: str,
    *,
    width: int,
    height: int,
    micrograph: bool = False,
    section: str | None = None,
) -> None:
    """Save a picture of the page, of the newest micrograph's full view, or of one section."""
    with sync_playwright() as playwright:
        # As root, Chromium starts only without its sandbox.
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox"] if os.geteuid() == 0 else [],
        )
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(PATIENCE_MS)
        page.goto(address)
        page.locator(".strip img, .strip image").first.wait_for(state="attached")
        if micrograph:
            _open_newest(page)
        page.wait_for_timeout(LOAD_MS)
        picture = _of_section(page, section) if section else page.screenshot()
        browser.close()
    save_small(Image.open(BytesIO(picture)), FOLDER / name)


def _of_section(page: Page, name: str) -> bytes:
    """Return a picture of a section of the page; its pictures are loaded once it is in view."""
    section = page.locator(f"section#{name}")
    section.evaluate("section => section.scrollIntoView({block: 'end'})")
    page.wait_for_timeout(LOAD_MS)
    return section.screenshot()


def _open_newest(page: Page) -> None:
    page.locator("[data-full]").first.click()
    page.locator("#threshold").wait_for()


if __name__ == "__main__":
    sys.exit(main())
