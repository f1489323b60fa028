"""Workers bound to GPUs: who gets which, and what becomes of jobs if one of two GPUs is lost.

Worker processes are real; the GPUs are only their environment.
"""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from livepick.core.contracts.job import CPU, CUDA, WorkerDiedError
from livepick.errors import ModelError, ProviderError
from livepick.picking import worker_seats
from livepick.picking.gpu_pins import pins
from livepick.picking.job_limits import JobLimits


@pytest.fixture
def make(make_pool):
    """Return a function that makes a pool on some GPUs."""
    return lambda workers, numbers: make_pool(workers, devices=pins(numbers, {}))


def where(seconds=0.0):
    """Return the GPU that this process sees, and its process id."""
    time.sleep(seconds)
    return os.environ["CUDA_VISIBLE_DEVICES"], os.getpid()


def pick(job):
    """Pick as the job says for the GPU that this process sees."""
    gpu, _ = where(0.05)
    match job.behaviour.get(gpu):
        case "lost":
            raise ProviderError(f"no CUDA on GPU {gpu}", "Reset it.")
        case "wrong":
            raise ModelError(f"CUDA failure 700 on GPU {gpu}", "Reset it.")
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "cpu":
            return SimpleNamespace(provider=CPU, gpu=gpu)
    return SimpleNamespace(provider=CUDA, gpu=gpu)


def job(number, device="require-gpu", **behaviour):
    behaviour = {name.removeprefix("on"): how for name, how in behaviour.items()}
    return SimpleNamespace(path=Path(f"{number}.mrc"), device=device, behaviour=behaviour)


def all_at_work(pool, count):
    """Return the GPU of each worker, by process id, when all of them run."""
    found = {}
    while len(found) < count:
        found |= {
            pid: gpu
            for gpu, pid in (
                future.result(60) for future in [pool.submit(where, 0.05) for _ in range(2 * count)]
            )
        }
    return found


def test_a_worker_is_replaced_on_its_own_gpu(make):
    """Workers are spread over the GPUs in turn."""
    pool = make(3, [2, 5])
    found = all_at_work(pool, 3)
    assert sorted(found.values()) == ["2", "2", "5"]
    victim = next(pid for pid, gpu in found.items() if gpu == "5")
    os.kill(victim, signal.SIGKILL)
    while pool.deaths == 0:
        time.sleep(0.02)
    after = all_at_work(pool, 3)
    assert victim not in after
    assert sorted(after.values()) == ["2", "2", "5"]


def test_a_job_for_one_gpu_has_the_outcome_of_that_gpu(make):
    """The start checks each of them."""
    pool = make(2, [0, 1])
    limits = JobLimits(2).limits()
    first, second = pins([0, 1], {})
    for device, gpu in [(second, "1"), (first, "0"), (second, "1")]:
        assert pool.submit_to(device, limits, where).result(60)[0] == gpu
    lost = pool.submit_to(second, limits, pick, job(1, on1="lost"))
    with pytest.raises(ProviderError, match="no CUDA on GPU 1"):
        lost.result(60)
    assert pool.devices_aside == ()


def probe(bundle, device):
    return CPU if where()[0] == "1" else CUDA


def test_a_new_model_is_not_tried_on_a_gpu_that_is_lost(make, monkeypatch):
    """Its trial would report that the session picks on the CPU."""
    monkeypatch.setattr(worker_seats, "STRIKES", 1)
    pool = make(2, [0, 1])
    while not pool.devices_aside:
        futures = [pool.submit(probe, "models/0001", "prefer-gpu") for _ in range(2)]
        assert {future.result(60) for future in futures} == {CUDA}


@pytest.mark.parametrize("how", ["lost", "cpu", "wrong"])
def test_a_lost_gpu_is_set_aside_and_no_micrograph_is_blamed(make, how, caplog, monkeypatch):
    """Its worker reports the loss, falls back to the CPU, or meets a CUDA error."""
    monkeypatch.setattr(worker_seats, "STRIKES", 1)
    pool = make(2, [0, 1])
    while not pool.devices_aside:
        futures = [pool.submit(pick, job(number, on1=how)) for number in range(4)]
        assert {future.result(60).gpu for future in futures} == {"0"}
    (aside,) = pool.devices_aside
    assert aside.name == "GPU 1"
    assert "GPU 1: set aside" in caplog.text
    assert {pool.submit(pick, job(number)).result(60).gpu for number in range(5)} == {"0"}


def test_what_fails_on_both_gpus_is_not_their_fault(make, monkeypatch):
    """The model, or the micrograph, is."""
    monkeypatch.setattr(worker_seats, "STRIKES", 1)
    pool = make(2, [0, 1])
    with pytest.raises(ModelError, match="CUDA failure 700"):
        pool.submit(pick, job(0, on0="wrong", on1="wrong")).result(60)
    assert pool.devices_aside == ()


def test_the_last_gpu_is_not_set_aside_and_its_loss_is_reported(make, monkeypatch):
    """The service ends with this error, and is started again."""
    monkeypatch.setattr(worker_seats, "STRIKES", 1)
    pool = make(2, [0, 1])
    futures = [pool.submit(pick, job(number, on0="lost", on1="lost")) for number in range(3)]
    assert all(isinstance(future.exception(60), ProviderError) for future in futures)
    assert len(pool.devices_aside) == 1


def test_a_gpu_that_ends_its_workers_is_set_aside(make, monkeypatch):
    """The dispatch loop tries each of these micrographs again, and gets another GPU."""
    monkeypatch.setattr(worker_seats, "STRIKES", 2)
    pool = make(2, [0, 1])
    while not pool.devices_aside:
        futures = [pool.submit(pick, job(number, on1="crash")) for number in range(2)]
        if any(isinstance(future.exception(60), WorkerDiedError) for future in futures):
            assert pool.submit(pick, job(0, on1="crash")).result(60).gpu == "0"
    assert pool.devices_aside[0].name == "GPU 1"


def test_a_gpu_is_tried_again_and_taken_back(make, monkeypatch):
    monkeypatch.setattr(worker_seats, "ASIDE_SECONDS", 0.2)
    pool = make(2, [0, 1])
    pool.set_aside(pins([1], {})[0], "no CUDA")
    assert [aside.reason for aside in pool.devices_aside] == ["no CUDA"]
    while pool.devices_aside:
        for future in [pool.submit(pick, job(number)) for number in range(4)]:
            future.result(60)
    assert sorted(all_at_work(pool, 2).values()) == ["0", "1"]


def test_one_more_failure_sets_a_gpu_aside_again():
    seats = worker_seats.Seats(2, devices := pins([0, 1], {}))
    seats.set_aside(devices[1], "no CUDA")
    seats.count_time(worker_seats.ASIDE_SECONDS)
    assert seats.is_usable(devices[1])
    assert seats.aside()  # still a problem: nothing has succeeded
    seats.failed(devices[1], "still no CUDA")
    assert not seats.is_usable(devices[1])
    assert seats.aside()[0].reason == "still no CUDA"


def test_failures_with_a_success_between_them_are_forgiven():
    seats = worker_seats.Seats(2, devices := pins([0, 1], {}))
    for _ in range(3 * worker_seats.STRIKES):
        seats.failed(devices[1], "CUDA failure 700")
        seats.succeeded(devices[1])
    assert seats.aside() == ()


def array(job):
    return np.zeros((2, 2))


def test_a_result_may_be_anything(make):
    """Only the provider of those that have one is judged."""
    assert make(2, [0, 1]).submit(array, job(0)).result(60).shape == (2, 2)


def test_jobs_for_the_cpu_are_not_judged(make):
    """Some are never run on a GPU."""
    pool = make(2, [0, 1])
    result = pool.submit(pick, job(0, device="cpu", on0="cpu", on1="cpu")).result(60)
    assert result.provider == CPU
    assert pool.devices_aside == ()
