"""``make pictures``: the README's pictures, from the session that ``make demo`` has left.

``page.png`` shows the page, ``picks.png`` the picks of one micrograph in the page's full view. The
pictures have few colours, to be small. Some more micrographs land first, so that the page shows a
session that is collecting.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from demo_session import LIVEPICK, Demo, microscope_command, read_address, say, started
from small_picture import save_small

FOLDER = Path(__file__).parents[1] / "deploy" / "pictures"
MOST_BYTES = 300_000
"""Largest size of both pictures together."""

MORE_MICROGRAPHS = 6
"""Number of micrographs that land before the pictures are taken."""
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
    with started(demo, "pictures", [str(LIVEPICK), "run", str(demo.config)]) as service:
        address = f"http://{read_address(demo, service)}/"
        _pick_more(demo)
        _take("page.png", address, width=1000, height=710)
        _take("picks.png", address, width=860, height=600, micrograph=True)
    size = sum(path.stat().st_size for path in FOLDER.glob("*.png"))
    say(f"{FOLDER}: {size / 1000:.0f} kB")
    return 0 if size < MOST_BYTES else 1


def _pick_more(demo: Demo) -> None:
    """Let micrographs land, and wait until they are picked."""
    before = len(list((demo.place / "micrographs").glob("*.mrc")))
    command = microscope_command(demo)
    command += ["--first", str(before + 1), "--micrographs", str(MORE_MICROGRAPHS)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    while len(list((demo.place / "output").glob("*_autopick.star"))) < before + MORE_MICROGRAPHS:
        time.sleep(1)


def _take(name: str, address: str, *, width: int, height: int, micrograph: bool = False) -> None:
    """Save a picture of the page, or of the newest micrograph's full view."""
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
        picture = page.screenshot()
        browser.close()
    save_small(Image.open(BytesIO(picture)), FOLDER / name)


def _open_newest(page: Page) -> None:
    page.locator("[data-full]").first.click()
    page.locator("#threshold").wait_for()


if __name__ == "__main__":
    sys.exit(main())
