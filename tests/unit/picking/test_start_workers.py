"""Number of workers, and the provider that they obtain."""

import contextlib
from types import SimpleNamespace

import pytest

from livepick.config.sections import Picking
from livepick.core.contracts.job import CPU, CUDA, WorkerDiedError
from livepick.errors import EngineError, MemoryLimitError, ModelError, TimeLimitError
from livepick.picking import engine, start_workers

MODEL = SimpleNamespace(path="models/0003", card=SimpleNamespace(version=3))


@pytest.fixture
def start(monkeypatch):
    """Return a function that starts workers in threads, on a machine with four cores."""
    monkeypatch.setattr(start_workers, "local", lambda count, _: engine.threads(count))
    monkeypatch.setattr(start_workers, "usable_processors", lambda: 4)
    with contextlib.ExitStack() as ending:

        def start(probe, **picking):
            monkeypatch.setattr(start_workers, "probe", probe)
            return start_workers.start_workers(Picking(**picking), MODEL, ending)

        yield start


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


def test_a_missing_gpu_is_logged(start, caplog):
    """The session continues on the CPU."""
    start(lambda path, device: CPU, device="prefer-gpu")
    assert "there is no usable GPU" in caplog.text


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
