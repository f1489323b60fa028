"""Models whose graph never ends, or for which there is no memory, stop nothing else."""

import os
import resource

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from factories import publish_blob, publish_bundle
from livepick.core.contracts.bundle import read_card
from livepick.errors import MemoryLimitError, ModelError, TimeLimitError
from livepick.models.bundle_on_disk import Bundle
from livepick.picking import promote_by_person
from livepick.picking.engine import local
from livepick.picking.job_limits import JobLimits
from livepick.picking.onnx_session import graph_scores, load_model
from livepick.picking.tasks import probe
from livepick.retraining.trial_picking import result_of


def endless_graph():
    """Return a graph with a loop that has neither a number of turns nor an end."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["again"], ["and_again"]),
            helper.make_node("Abs", ["x"], ["y"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("and_again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
        ],
    )
    sides = [1, 1, "height", "width"]
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "true", "image"], ["score"], body=body)],
        "endless",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, sides)],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, sides)],
        [helper.make_tensor("true", TensorProto.BOOL, [], [True])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.fixture
def endless(tmp_path):
    return publish_bundle(tmp_path / "models", endless_graph(), version=7)


@pytest.fixture
def engine():
    made = local(1)
    yield made
    made.stop()


def test_an_endless_model_is_stopped_in_its_worker(engine, endless):
    """The next job has a new worker."""
    with pytest.raises(TimeLimitError):
        engine.submit_timed(6, probe, endless, "cpu").result(120)
    assert engine.submit(os.getpid).result(120)


def test_an_endless_model_is_rejected_by_its_trial(engine, endless):
    """That of the promotion gate and of a new model in use."""
    with pytest.raises(ModelError, match="model 7 takes too long"):
        result_of("model 7", lambda: engine.submit_timed(6, probe, endless, "cpu"))


def test_an_endless_model_is_not_promoted_by_hand(endless, monkeypatch):
    monkeypatch.setattr(promote_by_person, "TRY_SECONDS", 6.0)
    with pytest.raises(ModelError, match="model 7 takes more than 6 s for a small image"):
        promote_by_person._try(Bundle(endless, read_card(endless)))


def run_without_memory(bundle):
    """Run a model in a process to which the system gives no more memory."""
    model = load_model(bundle, "cpu")
    image = np.zeros((1, 1, 1024, 1024), np.float32)
    resource.setrlimit(resource.RLIMIT_DATA, (1 << 20, resource.RLIM_INFINITY))
    graph_scores(model, image)


def test_memory_that_the_system_refuses_is_not_a_fault_of_the_model(tmp_path):
    """Three of those in a row would have ended the service."""
    bundle = publish_blob(tmp_path / "models", diameter_angstrom=150.0)
    engine = local(1, JobLimits(1))
    with pytest.raises(MemoryLimitError, match="Failed to allocate memory"):
        engine.submit(run_without_memory, bundle).result(120)
    engine.stop()
