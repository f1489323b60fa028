"""The program of ``livepick worker`` on a scheduler in the same process."""

import asyncio
import contextlib
import dataclasses
import functools
import logging
import os
import threading
from pathlib import Path

import psutil
import pytest
from held_port import held_port

distributed = pytest.importorskip("distributed", reason="needs distributed, of the dask extra")

from dask.base import annotate  # noqa: E402

from livepick import __version__  # noqa: E402
from livepick.config.engine_section import CudaSettings  # noqa: E402
from livepick.core.contracts.job import CPU, CUDA  # noqa: E402
from livepick.core.contracts.node import (  # noqa: E402
    HEAVY,
    NEXT_FILE,
    PICK,
    REPORT,
    NodeReport,
)
from livepick.errors import ConfigError, EngineError  # noqa: E402
from livepick.picking.cluster import worker_program  # noqa: E402
from livepick.picking.cluster.scheduler import AwayError, SchedulerPlace  # noqa: E402
from livepick.picking.cluster.worker_checks import Offer  # noqa: E402
from livepick.picking.cluster.worker_program import Joining, _Program, run_worker_program  # noqa: E402
from livepick.picking.job_limits import JobLimits  # noqa: E402

OFFER = Offer(2, (), CPU, JobLimits(2), heavy=True, folders=())


async def until(condition):
    async with asyncio.timeout(90):
        while not condition():
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def scheduler(**options):
    given = {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"} | options
    async with distributed.Scheduler(**given) as running:
        yield running


@contextlib.asynccontextmanager
async def program(place, **options):
    """Yield a program and the task in which it runs; it leaves at the end."""
    running = _Program(OFFER, Joining(place, **options), None)
    task = asyncio.create_task(running.run())
    try:
        yield running, task
    finally:
        running._leave("the test ends")
        await asyncio.wait({task})


def test_it_offers_its_workers_and_leaves_at_the_end_of_its_lifetime(monkeypatch):
    async def run():
        loop, ends = asyncio.get_running_loop(), []
        later, options = loop.call_later, {"name": "gpu7", "lifetime_seconds": 3600.5}

        def call_later(seconds, *call, **context):
            if seconds == options["lifetime_seconds"]:  # over when the test has seen enough
                return ends.append(functools.partial(*call))
            return later(seconds, *call, **context)

        monkeypatch.setattr(loop, "call_later", call_later)
        async with (
            scheduler() as cluster,
            program(SchedulerPlace(cluster.address), **options) as (_, task),
        ):
            await until(lambda: cluster.workers)
            (worker,) = cluster.workers.values()
            assert worker.resources == {PICK: 2.0, HEAVY: 1.0}
            assert worker.memory_limit == 0  # the processes have limits of their own
            assert worker.name.startswith("gpu7-")
            assert NodeReport.of_values(worker.metrics[REPORT]).version == __version__
            (end,) = ends
            end()
            await asyncio.wait_for(task, 90)
            assert not cluster.workers

    asyncio.run(run())


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_without_tls_only_this_machine_reaches_it(host):
    """Whoever reaches the port of a worker runs programs there, as at the scheduler's."""

    async def run():
        async with scheduler(host=host) as cluster, program(SchedulerPlace(cluster.address)):
            await until(lambda: cluster.workers)
            places = [
                one.laddr
                for one in psutil.Process().net_connections("inet")
                if one.status == psutil.CONN_LISTEN
            ]
            (address,) = cluster.workers
            assert int(address.rpartition(":")[2]) in {place.port for place in places}
            assert {place.ip for place in places} <= {"127.0.0.1", "::1"}

    asyncio.run(run())


def test_it_joins_the_next_scheduler_if_the_first_one_stops(tmp_path, monkeypatch):
    """At the same port, but under another name: the scheduler may still know the first.

    The jobs of the first one that have not begun are dropped before.
    """
    abandoned = []
    monkeypatch.setattr(worker_program, "abandon_jobs", lambda: abandoned.append(1) or 1)
    place = SchedulerPlace(file=tmp_path / "scheduler.json")

    async def run(port):
        async with (
            scheduler(scheduler_file=str(place.file)) as cluster,
            program(place, port=port) as _,
        ):
            await until(lambda: cluster.workers)
            (first,) = cluster.workers.values()
            await cluster.close()
            async with scheduler(scheduler_file=str(place.file)) as again:
                await until(lambda: again.workers)
                (second,) = again.workers.values()
                assert abandoned == [1]
                assert first.name != second.name
                assert first.address == second.address
                assert first.address.endswith(f":{port}")

    with held_port() as port:
        asyncio.run(run(str(port)))


def test_it_leaves_with_an_error_if_no_process_can_be_started(monkeypatch):
    faults = []
    monkeypatch.setattr(worker_program, "node_fault", lambda: next(iter(faults), None))

    async def run():
        async with (
            scheduler() as cluster,
            program(SchedulerPlace(cluster.address)) as (_, task),
        ):
            await until(lambda: cluster.workers)
            faults.append(EngineError("worker processes do not start", "Check the log."))
            with pytest.raises(EngineError, match="worker processes do not start"):
                await asyncio.wait_for(task, 90)
            assert not cluster.workers

    asyncio.run(run())


def test_a_scheduler_with_other_versions_ends_it(monkeypatch):
    async def old(address, security):
        return {"python": "3.8.1", "livepick": "0.0.1"}

    monkeypatch.setattr(worker_program, "versions_there", old)

    async def run():
        async with program(SchedulerPlace("tcp://127.0.0.1:1")) as (_, task):
            with pytest.raises(EngineError, match=r"has Python 3.8, and this machine has"):
                await asyncio.wait_for(task, 90)

    asyncio.run(run())


def test_an_open_address_in_the_file_is_refused(tmp_path):
    """As if it had been given itself."""
    file = tmp_path / "scheduler.json"
    file.write_text('{"address": "tcp://10.0.0.7:8786"}')

    async def run():
        async with program(SchedulerPlace(file=file)) as (_, task):
            with pytest.raises(ConfigError, match=r"tcp://10.0.0.7:8786 is not encrypted"):
                await asyncio.wait_for(task, 90)

    asyncio.run(run())


def test_it_says_once_that_it_waits(monkeypatch, caplog):
    """At each try it would fill the log; it ends at once when it is told to."""
    monkeypatch.setattr(worker_program, "RETRY_SECONDS", 0.01)
    tries = []

    async def away(address, security):
        tries.append(address)
        raise AwayError("the scheduler does not answer: no route", "Check that it runs.")

    monkeypatch.setattr(worker_program, "versions_there", away)

    async def run():
        async with program(SchedulerPlace("tcp://127.0.0.1:1")):
            await until(lambda: len(tries) > 5)

    asyncio.run(run())
    (warning,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    words = "worker: waits for the scheduler: the scheduler does not answer: no route. Check"
    assert warning.startswith(words)


_begun = []
_goes_on = threading.Event()


def wait_to_go_on(number):
    _begun.append(number)
    return _goes_on.wait(60)


def test_it_reads_the_files_of_waiting_tasks_ahead(monkeypatch):
    """Not those of the two that start at once; a task may have no file."""
    named = []
    monkeypatch.setattr(worker_program, "read_ahead_on_node", named.append)

    async def run():
        async with (
            scheduler() as cluster,
            program(SchedulerPlace(cluster.address)),
            distributed.Client(cluster.address, asynchronous=True) as client,
        ):
            await until(lambda: cluster.workers)
            tasks = []
            for number, name in enumerate((b"a", b"b", b"c", None, b"d")):
                with annotate(**({} if name is None else {NEXT_FILE: name})):
                    task = client.submit(wait_to_go_on, number, resources={PICK: 1})
                tasks.append(task)
                least = min(number + 1, 2)
                await until(lambda least=least: len(_begun) >= least)
            await until(lambda: len(named) == 2)
            _goes_on.set()
            assert all(await client.gather(tasks))

    asyncio.run(run())
    assert named == [Path("c"), Path("d")]


def test_the_node_has_what_is_offered(monkeypatch):
    """The settings of its GPUs, too; without a GPU, none is visible to its processes."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    opened = {}

    def open_node(workers, limits, **options):
        opened.update(options, workers=workers, visible=os.environ["CUDA_VISIBLE_DEVICES"])
        raise EngineError("only looked at", "")

    monkeypatch.setattr(worker_program, "open_node", open_node)
    monkeypatch.setattr(worker_program, "_log_through_root", lambda: None)
    cuda = CudaSettings(graphs=True)
    offer = dataclasses.replace(OFFER, devices=(2, 3), provider=CUDA, cuda=cuda)
    for each in (offer, OFFER):
        with pytest.raises(EngineError, match="only looked at"):
            run_worker_program(each, Joining(SchedulerPlace("tcp://127.0.0.1:1")))
        expected = (each.devices or None, each.cuda, True)
        assert (opened["devices"], opened["cuda"], opened["heavy"]) == expected
        assert opened["requires_gpu"] == (each is offer)
        assert opened["visible"] == ("0" if each is offer else "-1")


def test_dask_logs_no_traceback_of_a_lost_connection(caplog):
    """But what else goes wrong in it is logged."""
    logger = logging.getLogger("distributed.worker")
    logger.addFilter(worker_program._is_not_of_the_connection)
    try:
        for error in (distributed.comm.CommClosedError("pool closing"), ValueError("a bug")):
            logger.error("heartbeat", exc_info=error)
        logger.error("Invalid Worker.status transition: %s -> %s", "closing", "closing_gracefully")
    finally:
        logger.removeFilter(worker_program._is_not_of_the_connection)
    assert [str(one.exc_info[1]) for one in caplog.records] == ["a bug"]
