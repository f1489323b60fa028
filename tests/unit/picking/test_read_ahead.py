"""Reading ahead: the next file is read while a job is computed, and nothing waits for that."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from waiting import until

from livepick.picking import read_ahead
from livepick.picking.job_limits import Limits
from livepick.picking.worker_handle import WorkerHandle
from livepick.picking.worker_process import run_worker

BINDFS, UMOUNT = shutil.which("bindfs"), shutil.which("umount")
FUSE_WAITS = "request_wait_answer"
"""Function of the kernel in which a process waits for the server of a FUSE file system."""

LIMITS = Limits(seconds=300.0, memory_bytes=16 << 30)


@dataclass(frozen=True)
class FileJob:
    """A job with a file, as of ``pick``."""

    path: Path
    mark: Path
    """It is computed until this file exists."""


def compute(job: FileJob) -> str:
    """Read nothing, and compute until the mark is there."""
    read_ahead.resume()
    until(job.mark.exists)
    return job.path.name


def note_the_files(channel, parent):
    """Run jobs, and write down which files are read ahead."""
    notes = Path(os.environ["LIVEPICK_TEST_NOTES"])

    def note(path, keeps):
        with notes.open("ab") as file:
            file.write(os.fsencode(path.name))

    read_ahead._read = note
    run_worker(channel, parent)


def hang_at_the_first_file(channel, parent):
    """Run jobs; the thread that reads ahead never returns, and writes that down."""

    def hang(path, keeps):
        Path(os.environ["LIVEPICK_TEST_NOTES"]).touch()
        threading.Event().wait()

    read_ahead._read = hang
    run_worker(channel, parent)


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """Return the file with the names of those that were read ahead."""
    path = tmp_path / "notes"
    monkeypatch.setenv("LIVEPICK_TEST_NOTES", str(path))
    return path


@pytest.fixture
def named(monkeypatch):
    """Return the names of the files that workers are told to read ahead."""
    names = []

    def read_ahead(self, path):
        self.reads_ahead = True
        names.append(path.name)

    monkeypatch.setattr(WorkerHandle, "read_ahead", read_ahead)
    return names


@pytest.fixture
def sent(monkeypatch):
    """Return the numbers of bytes that were read ahead."""
    counts = []
    sendfile = os.sendfile

    def counted(*arguments):
        counts.append(sendfile(*arguments))
        return counts[-1]

    monkeypatch.setattr(os, "sendfile", counted)
    return counts


@pytest.fixture
def thread():
    """Return a socket to a thread that reads ahead; it ends with the test."""
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    before = set(threading.enumerate())
    read_ahead.start(theirs)
    (started,) = set(threading.enumerate()) - before
    yield ours
    ours.close()
    read_ahead.resume()
    started.join(30)
    assert not started.is_alive()


def submit(pool, folder, *names):
    """Submit jobs, which go on until their marks exist."""
    return [
        pool.submit_within(LIMITS, compute, FileJob(folder / name, folder / f"{name}.mark"))
        for name in names
    ]


def end(folder, name):
    (folder / f"{name}.mark").touch()


def test_the_next_file_is_named_while_a_job_runs(make_pool, named, tmp_path):
    """Each file once, one in each job, and never that of a job that runs already."""
    jobs = submit(make_pool(), tmp_path, "a", "b", "c")
    until(lambda: named == ["b"])
    end(tmp_path, "a")
    until(lambda: named == ["b", "c"])
    end(tmp_path, "b")
    end(tmp_path, "c")
    assert [job.result(60) for job in jobs] == ["a", "b", "c"]
    assert named == ["b", "c"]


def test_each_worker_reads_another_file(make_pool, named, tmp_path):
    """The file of a job that a free worker takes is not read ahead."""
    pool = make_pool(2)
    for pair in ("ab", "cd"):
        running = submit(pool, tmp_path, *pair)
        until(lambda jobs=running: all(job.running() for job in jobs))
        if pair == "ab":  # both processes have started
            for name, job in zip(pair, running, strict=True):
                end(tmp_path, name)
                job.result(60)
            named.clear()
    waiting = submit(pool, tmp_path, "e", "f", "g")
    until(lambda: len(named) == 2)
    assert named == ["e", "f"]
    for name in "cdefg":
        end(tmp_path, name)
    assert [job.result(60) for job in (*running, *waiting)] == ["c", "d", "e", "f", "g"]
    assert set(named) <= {"e", "f", "g"}
    assert len(named) == len(set(named))


def test_a_worker_process_reads_the_next_file(make_pool, notes, tmp_path):
    """A path of any bytes arrives there."""
    name = os.fsdecode(b"next \xff\n.mrc")
    jobs = submit(make_pool(target=note_the_files), tmp_path, "first", name)
    until(lambda: notes.exists() and notes.read_bytes() == os.fsencode(name))
    end(tmp_path, "first")
    end(tmp_path, name)
    assert [job.result(60) for job in jobs] == ["first", name]


def test_a_reading_that_hangs_keeps_no_job_waiting(make_pool, notes, tmp_path):
    """Not in this worker either, nor the end of the pool; more files than fit into the socket."""
    pool = make_pool(target=hang_at_the_first_file)
    names = [f"{number:04d}" for number in range(400)]
    for name in names:
        end(tmp_path, name)
    (tmp_path / "0000.mark").unlink()
    jobs = submit(pool, tmp_path, *names)
    until(notes.exists)
    end(tmp_path, "0000")
    assert [job.result(120) for job in jobs] == names
    assert pool.deaths == 0
    pool.shutdown()
    assert pool.left_behind == 0


def test_reading_begins_when_the_job_has_read_its_own_file(thread, monkeypatch):
    """Until then a newer file replaces the one before, whose job has begun meanwhile."""
    read = []
    monkeypatch.setattr(read_ahead, "_read", lambda path, keeps: read.append(path.name))
    read_ahead.pause()
    thread.send(b"/a")
    thread.send(b"/b")
    assert not read
    read_ahead.resume()
    until(lambda: read)
    thread.send(b"/c")
    until(lambda: len(read) == 2)
    assert read == ["b", "c"]


def test_files_that_cannot_be_read_harm_nothing(thread, sent, tmp_path, monkeypatch):
    """A missing file, a folder, a pipe without a writer, a link to itself, an empty file."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "empty").touch()
    (tmp_path / "whole").write_bytes(b"x" * 70_000)
    done, read = [], read_ahead._read

    def noted(path, keeps):
        try:
            read(path, keeps)
        finally:
            done.append(path)

    monkeypatch.setattr(read_ahead, "_read", noted)
    read_ahead.resume()
    paths = [tmp_path / name for name in ("missing", ".", "pipe", "loop", "empty", "whole")]
    for number, path in enumerate(paths, start=1):
        thread.send(os.fsencode(path))
        until(lambda count=number: len(done) == count)
    assert done == paths
    assert sum(sent) == 70_000


def test_no_more_is_read_than_any_micrograph_has(sent, tmp_path, monkeypatch):
    monkeypatch.setattr(read_ahead, "MOST_BYTES", 3000)
    monkeypatch.setattr(read_ahead, "PIECE_BYTES", 1000)
    (tmp_path / "stack").write_bytes(b"x" * 5000)
    read_ahead._read(tmp_path / "stack", {})
    assert sent == [1000, 1000, 1000]


@pytest.mark.parametrize("kind", ["fuse.sshfs", "fuseblk", "beegfs"])
def test_nothing_is_read_where_it_would_not_be_kept(sent, tmp_path, monkeypatch, kind):
    """A file system is looked at once."""
    (tmp_path / "a").write_bytes(b"x")
    looks = []
    monkeypatch.setattr(read_ahead, "file_system_type", lambda path: looks.append(path) or kind)
    keeps = {}
    for _ in range(3):
        read_ahead._read(tmp_path / "a", keeps)
    assert sent == []
    assert len(looks) == 1


@pytest.mark.skipif(
    BINDFS is None or UMOUNT is None or not os.access("/dev/fuse", os.W_OK),
    reason="needs bindfs and /dev/fuse: a file system that may hang",
)
def test_a_file_system_that_hangs_stops_no_job_with_files_elsewhere(make_pool, tmp_path):
    """Its worker also ends at once with the pool."""
    behind, mount = tmp_path / "behind", tmp_path / "mount"
    behind.mkdir()
    mount.mkdir()
    (behind / "hangs.mrc").write_bytes(b"x" * 5000)
    with subprocess.Popen([BINDFS, "-f", behind, mount]) as server:
        try:
            until(mount.is_mount)
            server.send_signal(signal.SIGSTOP)
            pool = make_pool()
            first, hanging = submit(pool, tmp_path, "first", "mount/hangs.mrc")
            (pid,) = _with_pids(pool)
            until(lambda: _waits_in_fuse(pid), "the thread in the file system")
            assert hanging.cancel()
            later = submit(pool, tmp_path, "second", "third")
            for name in ("first", "second", "third"):
                end(tmp_path, name)
            assert [job.result(60) for job in (first, *later)] == ["first", "second", "third"]
            assert pool.pids() == [pid]
            pool.shutdown()
            assert pool.left_behind == 0
            assert not Path(f"/proc/{pid}").exists()
        finally:
            server.send_signal(signal.SIGCONT)
            subprocess.run([UMOUNT, "-l", mount], check=False)
            server.terminate()


def _with_pids(pool) -> list[int]:
    until(pool.pids)
    return pool.pids()


def _waits_in_fuse(pid: int) -> bool:
    """Return True if a thread other than the first one waits for the server of a file system."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            if task.name != str(pid) and (task / "wchan").read_text() == FUSE_WAITS:
                return True
    return False
