"""A machine that has too little memory, disk space or GPUs for a training."""

import subprocess
import sys

import pytest
import torch

from livepick.core.contracts.progress import PROGRESS, Progress
from livepick.core.contracts.run import DISK_FULL_STATUS
from livepick_trainer import stages
from livepick_trainer.__main__ import main
from livepick_trainer.pipeline import run_context as run_module
from livepick_trainer.pipeline.run_context import choose_device


class Cuda:
    """Replacement for torch.cuda with GPUs, with the functions that the trainer calls."""

    def __init__(self, count):
        self.count = count
        self.capped = []

    def is_available(self):
        return self.count > 0

    def device_count(self):
        return self.count

    def set_per_process_memory_fraction(self, fraction, device):
        self.capped.append((device, fraction))


@pytest.fixture
def put_gpus(monkeypatch):
    """Return a function that gives torch a number of GPUs."""

    def put(count):
        cuda = Cuda(count)
        monkeypatch.setattr(run_module.torch, "cuda", cuda)
        return cuda

    return put


@pytest.mark.parametrize(
    ("wish", "device", "capped"),
    [
        ("auto", "cuda", [(0, 0.4)]),
        ("cuda", "cuda", [(0, 0.4)]),
        ("cuda:1", "cuda:1", [(1, 0.4)]),
        ("cpu", "cpu", []),
    ],
)
def test_the_trainer_takes_its_part_of_the_gpu_it_is_given(put_gpus, wish, device, capped):
    """The memory cap is set on that GPU before anything is allocated there."""
    cuda = put_gpus(2)

    assert choose_device(wish, gpu_memory_fraction=0.4) == torch.device(device)
    assert cuda.capped == capped


@pytest.mark.parametrize(
    ("count", "wish", "words"),
    [(0, "cuda:1", "cuda:1, but torch finds no GPU"), (1, "cuda:1", "torch finds only 1 GPU,")],
)
def test_a_gpu_that_is_not_there_is_refused_by_its_name(put_gpus, count, wish, words):
    """The trainer does not fall back to another device by itself."""
    put_gpus(count)

    with pytest.raises(run_module.TrainerError, match=words):
        choose_device(wish, gpu_memory_fraction=0.5)


def test_without_a_gpu_auto_is_the_cpu(put_gpus):
    """No memory cap is set either."""
    cuda = put_gpus(0)

    assert choose_device("auto", gpu_memory_fraction=0.5) == torch.device("cpu")
    assert cuda.capped == []


def broken_by(error, monkeypatch):
    """Let the second stage of a run end with an error."""

    def end(*_args, **_settings):
        raise error

    monkeypatch.setattr(stages, "pick_with_template", end)


@pytest.mark.parametrize(
    ("error", "what", "settings"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
            "the GPU does not have enough memory",
            ("minibatch_size", "gpu_memory_fraction", "device", "generation"),
        ),
        (
            MemoryError(),
            "the machine does not have enough memory",
            ("bootstrap.micrographs", "minibatch_size", "generation"),
        ),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 B"),
            "the machine does not have enough memory",
            ("bootstrap.micrographs", "minibatch_size", "generation"),
        ),
    ],
)
def test_too_little_memory_is_said_with_the_settings_that_need_less(
    make_run, monkeypatch, error, what, settings
):
    """The daemon gets one sentence, which can be understood without a traceback."""
    folder = make_run()
    broken_by(error, monkeypatch)

    assert main([str(folder)]) == 1

    last = Progress.model_validate_json((folder / PROGRESS).read_bytes().splitlines()[-1])
    assert last.stage == "failed"
    assert last.note.startswith(what)
    assert all(setting in last.note for setting in settings)


@pytest.mark.parametrize("number", [28, 122])
def test_a_full_disk_or_quota_ends_the_trainer_with_a_status_of_its_own(
    make_run, monkeypatch, number
):
    """The run is not marked as failed, even if the error is wrapped in another one."""
    folder = make_run()
    wrapped = run_module.TrainerError("the bundle could not be written", "Look at the disk.")
    wrapped.__cause__ = OSError(number, "No space left on device")
    broken_by(wrapped, monkeypatch)

    assert main([str(folder)]) == DISK_FULL_STATUS
    assert b'"failed"' not in (folder / PROGRESS).read_bytes()


def test_a_disk_that_takes_not_even_the_progress_is_full(make_run):
    """Only the exit status reports a real ENOSPC if even the log cannot be written."""
    folder = make_run()
    (folder / PROGRESS).symlink_to("/dev/full")

    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        ran = subprocess.run(
            [sys.executable, "-m", "livepick_trainer", str(folder)],
            stdout=full,
            stderr=full,
            check=False,
        )

    assert ran.returncode == DISK_FULL_STATUS
