"""``/status.json``: the figures of a session for the overview of its instrument."""

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from livepick.host.disks import Disk
from livepick.web.page import Sections, Sources
from livepick.web.page_thread import PageThread
from livepick.web.responses import NO_CACHE

__all__ = ["for_overview", "session_figures"]


def for_overview(sections: Sections, sources: Sources, page_thread: PageThread) -> list[Route]:
    """Return the route of the session's figures."""

    async def status(_: Request) -> Response:
        figures = await page_thread.call(session_figures, sections, sources, urgent=True)
        return JSONResponse(figures, headers=NO_CACHE)

    return [Route("/status.json", status)]


def session_figures(sections: Sections, sources: Sources) -> dict[str, Any]:
    """Return the figures of a session, in values that JSON has. Raises LedgerError."""
    status, pace = sources.status(), sections.pace(time.time())
    counts, model = status.counts, status.model
    top = sections.headline()
    latest = status.classes.latest
    return {
        "session": status.session,
        "headline": {
            "level": top.level, "sentence": top.sentence, "remedy": top.remedy, "kind": top.kind,
        },
        "waiting": counts.queued + counts.picking,
        "picked": counts.picked + counts.stale,
        "stale": counts.stale,
        "failed": counts.failed,
        "particles": status.particles,
        "quality": dict(status.verdicts),
        "class_good_fraction": None if latest is None else latest.good_fraction,
        "model": None if model is None else {"version": model.version, "kind": model.kind},
        "training": status.training.state,
        "picked_last_hour": pace.hourly.picked,
        "last_landed_at": pace.last_landed_at,
        "disk": _tightest(status.disks),
    }  # fmt: skip


def _tightest(disks: tuple[Disk, ...]) -> dict[str, Any] | None:
    """Return the disk that livepick writes to with the least free space."""
    written = [disk for disk in disks if disk.role != "watch"]
    if not written:
        return None
    disk = min(written, key=lambda disk: disk.space.free_bytes)
    return {
        "free_bytes": disk.space.free_bytes,
        "is_low": disk.space.is_low or disk.space.is_full,
    }
