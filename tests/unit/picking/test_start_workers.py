"""Number of workers, and the provider that they obtain."""

import contextlib
from types import SimpleNamespace

import pytest

from factories import make_config
from livepick.core.contracts.job import CPU, CUDA, WorkerDiedError
from livepick.errors import EngineError, MemoryLimitError, ModelError, ProviderError, TimeLimitError
from livepick.picking import engine, start_workers

ASIDE = []
"""GPUs that have been set aside, with the reason."""

BOUND = []
"""GPUs that the workers are bound to."""

MODEL = SimpleNamespace(path="models/0003", card=SimpleNamespace(version=3))


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Return a function that starts workers in threads, on a machine with four cores."""
    monkeypatch.setattr(start_workers, "local", _threads)
    monkeypatch.setattr(start_workers, "usable_processors", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with contextlib.ExitStack() as ending:

        def start(probe, engine=None, **picking):
            monkeypatch.setattr(start_workers, "probe", probe)
            config = make_config(tmp_path, picking=picking, engine=engine or {})
            return start_workers.start_workers(config, MODEL, ending)

        yield start


def _threads(count, _, *, devices=(), cuda=None):
    """Return an engine of threads; a job for a GPU gets its number before its arguments."""
    workers = engine.threads(count)
    workers.set_aside = lambda device, reason: ASIDE.append((device.name, reason))
    workers.submit_to = lambda device, seconds, work, *args: workers.submit(
        work, *args, gpu=device.index
    )
    ASIDE.clear()
    BOUND[:] = [device.name for device in devices]
    return workers


@pytest.mark.parametrize(
    ("provider", "configured", "count"),
    [(CPU, None, 3), (CUDA, None, 1), (CPU, 2, 2), (CUDA, 2, 2)],
)
def test_a_gpu_gets_one_worker_unless_more_are_configured(start, provider, configured, count):
    """A CPU gets a worker per core but one."""
    workers = start(lambda path, device: provider, workers=configured)

    assert (workers.provider, workers.count) == (provider, count)
    assert workers.engine.capacity == 2 * count
    assert workers.engine.submit(int, "7").result() == 7


def on(**providers):
    """Return a probe: what it finds on each GPU, and on the CPU otherwise."""

    def probe(path, device, gpu=None):
        found = providers.get(f"gpu{gpu}", CPU)
        if isinstance(found, Exception):
            raise found
        return found

    return probe


@pytest.mark.parametrize(
    ("settings", "count"), [({}, 2), ({"workers": 5}, 5), ({"cuda": {"in_flight": 3}}, 6)]
)
def test_each_gpu_gets_a_worker(start, settings, count, caplog):
    """Or as many as micrographs are to be in flight on it; a given number is spread over them."""
    caplog.set_level("INFO")
    workers = start(on(gpu1=CUDA, gpu3=CUDA), engine={"devices": [1, 3], **settings})
    assert (workers.provider, workers.count) == (CUDA, count)
    assert BOUND == ["GPU 1", "GPU 3"]
    assert f"{count} workers on GPU 1, GPU 3" in caplog.text
    assert ASIDE == []


def test_more_micrographs_in_flight_are_more_workers_on_the_only_gpu(start):
    for count in (2, 5):  # the processors would allow 3
        workers = start(lambda path, device: CUDA, engine={"cuda": {"in_flight": count}})
        assert workers.count == count


def test_a_gpu_without_a_worker_is_named(start, caplog):
    start(on(gpu0=CUDA, gpu1=CUDA), engine={"devices": [0, 1], "workers": 1})
    assert BOUND == ["GPU 0"]
    assert "GPU 1: not used" in caplog.text


@pytest.mark.parametrize("device", ["require-gpu", "prefer-gpu"])
@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (CPU, "onnxruntime offers only CPUExecutionProvider"),
        (ProviderError("no CUDA", "Reset it."), "no CUDA"),
        (WorkerDiedError("crash", "SIGSEGV"), "model 3 ends its worker: SIGSEGV"),
    ],
)
def test_a_gpu_that_fails_at_the_start_is_set_aside(start, found, reason, device):
    """The others pick, and the page names it."""
    workers = start(on(gpu0=CUDA, gpu1=found), engine={"devices": [0, 1]}, device=device)
    assert workers.provider == CUDA
    assert [("GPU 1", reason)] == ASIDE


def test_required_gpus_of_which_none_works_end_the_service(start):
    with pytest.raises(ProviderError, match="GPU 2: onnxruntime offers only CPU"):
        start(on(), engine={"devices": [2, 4]}, device="require-gpu")


def test_preferred_gpus_of_which_none_works_leave_the_cpu(start, caplog):
    """With the number of workers of a CPU."""
    workers = start(on(), engine={"devices": [2, 4]}, device="prefer-gpu")
    assert (workers.provider, workers.count, BOUND) == (CPU, 3, [])
    assert "none of engine.devices can be used" in caplog.text


def test_a_model_that_runs_on_no_gpu_is_at_fault(start):
    """The service then tries another one."""
    fault = ModelError("scores outside 0 to 1", "Roll back.")
    with pytest.raises(ModelError, match="GPU 0: scores outside 0 to 1") as caught:
        start(on(gpu0=fault, gpu1=fault), engine={"devices": [0, 1]}, device="prefer-gpu")
    assert not isinstance(caught.value, ProviderError)


def test_a_gpu_that_does_not_work_is_logged_and_a_machine_without_one_is_not(
    start, caplog, monkeypatch
):
    """The session continues on the CPU."""
    monkeypatch.setattr(start_workers, "gpu_sign", lambda: "")
    start(lambda path, device: CPU, device="prefer-gpu")
    assert "GPU" not in caplog.text
    monkeypatch.setattr(start_workers, "gpu_sign", lambda: "nvidia-smi is installed")
    start(lambda path, device: CPU, device="prefer-gpu")
    assert "the GPU cannot be used, so the CPU is: nvidia-smi is installed" in caplog.text


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (WorkerDiedError("crash", "SIGSEGV"), ModelError, r"model 3 ends its worker.*check"),
        (WorkerDiedError("outside", "SIGKILL"), EngineError, "killed each time"),
        (TimeLimitError("too long", ""), ModelError, r"model 3 takes more than 240 s.*check"),
        (MemoryLimitError("9 GiB", "Raise it."), EngineError, "9 GiB. Raise it."),
    ],
)
def test_a_worker_that_does_not_run_the_model_is_named_with_a_remedy(start, fault, error, words):
    """A kill from outside is not a fault of the model."""

    def fail(path, device):
        raise fault

    with pytest.raises(error, match=words):
        start(fail)


def test_a_worker_that_is_killed_once_is_replaced(start):
    deaths = iter([WorkerDiedError("outside", "SIGKILL")])

    def fail_once(path, device):
        for death in deaths:
            raise death
        return CPU

    assert start(fail_once).provider == CPU
