"""Sessions with made-up figures, for the tests and the benchmark of an instrument's overview."""

import time

from livepick.instrument.session_record import STATES, SessionState
from livepick.instrument.session_view import SessionView

__all__ = ["fifty_sessions", "made_up_session"]

SENTENCES: dict[SessionState, str] = {
    "picking": "Collecting and picking: 812 of 815 micrographs, 240 picks per micrograph.",
    "waiting": "It waits for krios1-2026-11-30 (sessions.at_once).",
    "crashed": "It ended unexpectedly: the disk with the state folder is full.",
    "over": "It was ended by itself.",
}


def made_up_session(number: int, state: SessionState = "over") -> SessionView:
    """Return a session in a state, with figures."""
    level = {"crashed": "bad", "config_fault": "bad", "not_responding": "attention"}.get(
        state, "good"
    )
    return SessionView(
        name=f"krios1-2026-11-{number:02d}_a-long-name-of-a-sample",
        folder=f"/data/krios1/krios1 2026-11-{number:02d} a long name of a sample",
        state=state,
        level=level,
        sentence=SENTENCES.get(state, "") or f"Something is said about {state}.",
        remedy="See the log for the cause." if level == "bad" else "",
        found_at=1.0 * number,
        newest_at=time.time() - 60 * number,
        picked=1234 * number,
        waiting=number % 7,
        failed=number % 3,
        particles=100_000 * number,
        picked_last_hour=312 if state == "picking" else None,
        good_share=0.71,
        good_micrographs=0.93,
        model="3 trained",
        disk_free_bytes=10**12,
        port=9800 + number if state in ("picking", "crashed") else None,
        has_page=state == "picking",
        has_report=state == "over",
    )


def fifty_sessions() -> list[SessionView]:
    """Return fifty sessions, at least one in each state."""
    return [made_up_session(n, STATES[n % len(STATES)] if n > 30 else "over") for n in range(1, 51)]
