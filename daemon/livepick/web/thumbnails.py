"""Pictures of micrographs: asked of the workers, once each, and kept as long as there is room.

They are kept in memory, which needs no cleaning up and cannot fill a disk; after a restart the few
that are looked at are made again. Only one is made at a time, so that no micrograph waits for
more than one picture before it is picked; and whoever asks for one that is being made waits for
that same one.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future

from livepick.config.schema import Config
from livepick.errors import EngineError, LivepickError
from livepick.ledger.rows import MicrographRow
from livepick.ledger.writer import ReadLedger
from livepick.picking.render import Kind, RenderJob, render

__all__ = ["NoPictureError", "Submit", "Thumbnails"]

CACHE_BYTES = 32 << 20
"""Well over a thousand thumbnails, or a hundred full views."""

MOST_WAITING = 48
"""More requests than two pages full are turned away, to ask again."""

MOST_REFUSALS = 1000
"""Reasons why there is no picture that are kept; each is a sentence."""

RENDER_SECONDS = 60.0
"""A worker may have micrographs to pick first, on a slow file system."""

Submit = Callable[[Callable[[RenderJob], bytes], RenderJob], Future[bytes]]
"""Gives a function with a job to the workers."""

Key = tuple[int, int, Kind, float]
"""Micrograph, its content, the kind of picture, the diameter."""

_log = logging.getLogger(__name__)


class NoPictureError(Exception):
    """There is none.

    Parameters
    ----------
    sentence
        Why.
    passing
        Whether to ask again soon.
    """

    def __init__(self, sentence: str, *, passing: bool) -> None:
        super().__init__(sentence)
        self.passing = passing


class Thumbnails:
    """Pictures by the number of a micrograph. For one event loop.

    Parameters
    ----------
    ledger
        Says where a micrograph is, and with which content it was picked.
    config
        Returns the settings in force.
    submit
        Gives a job to the workers; may block.
    cache_bytes
        Most that is kept.
    """

    def __init__(
        self,
        ledger: ReadLedger,
        config: Callable[[], Config],
        submit: Submit,
        *,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._ledger = ledger
        self._config = config
        self._submit = submit
        self._cache_bytes = cache_bytes
        self._kept: OrderedDict[Key, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._refusals: OrderedDict[Key, str] = OrderedDict()
        self._being_made: dict[Key, asyncio.Task[bytes]] = {}
        self._turn = asyncio.Semaphore(1)

    @property
    def kept_bytes(self) -> int:
        """How much is kept."""
        return self._kept_bytes

    async def get(self, micrograph_id: int, kind: Kind) -> bytes:
        """Return a picture as PNG.

        Raises
        ------
        NoPictureError
            There is no such micrograph, it has no picks, or its file cannot be read any more.
        """
        row = self._ledger.get(micrograph_id)
        if row is None or row.pixel_size_angstrom is None:
            raise NoPictureError("It has not been picked.", passing=False)
        key = self._key(row, kind)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if key not in self._being_made:
            if len(self._being_made) >= MOST_WAITING:
                raise NoPictureError("Too many are being made.", passing=True)
            task = asyncio.create_task(self._make(key, self._job(row, kind)))
            task.add_done_callback(lambda _: self._being_made.pop(key, None))
            self._being_made[key] = task
        # Shielded: who leaves does not take the picture away from the others.
        return await asyncio.shield(self._being_made[key])

    def why_not(self, micrograph_id: int, kind: Kind) -> str:
        """Return why there was no picture when it was last asked for; empty if there was one.

        Also if there may be one soon, or nobody has asked yet.
        """
        row = self._ledger.get(micrograph_id)
        return "" if row is None else self._refusals.get(self._key(row, kind), "")

    def _key(self, row: MicrographRow, kind: Kind) -> Key:
        return (row.id, row.content, kind, self._config().particle.diameter_angstrom)

    def _job(self, row: MicrographRow, kind: Kind) -> RenderJob:
        particle = self._config().particle
        return RenderJob(
            path=row.path,
            version=row.version,
            kind=kind,
            pixel_size_angstrom=row.pixel_size_angstrom or 0.0,
            diameter_angstrom=particle.diameter_angstrom,
            contrast=particle.contrast,
        )

    async def _make(self, key: Key, job: RenderJob) -> bytes:
        async with self._turn:
            try:
                # In a thread: it waits while the workers are being replaced.
                future = await asyncio.to_thread(self._submit, render, job)
                picture = await asyncio.wait_for(asyncio.wrap_future(future), RENDER_SECONDS)
            except (BrokenExecutor, EngineError, TimeoutError) as error:
                raise NoPictureError(f"The workers are busy: {error}", passing=True) from error
            except LivepickError as error:
                _log.info("%s: no picture: %s", job.path.name, error)
                if not error.retryable:
                    self._refuse(key, error.what)
                raise NoPictureError(str(error), passing=error.retryable) from error
        self._keep(key, picture)
        return picture

    def _refuse(self, key: Key, why: str) -> None:
        self._refusals[key] = why
        if len(self._refusals) > MOST_REFUSALS:
            self._refusals.popitem(last=False)

    def _keep(self, key: Key, picture: bytes) -> None:
        self._kept[key] = picture
        self._refusals.pop(key, None)
        self._kept_bytes += len(picture)
        while self._kept_bytes > self._cache_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped)
