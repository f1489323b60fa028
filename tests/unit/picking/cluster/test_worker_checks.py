"""Checks of a machine before it joins a cluster."""

import threading

import pytest

from livepick.config.engine_section import CudaSettings
from livepick.core.contracts.job import CPU, CUDA
from livepick.errors import ConfigError, EngineError, ModelError, ProviderError
from livepick.host.isolated_call import ProcessDiedError
from livepick.picking import job_limits
from livepick.picking.cluster import worker_checks
from livepick.picking.cluster.worker_checks import check_machine, worker_count

GIB = 1 << 30


def has_memory(monkeypatch, size_bytes):
    monkeypatch.setattr(worker_checks, "total_bytes", lambda: size_bytes)
    monkeypatch.setattr(job_limits, "recent_total_bytes", lambda: size_bytes)


@pytest.fixture
def machine(monkeypatch):
    """Pretend to be a machine with 8 cores and 16 GiB, on which the model runs on the CPU."""
    monkeypatch.setattr(worker_checks, "usable_processors", lambda: 8)
    has_memory(monkeypatch, 16 * GIB)
    monkeypatch.setattr(worker_checks, "find_provider", lambda device, devices: CPU)


def offered(**options):
    given = {
        "device": "cpu",
        "workers": None,
        "devices": (),
        "memory_limit_gib": None,
        "heavy": False,
        "folders": (),
        "cuda": CudaSettings(),
    }
    return check_machine(**(given | options))


@pytest.mark.parametrize(
    ("device", "workers", "devices", "heavy", "count"),
    [
        ("cpu", None, (), False, 8),
        ("cpu", None, (), True, 6),  # a training has two threads
        ("cpu", 3, (), False, 3),
        ("require-gpu", None, (), False, 1),
        ("require-gpu", None, (0, 1), False, 2),
        ("require-gpu", 4, (0, 1), False, 4),
    ],
)
def test_the_number_of_workers(device, workers, devices, heavy, count):
    assert worker_count(device, workers, devices, 8, heavy=heavy) == count


@pytest.mark.parametrize(
    ("device", "workers", "devices", "words"),
    [
        ("cpu", 9, (), r"9 workers need 9 cores, and this process has 8"),
        ("require-gpu", None, range(9), r"9 workers need 9 cores"),
        ("cpu", None, (0,), r"--devices names GPUs, and --device is cpu"),
        ("require-gpu", None, (1, 1), r"--devices names a GPU twice: 1,1"),
        ("require-gpu", 1, (0, 1), r"--workers is 1, and --devices names 2 GPUs"),
    ],
)
def test_options_that_contradict_each_other_or_the_machine(device, workers, devices, words):
    """There are never more threads than cores."""
    with pytest.raises(ConfigError, match=words):
        worker_count(device, workers, devices, 8, heavy=False)


def test_several_micrographs_in_flight_on_each_gpu_are_as_many_workers():
    assert worker_count("require-gpu", None, (0, 1), 8, heavy=False, in_flight=2) == 4
    assert worker_count("require-gpu", 3, (0, 1), 8, heavy=False, in_flight=2) == 3


def test_memory_that_the_machine_does_not_have_is_refused(machine, monkeypatch):
    with pytest.raises(ConfigError, match=r"3 workers of 6.0 GiB need more than the 16.0 GiB"):
        offered(workers=3, memory_limit_gib=6.0)
    assert offered(workers=2, memory_limit_gib=6.0).limits.limits().memory_bytes == 6 * GIB
    has_memory(monkeypatch, 4 * GIB)
    with pytest.raises(ConfigError, match=r"8 workers of 1.0 GiB need .* 4.0 GiB.*--workers"):
        offered()


def test_a_folder_that_is_not_there_is_refused(machine, tmp_path):
    with pytest.raises(
        EngineError, match=r"--mount .*away cannot be read: No such file.*same path"
    ):
        offered(folders=(tmp_path, tmp_path / "away"))


def test_the_offer_is_said_in_plain_words(machine, tmp_path):
    offer = offered(workers=2, memory_limit_gib=3, heavy=True, folders=(tmp_path,))
    text = "\n".join(offer.lines)
    for words in (
        "8 cores, 16.0 GiB",
        "provider   CPUExecutionProvider",
        "workers    2, each with one thread and at most 3.0 GiB",
        f"folder     {tmp_path}: can be read",
        "offers     2 micrographs at a time, and one heavy job",
    ):
        assert words in text


def test_without_a_gpu_it_does_not_join():
    """It is never silently on the CPU. The words of onnxruntime are behind it."""
    with pytest.raises(ProviderError, match=r"GPU 0 cannot be used: .*--device cpu"):
        worker_checks.find_provider("require-gpu", (0,))


def test_the_shipped_model_runs_on_the_cpu_if_that_is_said():
    assert worker_checks.find_provider("cpu", ()) == CPU


def test_gpus_are_tried_side_by_side_a_few_at_a_time(monkeypatch):
    """The first one that fails, in the order of the list, is told."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    both, most, now, lock = threading.Barrier(2), [], [], threading.Lock()

    def probe(function, pin, *given, **options):
        with lock:
            now.append(pin)
            most.append(len(now))
        if pin.index < 2:
            both.wait(30)
        with lock:
            now.remove(pin)
        if pin.index in (5, 7):
            raise ProcessDiedError(f"signal of {pin.index}")
        return CUDA

    monkeypatch.setattr(worker_checks, "call_isolated", probe)
    assert worker_checks.find_provider("require-gpu", range(5)) == CUDA
    with pytest.raises(ModelError, match=r"does not run on GPU 5: signal of 5"):
        worker_checks.find_provider("require-gpu", range(9))
    assert 2 <= max(most) <= worker_checks.PROBES_AT_A_TIME


def test_a_gpu_that_the_batch_job_does_not_have_is_named(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(ProviderError, match=r"--devices has 1, and CUDA_VISIBLE_DEVICES='3'"):
        worker_checks.find_provider("require-gpu", (0, 1))
