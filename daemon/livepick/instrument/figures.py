"""Figures of the sessions that pick, read from their pages by a thread each.

A session that hangs holds only its own thread, for the time of a request.
"""

import http.client
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from livepick.host.foreign_files import parse_json
from livepick.instrument.session_process import SessionProcess
from livepick.instrument.session_record import SessionRecord
from livepick.web.service_socket import service_answer

__all__ = ["STATUS", "FigureReader"]

STATUS: Final = "/status.json"
"""URL path of a session's figures."""

EVERY_SECONDS = 3.0


@dataclass(slots=True)
class _Answer:
    values: dict[str, Any]
    at: float
    """Unix seconds."""
    monotonic: float


class FigureReader:
    """Reads the figures of the sessions that pick, again and again."""

    def __init__(self) -> None:
        self._answers: dict[Path, _Answer] = {}

    def follow(self, state: Path, process: SessionProcess) -> None:
        """Read the figures of a session until its process has ended."""
        self._answers.pop(state, None)
        threading.Thread(
            target=self._run, args=(state, process), name=f"figures of {process.name}", daemon=True
        ).start()

    def forget(self, state: Path) -> None:
        """Forget the figures of a session whose process has ended."""
        self._answers.pop(state, None)

    def take(self, records: Iterable[SessionRecord]) -> None:
        """Give each session its newest figures."""
        for record in records:
            answer = self._answers.get(record.sighting.place.state)
            if answer is not None and record.process is not None:
                record.summary, record.summary_at = answer.values, answer.at
                record.answered_at = answer.monotonic

    def _run(self, state: Path, process: SessionProcess) -> None:
        while process.ended() is None:
            begun = time.time()
            try:
                values = parse_json(service_answer(state, STATUS))
            except (OSError, http.client.HTTPException, ValueError):
                values = None
            if isinstance(values, dict) and process.ended() is None:
                self._answers[state] = _Answer(values, begun, time.monotonic())
            time.sleep(EVERY_SECONDS)
