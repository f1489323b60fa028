"""``tests/device/gpu.py``, run on the CPU, where no GPU is."""

import importlib.util
import os
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from factories import make_result
from livepick.config.engine_section import CudaSettings
from livepick.core.contracts.job import WorkerDiedError
from livepick.core.imaging.picks import Picks

SCRIPT = Path(__file__).parents[1] / "device/gpu.py"
HAS_GPU = Path("/dev/nvidiactl").exists()


@pytest.fixture(scope="module")
def gpu():
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("gpu", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["gpu"]


def run(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )


@pytest.mark.slow
def test_the_script_runs_all_of_its_code_on_the_cpu():
    """A worker with IO binding, the comparison of scores and picks, and the refusal."""
    done = run("--provider", "cpu", "--size", "512", "--micrographs", "1", "--rows", "IO binding")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all checks passed" in done.stdout
    (row,) = (line for line in done.stdout.splitlines() if line.startswith("│ "))
    assert row.split("│")[6].strip() == "0"  # largest difference: the same arithmetic
    assert "0 of 0" not in row


@pytest.mark.slow
@pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")
def test_without_a_gpu_it_says_so_with_a_status_of_its_own():
    done = run()
    assert done.returncode == 3, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("There is no GPU that onnxruntime can use: ")


def test_a_gpu_that_was_not_given_is_missing(gpu, monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    assert gpu.main(["--devices", "0,1"]) == gpu.NO_GPU
    assert "There is no such GPU" in capsys.readouterr().out


def result(*picks):
    """Return a result with picks (x, y, score)."""
    x, y, score = np.array(picks, dtype=np.float32).reshape(-1, 3).T
    return make_result(Picks.sorted(x, y, score), threshold=0.5)


def test_an_unknown_row_is_refused_with_those_that_exist(gpu, capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--rows", "IO binding,graph"])
    assert "no row 'graph'; there are: ordinary runs, IO binding" in capsys.readouterr().err


def test_each_row_can_be_chosen(gpu):
    """A comma is between two rows."""
    for title in gpu.ROWS:
        assert gpu._parse(["--rows", title]).rows == [title]


@pytest.mark.parametrize("visible", [None, "GPU-8f0c,GPU-9a1d"])
def test_the_row_of_another_gpu_can_be_chosen(gpu, monkeypatch, visible):
    """Its title has the number that was given to the script."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    given = gpu._parse(["--devices", "0,1", "--rows", "IO binding on GPU 1"])
    titles = [title for title, *_ in gpu._plan(gpu.pins(given.devices))]
    assert given.rows[0] in titles


def test_a_row_that_fails_does_not_stop_the_others(gpu, monkeypatch):
    def measure(jobs, expected, settings, *_, **__):
        if settings.graphs:
            raise WorkerDiedError("crash", "it was ended by SIGSEGV")
        return gpu.Measured(1, 1, 1, None, 0, 0, 9)

    monkeypatch.setattr(gpu, "_on_cpu", lambda *_: [])
    monkeypatch.setattr(gpu, "_measure", measure)
    given = gpu._parse([])
    table = gpu._table(given)
    failed = gpu._fill(table, [], gpu.pins([0], {}), given, time.monotonic())
    assert failed == [
        f"{title}: it was ended by SIGSEGV"
        for title in ("+ graphs", "+ pinned + graphs", "2 in flight + graphs")
    ]
    assert table.row_count == len(gpu.ROWS)
    late = gpu._table(given)
    assert gpu._fill(late, [], gpu.pins([0], {}), given, time.monotonic() - 400) == []
    assert set(late.columns[1].cells) == {"left out, no time"}


def test_it_does_not_wait_for_ever(gpu):
    """A machine with a GPU may be lent for minutes."""
    hangs = Future()
    with pytest.raises(TimeoutError):
        gpu._results([hangs], time.monotonic())
    pool = SimpleNamespace(pids=list)
    assert gpu._watch(pool, [hangs], (), time.monotonic()) == (0, [])


def test_picks_that_only_one_list_has_are_counted(gpu):
    """Rounding decides about picks whose score is nearly the threshold."""
    expected = result((10, 10, 0.9), (50, 50, 0.7), (90, 90, 0.505))
    assert gpu._unequal(expected, expected, 0.01) == 0
    moved = result((10.05, 10, 0.9), (50, 50.3, 0.7))
    assert gpu._unequal(moved, expected, 0.01) == 2
    lower = result((10, 10, 0.9), (50, 50, 0.7), (90, 90, 0.495))
    assert gpu._unequal(lower, expected, 0.01) == 0
    assert gpu._unequal(result(), expected, 0.0) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"largest_difference": 0.06}, "scores differ by 0.06 (limit 0.05)"),
        ({"largest_difference": float("nan")}, "scores differ by nan"),
        ({"unequal_picks": 1}, "1 picks differ by more than 0.1 px"),
        ({"picks": 0}, "nothing was compared"),
        ({"fault": "CUDA error 900"}, "CUDA error 900"),
    ],
)
def test_each_shortcoming_of_a_row_is_a_failure(gpu, changes, said):
    row = dict.fromkeys(("per_second", "infer_seconds", "host_bytes", "device_bytes"), 1)
    row |= {"largest_difference": 0.04, "unequal_picks": 0, "picks": 9} | changes
    found = gpu._shortcomings("IO binding", gpu.Measured(**row), CudaSettings())
    assert [each for each in found if said is None or said not in each] == []
    assert bool(found) == (said is not None)


def test_full_precision_is_held_to_the_cpu(gpu):
    row = gpu.Measured(1, 1, 1, 1, 0.04, 0, 9)
    assert gpu._shortcomings("full precision", row, CudaSettings(full_precision=True))


def test_a_worker_that_does_not_refuse_is_a_failure(gpu, monkeypatch, tmp_path):
    class Pool:
        def submit_to(self, device, *_):
            assert device.environment["CUDA_VISIBLE_DEVICES"] == "-1"
            return type("Future", (), {"result": lambda *_: "CPUExecutionProvider"})()

    monkeypatch.setattr(gpu, "_pool", lambda *_: gpu.contextmanager(lambda: iter([Pool()]))())
    assert gpu._refusal(tmp_path, 0.0) == [
        "require-gpu without CUDA: picks on CPUExecutionProvider instead of refusing"
    ]
