"""Pictures are made once, one at a time, and cached up to a limit."""

import asyncio
import contextlib
import threading
from concurrent.futures import Future

import pytest

from factories import make_row
from livepick.errors import UnreadableFileError, VanishedFileError
from livepick.web.thumbnails import NoPictureError, Thumbnails


class Ledger:
    """Micrographs by number."""

    def get(self, number):
        return None if number == 0 else make_row(number)


@pytest.fixture
def make(make_config):
    """Return a function that makes ``Thumbnails`` on workers that answer when told."""
    config = make_config()

    def made(answer, **options):
        jobs = []

        def submit(_, job):
            jobs.append(job)
            future = Future()
            answer(future)
            return future

        return Thumbnails(Ledger(), lambda: config, submit, **options), jobs

    return made


def test_requests_for_the_same_picture_share_a_job(make):
    """Several viewers share one job."""
    thumbnails, jobs = make(lambda future: future.set_result(b"png"))

    async def ask():
        return await asyncio.gather(*(thumbnails.get(1, "thumbnail") for _ in range(5)))

    assert asyncio.run(ask()) == [b"png"] * 5
    assert [job.path.name for job in jobs] == ["1.mrc"]
    assert jobs[0].pixel_size_angstrom == 1.5


def test_one_picture_is_made_at_a_time(make):
    """Picking waits for one picture at most."""
    running, most = [0], [0]

    def answer(future):
        running[0] += 1
        most[0] = max(most[0], running[0])

        def end():
            running[0] -= 1
            future.set_result(b"png")

        threading.Timer(0.02, end).start()

    thumbnails, jobs = make(answer)

    async def ask():
        await asyncio.gather(*(thumbnails.get(n, "thumbnail") for n in range(1, 6)))

    asyncio.run(ask())
    assert (len(jobs), most[0]) == (5, 1)


def test_the_cache_is_bounded_in_bytes(make):
    """The picture that was not used for longest is dropped first, and made again on request."""
    thumbnails, jobs = make(lambda future: future.set_result(bytes(100)), cache_bytes=250)

    async def ask():
        for number in (1, 2, 1, 3, 1, 2):
            await thumbnails.get(number, "thumbnail")

    asyncio.run(ask())
    assert [job.path.name for job in jobs] == ["1.mrc", "2.mrc", "3.mrc", "2.mrc"]


def test_a_picture_that_cannot_be_drawn_has_a_reason(make):
    """A missing file is not cached, so the next request tries again."""
    thumbnails, jobs = make(lambda future: future.set_exception(VanishedFileError("gone", "ok")))

    async def ask(number):
        await thumbnails.get(number, "full")

    for number in (1, 1, 0):
        with pytest.raises(NoPictureError):
            asyncio.run(ask(number))
    assert len(jobs) == 2


def test_the_reason_is_kept_until_there_is_a_picture(make):
    """Only for errors that a retry does not fix, and up to a limit."""
    ends = [UnreadableFileError("stale", "wait"), VanishedFileError("1.mrc is gone", "ok"), None]

    def answer(future):
        error = ends.pop(0)
        future.set_result(b"png") if error is None else future.set_exception(error)

    thumbnails, _ = make(answer)
    said = [thumbnails.why_not(0, "full")]
    for _ in range(3):
        with contextlib.suppress(NoPictureError):
            asyncio.run(thumbnails.get(1, "full"))
        said.append(thumbnails.why_not(1, "full"))

    assert said == ["", "", "1.mrc is gone", ""]
    assert thumbnails.why_not(1, "thumbnail") == ""


def test_too_many_requests_are_rejected(make):
    """Requests do not pile up if the workers hang."""
    thumbnails, _ = make(lambda future: None)

    async def ask():
        waiting = [asyncio.create_task(thumbnails.get(n, "full")) for n in range(1, 49)]
        while len(thumbnails._being_made) < len(waiting):  # each is looked up in a thread
            await asyncio.sleep(0.01)
        with pytest.raises(NoPictureError, match="Too many") as refused:
            await thumbnails.get(99, "full")
        for task in [*waiting, *thumbnails._being_made.values()]:
            task.cancel()
        return refused.value.passing

    assert asyncio.run(ask())
