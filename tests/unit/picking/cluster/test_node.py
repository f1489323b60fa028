"""A node of a cluster runs jobs in processes of its own, and says what it sees of a session."""

import json
import os
import pickle
import shutil
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import waiting

from livepick.core.contracts.bundle import read_card
from livepick.core.contracts.device_aside import DeviceAside
from livepick.core.contracts.job import CPU, Job, WorkerDiedError
from livepick.core.contracts.node import HelloRequest, NodeReport, TaskLimits
from livepick.errors import EngineError, MemoryLimitError, TimeLimitError
from livepick.models.general_model import SHIPPED
from livepick.picking.cluster import node
from livepick.picking.cluster.nodes import refusal
from livepick.picking.gpu_pins import pins
from livepick.picking.job_limits import JobLimits
from livepick.picking.worker_process import Outcome

GIB = 1 << 30
LIMITS = TaskLimits(60)
GRAPH_SHA256 = read_card(SHIPPED).graph_sha256


@pytest.fixture
def opened():
    node.open_node(1, heavy=True)
    yield
    node.close_node()


def run(work, *args, limits=LIMITS) -> Outcome:
    outcome = pickle.loads(node.run_on_node(work, args, limits))  # noqa: S301 - of this test
    assert isinstance(outcome, Outcome)
    return outcome


def die():
    os._exit(3)


@dataclass
class BundleJob:
    bundle: Path
    graph_sha256: str


def bundle_of(job: BundleJob) -> Path:
    return job.bundle


def request(folder: Path, **changes) -> HelloRequest:
    values = {
        "device": "prefer-gpu",
        "bundle": SHIPPED,
        "graph_sha256": GRAPH_SHA256,
        "token_file": folder / "token",
        "token": "abc",
        "roots": (folder,),
    }
    return HelloRequest(**(values | changes))


def test_a_job_runs_in_a_process_of_the_node(opened):
    assert run(os.getpid).value != os.getpid()


def test_the_faults_of_a_job_come_back_as_values(opened):
    """They have the types of a local engine; only a fault of the node is raised."""
    assert run(int, "x").is_error
    assert isinstance(run(int, "x").value, ValueError)
    assert isinstance(run(die).value, WorkerDiedError)
    late = run(time.sleep, 60, limits=TaskLimits(0.3))
    assert isinstance(late.value, TimeLimitError)


def take_memory(size_bytes):
    kept = bytearray(b"x") * size_bytes
    time.sleep(30)
    return len(kept)


def test_the_lower_limit_of_memory_holds_and_the_failure_says_whose_it_is():
    """The owner of a machine decides how much a job may use there; a session can ask for less."""
    own_gib, session_gib = 0.5, 0.25
    node.open_node(1, JobLimits(1, memory_limit_bytes=int(own_gib * GIB)))
    try:
        for given_gib in (None, 4.0):
            given_bytes = None if given_gib is None else int(given_gib * GIB)
            owned = run(take_memory, GIB, limits=TaskLimits(60, given_bytes)).value
            assert isinstance(owned, MemoryLimitError)
            assert "the limit is 0.5 GiB (that of livepick worker on" in owned.what
            assert "--memory-limit-gib" in owned.remedy
        lower = run(take_memory, GIB, limits=TaskLimits(60, int(session_gib * GIB))).value
    finally:
        node.close_node()
    assert isinstance(lower, MemoryLimitError)
    assert lower.what.endswith("the limit is 0.2 GiB")
    assert "picking.memory_limit_gib" in lower.remedy


def wait_for(path):
    path.with_suffix(".begun").touch()
    waiting.until(path.exists)


def test_jobs_of_a_lost_scheduler_that_have_not_begun_never_run(opened, tmp_path, monkeypatch):
    """One runs to its end, one waits for its process, and one for its model."""
    looks = []
    monkeypatch.setattr(node, "read_card", lambda path: looks.append(path) or read_card(path))
    bundle = BundleJob(tmp_path / "0001", GRAPH_SHA256)
    jobs = ((wait_for, tmp_path / "a"), (wait_for, tmp_path / "b"), (bundle_of, bundle))
    with ThreadPoolExecutor(len(jobs)) as threads:
        first = threads.submit(run, *jobs[0])
        waiting.until((tmp_path / "a.begun").exists)
        second, third = (threads.submit(run, *job) for job in jobs[1:])
        one = node._node()
        waiting.until(lambda: len(one.jobs) == 2 and looks)
        assert node.abandon_jobs() == 1
        assert isinstance(second.result(30).value, CancelledError)
        shutil.copytree(SHIPPED, tmp_path / "0001")
        with pytest.raises(EngineError, match="the scheduler of this job is lost"):
            third.result(30)
        (tmp_path / "a").touch()
        assert not first.result(30).is_error
    assert run(os.getpid).value != os.getpid()
    assert not (tmp_path / "b.begun").exists()


def test_a_process_that_is_no_node_says_so():
    with pytest.raises(EngineError, match=r"not a node of livepick.*livepick worker"):
        node.run_on_node(os.getpid, (), LIMITS)


def test_a_job_waits_for_a_model_that_the_node_does_not_see(opened, tmp_path, monkeypatch):
    """It never runs with another model at the same path."""
    monkeypatch.setattr(node, "BUNDLE_SECONDS", 0.0)
    right = BundleJob(SHIPPED, GRAPH_SHA256)
    assert run(bundle_of, right).value == SHIPPED
    with pytest.raises(EngineError, match=r"is another one.*state folder"):
        run(bundle_of, BundleJob(SHIPPED, "0" * 64))
    with pytest.raises(EngineError, match=r"is not there.*state folder"):
        run(bundle_of, BundleJob(tmp_path / "0001", "0" * 64))


def test_a_node_says_what_it_is_and_sees(opened, tmp_path):
    (tmp_path / "token").write_text("abc\n")
    (tmp_path / "empty").mkdir()
    roots = (tmp_path, tmp_path / "away", tmp_path / "empty")
    card = node.hello(request(tmp_path, roots=roots))
    assert (card.token, card.missing_roots) == ("abc", (tmp_path / "away",))
    assert card.empty_roots == (tmp_path / "empty",)
    assert (card.graph_sha256, card.provider) == (GRAPH_SHA256, CPU)
    assert (card.heavy, card.fault) == (True, "")


def test_a_node_reports_its_version_its_memory_and_its_gpus_that_failed():
    """Values that Dask has sent are the same report; those of another version are an empty one."""
    (gpu,) = pins((0,))
    node.open_node(2, devices=(0, 1))
    try:
        node._node().pool.set_aside(gpu, "CUDA failure 999")
        report = node.node_report()
    finally:
        node.close_node()
    assert report.version == node.version()
    assert report.memory_bytes > 1 << 28
    assert report.gpus_aside == (DeviceAside(gpu.name, "CUDA failure 999"),)
    sent = json.loads(json.dumps(report.as_values()))
    assert NodeReport.of_values(sent) == report
    for odd in (None, [], {}, sent | {"gpus_aside": 3}, sent | {"memory_bytes": "much"}):
        assert NodeReport.of_values(odd) == NodeReport()


def test_a_node_without_the_folders_says_so(opened, tmp_path):
    card = node.hello(request(tmp_path, bundle=tmp_path / "0001"))
    assert (card.token, card.graph_sha256, card.provider) == (None, None, None)


def device_of(job: Job) -> str:
    return job.device


@pytest.mark.parametrize(("wanted", "used"), [("prefer-gpu", "require-gpu"), ("cpu", "cpu")])
def test_a_node_that_offers_gpus_never_falls_back_to_the_cpu(wanted, used):
    """Unless the session wants the CPU. A node without GPUs takes the session's word."""
    job = Job(path=Path("a.mrc"), version=None, bundle=SHIPPED, device=wanted)
    try:
        node.open_node(1, requires_gpu=True)
        assert run(device_of, job).value == used
        node.open_node(1)
        assert run(device_of, job).value == wanted
    finally:
        node.close_node()


@pytest.mark.parametrize("device", ["prefer-gpu", "require-gpu"])
def test_a_gpu_that_is_lost_is_a_fault_of_a_node_that_offers_gpus(tmp_path, device):
    """The words are true for a session that only prefers a GPU, too."""
    node.open_node(1, requires_gpu=True)
    try:
        card = node.hello(request(tmp_path, device=device))
    finally:
        node.close_node()
    assert card.provider is None
    assert card.fault.startswith("the GPU cannot be used: onnxruntime offers ")
    assert "require-gpu" not in card.fault


def test_a_node_that_offers_the_cpu_is_refused_by_a_session_that_requires_a_gpu(opened, tmp_path):
    (tmp_path / "token").write_text("abc")
    asked = request(tmp_path, device="require-gpu")
    card = node.hello(asked)
    assert (card.provider, card.fault) == (CPU, "")
    assert "it has no usable GPU, and picking.device is require-gpu" in refusal(card, asked)
