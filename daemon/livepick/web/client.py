"""How a service does, asked by another process: of its page, or seen by what it has left.

Whether there is a service the lock on the state folder tells, which the kernel takes back however
it ends. Only if there is one its page is asked, so that no other service that has the port now
answers in its place. The file with the page's address is there from when it answers until the
service is told to stop: without lock, it means that the service has ended by itself.
"""

import http.client
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from livepick.config.schema import Config
from livepick.host.lock import holder, lock_file
from livepick.ledger.writer import LEDGER
from livepick.monitoring.headline import Headline
from livepick.monitoring.human_units import span
from livepick.monitoring.problem import Problem

__all__ = ["ADDRESS", "HEADLINE", "Answer", "State", "ask"]

ADDRESS: Final = "web.address"
"""File in the state directory with the host:port of the page."""

HEADLINE: Final = "/headline.json"
"""What the page begins with, for programs."""

TIMEOUT_SECONDS = 2.5
"""An answer takes milliseconds; a terminal must not wait for one that does not come."""

MOST_BYTES = 1 << 20

START_SECONDS = 300.0
"""A start takes no longer, a first one with a GPU included."""

State = Literal["running", "starting", "silent", "stopped", "ended"]
"""``running``: it answers. ``starting``: or stopping, and without a page. ``silent``: it does not
answer. ``stopped``: or not started yet. ``ended``: killed, or failed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a service does."""

    state: State
    sentence: str
    """What it does, or how it is; empty if ``problems`` say it."""
    problems: tuple[Problem, ...] = ()
    """The gravest first, in the words of the page."""
    address: str = ""
    """Of its page, if it answers."""


def ask(config: Config, path: Path, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Answer:
    """Return how the service of a session does.

    Parameters
    ----------
    config
        Of the session.
    path
        The config file, to name in a remedy.
    timeout_seconds
        For each step of the answer.
    """
    state = config.state.directory
    address = _address(state)
    process = holder(state / LEDGER)
    start = f"systemctl start livepick, or livepick run {path}"
    if process is None and not address:
        return Answer("stopped", f"The service is not running; to go on: {start}.")
    if process is None:
        ended = Problem(
            "bad",
            "The service is not running, and nobody has stopped it: it was killed, or has failed.",
            f"Start it, and it goes on where it was: {start}. Its log says more"
            " (journalctl -u livepick).",
        )
        return Answer("ended", "", (ended,))
    mend = (
        f"Restart it, which loses nothing: systemctl restart livepick, or end process {process} and"
        f" livepick run {path}. Its log says more (journalctl -u livepick)."
    )
    if not address:
        return _starting(state, mend)
    return _heard(address, mend, timeout_seconds)


def _address(state: Path) -> str:
    try:
        return (state / ADDRESS).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _starting(state: Path, mend: str) -> Answer:
    try:
        seconds = max(0.0, time.time() - lock_file(state / LEDGER).stat().st_mtime)
    except OSError:
        seconds = 0.0
    sentence = f"The service is starting or stopping, and has no page just now ({span(seconds)})."
    if seconds < START_SECONDS:
        return Answer("starting", sentence)
    return Answer("starting", "", (Problem("bad", sentence, mend),))


def _heard(address: str, mend: str, timeout_seconds: float) -> Answer:
    page = f"http://{address}/"
    try:
        connection = http.client.HTTPConnection(address, timeout=timeout_seconds)
        try:
            connection.request("GET", HEADLINE)
            answer = connection.getresponse()
            text = answer.read(MOST_BYTES)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        sentence = f"The service does not answer at {page}: {why}."
        return Answer("silent", "", (Problem("bad", sentence, mend),))
    try:
        top = Headline.of_json(text)
    except ValueError:
        sentence = f"The service at {page} is of another version, which does not say how it does."
        return Answer("running", "", (Problem("attention", sentence, mend),), page)
    return Answer("running", top.doing if top.problems else top.sentence, top.problems, page)
