"""Candidates whose training started from other weights, judged by the promotion gate."""

from concurrent.futures import Future
from pathlib import Path

from factories import make_config
from livepick.core.contracts.bundle import WEIGHTS, read_card, sha256
from livepick.core.contracts.run import START, RunSpec, RunStart
from livepick.models.bundle_on_disk import Bundle
from livepick.picking.worker import pick
from livepick.retraining.promotion_gate import PromotionGate
from livepick_trainer.learning.dataset import PatchRules
from livepick_trainer.learning.network import make_network
from livepick_trainer.learning.weights_file import read_weights, weights_file
from livepick_trainer.pipeline.progress import Reporter
from livepick_trainer.stages import run_stages
from one_round import one_round

RULES = PatchRules(size_px=64, patches_per_epoch=48, held_out_patches=16)
HARDLY = {"epochs": 1, "initial_learning_rate": 1e-6, "final_learning_rate": 1e-6}
"""Training after which the weights are still about those of the start."""


def opposite(content: bytes) -> bytes:
    """Return weights that find what those in ``content`` find, with the contrast turned over."""
    network = make_network(1)
    read_weights(content, network, name=WEIGHTS)
    weights = network.state_dict()
    weights["stem.0.weight"].neg_()
    network.load_state_dict(weights)
    return weights_file(network)


def train(folder: Path, start: bytes | None = None) -> Bundle:
    """Run the trainer, from these weights if there are any."""
    if start is not None:
        named = RunStart(source="general", livepick_version="1", sha256=sha256(start))
        RunSpec.read(folder).model_copy(update={"start": named}).write(folder)
        (folder / START).write_bytes(start)
    with one_round():
        path = run_stages(folder, Reporter(folder), patch_rules=RULES)
    return Bundle(path, read_card(path))


def here(work, *args, **settings):
    """Do a worker's work in this process."""
    future = Future()
    future.set_result(work(*args, **settings))
    return future


def test_a_candidate_with_a_bad_start_is_kept_aside(make_run, tmp_path):
    """One that starts from the weights in service is as good, and promoted since it was requested.

    Both are trained with the same seeds. So it is the start that makes one of them worse, and the
    picks in the held-out micrograph that show it.
    """
    current = train(make_run("0001", epochs=5, initial_learning_rate=0.01))
    weights = (current.path / WEIGHTS).read_bytes()
    spoiled = train(make_run("0002", **HARDLY), opposite(weights))
    further = train(make_run("0003", **HARDLY), weights)
    gate = PromotionGate(
        make_config(tmp_path, watch={"directories": [str(tmp_path / "micrographs")]}),
        lambda job: here(pick, job),
        here,
    )

    found = [gate.judge(one, current, requested=True).decision for one in (spoiled, further)]

    assert [(one.outcome, one.promote) for one in found] == [("worse", False), ("as good", True)]
