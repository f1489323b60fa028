"""The executor of a cluster: jobs on nodes that fit, and none lost with a scheduler."""

import asyncio
import functools
import json
import os
import threading
import time
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path

import distributed
import pytest
import waiting
from distributed.comm.core import CommClosedError

from livepick.config.engine_section import EngineSettings
from livepick.core.contracts.device_aside import DeviceAside
from livepick.core.contracts.job import CPU, WorkerDiedError
from livepick.core.contracts.node import PICK, REPORT, HelloRequest, NodeReport
from livepick.errors import EngineError, HeaderError, TimeLimitError
from livepick.picking.cluster import client, connection, node_questions
from livepick.picking.cluster.client import ClusterExecutor
from livepick.picking.cluster.connection import LostError, result_of
from livepick.picking.cluster.worker_program import _QuickWorker
from livepick.picking.engine import Engine
from livepick.picking.job_limits import JobLimits, Limits
from livepick.picking.worker_handle import WorkerHandle

until = functools.partial(waiting.until, seconds=90)


def local_cluster(**options):
    return distributed.LocalCluster(
        processes=False, dashboard_address=":0", protocol="tcp", **options
    )


@dataclass(frozen=True)
class FileJob:
    """A job with a file, as of ``pick``; it goes on until the mark exists."""

    path: Path
    mark: Path


def die():
    os._exit(3)


def bad_header():
    raise HeaderError("not an MRC file", "Look at it.")


def wait_for(path):
    waiting.until(path.exists)
    return os.getpid()


def test_jobs_run_on_an_accepted_node(connect):
    cluster = connect()
    engine = Engine(cluster)
    until(lambda: engine.capacity == 2)
    assert engine.fault is None
    assert cluster.view.provider == CPU
    pids = {engine.submit(os.getpid).result(30) for _ in range(4)}
    assert os.getpid() not in pids


def compute(job):
    waiting.until(job.mark.exists)
    return job.path.name


def test_the_file_of_a_job_that_waits_at_its_node_is_read_ahead(connect, tmp_path, monkeypatch):
    """The node's pool is told, by a name of any bytes; of a job that starts at once it is not."""
    named = []
    monkeypatch.setattr(WorkerHandle, "read_ahead", lambda self, path: named.append(path))
    cluster = connect()
    until(lambda: cluster.capacity == 2)
    names = ("first", os.fsdecode(b"next \xff\n"))
    jobs = [
        cluster.submit(compute, FileJob(tmp_path / name, tmp_path / f"{name}.mark"))
        for name in names
    ]
    until(lambda: named)
    for name in names:
        (tmp_path / f"{name}.mark").touch()
    assert [job.result(30) for job in jobs] == list(names)
    assert named == [tmp_path / names[1]]


def test_errors_have_the_types_of_a_local_engine(connect):
    """Those of the job, of its limits, and of its process."""
    cluster = connect()
    until(lambda: cluster.capacity)
    with pytest.raises(HeaderError, match=r"not an MRC file. Look at it."):
        cluster.submit(bad_header).result(30)
    with pytest.raises(TimeLimitError, match="sleep took longer than 0 s"):
        cluster.submit_within(Limits(0.2, 1 << 30), time.sleep, 60).result(30)
    assert cluster.deaths == 1
    with pytest.raises(WorkerDiedError, match="status 3") as died:
        cluster.submit(die).result(30)
    assert (died.value.cause, cluster.deaths) == ("crash", 2)


def test_a_stop_ends_all_jobs_and_frees_their_callers(connect, tmp_path):
    """One runs, and others wait."""
    cluster = connect()
    until(lambda: cluster.capacity)
    release = tmp_path / "release"
    jobs = [cluster.submit(wait_for, release) for _ in range(4)]
    until(jobs[0].running)
    cluster.shutdown()
    for job in jobs:
        with pytest.raises((WorkerDiedError, CancelledError)):
            job.result(30)
    with pytest.raises(EngineError, match="have been stopped"):
        cluster.submit(os.getpid)
    release.touch()  # the process on the node runs it to its end


def test_without_a_scheduler_jobs_come_back_and_nothing_picks(monkeypatch, tmp_path):
    """The dispatch loop queues their micrographs again."""
    monkeypatch.setattr(client, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(client, "RETRY_SECONDS", 0.1)
    settings = EngineSettings(kind="dask", scheduler_file=tmp_path / "scheduler.json")
    cluster = ClusterExecutor(settings, lambda: None, JobLimits(1), session="s")
    with pytest.raises(EngineError, match=r"is not connected.*scheduler.json"):
        cluster.submit(os.getpid).result(30)
    assert cluster.capacity == 0
    assert "Picking goes on by itself" in cluster.fault.remedy
    cluster.shutdown()


def test_a_plain_dask_worker_is_refused(tmp_path):
    request = HelloRequest("cpu", None, None, tmp_path / "token", None, ())
    with local_cluster(n_workers=1, threads_per_worker=1) as plain:
        settings = EngineSettings(kind="dask", scheduler=plain.scheduler_address)
        cluster = ClusterExecutor(settings, lambda: request, JobLimits(1), session="s")
        until(lambda: cluster.view.count("refused"))
        assert "Start it with livepick worker" in str(cluster.fault)
        assert cluster.capacity == 0
        cluster.shutdown()


def test_a_node_that_never_answers_is_told(connect, monkeypatch):
    """It is not, while it has just been asked."""

    async def never(*_):
        await asyncio.sleep(60)

    monkeypatch.setattr(client, "ask_node", never)
    cluster = connect()
    until(lambda: cluster.view.count("asked"))
    assert cluster.fault is None
    monkeypatch.setattr(client, "WAIT_SECONDS", 0.0)
    assert "none of the 1 workers of the cluster fits" in str(cluster.fault)


def test_a_scheduler_file_that_hangs_does_not_end_the_connection(scheduler, tmp_path, monkeypatch):
    """Jobs go on, and only one thread waits for the file."""
    monkeypatch.setattr(client, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(connection, "FILE_SECONDS", 0.05)
    file, reads, answer = tmp_path / "scheduler.json", [], threading.Event()
    file.write_text(json.dumps({"address": scheduler}))
    request = HelloRequest("cpu", None, None, tmp_path / "token", None, ())
    settings = EngineSettings(kind="dask", scheduler_file=file)
    cluster = ClusterExecutor(settings, lambda: request, JobLimits(1), session="s")
    until(lambda: cluster.capacity)

    def hang(_):
        reads.append(threading.current_thread())
        answer.wait(30)
        return scheduler

    monkeypatch.setattr(connection.SchedulerPlace, "read", hang)
    until(lambda: reads)
    assert cluster.submit(os.getpid).result(30)
    time.sleep(0.3)
    assert (len(reads), cluster.view.is_connected) == (1, True)
    answer.set()
    cluster.shutdown()


def test_a_node_of_another_version_is_refused(connect, monkeypatch):
    """It is never sent a job, whose values it might not be able to read."""
    monkeypatch.setattr(node_questions, "__version__", "99.0")
    cluster = connect()
    until(lambda: cluster.view.count("refused"))
    assert "and the service has 99.0. Install the same version" in str(cluster.fault)


def test_jobs_of_a_lost_scheduler_start_again_at_a_new_one(scheduler, tmp_path, monkeypatch):
    """Its file has another address; each result comes once. The node of this process stays."""
    monkeypatch.setattr(client, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(client, "RETRY_SECONDS", 0.1)
    file, release = tmp_path / "scheduler.json", tmp_path / "release"
    request = HelloRequest("cpu", None, None, tmp_path / "token", None, ())
    settings = EngineSettings(kind="dask", scheduler_file=file)
    cluster = ClusterExecutor(settings, lambda: request, JobLimits(1), session="s")
    came = []
    options = {
        "n_workers": 1,
        "threads_per_worker": 2,
        "resources": {PICK: 1},
        "worker_class": _QuickWorker,
    }
    with local_cluster(**options) as first:
        file.write_text(json.dumps({"address": first.scheduler_address}))
        until(lambda: cluster.capacity)
        jobs = [cluster.submit(wait_for, release) for _ in range(3)]
        for job in jobs:
            job.add_done_callback(came.append)
        until(lambda: cluster._tries)
    until(lambda: not cluster.view.is_connected)
    assert not any(job.done() for job in jobs)
    release.touch()
    with local_cluster(**options) as second:
        file.write_text(json.dumps({"address": second.scheduler_address}))
        assert all(job.result(60) for job in jobs)
        assert len(came) == 3
        cluster.shutdown()


def test_an_empty_folder_where_the_service_sees_files_is_a_reason(connect, monkeypatch, tmp_path):
    """It is a mount point, and its share is not mounted on the node."""
    root = tmp_path / "in"
    root.mkdir()
    monkeypatch.setattr(node_questions, "has_entries", lambda _: True)
    cluster = connect(root=root)
    until(lambda: cluster.view.count("refused"))
    assert "is empty, and that of the service is not" in cluster.view.nodes[0].reason


def test_a_gpu_that_a_node_has_set_aside_is_reported_to_the_service(
    scheduler, tmp_path, monkeypatch
):
    """With the next heartbeat; the node is still accepted, because its other GPUs pick."""
    monkeypatch.setattr(client, "LOOK_SECONDS", 0.1)
    request = HelloRequest("cpu", None, None, tmp_path / "token", None, ())
    gpus = []
    options = {
        "n_workers": 1,
        "threads_per_worker": 1,
        "resources": {PICK: 1},
        "metrics": {REPORT: lambda _: NodeReport("9.9", 1 << 30, tuple(gpus)).as_values()},
    }
    with local_cluster(**options) as one:
        settings = EngineSettings(kind="dask", scheduler=one.scheduler_address)
        cluster = ClusterExecutor(settings, lambda: request, JobLimits(1), session="s")
        until(lambda: cluster.capacity)
        (seen,) = cluster.view.nodes
        assert (seen.version, seen.memory_bytes, cluster.devices_aside) == ("9.9", 1 << 30, ())
        gpus.append(DeviceAside("GPU 1", "CUDA failure 999"))
        until(lambda: cluster.devices_aside)
        (gpu,) = cluster.devices_aside
        assert gpu == DeviceAside(f"GPU 1 of the worker {seen.name}", "CUDA failure 999")
        assert cluster.capacity == 2
        cluster.shutdown()


def test_an_unexpected_error_is_logged_and_the_cluster_connected_again(
    connect, monkeypatch, caplog
):
    serve, tries = ClusterExecutor._serve, []

    async def fails_once(self):
        tries.append(self)
        if len(tries) == 1:
            raise KeyError("workers")
        await serve(self)

    monkeypatch.setattr(ClusterExecutor, "_serve", fails_once)
    monkeypatch.setattr(client, "UNEXPECTED_SECONDS", 0.1)
    cluster = connect()
    until(lambda: cluster.capacity)
    assert cluster.submit(os.getpid).result(30)
    assert "cluster: unexpected error" in caplog.text


def test_a_node_that_leaves_keeps_what_runs_and_gives_back_what_waits(
    scheduler, tmp_path, monkeypatch
):
    """``livepick worker`` is paused before it leaves. Here it changes its mind."""
    monkeypatch.setattr(client, "LOOK_SECONDS", 0.1)
    release = tmp_path / "release"
    request = HelloRequest("cpu", None, None, tmp_path / "token", None, ())
    options = {"threads_per_worker": 2, "resources": {PICK: 1}, "worker_class": _QuickWorker}
    # Without a limit, Dask does not decide itself whether it is paused.
    with local_cluster(n_workers=1, memory_limit=0, **options) as one:
        settings = EngineSettings(kind="dask", scheduler=one.scheduler_address)
        cluster = ClusterExecutor(settings, lambda: request, JobLimits(1), session="s")
        until(lambda: cluster.capacity)
        first, second = (cluster.submit(wait_for, release) for _ in range(2))
        until(lambda: len(cluster._tries) == 2)
        (worker,) = one.workers.values()
        until(lambda: worker.state.executing_count)
        one.loop.add_callback(setattr, worker, "status", distributed.Status.paused)
        until(lambda: len(cluster._waiting) == 1)
        assert (cluster.capacity, cluster.view.nodes[0].state) == (0, "leaving")
        release.touch()
        assert first.result(30)
        assert not second.done()
        one.loop.add_callback(setattr, worker, "status", distributed.Status.running)
        assert second.result(30)
        cluster.shutdown()


def test_a_result_lost_with_the_connection_is_no_fault_of_the_node():
    """The scheduler was killed while it passed the result on."""

    class Fetched:
        def __await__(self):
            raise CommClosedError("in <TCP>: ConnectionResetError")
            yield

    with pytest.raises(LostError):
        asyncio.run(result_of(Fetched()))
