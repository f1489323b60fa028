"""Pictures of micrographs, rendered once each by the workers and cached up to a size limit.

The cache is in memory, which needs no cleanup and cannot fill a disk; after a restart the few
pictures that are viewed are rendered again. Only one picture is rendered at a time, so that no
micrograph waits for more than one picture before it is picked. Concurrent requests for the same
picture share one rendering.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future

from livepick.config.schema import Config
from livepick.core.contracts.job import ImageKind, RenderJob
from livepick.errors import EngineError, LivepickError
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import MicrographRow
from livepick.picking.tasks import render

__all__ = ["PICTURE_SECONDS", "NoPictureError", "Submit", "Thumbnails"]

CACHE_BYTES = 32 << 20
"""Cache size: well over a thousand thumbnails, or a hundred full views."""

MOST_WAITING = 48
"""Maximum number of pending pictures, about two full pages. Further requests must retry."""

MOST_REFUSALS = 1000
"""Maximum number of stored reasons for missing pictures; each is a sentence."""

RENDER_SECONDS = 60.0
"""Timeout of a rendering. A worker may have to pick micrographs first, on a slow file system."""

PICTURE_SECONDS = 120.0
"""Time limit of a rendering in its worker, which is replaced after it."""

Submit = Callable[[Callable[[RenderJob], bytes], RenderJob], Future[bytes]]
"""Function that submits a function and its job to the workers."""

Key = tuple[int, int, ImageKind, float]
"""Cache key: micrograph, its content, the kind of picture, the diameter in ångström."""

_log = logging.getLogger(__name__)


class NoPictureError(Exception):
    """There is no picture.

    Parameters
    ----------
    sentence
        Reason.
    passing
        True if a retry may soon succeed.
    """

    def __init__(self, sentence: str, *, passing: bool) -> None:
        super().__init__(sentence)
        self.passing = passing


class Thumbnails:
    """Cache of pictures by the number of a micrograph. For one event loop.

    Parameters
    ----------
    ledger
        Source of a micrograph's path and of the content it was picked with.
    config
        Function that returns the settings in force.
    submit
        Function that submits a job to the workers; may block.
    cache_bytes
        Maximum size of the cache.
    """

    def __init__(
        self,
        ledger: LedgerReader,
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

    async def get(self, micrograph_id: int, kind: ImageKind) -> bytes:
        """Return a picture as PNG.

        Raises
        ------
        NoPictureError
            The micrograph does not exist or has no picks, its file can no longer be read, or the
            workers are busy.
        """
        row = await asyncio.to_thread(self._ledger.get, micrograph_id)
        if row is None or row.pixel_size_angstrom is None:
            raise NoPictureError("The micrograph has not been picked.", passing=False)
        key = self._key(row, kind)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if key not in self._being_made:
            if len(self._being_made) >= MOST_WAITING:
                raise NoPictureError("Too many pictures are being made.", passing=True)
            task = asyncio.create_task(self._make(key, self._job(row, kind)))
            task.add_done_callback(lambda _: self._being_made.pop(key, None))
            self._being_made[key] = task
        # Shielded: a client that disconnects must not cancel the picture for the others.
        return await asyncio.shield(self._being_made[key])

    def why_not(self, micrograph_id: int, kind: ImageKind) -> str:
        """Return why the last request got no picture; empty if it got one.

        Also empty if a retry may succeed, or if the picture has not been requested yet.
        """
        row = self._ledger.get(micrograph_id)
        return "" if row is None else self._refusals.get(self._key(row, kind), "")

    def _key(self, row: MicrographRow, kind: ImageKind) -> Key:
        return (row.id, row.content, kind, self._config().particle.diameter_angstrom)

    def _job(self, row: MicrographRow, kind: ImageKind) -> RenderJob:
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
                # In a thread, because it blocks while the workers are being replaced.
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
